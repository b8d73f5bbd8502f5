"""Tests how each target is reached, and what is said of one that is not."""

import asyncio
import sys
from pathlib import Path

import pytest

from kitefeed.actors.runtime import config
from kitefeed.cli.processes import is_running
from kitefeed.protocol.errors import ConfigError
from kitefeed.protocol.secret import Secret
from kitefeed.services.notifier import targets
from kitefeed.services.notifier.alerts import Alert, Code, Links, compose
from kitefeed.services.table import SERVICES, alerted
from tests.support import eventually, eventually_async

SECRET = "hunter2hunter2"
NOBODY = "127.0.0.1:1"  # nobody listens at this port


def settings(directory: Path, alerts: str) -> config.Settings:
    path = directory / "kitefeed.toml"
    path.write_text(f"[alerts]\n{alerts}\n")
    return config.load(path)


def alert() -> Alert:
    return compose(Code.TEST, "What happened.", Links("", "box"), 0)


def deliver(directory: Path, alerts: str) -> dict[str, str]:
    """Target -> the problem."""

    async def all_of_them() -> dict[str, str]:
        found = targets.targets_of(settings(directory, alerts))
        return {name: await each(alert()) for name, each in found.items()}

    return asyncio.run(all_of_them())


def program(directory: Path, body: str) -> str:
    path = directory / "program.py"
    path.write_text(body)
    return f'command = ["{sys.executable}", "{path}"]'


def test_a_program_gets_the_code_and_the_text_and_its_exit_code_counts(tmp_path: Path) -> None:
    out = tmp_path / "out"
    body = f"import sys\nopen({str(out)!r}, 'w').write(sys.argv[1] + sys.stdin.read())\n"
    assert deliver(tmp_path, program(tmp_path, body)) == {"command": ""}
    assert out.read_text() == f"KF-TEST{alert().title}\n{alert().text}\n"
    body = "import sys\nprint('hunter2')\nsys.exit(3)\n"
    assert deliver(tmp_path, program(tmp_path, body)) == {"command": "ended with 3"}


def test_a_program_that_reads_nothing_is_no_problem(tmp_path: Path) -> None:
    assert deliver(tmp_path, program(tmp_path, "")) == {"command": ""}


def test_a_program_that_is_not_there_is_said_to_be(tmp_path: Path) -> None:
    found = deliver(tmp_path, 'command = ["/no/such/program"]')
    assert found == {"command": "cannot be run (No such file or directory)"}


def test_a_program_that_hangs_is_said_to_give_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "DELIVER_S", 0.2)
    found = deliver(tmp_path, program(tmp_path, "import threading\nthreading.Event().wait(60)\n"))
    assert found == {"command": "no answer within 0.2 s"}


def test_a_program_that_is_given_up_is_ended_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    body = (
        "import os, subprocess, sys, threading\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import threading; "
        "threading.Event().wait(60)'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}} .')\n"
        "threading.Event().wait(60)\n"
    )
    found = targets.targets_of(settings(tmp_path, program(tmp_path, body)))

    async def give_up() -> None:
        trying = asyncio.ensure_future(found["command"](alert()))
        await eventually_async(lambda: pids.exists() and pids.read_text().endswith("."), 10)
        trying.cancel()
        await asyncio.wait([trying])

    asyncio.run(give_up())
    for pid in pids.read_text().split()[:2]:
        eventually(lambda pid=pid: not is_running(int(pid)), 5)


def test_who_cannot_be_reached_is_named_without_his_url(tmp_path: Path) -> None:
    found = deliver(
        tmp_path,
        f'webhook = "http://{NOBODY}/{SECRET}"\n'
        f'urls = ["json://{NOBODY}/{SECRET}", "nonsense://{SECRET}"]',
    )
    assert found == {
        "urls[0] json": "the service did not take it",
        "urls[1] nonsense": "apprise does not know this URL: correct it",
        "webhook": "cannot be reached (ClientConnectorError)",
    }


def test_a_switch_that_cannot_be_reached_is_named_without_its_url() -> None:
    problem = asyncio.run(targets.heartbeat(Secret(f"http://{NOBODY}/{SECRET}")))
    assert problem == "cannot be reached (ClientConnectorError)"


def test_a_file_of_urls_is_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "urls"
    path.write_text(f"\ufeff# phones\r\n  ntfy://a-{SECRET}  \r\n\n#tgram://x\nmailto://b\n")
    path.chmod(0o600)
    found = targets.targets_of(settings(tmp_path, 'urls_file = "urls"'))
    assert list(found) == ["urls_file[0] ntfy", "urls_file[1] mailto"]


@pytest.mark.parametrize(
    ("content", "mode", "sentence"),
    [
        (None, 0o600, "there is no"),
        (b"ntfy://topic\n", 0o640, "chmod 600"),
        (b"ntfy://topic\n\nhunter2hunter2\n", 0o600, "line 3: is no URL of apprise"),
        (b"\xff\xfe", 0o600, "not UTF-8"),
        (b"ntfy://topic\n" * 101, 0o600, "more than 100 URLs"),
        (b"x" * 70_000, 0o600, "is larger than"),
    ],
)
def test_a_file_of_urls_that_cannot_be_used_is_refused_without_what_is_in_it(
    tmp_path: Path, content: bytes | None, mode: int, sentence: str
) -> None:
    path = tmp_path / "urls"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        targets.targets_of(settings(tmp_path, 'urls_file = "urls"'))
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("listen", "page"),
    [
        ("", ""),
        ("127.0.0.1:8787", "http://127.0.0.1:8787"),
        ("[::1]:80", "http://[::1]:80"),
    ],
)
def test_the_link_is_one_that_a_browser_can_open(tmp_path: Path, listen: str, page: str) -> None:
    found = settings(tmp_path, f'[gateway]\nlisten = "{listen}"')
    assert targets.links_of(found).page == page


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("", []),
        ("at_night = true", []),
        ('urls = ["ntfy://a"]', ["urls"]),
        ('webhook = "https://a"\nheartbeat_url = "https://b"', ["webhook", "heartbeat_url"]),
        ('urls_file = "x"\ncommand = ["y"]', ["urls_file", "command"]),
    ],
)
def test_the_notifier_is_on_when_somebody_is_named(
    tmp_path: Path, line: str, named: list[str]
) -> None:
    found = settings(tmp_path, line).config
    assert alerted(found.alerts) == named
    assert bool(SERVICES["notifier"].where(found)) is bool(named)
