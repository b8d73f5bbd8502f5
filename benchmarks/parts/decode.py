"""The codec alone: CPU time per packet, by kind of packet and size of frame."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kiteconnect import KiteTicker

from benchmarks import check, handed_over, kiteconnectjs, subject
from benchmarks.asked import Asked
from benchmarks.frames import LISTED, Builder, Shape, Universe, packets_of
from benchmarks.parts import TROUBLE, Context
from benchmarks.peers import JS
from benchmarks.processes import Talker
from benchmarks.table import Row, compared

CASES = (
    ("full", 1), ("full", 10), ("full", 90), ("full", 500), ("full", 3_000),
    ("ltp", 90), ("quote", 90), ("index-quote", 90), ("index", 90), ("currency", 90),
    ("mixed", 90), ("mixed", 500),
)  # fmt: skip
SAMPLE_NS = 30_000_000


def cases(asked: Asked) -> list[Shape]:
    """One frame each; one alone when one is asked for."""
    if asked.frame or asked.mix:
        return [asked.of(Shape("full", 90, 1))._replace(frames=1)]
    return [Shape(mix, packets, 1) for mix, packets in CASES]


def frame_of(shape: Shape) -> bytes:
    return Builder().plan(shape, Universe(LISTED)).frames[0]


def measure(context: Context) -> list[Row]:
    official = KiteTicker("key", "token")
    rows: list[Row] = []
    js = _Js(context) if context.has(JS) else None
    for shape in cases(context.asked):
        context.say(f"decode: {shape.packets} {shape.mix}")
        frame = frame_of(shape)
        try:
            assert_right(frame, official)
            rows += _rows(context.reps, shape, frame, official, js)
        except TROUBLE as error:
            context.fail(f"decode, {shape.mix}, frame of {shape.packets}", None, error)
    if js is not None:
        js.close()
    return rows


def _rows(reps: int, shape: Shape, frame: bytes, official: Any, js: "_Js | None") -> list[Row]:
    # pykiteconnect has one step, from the frame to its dicts.
    steps: dict[str, Callable[[], object]] = {
        "decode and encode, in the daemon": lambda: subject.recode(frame),
        "and decode, in the program": lambda: subject.read(subject.recode(frame)),
        "and columns of it, in the program": lambda: subject.in_columns(subject.recode(frame)),
        "and every field read": lambda: subject.materialise(subject.read(subject.recode(frame))),
        "theirs": lambda: official._parse_binary(frame),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    js_times: list[float] = []
    for _ in range(reps):
        for name, step in steps.items():
            times[name].append(ns_of(step) / shape.packets)
        if js is not None:
            js_times += [ns / shape.packets for ns in js.ns_of(frame)]
    case = f"{shape.mix}, frame of {shape.packets:,}"
    theirs = times.pop("theirs")
    others = {JS.title: js_times}
    return [
        compared("decode", f"{case}: {step}", "ns/packet", ours, theirs, others=others)
        for step, ours in times.items()
    ]


def ns_of(step: Callable[[], object]) -> float:
    """CPU time of one call, over as many as take SAMPLE_NS."""
    rounds = 1
    while True:
        start_ns = time.thread_time_ns()
        for _ in range(rounds):
            step()
        spent_ns = time.thread_time_ns() - start_ns
        if spent_ns >= SAMPLE_NS:
            return spent_ns / rounds
        rounds = max(rounds * 2, int(rounds * SAMPLE_NS / max(1, spent_ns) * 1.1))


def assert_right(frame: bytes, official: Any) -> None:
    """Both make of this frame what was put into it. Raises ValueError."""
    packets = list(packets_of(frame))
    wanted = [check.wire_values(packet) for packet in packets]
    bodies = subject.read(subject.recode(frame))
    if [subject.wire_values(body) for body in bodies] != wanted:
        raise ValueError("kitefeed makes another tick than was sent")
    columns = subject.in_columns(subject.recode(frame))
    rows = zip(columns.instrument_token, columns.last_price, columns.volume_traded, strict=True)
    if [*rows] != [
        (body.instrument_token, body.last_price / body.divisor,
         -1 if body.volume_traded is None else body.volume_traded)
        for body in bodies
    ]:  # fmt: skip
        raise ValueError("kitefeed makes other columns than ticks")
    for who, ticks in (
        ("kitefeed", subject.materialise(bodies)),
        ("the official client", official._parse_binary(frame)),
    ):
        if len(ticks) != len(packets) or not all(map(check.is_official, packets, ticks)):
            raise ValueError(f"{who} makes other fields than were sent")


class _Js:
    """kiteconnectjs's parser, in a process of its own; no figures once it has failed."""

    def __init__(self, context: Context) -> None:
        self._context = context
        root: Path = context.stage.root
        self._file = root / "frame"
        self._node: Talker | None = None
        try:
            self._node = Talker(kiteconnectjs.command("decode"), root / "decode.log")
        except OSError as error:
            context.fail(f"decode, {JS.title}", JS, error)

    def close(self) -> None:
        if self._node is not None:
            self._node.close()
            self._node = None

    def ns_of(self, frame: bytes) -> list[float]:
        """One value, or none."""
        if self._node is None:
            return []
        try:
            return [self._measure(self._node, frame)]
        except TROUBLE as error:
            self._context.fail(f"decode, {JS.title}", JS, error)
            self.close()
            return []

    def _measure(self, node: Talker, frame: bytes) -> float:
        rounds = 1
        while True:
            told = self._decode(node, frame, rounds)
            if told["cpu_us"] * 1_000 >= SAMPLE_NS:
                break
            rounds = max(rounds * 2, int(rounds * SAMPLE_NS / 1_000 / max(1, told["cpu_us"])))
        for packet, tick in zip(packets_of(frame), told["ticks"], strict=True):
            if not check.is_official(packet, handed_over.as_official(tick)):
                raise ValueError(f"another tick than was sent: {tick}")
        return float(told["cpu_us"]) * 1_000 / rounds

    def _decode(self, node: Talker, frame: bytes, rounds: int) -> dict[str, Any]:
        self._file.write_bytes(frame)
        node.tell({"frame": str(self._file), "rounds": rounds})
        return node.hear(60)
