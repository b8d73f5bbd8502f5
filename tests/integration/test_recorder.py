"""The recorder as a process, beside a real broadcaster at full rate: what it loses, and that it
says so."""

import os
import random
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import polars
import pytest

from kitefeed.protocol import recording as r
from kitefeed.protocol.clock import utc_ns
from kitefeed.protocol.recording import Gap
from tests.integration.broadcaster_kit import kill
from tests.integration.recorder_kit import Scene
from tests.support import eventually, slowness

pytestmark = [pytest.mark.processes, pytest.mark.timeout(240)]
S = 1_000_000_000
KILLS = 20
# Of a second at most is the block that is being filled; the rest is what a busy host adds.
BLOCK_NS_MAX = 3 * S
FAILS = """
import os, errno
def pwrite(handle, data, offset, real=os.pwrite):
    if os.path.exists({flag!r}):
        real(handle, data[: len(data) // 2], offset)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return real(handle, data, offset)
os.pwrite = pwrite
from kitefeed.services.recorder import machine, writer
writer.RETRY_S = 0.2
machine.BACKLOG_BYTES_MAX = 1_000_000
"""


@pytest.fixture
def scene() -> Iterator[Scene]:
    with Scene() as made:
        yield made


def check(scene: Scene, gaps: list[Gap]) -> None:
    """Everything that was published while it was to be recorded is recorded once, in order, or lies
    in a gap that is told."""
    found = scene.recorded()
    assert found == sorted(set(found))
    inside = [n for n in scene.published if found[0] <= n <= found[-1]]
    missing = sorted(set(inside) - set(found))
    slack_ns = S // 2  # the witness reads in another thread
    unexplained = [
        n for n in missing
        if not any(g.from_ns - slack_ns <= scene.published[n] <= g.to_ns + slack_ns for g in gaps)
    ]  # fmt: skip
    assert unexplained == []


def has_written(scene: Scene, files: int) -> bool:
    """Whether there is one more than so many, with a block and more in it."""
    return len(scene.files()) > files and scene.files()[-1].stat().st_size > 200_000


def killed_again_and_again(scene: Scene, kills: int) -> None:
    dice = random.Random(7)
    killed_ns = []
    for _ in range(kills):
        files = len(scene.files())
        process = scene.record()
        eventually(lambda files=files: has_written(scene, files), 30)
        threading.Event().wait(dice.uniform(0, 1.0))  # anywhere in a block
        kill(process)
        killed_ns.append(utc_ns())
    files = len(scene.files())
    last = scene.record()
    eventually(lambda: has_written(scene, files), 30)
    last.send_signal(signal.SIGTERM)
    assert last.wait(10 * slowness()) == 0
    scene.stop()
    recording = scene.recording()
    gaps = recording.gaps
    assert [gap.reason for gap in gaps] == ["killed"] * kills
    assert all(gap.healed for gap in gaps)
    for gap, at_ns in zip(gaps, killed_ns, strict=True):
        assert gap.from_ns <= at_ns <= gap.to_ns
        assert at_ns - gap.from_ns <= BLOCK_NS_MAX
    assert recording.damage == []
    check(scene, gaps)
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in scene.files())
    ticks = [tick for tick in recording if tick.instrument == "NSE:S1"]
    assert [tick.seq for tick in ticks] == sorted({tick.seq for tick in ticks})


def test_killed_at_any_moment_it_loses_at_most_the_last_block_and_says_what(scene: Scene) -> None:
    killed_again_and_again(scene, KILLS)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_killed_a_hundred_times_at_full_rate_no_block_but_the_last_of_each_is_lost(
    scene: Scene,
) -> None:
    killed_again_and_again(scene, 100)


def test_a_full_disk_costs_the_recording_a_gap_and_says_so_until_there_is_room(
    scene: Scene,
) -> None:
    flag = scene.stage.directory / "flag"
    process = scene.record(FAILS.format(flag=str(flag)))
    eventually(lambda: scene.recorded_bytes() > 300_000, 30)
    before = len(scene.published)
    flag.touch()
    eventually(lambda: "No space left" in scene.supervisor.reports[-1].problem, 10)
    eventually(lambda: len(scene.published) > before + 300, 60)  # the feed goes on
    flag.unlink()
    eventually(lambda: scene.supervisor.reports[-1].problem == "", 10)
    eventually(lambda: any(gap.healed for gap in scene.recording().gaps), 20)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10 * slowness()) == 0
    scene.stop()
    recording = scene.recording()
    (gap,) = recording.gaps
    assert (gap.reason, gap.healed) == ("disk", True)
    assert "No space left" in gap.detail
    assert recording.damage == []
    check(scene, [gap])


def test_a_file_that_may_not_grow_is_gone_on_with_where_it_stopped(scene: Scene) -> None:
    process = scene.record("from kitefeed.services.recorder import writer; writer.RETRY_S = 0.2")
    eventually(lambda: scene.recorded_bytes() > 200_000, 30)
    limit = scene.recorded_bytes() + 5_000  # inside a block
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    eventually(lambda: "File too large" in scene.supervisor.reports[-1].problem, 10)
    resource.prlimit(
        process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    )
    eventually(lambda: scene.recorded_bytes() > limit + 300_000, 20)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10 * slowness()) == 0
    scene.stop()
    recording = scene.recording()
    assert (recording.gaps, recording.damage) == ([], [])
    check(scene, [])


def test_a_disk_that_hangs_keeps_neither_the_feed_nor_the_memory(scene: Scene) -> None:
    flag = scene.stage.directory / "flag"
    hangs = f"""
import os, time
def pwrite(handle, data, offset, real=os.pwrite):
    while os.path.exists({str(flag)!r}):
        time.sleep(0.05)
    return real(handle, data, offset)
os.pwrite = pwrite
from kitefeed.services.recorder import machine
machine.BACKLOG_BYTES_MAX = 1_000_000
"""
    process = scene.record(hangs)
    eventually(lambda: scene.recorded_bytes() > 300_000, 30)
    before = len(scene.published)
    flag.touch()
    eventually(lambda: len(scene.published) > before + 400, 60)
    flag.unlink()
    eventually(lambda: any(gap.healed for gap in scene.recording().gaps), 20)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10 * slowness()) == 0
    scene.stop()
    (gap,) = scene.recording().gaps
    assert (gap.reason, gap.healed) == ("slow", True)
    check(scene, [gap])


def test_another_broadcaster_is_recorded_with_a_gap_between_the_two(scene: Scene) -> None:
    process = scene.record()
    eventually(lambda: scene.recorded_bytes() > 200_000, 30)
    (broadcaster,) = [p for p in scene.stage.processes._started if p is not process]
    kill(broadcaster)
    before = scene.recorded_bytes()
    scene.stage.up()
    eventually(lambda: scene.recorded_bytes() > before + 200_000, 30)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10 * slowness()) == 0
    scene.stop()
    gaps = scene.recording().gaps
    assert {gap.reason for gap in gaps} <= {"restart", "silence"}
    assert all(gap.healed for gap in gaps)
    gens = {tick.gen for tick in scene.recording()}
    assert len(gens) == 2


def test_old_days_go_and_what_is_not_ours_stays() -> None:
    with Scene(rate=10, settings="keep_days = 2") as scene:
        today = r.day_of(utc_ns())
        kept = [f"{today}/notes.txt", "2020-01-01/090000-000.kfrec.bak", "2020-01-02/mine.csv"]
        gone = ["2020-01-01/090000-000.kfrec", "2020-01-02/100000-123.kfrec",
                "2020-01-03/100000-123.kfrec"]  # fmt: skip
        for name in [*kept, *gone]:
            path = scene.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(r.HEAD)
        process = scene.record()
        eventually(lambda: scene.recorded_bytes() > 10_000, 30)
        kill(process)
        assert all((scene.directory / name).exists() for name in kept)
        assert not any((scene.directory / name).exists() for name in gone)
        assert not (scene.directory / "2020-01-03").exists()


def test_an_hour_that_is_over_becomes_parquet_and_a_day_is_exported(scene: Scene) -> None:
    process = scene.record()
    eventually(lambda: scene.recorded_bytes() > 200_000, 30)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10 * slowness()) == 0
    (segment,) = scene.files()
    ticks = len(list(scene.recording()))
    process = scene.record()  # makes Parquet of what its predecessor left
    made = scene.directory / "parquet"
    eventually(lambda: list(made.glob("gaps/*/*.parquet")), 60)
    eventually(lambda: not list(made.glob(".kitefeed-export.*")), 10)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10 * slowness()) == 0
    (path,) = made.glob("ticks/*/segment=NSE/*.parquet")
    assert path.stem == segment.stem
    assert len(polars.read_parquet(path)) == ticks
    scene.stop()
    recording = scene.recording()
    out = scene.stage.directory / "out"
    done = subprocess.run(
        [sys.executable, "-m", "kitefeed.cli", "export", recording.date, "--to", str(out)],
        env={**os.environ, "KITEFEED_CONFIG": str(scene.stage.config)},
        capture_output=True, text=True, timeout=60 * slowness(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    total = len(polars.read_parquet(out / "ticks"))
    assert total == len(list(recording))
    assert done.stdout.startswith(f"{total:,} ticks, ")
    assert recording.gaps[0].reason == "stopped"


def test_recordings_are_read_while_they_are_written(scene: Scene) -> None:
    process = scene.record()
    eventually(lambda: scene.recorded_bytes() > 200_000, 30)
    before = scene.recorded()
    eventually(lambda: len(scene.recorded()) > len(before) + 100, 30)
    assert scene.recorded()[: len(before)] == before
    assert scene.recording().damage == []
    process.send_signal(signal.SIGTERM)
    assert process.wait(10 * slowness()) == 0
