"""Files that are replaced as a whole, whatever happens to the writer."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kitefeed.actors.runtime import instruments_db, session_file
from kitefeed.actors.runtime.secrets import Secret
from kitefeed.actors.runtime.session_file import Session
from kitefeed.actors.runtime.whole_file import clear_leftovers, write_atomically
from kitefeed.protocol.instrument_list import InstrumentsDb
from kitefeed.protocol.kite.instruments import DumpRow
from tests.crash import killed_at_every_byte, killed_at_every_step

OLD, NEW = b"old" * 20, b"new, and longer" * 9
Sweep = Callable[[Callable[[], object]], Iterator[int]]
SWEEPS = [killed_at_every_step, killed_at_every_byte]
TOKENS = ("oldoldold111", "newnewnew222")


def file_limit(size: int) -> None:
    """Python ignores the signal, so a write beyond `size` fails as it does on a full disk."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


def test_a_writer_killed_at_every_step_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "values"
    write_atomically(path, OLD)
    seen = []
    for _ in killed_at_every_step(lambda: write_atomically(path, NEW)):
        seen.append(path.read_bytes())
        clear_leftovers(path)
        assert os.listdir(tmp_path) == ["values"]
    changed = seen.index(NEW)
    assert changed > 20  # the sweep came past open, write, flush, fsync
    assert seen == [OLD] * changed + [NEW] * (len(seen) - changed)


def test_a_writer_killed_in_the_middle_of_its_bytes_leaves_the_old(tmp_path: Path) -> None:
    path = tmp_path / "values"
    write_atomically(path, OLD)
    for size in killed_at_every_byte(lambda: write_atomically(path, NEW)):
        assert path.read_bytes() == OLD
        (leftover,) = set(os.listdir(tmp_path)) - {"values"}
        assert (tmp_path / leftover).read_bytes() == NEW[:size]
        clear_leftovers(path)
        assert os.listdir(tmp_path) == ["values"]
    assert size == len(NEW) - 1
    assert path.read_bytes() == NEW


@pytest.mark.parametrize("sweep", SWEEPS)
def test_a_login_killed_at_any_point_leaves_one_whole_session(sweep: Sweep, tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    old, new = (Session("key", Secret(token), "AB1234") for token in TOKENS)
    session_file.write(path, old)
    found = []
    for _ in sweep(lambda: session_file.write(path, new)):
        found.append(session_file.read(path))
        clear_leftovers(path)
        assert os.listdir(tmp_path) == ["session.json"]
    assert all(session in (old, new) for session in found)
    assert found[0] == old
    assert session_file.read(path) == new


def test_a_dump_killed_at_any_byte_leaves_the_old_list(tmp_path: Path) -> None:
    path = tmp_path / "instruments.sqlite"
    rows = [DumpRow(1, 1, "INFY", "INFOSYS", 0.0, "", 0.0, 0.05, 1, "EQ", "NSE", "NSE")]
    instruments_db.write(path, rows, "2026-11-23")
    for _ in killed_at_every_byte(
        lambda: instruments_db.write(path, rows, "2026-11-24"), stride=1_024
    ):
        facts = InstrumentsDb(path).facts()
        assert facts is not None
        assert facts.day_ist == "2026-11-23"
        assert len(os.listdir(tmp_path)) == 2  # of several deaths, the leftover of the last
    clear_leftovers(path)
    assert os.listdir(tmp_path) == ["instruments.sqlite"]


@pytest.mark.parametrize("size", [0, 1, 59, len(NEW) - 1])
def test_a_write_that_fails_leaves_the_old_and_nothing_beside_it(tmp_path: Path, size: int) -> None:
    path = tmp_path / "values"
    write_atomically(path, OLD)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        file_limit(size)
        with pytest.raises(OSError, match="too large"):
            write_atomically(path, NEW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["values"]


def test_the_temporary_file_of_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "values"
    writer = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        working = tmp_path / f".values.{writer.pid}.abcdefgh"
        working.touch()
        clear_leftovers(path)
        assert working.exists()
    finally:
        writer.communicate(b"\n")
    clear_leftovers(path)
    assert not working.exists()


def test_only_what_writers_of_this_file_left_is_cleared(tmp_path: Path) -> None:
    others = {".values", ".values.bak", ".values.old.1", ".other.999999999.ab", "values.1.a"}
    mine = f".values.{os.getpid()}.of_a_namesake"
    for name in (*others, mine, ".values.99999999999999999999.ab"):
        (tmp_path / name).touch()
    clear_leftovers(tmp_path / "values")
    assert set(os.listdir(tmp_path)) == others


def test_a_directory_that_is_not_there_has_no_leftovers(tmp_path: Path) -> None:
    clear_leftovers(tmp_path / "none" / "values")
    assert os.listdir(tmp_path) == []
