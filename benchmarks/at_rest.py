"""What the daemon costs while nothing happens: memory and CPU of each of its processes.

    python -m benchmarks.at_rest --seconds 60             a daemon of its own, market closed
    python -m benchmarks.at_rest --run-dir ~/.kitefeed/run     the one that runs there

The limits (ARCHITECTURE.md): the six actors together 250 MB and 1 % of a core.
Exit codes: 0; 1 above a limit.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.clocks import cpu_ns, memory_mb
from kitefeed.actors.runtime.locks import live_holders

MEMORY_MB_MAX = 250
CPU_PERCENT_MAX = 1.0
ACTORS = 6
INSTRUMENTS = ("NSE:NIFTY 50", "NSE:INFY", "NSE:RELIANCE", "NSE:SBIN", "NSE:TCS")
SETTLES_S = 15  # the dump is fetched, the session validated


class Cost(NamedTuple):
    """`turns`: how often it woke up, per second."""

    memory_mb: float
    cpu_percent: float
    turns: float


class _Reading(NamedTuple):
    cpu_ns: int
    switches: int


def measure(pids: dict[str, int], seconds: float) -> dict[str, Cost]:
    """By name, over so many seconds."""
    before, start_s = {name: _read(pid) for name, pid in pids.items()}, time.monotonic()
    time.sleep(seconds)
    after, lasted_s = {name: _read(pid) for name, pid in pids.items()}, time.monotonic() - start_s
    return {
        name: Cost(
            memory_mb(pid),
            (after[name].cpu_ns - before[name].cpu_ns) / lasted_s / 1e7,
            (after[name].switches - before[name].switches) / lasted_s,
        )
        for name, pid in pids.items()
    }


def _read(pid: int) -> _Reading:
    tasks = Path(f"/proc/{pid}/task").glob("*/status")
    lines = (line for task in tasks for line in task.read_text().splitlines())
    switches = sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))
    return _Reading(cpu_ns(pid), switches)


def pids_in(run_dir: Path) -> dict[str, int]:
    """The actors of the daemon there, by role."""
    return {holder.role: holder.pid for holder in live_holders(run_dir)}


def table(costs: dict[str, Cost]) -> str:
    total = Cost(*(sum(column) for column in zip(*costs.values(), strict=True)))
    lines = [f"{'process':<16} {'PSS, MB':>8} {'CPU, %':>7} {'turns/s':>8}"]
    for name, cost in [*sorted(costs.items()), ("together", total)]:
        lines.append(f"{name:<16} {cost.memory_mb:8.1f} {cost.cpu_percent:7.2f} {cost.turns:8.1f}")
    return "\n".join(lines)


@contextmanager
def own_daemon(market: str) -> Iterator[Path]:
    """A simulated Kite and a daemon in a directory of their own; yields its run directory."""
    with tempfile.TemporaryDirectory(prefix="kf-", dir="/tmp") as name:
        root = Path(name)
        command = [sys.executable, "-m", "kitefeed.simulator", "--port", "0", "--market", market]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as kite:
            try:
                with _daemon(root, json.loads(next(iter(kite.stdout or ())))):
                    yield root / "run"
            finally:
                kite.terminate()


@contextmanager
def _daemon(root: Path, ready: dict[str, str]) -> Iterator[None]:
    config = root / "kitefeed.toml"
    config.write_text(
        f"instruments = {json.dumps(INSTRUMENTS)}\n"
        'runtime_dir = "run"\nstate_dir = "state"\n'
        '[market]\nhours = "always"\n[gateway]\nlisten = ""\n'
        f'[kite]\napi_key = "{ready["api_key"]}"\nrest_url = "{ready["rest"]}"\n'
        f'ws_url = "{ready["ws"]}"\n'
    )
    kitefeed = [sys.executable, "-m", "kitefeed.cli", "--config", str(config)]
    subprocess.run([*kitefeed, "session", "set"], input=json.dumps(ready), text=True, check=True)
    with subprocess.Popen([*kitefeed, "up"]) as daemon:
        try:
            yield
        finally:
            daemon.terminate()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--market", choices=("open", "closed"), default="closed")
    parser.add_argument("--run-dir", type=Path)
    options = parser.parse_args()
    if options.run_dir is not None:
        costs = measure(pids_in(options.run_dir), options.seconds)
    else:
        with own_daemon(options.market) as run_dir:
            time.sleep(SETTLES_S)
            costs = measure(pids_in(run_dir), options.seconds)
    sys.stdout.write(table(costs) + "\n")
    memory, cpu = (sum(each[n] for each in costs.values()) for n in (0, 1))
    return int(len(costs) != ACTORS or memory > MEMORY_MB_MAX or cpu > CPU_PERCENT_MAX)


if __name__ == "__main__":
    sys.exit(main())
