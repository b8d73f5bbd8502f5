"""A recording as files for other programs: Parquet, by DuckDB, and CSV.

Everything is made in a directory beside the place where it belongs, and moved there when it is
whole: whatever ends an export leaves nothing half. What a killed one left goes with the next. A
lock on that directory, which ends with its process, says which is which, and keeps two exports from
writing the same files.
"""

import csv
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from kitefeed.client import columns as c
from kitefeed.client.columns import Column
from kitefeed.client.recording import Recording
from kitefeed.protocol.errors import BadInput, TryLater
from kitefeed.protocol.kite.ticks import EXCHANGE_NAMES
from kitefeed.protocol.recording import Described, Gap

# DuckDB holds so much at once; the rest of a day lies on the disk while it is sorted.
MEMORY_MB = 384
LOOK_S = 0.1
_PARTIAL = ".kitefeed-export."
# Told the part of the recording that was read, and the ticks by now: a few times a second, also
# while they are sorted. What it raises ends the export.
Progress = Callable[[float, int], None]


def to_parquet(
    recording: Recording,
    directory: Path,
    *,
    stem: str = "day",
    rupees: bool = False,
    replace: bool = False,
    threads: int = 2,
    progress: Progress = lambda part, ticks: None,
) -> list[Path]:
    """Writes `ticks/date=…/segment=…/<stem>.parquet`, a file for each segment of the market,
    compressed with zstd and sorted by instrument and time, and `gaps/date=…` and
    `instruments/date=…` beside. Prices are whole numbers and `divisor`, or with `rupees` floats.

    Returns the files. Raises ImportError without duckdb or numpy; BadInput for files that are there
    already, unless `replace`; TryLater while another process makes them; OSError.
    """
    c.needed("duckdb")
    day = f"date={recording.date}"
    with _aside(directory, f"{recording.date}.{stem}") as made:
        if not replace:
            _refuse(sorted(directory.glob(f"*/{day}/**/{stem}.parquet")))
        with _database(made, threads) as db:
            ticks = _fill(db, recording, rupees, progress)
            _copy_ticks(db, made / "ticks" / day, stem, lambda: progress(1.0, ticks))
            _copy_rows(db, "gaps", Gap, recording.gaps, made / "gaps" / day / f"{stem}.parquet")
            _copy_rows(
                db, "instruments", Described, recording.instruments,
                made / "instruments" / day / f"{stem}.parquet",
            )  # fmt: skip
        return _moved(made, directory, "*.parquet")


def to_csv(
    recording: Recording,
    directory: Path,
    *,
    rupees: bool = False,
    replace: bool = False,
    progress: Progress = lambda part, ticks: None,
) -> list[Path]:
    """Writes `2026-11-30.csv`, in order of time, and `.gaps.csv` and `.instruments.csv` beside; as
    `to_parquet`."""
    c.numpy_module()
    with _aside(directory, f"{recording.date}.csv") as made:
        if not replace:
            _refuse(sorted(directory.glob(f"{recording.date}*.csv")))
        with (made / f"{recording.date}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            for number, batch in enumerate(_batches(recording, rupees, progress)):
                if not number:
                    writer.writerow(batch)
                writer.writerows(zip(*map(_plain, batch.values()), strict=True))
        _write_rows(made / f"{recording.date}.gaps.csv", Gap, recording.gaps)
        _write_rows(made / f"{recording.date}.instruments.csv", Described, recording.instruments)
        return _moved(made, directory, "*.csv")


# --- columns ------------------------------------------------------------------------------------


def _batches(recording: Recording, rupees: bool, progress: Progress) -> Iterator[dict[str, Column]]:
    """Yield the ticks in batches, at least one."""
    ticks = 0
    for batch in c.batches(recording):
        ticks += len(batch["seq"].values)
        yield c.in_rupees(batch) if rupees else batch
        progress(recording.progress, ticks)
    if not ticks:
        yield c.in_rupees(c.columns([])) if rupees else c.columns([])


def _plain(column: Column) -> list[object]:
    """Return the column as Python's own numbers; None where there is no value."""
    values, is_null = column
    found: list[object] = values if isinstance(values, list) else values.tolist()
    if is_null is not None:
        found = [None if null else value for value, null in zip(found, is_null, strict=True)]
    return found


# --- DuckDB -------------------------------------------------------------------------------------


@contextmanager
def _database(made: Path, threads: int) -> Iterator[Any]:
    """Open a DuckDB that spills to `made` beyond MEMORY_MB. Its errors become OSErrors: this module
    writes files, and gives DuckDB nothing else that it could refuse."""
    duckdb = c.needed("duckdb")
    try:
        with duckdb.connect(str(made / "work.duckdb")) as db:
            db.execute(f"SET memory_limit = '{MEMORY_MB}MB'; SET threads = {threads}")
            db.execute(f"SET temp_directory = {_text(made / 'work.tmp')}")
            yield db
    except duckdb.Error as error:
        raise OSError(errno.EIO, str(error).partition("\n")[0]) from error


def _fill(db: Any, recording: Recording, rupees: bool, progress: Progress) -> int:
    """Put all ticks into the table `ticks`; return how many there are."""
    numpy, ticks = c.numpy_module(), 0
    for number, batch in enumerate(_batches(recording, rupees, progress)):
        arrays, chosen = {}, []
        for name, (values, is_null) in batch.items():
            is_words = isinstance(values, list)
            arrays[name] = numpy.array(values, dtype=object) if is_words else values
            found = f"CAST({name} AS VARCHAR)" if is_words else name
            if is_null is not None:
                arrays[f"{name}_is_null"] = is_null
                found = f"CASE WHEN {name}_is_null THEN NULL ELSE {name} END"
            chosen.append(f"{found} AS {name}")
        db.register("batch", arrays)
        what = "INSERT INTO ticks" if number else "CREATE TABLE ticks AS"
        db.execute(f"{what} SELECT {', '.join(chosen)} FROM batch")  # noqa: S608
        db.unregister("batch")
        ticks += len(batch["seq"].values)
    return ticks


def _copy_ticks(db: Any, directory: Path, stem: str, look: Callable[[], None]) -> None:
    found = db.execute("SELECT DISTINCT instrument_token & 255 FROM ticks ORDER BY 1").fetchall()
    for (segment,) in found:
        name = EXCHANGE_NAMES.get(segment, str(segment))
        target = directory / f"segment={name}" / f"{stem}.parquet"
        rows = (
            f"SELECT * FROM ticks WHERE instrument_token & 255 = {segment}"  # noqa: S608
            " ORDER BY instrument, t_rx_ns, gen, seq"
        )
        _run(db, _copied(rows, target), look)


def _copied(rows: str, target: Path) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    return f"COPY ({rows}) TO {_text(target)} (FORMAT parquet, COMPRESSION zstd)"


def _run(db: Any, words: str, look: Callable[[], None]) -> None:
    """Run a statement that takes minutes. DuckDB hears no signal while it works, so it works in
    another thread, and whatever `look` raises interrupts it."""
    with ThreadPoolExecutor(1) as thread:
        work = thread.submit(db.execute, words)
        try:
            look()
            while not wait([work], LOOK_S).done:
                look()
        except BaseException:
            while not work.done():  # an interrupt from before it began is lost
                db.interrupt()
                wait([work], LOOK_S)
            raise
        work.result()


def _copy_rows(
    db: Any, name: str, kind: type[msgspec.Struct], rows: list[Any], target: Path
) -> None:
    types = {int: "BIGINT", float: "DOUBLE", bool: "BOOLEAN", str: "VARCHAR"}
    fields = msgspec.structs.fields(kind)
    described = ", ".join(f"{field.name} {types[field.type]}" for field in fields)
    db.execute(f"CREATE TABLE {name} ({described})")
    if rows:  # as columns: DuckDB takes a millisecond for an insert
        numpy = c.numpy_module()
        columns = {
            field.name: numpy.array([getattr(row, field.name) for row in rows], dtype=object)
            if field.type is str
            else numpy.array([getattr(row, field.name) for row in rows])
            for field in fields
        }
        db.register("rows", columns)
        db.execute(f"INSERT INTO {name} SELECT * FROM rows")  # noqa: S608
        db.unregister("rows")
    db.execute(_copied(f"SELECT * FROM {name}", target))  # noqa: S608


def _text(path: Path) -> str:
    """Write a text as SQL does."""
    quoted = str(path).replace("'", "''")
    return f"'{quoted}'"


def _write_rows(path: Path, kind: type[msgspec.Struct], rows: list[Any]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(kind.__struct_fields__)
        writer.writerows(msgspec.structs.astuple(row) for row in rows)


# --- whole or not at all ------------------------------------------------------------------------


@contextmanager
def _aside(directory: Path, name: str) -> Iterator[Path]:
    """Make a directory in `directory` for the files of this name, for one process at a time; it is
    gone afterwards. Raises TryLater while another has it."""
    directory.mkdir(parents=True, exist_ok=True)
    made = directory / f"{_PARTIAL}{name}"
    with ExitStack() as held:
        with _locked(directory):  # for a moment: between a directory and its lock nobody looks
            for left in directory.glob(f"{_PARTIAL}*"):
                _remove_unlocked(left, made)
            made.mkdir(mode=0o700)
            held.callback(shutil.rmtree, made, ignore_errors=True)
            held.enter_context(_locked(made))
        yield made


def _remove_unlocked(left: Path, ours: Path) -> None:
    """Remove what another export left behind, if its process has ended."""
    try:
        with _locked(left, waits=False) as is_known:
            if is_known or left == ours:
                shutil.rmtree(left, ignore_errors=True)
    except BlockingIOError:
        if left == ours:
            raise TryLater(
                f"another export writes the same files to {left.parent} now: wait until it has "
                "ended, or name another directory"
            ) from None
    except FileNotFoundError:  # it has ended just now
        pass


@contextmanager
def _locked(directory: Path, *, waits: bool = True) -> Iterator[bool]:
    """Hold the directory's lock, as long as this process lives at most; False where the file system
    has no locks. Raises BlockingIOError when another process has it."""
    handle = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
            has_locks = True
        except BlockingIOError:
            raise
        except OSError:
            has_locks = False
        yield has_locks
    finally:
        os.close(handle)


def _moved(made: Path, directory: Path, pattern: str) -> list[Path]:
    """Move each file at once to where it belongs. Those of gaps come last, which are there then in
    any case. When that is interrupted, files that were not there before are removed."""
    targets = {path: directory / path.relative_to(made) for path in made.rglob(pattern)}
    for target in targets.values():
        target.parent.mkdir(parents=True, exist_ok=True)
    new: list[Path] = []
    try:
        for path in sorted(targets, reverse=True):
            if not targets[path].exists():
                new.append(targets[path])
            path.replace(targets[path])
    except BaseException:
        for target in new:
            target.unlink(missing_ok=True)
        raise
    return sorted(targets.values())


def _refuse(there: list[Path]) -> None:
    if there:
        raise BadInput(
            f"{there[0]} is there already: name another directory, or replace what is there "
            "(--replace)"
        )
