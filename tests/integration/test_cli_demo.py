"""The demo, as a user starts it."""

import itertools
import os
import re
import signal
import subprocess
import tempfile
import urllib.request
from pathlib import Path

import pytest

from tests.integration.cli_kit import KITEFEED
from tests.support import eventually, slowness

pytestmark = [pytest.mark.processes, pytest.mark.timeout(150)]

DEMO_S = 90  # what the README's "under a minute" may become on a slow machine


def start(directory: Path) -> subprocess.Popen[str]:
    """All temporary files, those of the demo included, go to `directory`."""
    return subprocess.Popen(
        [*KITEFEED, "demo"],
        env={**os.environ, "TMPDIR": str(directory)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def directory() -> str:
    """Short: sockets lie below it."""
    return tempfile.mkdtemp(prefix="kfd-")


def processes_in(directory: str) -> list[str]:
    """Command lines of processes whose working directory, or an argument, is below it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            where = os.readlink(process / "cwd")
            words = (process / "cmdline").read_text()
        except OSError:
            continue
        if where.startswith(directory) or directory in words:
            found.append(words)
    return found


def test_the_demo_tells_both_stories_and_leaves_nothing_behind(directory: str) -> None:
    with start(Path(directory)) as demo:
        said, _ = demo.communicate(timeout=DEMO_S)
    assert demo.returncode == 0, said
    words = [
        "feed live",
        "feed rest",
        "feed login_required",
        "feed live",
        "How long each step took",
    ]
    places = [0]
    for word in words:
        places.append(said.find(word, places[-1] + 1))
    assert -1 not in places, said
    assert "₹" in said
    assert processes_in(directory) == []
    assert os.listdir(directory) == []
    os.rmdir(directory)


def test_the_demo_names_a_page_on_which_one_click_logs_in(directory: str) -> None:
    with start(Path(directory)) as demo:
        assert demo.stdout is not None
        lines = iter(demo.stdout)
        page = next(re.findall(r"http://127\S+", line)[0] for line in lines if "browser" in line)
        next(line for line in lines if "feed login_required" in line)
        with urllib.request.urlopen(f"{page}login", timeout=5) as answer:  # noqa: S310
            assert answer.url == f"{page}#logged-in"
        headlines = (line for line in lines if line.startswith("  feed "))
        # At most the check of the new session comes before it.
        assert any("feed live" in line for line in itertools.islice(headlines, 3))
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(20 * slowness()) == 128 + signal.SIGTERM
    assert os.listdir(directory) == []
    os.rmdir(directory)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_behind(directory: str, number: signal.Signals) -> None:
    with start(Path(directory)) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "feed live" in line:
                break
        demo.send_signal(number)
        assert demo.wait(20 * slowness()) == 128 + number
    eventually(lambda: processes_in(directory) == [], 5)
    assert os.listdir(directory) == []
    os.rmdir(directory)
