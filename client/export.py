"""A recording as files for other programs: Parquet, by DuckDB, and CSV.

Everything is made in a directory beside the place where it belongs, and moved there when it is
whole: whatever ends an export leaves nothing half. What a killed one left goes with the next.
"""

import csv
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from kitefeed.client import columns as c
from kitefeed.client.columns import Column
from kitefeed.client.recording import Recording
from kitefeed.protocol.errors import BadInput
from kitefeed.protocol.kite.ticks import EXCHANGE_NAMES
from kitefeed.protocol.recording import Described, Gap

# Of what DuckDB holds at once; the rest of a day lies beside it on the disk while it is sorted.
MEMORY_MB = 384
_PARTIAL = ".kitefeed-export."
Progress = Callable[[float, int], None]  # the part of the recording that was read, ticks by now


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

    Returns the files. Raises ImportError without duckdb or numpy, BadInput for files that are there
    already, unless `replace`.
    """
    duckdb = c.needed("duckdb")
    day = f"date={recording.date}"
    if not replace:
        _refuse(sorted(directory.glob(f"*/{day}/**/{stem}.parquet")))
    with _aside(directory) as made:
        with duckdb.connect(str(made / "work.duckdb")) as db:
            db.execute(f"SET memory_limit = '{MEMORY_MB}MB'; SET threads = {threads}")
            db.execute(f"SET temp_directory = {_text(made / 'work.tmp')}")
            _fill(db, recording, rupees, progress)
            _copy_ticks(db, made / "ticks" / day, stem)
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
    `to_parquet`. Raises ImportError without numpy."""
    c.numpy_module()
    if not replace:
        _refuse(sorted(directory.glob(f"{recording.date}*.csv")))
    with _aside(directory) as made:
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
    """One at least."""
    ticks = 0
    for batch in c.batches(recording):
        ticks += len(batch["seq"].values)
        yield c.in_rupees(batch) if rupees else batch
        progress(recording.progress, ticks)
    if not ticks:
        yield c.in_rupees(c.columns([])) if rupees else c.columns([])


def _plain(column: Column) -> list[object]:
    """As Python's own numbers; None where there is none."""
    values, is_null = column
    found: list[object] = values if isinstance(values, list) else values.tolist()
    if is_null is not None:
        found = [None if null else value for value, null in zip(found, is_null, strict=True)]
    return found


# --- DuckDB -------------------------------------------------------------------------------------


def _fill(db: Any, recording: Recording, rupees: bool, progress: Progress) -> None:
    numpy = c.numpy_module()
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


def _copy_ticks(db: Any, directory: Path, stem: str) -> None:
    found = db.execute("SELECT DISTINCT instrument_token & 255 FROM ticks ORDER BY 1").fetchall()
    for (segment,) in found:
        name = EXCHANGE_NAMES.get(segment, str(segment))
        target = directory / f"segment={name}" / f"{stem}.parquet"
        rows = (
            f"SELECT * FROM ticks WHERE instrument_token & 255 = {segment}"  # noqa: S608
            " ORDER BY instrument, t_rx_ns, gen, seq"
        )
        _copy(db, rows, target)


def _copy(db: Any, rows: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    db.execute(f"COPY ({rows}) TO {_text(target)} (FORMAT parquet, COMPRESSION zstd)")


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
    _copy(db, f"SELECT * FROM {name}", target)  # noqa: S608


def _text(path: Path) -> str:
    """As SQL writes it."""
    quoted = str(path).replace("'", "''")
    return f"'{quoted}'"


def _write_rows(path: Path, kind: type[msgspec.Struct], rows: list[Any]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(kind.__struct_fields__)
        writer.writerows(msgspec.structs.astuple(row) for row in rows)


# --- whole or not at all ------------------------------------------------------------------------


@contextmanager
def _aside(directory: Path) -> Iterator[Path]:
    """A directory of this process alone, in `directory`; it is gone afterwards."""
    directory.mkdir(parents=True, exist_ok=True)
    for left in directory.glob(f"{_PARTIAL}*"):
        if not _is_working(left.name.removeprefix(_PARTIAL)):
            shutil.rmtree(left, ignore_errors=True)
    made = directory / f"{_PARTIAL}{os.getpid()}"
    made.mkdir(mode=0o700)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _is_working(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, OSError, OverflowError):
        return False
    return int(pid) != os.getpid()


def _moved(made: Path, directory: Path, pattern: str) -> list[Path]:
    """Each file at once, where it belongs; those of gaps last, which are there then in any case."""
    found = []
    for path in sorted(made.rglob(pattern), reverse=True):
        target = directory / path.relative_to(made)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
        found.append(target)
    return sorted(found)


def _refuse(there: list[Path]) -> None:
    if there:
        raise BadInput(
            f"{there[0]} is there already: name another directory, or replace what is there "
            "(--replace)"
        )
