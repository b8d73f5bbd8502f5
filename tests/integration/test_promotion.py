"""The making of Parquet of each hour, when a recorder is killed in the middle of it."""

import asyncio
import fcntl
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import polars
import pytest

from kitefeed.protocol.exits import Exit
from kitefeed.services.recorder import promotion as module
from kitefeed.services.recorder.promotion import Promotion
from tests.recordings import DAY, INFY, NINE_FIFTEEN, S, Writes, put, segment
from tests.support import Processes, eventually, eventually_async, slowness

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]
log = logging.getLogger("recorder")
RECORDER = """
import asyncio, logging, pathlib, sys
from kitefeed.services.recorder.promotion import Promotion
asyncio.run(Promotion(pathlib.Path(sys.argv[1]), logging.getLogger()).work())
"""


@pytest.fixture
def hour(tmp_path: Path) -> Path:
    """A sealed segment."""
    feed = Writes()
    times = [NINE_FIFTEEN + n * S for n in range(50)]
    return put(tmp_path, segment([[(t, feed.chunk(t, {INFY: 1500_00}))] for t in times]))


def made_of(hour: Path) -> Path:
    return hour.parents[1] / "parquet"


def is_made(hour: Path) -> bool:
    return (made_of(hour) / "gaps" / f"date={DAY}" / f"{hour.stem}.parquet").exists()


def of_hour(hour: Path) -> Path:
    """Return where it is made, until it is whole."""
    return made_of(hour) / f".kitefeed-export.{DAY}.{hour.stem}"


def test_what_another_process_makes_is_awaited_and_made_when_that_leaves_nothing(
    hour: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(module, "BUSY_S", 0.1)
    of_hour(hour).mkdir(parents=True)
    handle = os.open(of_hour(hour), os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)  # as long as the child of a killed recorder lives

    async def scene() -> None:
        work = asyncio.create_task(Promotion(hour.parents[1], log).work())
        await eventually_async(lambda: "by another process" in caplog.text, 30)
        assert not is_made(hour)
        os.close(handle)
        await eventually_async(lambda: is_made(hour), 60)
        work.cancel()

    asyncio.run(scene())
    assert "no Parquet was made" not in caplog.text
    assert caplog.text.count("by another process") == 1
    assert len(polars.read_parquet(made_of(hour) / "ticks")) == 50


def test_what_another_process_has_made_meanwhile_is_not_made_again(
    hour: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(module, "BUSY_S", 0.1)
    of_hour(hour).mkdir(parents=True)
    handle = os.open(of_hour(hour), os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    same = [hour.read_bytes()]
    theirs = made_of(hour) / "gaps" / f"date={DAY}" / f"{hour.stem}.parquet"

    async def scene() -> None:
        promotion = Promotion(hour.parents[1], log)
        work = asyncio.create_task(promotion.work())
        await eventually_async(lambda: "by another process" in caplog.text, 30)
        theirs.parent.mkdir(parents=True)
        theirs.write_bytes(b"theirs")
        os.close(handle)
        later = put(hour.parents[1], same, NINE_FIFTEEN + 3600 * S)
        promotion.add(later)  # its turn comes after that of the first
        await eventually_async(lambda: is_made(later), 60)
        work.cancel()

    asyncio.run(scene())
    assert theirs.read_bytes() == b"theirs"


def test_one_whose_recorder_has_gone_ends_and_leaves_nothing_half(hour: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(30 * slowness())
    done = subprocess.run(
        [*module.WORDS, str(hour), str(made_of(hour)), str(gone.pid)],
        capture_output=True, text=True, timeout=60 * slowness(), check=False,
    )  # fmt: skip
    assert done.returncode == Exit.TRY_LATER
    assert "the recorder has gone" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(made_of(hour).iterdir()) == []


def test_a_recorder_killed_while_it_is_made_leaves_it_to_the_next(
    hour: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with Processes() as processes:
        first = processes.start("-c", RECORDER, str(hour.parents[1]), env={})
        children = Path(f"/proc/{first.pid}/task/{first.pid}/children")
        child = int(eventually(children.read_text, 30).split()[0])
        os.kill(child, signal.SIGSTOP)
        first.kill()
        first.wait(10 * slowness())
        os.kill(child, signal.SIGCONT)

        async def scene() -> None:
            work = asyncio.create_task(Promotion(hour.parents[1], log).work())
            await eventually_async(lambda: is_made(hour) and not of_hour(hour).exists(), 60)
            work.cancel()

        asyncio.run(scene())
        eventually(lambda: not Path(f"/proc/{child}/exe").exists(), 30)
    assert "no Parquet was made" not in caplog.text
    assert len(polars.read_parquet(made_of(hour) / "ticks")) == 50
    assert sorted(path.name for path in made_of(hour).iterdir()) == ["gaps", "instruments", "ticks"]
