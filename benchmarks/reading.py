"""What every reader process does: it is told what to read, says when it is ready and when it has
all, and only then, its CPU time taken, compares every tick with the bytes that were sent."""

import gc
import json
import sys
import time
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import frames
from benchmarks.check import Received, check
from benchmarks.frames import Plan

SILENT_NS = 3_000_000_000  # nothing for so long after the first tick: what is missing is lost
FIRST_NS = 20_000_000_000


class Spec(msgspec.Struct):
    """One run of a reader. `keys` empty: everything. `address`: of the server, for peers."""

    kind: str
    plan: str
    first_price: int
    ticks: int
    config: str = ""
    address: str = ""
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
) -> None:
    """Says the end, waits for the stamps, compares, tells. `times_ns` are those of `received`."""
    say({"end": True})
    told = hear()
    plan = frames.load(Path(given.plan))
    stamps = frames.read_stamps(Path(told["stamps"]))
    ticks = list(received(plan))
    verdict = check(plan, ticks, is_same)
    latencies = array(
        "q",
        (at - stamps[price - plan.first_price]
         for (_, price, _), at in zip(ticks, times_ns, strict=True)
         if 0 <= price - plan.first_price < len(stamps)),
    )  # fmt: skip
    Path(told["latencies"]).write_bytes(latencies.tobytes())
    last_ns = max(times_ns, default=0)
    took_s = (last_ns - stamps[0]) / 1e9 if len(stamps) and last_ns else 0.0
    say({"verdict": msgspec.to_builtins(verdict), "took_s": took_s})
