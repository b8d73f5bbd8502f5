"""`kitefeed export` as a process: whatever ends it leaves nothing half."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars
import pytest

from kitefeed import Recording
from tests.recordings import DAY, INFY, NIFTY, NINE_FIFTEEN, S, Writes, put, segment
from tests.support import Processes, eventually, slowness

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]
T0 = NINE_FIFTEEN
# Where it stands still, so that a test can do something to it: while it reads, and in DuckDB.
WAITS = {
    "reading": """
def tell(self, part, ticks, real=command.Progress.tell):
    real(self, part, ticks)
    flag.touch()
    for _ in range(1000):
        threading.Event().wait(0.1)
        real(self, part, ticks)
command.Progress.tell = tell
""",
    "sorting": """
def run(db, words, look, real=export._run):
    flag.touch()
    real(db, "SELECT sum(hash(a.range)) FROM range(1000000000000) a", look)
export._run = run
""",
}
MAIN = """
import pathlib, sys, threading
from kitefeed.cli.commands import export as command
from kitefeed.cli.main import main
from kitefeed.client import columns, export
columns.batches.__defaults__ = (50,)
flag = pathlib.Path({flag!r})
{waits}
sys.exit(main())
"""


class Desk:
    """A recorded day, and exports of it."""

    def __init__(self, root: Path) -> None:
        self.root, self.out = root, root / "out"
        self.flag = root / "flag"
        self.processes = Processes()
        feed = Writes()
        blocks: list[list[tuple[int, Any]]] = []
        for n in range(200):
            at_ns = T0 + n * S // 10
            blocks.append([(at_ns, feed.chunk(at_ns, {INFY: 1500_00 + n, NIFTY: 24_000_00 - n}))])
        put(root / "rec", segment(blocks))

    def words(self, kind: str, *options: str) -> tuple[str, ...]:
        return ("export", DAY, "--dir", str(self.root / "rec"), "--to", str(self.out),
                "--format", kind, *options)  # fmt: skip

    def begun(self, kind: str, where: str) -> "subprocess.Popen[bytes]":
        """One that stands still in the middle."""
        text = MAIN.format(flag=str(self.flag), waits=WAITS[where])
        process = self.processes.start("-c", text, *self.words(kind), env={})
        eventually(self.flag.exists, 30)
        assert self.left() != []
        return process

    def done(self, kind: str, *options: str, **how: Any) -> "subprocess.CompletedProcess[str]":
        words = [sys.executable, "-m", "kitefeed.cli", *self.words(kind, *options)]
        return subprocess.run(
            words, capture_output=True, text=True, timeout=60 * slowness(), check=False, **how
        )

    def left(self) -> list[str]:
        return sorted(path.name for path in self.out.iterdir())


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    with made.processes:
        yield made


@pytest.mark.parametrize(
    ("kind", "where", "number", "code"),
    [
        ("csv", "reading", signal.SIGTERM, 143),
        ("parquet", "reading", signal.SIGHUP, 129),
        ("parquet", "reading", signal.SIGINT, 130),
        ("parquet", "sorting", signal.SIGINT, 130),
        ("parquet", "sorting", signal.SIGTERM, 143),
    ],
)
def test_a_signal_ends_it_at_once_and_nothing_is_left(
    desk: Desk, kind: str, where: str, number: int, code: int
) -> None:
    process = desk.begun(kind, where)
    process.send_signal(number)
    assert process.wait(20 * slowness()) == code
    assert desk.left() == []


def test_what_a_killed_one_left_goes_with_the_next_of_that_day(desk: Desk) -> None:
    process = desk.begun("parquet", "sorting")
    process.kill()
    process.wait(10 * slowness())
    assert desk.left() == [f".kitefeed-export.{DAY}.day"]
    done = desk.done("parquet")
    assert done.returncode == 0, done.stderr
    assert desk.left() == ["gaps", "instruments", "ticks"]
    assert len(polars.read_parquet(desk.out / "ticks")) == 400


def test_the_same_day_twice_at_once_is_refused_and_the_first_goes_on(desk: Desk) -> None:
    first = desk.begun("csv", "reading")
    second = desk.done("csv")
    assert second.returncode == 75
    assert "another export writes the same files" in second.stderr
    assert desk.left() == [f".kitefeed-export.{DAY}.csv"]
    assert first.poll() is None
    first.send_signal(signal.SIGTERM)
    first.wait(20 * slowness())
    assert desk.done("csv").returncode == 0


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_full_disk_is_a_sentence_and_nothing_is_left(desk: Desk, kind: str) -> None:
    limit = 20_000  # bytes of a file
    done = desk.done(
        kind, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    )
    assert done.returncode == 75, done.stderr
    assert "cannot be written" in done.stderr
    assert "make room there" in done.stderr
    assert "Traceback" not in done.stderr
    assert desk.left() == []


NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_disk_without_room_is_a_sentence_and_nothing_is_left(desk: Desk, kind: str) -> None:
    if subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this host gives no mount namespace")
    desk.out.mkdir()
    mounted = (
        f"mount -t tmpfs -o size=64k small {desk.out} && "
        f'"$@"; code=$?; ls -A {desk.out}; exit $code'
    )
    words = [*NAMESPACE, "sh", "-c", mounted, "sh", sys.executable, "-m", "kitefeed.cli"]
    done = subprocess.run(
        [*words, *desk.words(kind)], capture_output=True, text=True, check=False,
        timeout=60 * slowness(),
        env={**os.environ, "HOME": str(desk.root)},
    )  # fmt: skip
    assert done.returncode == 75, done.stderr
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_day_is_exported_while_it_is_being_recorded(desk: Desk) -> None:
    feed = Writes(gen=8)
    parts = segment(
        [[(T0 + n * S, feed.chunk(T0 + n * S, {INFY: 1500_00 + n}))] for n in range(50)], ended=""
    )
    path = put(desk.root / "rec", [*parts, b"KFB\x01\x02"], T0 + 3600 * S)  # a block is begun
    done = desk.done("parquet")
    assert done.returncode == 0, done.stderr
    assert len(polars.read_parquet(desk.out / "ticks")) == 450
    assert len(list(Recording(DAY, dir=desk.root / "rec"))) == 450
    assert path.exists()
