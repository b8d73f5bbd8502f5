"""Writing what travels: the ticker's batch, and what the broadcaster makes of it.

A tick's body is encoded once, while its packet is decoded (the part `decode`); here is what is
written around it. pykiteconnect writes nothing: beside it stands what a program pays that passes
its dicts on, at the cheapest (msgspec's msgpack) and as it is mostly done (the standard library's
JSON).
"""

import json
from collections.abc import Callable
from typing import Any

import msgspec
from kiteconnect import KiteTicker

from benchmarks import check, subject
from benchmarks.frames import LISTED, Shape, Universe, packets_of, token_of
from benchmarks.parts import TROUBLE, Context, decode
from benchmarks.table import Row, compared

PART = "encode"
CASES = (("full", 1), ("full", 90), ("full", 500), ("ltp", 90), ("quote", 90), ("mixed", 90))
AS_JSON = "pykiteconnect's dicts as JSON"
_packed = msgspec.msgpack.Encoder().encode
_KEYS = dict(Universe(LISTED).all)


def measure(context: Context) -> list[Row]:
    asked = context.asked
    is_asked = bool(asked.frame or asked.mix)
    shapes = decode.cases(asked) if is_asked else [Shape(mix, count, 1) for mix, count in CASES]
    rows: list[Row] = []
    for shape in shapes:
        context.say(f"encode: {shape.packets} {shape.mix}")
        try:
            rows += _rows(context.reps, shape)
        except TROUBLE as error:
            context.fail(f"encode, {shape.mix}, frame of {shape.packets}", None, error)
    return rows


def _rows(reps: int, shape: Shape) -> list[Row]:
    frame = decode.frame_of(shape)
    topics = [subject.topic_of(_KEYS[token_of(packet)]) for packet in packets_of(frame)]
    bodies = subject.recode(frame)
    _assert_right(frame, topics, bodies)
    dicts: list[dict[str, Any]] = KiteTicker("key", "token")._parse_binary(frame)
    steps: dict[str, Callable[[], object]] = {
        "the ticker's batch": lambda: subject.batch(topics, bodies),
        "the broadcaster's chunks for everything": lambda: subject.chunks(topics, bodies),
        "the broadcaster's messages, one per tick": lambda: subject.messages(topics, bodies),
        "theirs": lambda: _packed(dicts),
        AS_JSON: lambda: json.dumps(dicts, default=str),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(reps):
        for name, step in steps.items():
            times[name].append(decode.ns_of(step) / shape.packets)
    theirs, others = times.pop("theirs"), {AS_JSON: times.pop(AS_JSON)}
    case = f"{shape.mix}, frame of {shape.packets:,}"
    rows = [
        compared(PART, f"{case}: {step}", "ns/packet", ours, theirs, others=others)
        for step, ours in times.items()
    ]
    for row in rows:
        row.note = "beside it its dicts as msgpack"
    return rows


def _assert_right(frame: bytes, topics: list[bytes], bodies: list[bytes]) -> None:
    """Check that what is written reads as what was sent, under its own name. Raises ValueError."""
    wanted = [check.wire_values(packet) for packet in packets_of(frame)]
    expected = list(zip(topics, wanted, strict=True))
    for what, ticks in (
        ("batch", subject.read_batch(subject.batch(topics, bodies))),
        ("chunks", subject.read_chunks(subject.chunks(topics, bodies))),
        ("messages", subject.read_messages(subject.messages(topics, bodies))),
    ):
        if [(topic, subject.wire_values(body)) for topic, body in ticks] != expected:
            raise ValueError(f"the {what} read otherwise than what was written")
