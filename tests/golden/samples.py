"""Golden bytes: one sample of every message that crosses a wire, as some release encoded it.

`samples.txt` holds a line per sample: release, type, hex. Lines are never changed or removed: what
was written once must be readable for ever. After adding a message, run

    python -m tests.golden.samples

which appends the samples that are missing (new types, and types whose encoding has grown).
"""

import enum
import types
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import msgspec

from kitefeed import __version__
from kitefeed.protocol import feed as f
from kitefeed.protocol import nats
from kitefeed.protocol.kite.ticks import TickBody
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.control import ControlReply, ControlRequest
from kitefeed.protocol.messages.envelope import Envelope

FILE = Path(__file__).with_name("samples.txt")
DATA: tuple[type[msgspec.Struct], ...] = (
    f.Item, f.OrderBook, f.IngestBatch, f.FeedMessage, f.TickChunk, f.SnapshotEnd, f.SegmentHealth,
    f.ShardHealth, f.Heartbeat, f.FeedState, f.OrderUpdate, f.Notice, TickBody, nats.BridgeBeat,
    nats.BridgeGap, nats.Lease,
)  # fmt: skip
CONTROL: tuple[type[msgspec.Struct], ...] = (
    *get_args(m.BusMessage), *get_args(ControlRequest), *get_args(ControlReply), Envelope,
)  # fmt: skip
TYPES = {kind.__name__: kind for kind in (*DATA, *CONTROL)}

_SIMPLE: dict[Any, Any] = {
    f.ReceivedBody: f.ReceivedBody(408065, 3, 100, 150005, depth=bytes(120)),
    bool: True, int: 7, float: 1.5, str: "text", bytes: b"\x01\x02", object: "any",
    msgspec.Raw: msgspec.Raw(b"\x92\x01\x02"),
}  # fmt: skip


class Sample(NamedTuple):
    release: str
    name: str
    data: bytes


def make(kind: Any) -> Any:
    """A value of `kind` with every field set, the same each time."""
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return make(args[0])
    if origin is Literal:
        return args[0]
    if origin in (Union, types.UnionType):
        return make(next(arg for arg in args if arg is not type(None)))
    if origin in (list, tuple):
        return origin([make(args[0])])
    if origin is dict:
        return {make(args[0]): make(args[1])}
    if issubclass(kind, enum.Enum):
        return list(kind)[-1]
    fields = msgspec.structs.fields(kind)
    return kind(**{field.name: make(field.type) for field in fields})


def read() -> list[Sample]:
    lines = FILE.read_text().splitlines() if FILE.exists() else []
    rows = (line.split() for line in lines if line and not line.startswith("#"))
    return [Sample(release, name, bytes.fromhex(data)) for release, name, data in rows]


def missing() -> list[Sample]:
    """Types whose present encoding is not among the samples."""
    known = {(sample.name, sample.data) for sample in read()}
    fresh = [Sample(__version__, name, f.encode(make(kind))) for name, kind in TYPES.items()]
    return [sample for sample in fresh if (sample.name, sample.data) not in known]


def main() -> None:
    with FILE.open("a") as file:
        for sample in missing():
            file.write(f"{sample.release} {sample.name} {sample.data.hex()}\n")


if __name__ == "__main__":
    main()
