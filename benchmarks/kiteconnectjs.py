"""kiteconnectjs beside it, where node and npm are: installed once, under build/."""

import json
import shutil
import subprocess
from array import array
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import check, reading
from benchmarks.frames import Plan

VERSION = "5.3.0"
HERE = Path(__file__).parent
DIRECTORY = HERE.parent / "build" / "benchmarks" / f"kiteconnectjs-{VERSION}"


def command(*arguments: str) -> list[str]:
    module = DIRECTORY / "node_modules" / "kiteconnect"
    return ["node", str(HERE / "kiteconnectjs.cjs"), str(module), *arguments]


def why_not() -> str:
    """Installs it if need be; the reason why there is none, or nothing."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "node and npm are not installed"
    if (DIRECTORY / "node_modules" / "kiteconnect").exists():
        return ""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    (DIRECTORY / "package.json").write_text('{"private": true}\n')
    done = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", f"kiteconnect@{VERSION}"],
        cwd=DIRECTORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return ""
    shutil.rmtree(DIRECTORY / "node_modules", ignore_errors=True)
    return "npm could not install it: " + (done.stderr.strip().splitlines() or ["?"])[-1]


def found(plan: Plan, stamps: Path, ticks: Path) -> reading.Found:
    """Compares what it wrote with what was sent."""
    received: list[check.Received] = []
    times_ns = array("q")
    with ticks.open() as lines:
        for line in lines:
            batch = json.loads(line)
            made = [as_official(tick) for tick in batch["ticks"]]
            received += check.received_officially(made, plan)
            times_ns.extend([int(batch["at_ns"])] * len(made))
    return reading.compare(plan, stamps, check.is_official, received, times_ns)


def as_official(tick: dict[str, Any]) -> dict[str, Any]:
    """Its times are ISO strings in JSON."""
    for name in ("exchange_timestamp", "last_trade_time"):
        if isinstance(tick.get(name), str):
            tick[name] = datetime.fromisoformat(tick[name])
    return tick
