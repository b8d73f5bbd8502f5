"""Runs the daemon at Kite's full rate for as long as wanted, under random faults; reports leaks.

    python -m tests.faults.soak --minutes 60 --seed 1

3,000 instruments at two ticks per second, a reader of everything, and every half minute a fault: a
killed or stopped actor, a dropped, silent or mute socket, a dead session with a login after it. At
the end: what the probe found, and how memory and file descriptors of each process have grown.
"""

import argparse
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import linear_regression

from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.topology import Role
from tests.faults.probe import Probe
from tests.integration.rig import Rig
from tests.support import eventually

FAULT_EVERY_S = 30.0
SAMPLE_EVERY_S = 5.0
GROWTH_MB_PER_HOUR_MAX = 20.0  # of one process that was not restarted; its first minute not counted
FDS_GROWTH_MAX = 20
INSTRUMENTS = 3_000


class Sample:
    """Resident memory and descriptors of one process, by pid, over time."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Role, int], list[tuple[float, float, int]]] = {}

    def take(self, rig: Rig, at_s: float) -> None:
        for role in Role:
            pid = rig.pid_of(role)
            try:
                rss_mb = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6
                fds = len(os.listdir(f"/proc/{pid}/fd"))
            except OSError:
                continue  # it is being replaced
            self.rows.setdefault((role, pid), []).append((at_s, rss_mb, fds))

    def leaks(self) -> list[str]:
        """Processes that grew; prints the figures of those that lived two minutes or more."""
        found = []
        for (role, pid), rows in self.rows.items():
            rows = [row for row in rows if row[0] - rows[0][0] > 60]
            if len(rows) < 12:
                continue
            hours = [row[0] / 3_600 for row in rows]
            slope = linear_regression(hours, [row[1] for row in rows]).slope
            fds = rows[-1][2] - rows[0][2]
            line = f"{role} {pid}: {rows[-1][1]:.0f} MB, {slope:+.1f} MB/h, {fds:+d} descriptors"
            print(line, flush=True)
            is_long = rows[-1][0] - rows[0][0] > 600
            if (is_long and slope > GROWTH_MB_PER_HOUR_MAX) or fds > FDS_GROWTH_MAX:
                found.append(line)
        return found


def kill(rig: Rig, rng: random.Random) -> str:
    role = rng.choice(list(Role))
    os.kill(rig.pid_of(role), signal.SIGKILL)
    return f"kill -9 {role}"


def freeze(rig: Rig, rng: random.Random) -> str:
    role = rng.choice([Role.TICKER, Role.BROADCASTER, Role.REST_POLLER])
    os.kill(rig.pid_of(role), signal.SIGSTOP)
    return f"SIGSTOP {role}"


def drop(rig: Rig, rng: random.Random) -> str:
    how = rng.choice(["close", "fin", "rst"])
    rig.simulator.fault("drop_ws", how)
    return f"drop_ws {how}"


def disturb(rig: Rig, rng: random.Random) -> str:
    name = rng.choice(["silence", "mute", "garbage"])
    rig.simulator.fault(name)
    return name


def log_out(rig: Rig, rng: random.Random) -> str:
    rig.simulator.fault("kill")
    rig.until("login_required", 15)
    rig.log_in(rig.simulator.login())
    return "kill and login"


FAULTS: tuple[Callable[[Rig, random.Random], str], ...] = (kill, freeze, drop, disturb, log_out)


def subscribe_all(rig: Rig) -> None:
    """The market's first 3,000 instruments, as the simulated dump lists them."""
    import sqlite3

    path = rig.root / "state" / "instruments.sqlite"
    eventually(path.exists, 20)
    with sqlite3.connect(path) as db:
        keys = [row[0] for row in db.execute("SELECT key FROM instruments LIMIT ?", (INSTRUMENTS,))]
    for start in range(0, len(keys), 500):
        rig.kitefeed("subscribe", *keys[start : start + 500], "--mode", "full")
    eventually(lambda: rig.status()["subscriptions"]["confirmed"] >= len(keys) - 5, 60, every_s=1)


def run(minutes: float, seed: int) -> int:
    rng = random.Random(seed)
    sample = Sample()
    with Rig(simulator_options=("--instruments", str(INSTRUMENTS))) as rig:
        rig.start()
        subscribe_all(rig)
        with Probe(rig.run_dir) as probe:
            start_ns = boot_ns()
            fault_at_s = FAULT_EVERY_S
            while (at_s := (boot_ns() - start_ns) / 1e9) < minutes * 60:
                sample.take(rig, at_s)
                if at_s >= fault_at_s:
                    fault_at_s = at_s + FAULT_EVERY_S
                    done = rng.choice(FAULTS)(rig, rng)
                    print(f"{at_s:7.0f} s  {done}: {probe.ticks} ticks so far", flush=True)
                    pause(12)
                    rig.simulator.fault("clear")
                    rig.until("live", 60)
                pause(SAMPLE_EVERY_S)
            rate = probe.ticks / max(1.0, at_s)
    leaks = sample.leaks()
    print(f"{probe.ticks} ticks, {rate:.0f} per second, {len(probe.gens)} lives of the broadcaster")
    for line in [*probe.violations[:20], *leaks]:
        print(f"WRONG: {line}")
    return 1 if probe.violations or leaks else 0


def pause(seconds: float) -> None:
    until_ns = boot_ns() + int(seconds * 1e9)
    eventually(lambda: boot_ns() >= until_ns, seconds + 5, every_s=0.2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    return run(options.minutes, options.seed)


if __name__ == "__main__":
    sys.exit(main())
