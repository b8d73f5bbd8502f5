"""Compares what a peer wrote down of its ticks (benchmarks/peers.py) with what was sent."""

import json
from array import array
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import check, reading
from benchmarks.frames import Plan


def found(plan: Plan, stamps: Path, ticks: Path) -> reading.Found:
    received: list[check.Received] = []
    times_ns = array("q")
    with ticks.open() as lines:
        for line in lines:
            batch = json.loads(line)
            made = [as_official(tick) for tick in batch["ticks"]]
            mine = list(check.received_officially(made, plan))
            received += mine
            times_ns.extend([int(batch["at_ns"])] * len(mine))
    return reading.compare(plan, stamps, check.is_official, received, times_ns)


def as_official(tick: dict[str, Any]) -> dict[str, Any]:
    """Its times may be ISO strings."""
    for name in ("exchange_timestamp", "last_trade_time"):
        if isinstance(tick.get(name), str):
            tick[name] = datetime.fromisoformat(tick[name])
    return tick
