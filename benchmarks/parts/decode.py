"""The codec alone: CPU time per packet, by kind of packet and size of frame."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kiteconnect import KiteTicker

from benchmarks import check, kiteconnectjs, subject
from benchmarks.frames import Builder, Shape, Universe, packets_of
from benchmarks.parts import Context
from benchmarks.processes import Talker
from benchmarks.table import Row, compared

CASES = (
    ("full", 1), ("full", 90), ("full", 500), ("full", 3_000),
    ("quote", 500), ("index", 500), ("ltp", 500), ("mixed", 500),
)  # fmt: skip
SAMPLE_NS = 30_000_000


def measure(context: Context) -> list[Row]:
    official = KiteTicker("key", "token")
    rows: list[Row] = []
    js = _Js(context.stage.root) if context.has_js else None
    for kind, packets in CASES:
        context.progress(f"decode: {packets} {kind}")
        frame = Builder().plan(Shape(kind, packets, 1), Universe(3_000)).frames[0]
        _assert_right(frame, official)
        rows += _rows(context.reps, kind, packets, frame, official, js)
    if js is not None:
        js.close()
    return rows


def _rows(
    reps: int, kind: str, packets: int, frame: bytes, official: Any, js: "_Js | None"
) -> list[Row]:
    # pykiteconnect has one step, from the frame to its dicts.
    steps: dict[str, Callable[[], object]] = {
        "decode and encode, in the daemon": lambda: subject.recode(frame),
        "and decode, in the program": lambda: subject.read(subject.recode(frame)),
        "theirs": lambda: official._parse_binary(frame),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    js_times: list[float] = []
    for _ in range(reps):
        for name, step in steps.items():
            times[name].append(_ns_of(step) / packets)
        if js is not None:
            js_times.append(js.ns_of(frame) / packets)
    case = f"{kind}, frame of {packets:,}"
    theirs = times.pop("theirs")
    return [
        compared("decode", f"{case}: {step}", "ns/packet", ours, theirs, js=js_times)
        for step, ours in times.items()
    ]


def _ns_of(step: Callable[[], object]) -> float:
    """CPU time of one call, over at least SAMPLE_NS of calls."""
    rounds = 1
    while True:
        start_ns = time.thread_time_ns()
        for _ in range(rounds):
            step()
        spent_ns = time.thread_time_ns() - start_ns
        if spent_ns >= SAMPLE_NS:
            return spent_ns / rounds
        rounds = max(rounds * 2, int(rounds * SAMPLE_NS / max(1, spent_ns) * 1.1))


def _assert_right(frame: bytes, official: Any) -> None:
    """Both make of this frame what was put into it."""
    packets = list(packets_of(frame))
    wanted = [check.wire_values(packet) for packet in packets]
    bodies = subject.read(subject.recode(frame))
    if [subject.wire_values(body) for body in bodies] != wanted:
        raise ValueError("kitefeed makes another tick than was sent")
    ticks = official._parse_binary(frame)
    if not all(map(check.is_official, packets, ticks)) or len(ticks) != len(packets):
        raise ValueError("the official client decodes another tick than was sent")


class _Js:
    """kiteconnectjs's parser, in a process of its own."""

    def __init__(self, root: Path) -> None:
        self._file = root / "frame"
        self._node = Talker(kiteconnectjs.command("decode"), root / "readers.log")
        self.close = self._node.close

    def ns_of(self, frame: bytes) -> float:
        rounds = 1
        while True:
            told = self._decode(frame, rounds)
            if told["cpu_us"] * 1_000 >= SAMPLE_NS:
                break
            rounds = max(rounds * 2, int(rounds * SAMPLE_NS / 1_000 / max(1, told["cpu_us"])))
        for packet, tick in zip(packets_of(frame), told["ticks"], strict=True):
            if not check.is_official(packet, kiteconnectjs.as_official(tick)):
                raise ValueError(f"kiteconnectjs decodes another tick than was sent: {tick}")
        return float(told["cpu_us"]) * 1_000 / rounds

    def _decode(self, frame: bytes, rounds: int) -> dict[str, Any]:
        self._file.write_bytes(frame)
        self._node.tell({"frame": str(self._file), "rounds": rounds})
        return self._node.hear(60)
