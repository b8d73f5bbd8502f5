"""Writing ticks down, reading them again, and Parquet of them. Beside it what people do by hand
with the same decoded ticks: an insert into SQLite for each, a line of CSV, a batch of Parquet by
pyarrow.
"""

import csv
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow
import pyarrow.parquet

from benchmarks import subject
from benchmarks.frames import Builder, Shape, Universe, packets_of, token_of
from benchmarks.parts import TROUBLE, Context, decode
from benchmarks.table import Row, compared
from kitefeed.client.export import to_parquet
from kitefeed.client.recording import Recording
from kitefeed.protocol import recording as r
from kitefeed.protocol.feed import TickFrames
from kitefeed.protocol.kite.ticks import TickBody
from kitefeed.services.recorder.machine import Open, Recorder, Seal, Write

PART = "record"
SHAPE = Shape("full", 90, 1)._replace(frames=400)
DAY_NS = 1_796_010_300_000_000_000  # 2026-11-30 09:15 in India
STEP_NS = 10_000_000  # a hundred frames a second: 9,000 ticks
FIELDS = TickBody.__struct_fields__


def measure(context: Context) -> list[Row]:
    context.say(f"record: {SHAPE.frames} frames of {SHAPE.packets} full")
    try:
        with tempfile.TemporaryDirectory() as name:
            return _rows(context.reps, Path(name))
    except TROUBLE as error:
        context.fail("record", None, error)
        return []


def _rows(reps: int, directory: Path) -> list[Row]:
    frames, bodies = _frames()
    count = len(bodies)
    ways: dict[str, Callable[[], int]] = {
        "ours": lambda: _recorded(frames, directory),
        "sqlite, an insert a tick": lambda: _inserted(bodies, directory),
        "csv, a line a tick": lambda: _lines(bodies, directory),
        "pyarrow, a batch a second": lambda: _batches(bodies, directory),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    sizes: dict[str, int] = {}
    for _ in range(reps):
        for name, way in ways.items():
            times[name].append(decode.ns_of(lambda way=way: sizes.update(last=way())) / count)  # type: ignore[misc]
            sizes[name] = sizes.pop("last")
    ours = times.pop("ours")
    rows = [compared(PART, "written down", "ns/tick", ours, [], others=times)]
    rows[0].note = ", ".join(f"{name}: {size / count:.0f} B" for name, size in sizes.items())
    recording = Recording(r.day_of(DAY_NS), dir=directory)
    if sum(1 for _ in recording) != count:
        raise ValueError("the recording has other ticks than were given to it")
    out, reads = directory / "out", dict[str, list[float]]()
    steps: dict[str, Callable[[], object]] = {
        "read again, judged": lambda: sum(1 for _ in recording),
        "made Parquet": lambda: to_parquet(recording, out, replace=True),
        "duckdb": lambda: duckdb.sql(f"FROM '{out}/ticks/**/*.parquet'").fetchnumpy(),
    }
    for _ in range(reps):
        for name, step in steps.items():
            reads.setdefault(name, []).append(decode.ns_of(step) / count)
    beside = {"duckdb reads it": reads.pop("duckdb")}
    rows.append(compared(PART, "read again, judged", "ns/tick", reads["read again, judged"], []))
    rows.append(compared(PART, "made Parquet", "ns/tick", reads["made Parquet"], [], others=beside))
    return rows


def _frames() -> tuple[list[bytes], list[TickBody]]:
    """`ticks/all` as the broadcaster writes it, and its bodies."""
    universe = Universe(3_000)
    keys = dict(universe.all)
    seqs: dict[bytes, int] = {}
    frames, found = [], list[TickBody]()
    for number, frame in enumerate(Builder().plan(SHAPE, universe).frames, start=1):
        at_ns = DAY_NS + number * STEP_NS
        topics = [subject.topic_of(keys[token_of(packet)]) for packet in packets_of(frame)]
        for topic in topics:
            seqs[topic] = seqs.get(topic, 0) + 1
        bodies = subject.recode(frame)
        found += subject.read(bodies)
        writer = TickFrames(1, 0, 1, 1, at_ns - 1_000_000, at_ns)
        frames.append(writer.chunk(number, topics, [seqs[t] for t in topics], bodies, []))
    return frames, found


def _recorded(frames: list[bytes], directory: Path) -> int:
    """All that the recorder does for them but waking up; without fsync, as the others."""
    recorder = Recorder("ab", "bench", list)
    at_ns = DAY_NS
    commands = recorder.begin(at_ns)
    for frame in frames:
        at_ns += STEP_NS
        commands += recorder.frame(frame, at_ns, at_ns)
        commands += recorder.turn(at_ns, at_ns)
    commands += recorder.end()
    path = directory / r.day_of(DAY_NS) / r.segment_name(DAY_NS)
    path.parent.mkdir(exist_ok=True)
    codec = r.best_codec()
    with path.open("wb") as file:
        for command in commands:
            match command:
                case Open(header):
                    data = r.encode(header)
                    file.write(r.HEAD + r.encode_block(1, data, DAY_NS, DAY_NS, codec))
                case Write(payload, first_ns, last_ns, flags):
                    file.write(r.encode_block(2, payload, first_ns, last_ns, codec, flags))
                case Seal(end):
                    file.write(r.encode_block(3, r.encode(end), at_ns, at_ns, 0))
    return path.stat().st_size


def _inserted(bodies: list[TickBody], directory: Path) -> int:
    path = directory / "ticks.sqlite"
    path.unlink(missing_ok=True)
    marks = ", ".join("?" * len(FIELDS))
    with sqlite3.connect(path) as db:
        db.execute(f"CREATE TABLE ticks ({', '.join(FIELDS)})")
        for body in bodies:
            db.execute(f"INSERT INTO ticks VALUES ({marks})", msgspec.structs.astuple(body))  # noqa: S608
    db.close()
    return path.stat().st_size


def _lines(bodies: list[TickBody], directory: Path) -> int:
    path = directory / "ticks.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        for body in bodies:
            writer.writerow(msgspec.structs.astuple(body))
    return path.stat().st_size


def _batches(bodies: list[TickBody], directory: Path) -> int:
    """9,000 a batch."""
    path = directory / "ticks.parquet"
    writer: Any = None
    for start in range(0, len(bodies), 9_000):
        rows = [msgspec.structs.astuple(body) for body in bodies[start : start + 9_000]]
        table = pyarrow.table(dict(zip(FIELDS, map(list, zip(*rows, strict=True)), strict=True)))
        writer = writer or pyarrow.parquet.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    writer.close()
    return path.stat().st_size
