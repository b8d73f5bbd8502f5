"""The life of every reader process: it is told what to read, and says when it is ready and when it
has all. Only then, its CPU time taken, it compares every tick with the bytes that were sent."""

import gc
import json
import sys
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from benchmarks import frames
from benchmarks.check import LossesTold, Received, Verdict, check
from benchmarks.frames import Plan

SILENT_S = 2.0  # nothing for so long after the first tick: what is missing is lost
SILENT_NS = int(SILENT_S * 1e9)
FIRST_NS = 20_000_000_000


class Spec(msgspec.Struct):
    """One run of a reader. `key`: who it is (benchmarks/peers.py). `keys`: the instruments of ours,
    empty for everything. `address` of the server, and `scheme` ("ws", "wss"), for peers."""

    key: str
    plan: str
    first_price: int
    ticks: int
    config: str = ""
    address: str = ""
    scheme: str = "ws"
    keys: list[str] = []
    tokens: list[int] = []


def hear() -> dict[str, Any]:
    line = sys.stdin.readline()
    if not line:
        sys.exit(0)
    found: dict[str, Any] = json.loads(line)
    return found


def say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


def spec() -> Spec:
    """Also turns the collector of cycles off: every tick is kept to be compared, and a program that
    keeps none would not pay for walking over them. No reader's ticks hold cycles."""
    gc.disable()
    return msgspec.convert(hear(), Spec)


def report(
    given: Spec,
    is_same: Callable[[bytes, Any], bool],
    received: Callable[[Plan], Iterable[Received]],
    times_ns: "array[int]",
    losses_told: LossesTold | None = None,
) -> None:
    """Says the end, waits for the stamps, compares, tells. `times_ns` are those of `received`;
    `losses_told`: what the reader says of losses itself, where it says anything."""
    say({"end": True})
    told = hear()
    plan = frames.load(Path(given.plan))
    found = compare(plan, Path(told["stamps"]), is_same, list(received(plan)), times_ns)
    if losses_told is not None:
        found.verdict.hear_losses(losses_told)
    Path(told["latencies"]).write_bytes(found.latencies_ns.tobytes())
    say({"verdict": msgspec.to_builtins(found.verdict), "took_s": found.took_s})


class Found(NamedTuple):
    """`latencies_ns` of every tick; `took_s` from the first frame sent to the last tick decoded."""

    verdict: Verdict
    latencies_ns: "array[int]"
    took_s: float


def compare(
    plan: Plan,
    stamps_path: Path,
    is_same: Callable[[bytes, Any], bool],
    ticks: list[Received],
    times_ns: "array[int]",
) -> Found:
    stamps = frames.read_stamps(stamps_path)
    verdict = check(plan, ticks, is_same)
    latencies_ns = array("q")
    for (_, price, _), at_ns in zip(ticks, times_ns, strict=True):
        number = price - plan.first_price
        if 0 <= number < len(stamps):  # what is not of this run, the verdict tells
            latencies_ns.append(at_ns - stamps[number])
    took_s = (max(times_ns) - stamps[0]) / 1e9 if len(times_ns) else 0.0
    return Found(verdict, latencies_ns, took_s)
