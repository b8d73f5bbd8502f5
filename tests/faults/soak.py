"""Runs the daemon at Kite's full rate for as long as wanted, under random faults; reports leaks.

    python -m tests.faults.soak --minutes 60 --seed 1

3,000 instruments, 6,000 ticks per second in all, a reader of everything, and every half minute a
fault: a killed or stopped actor, a dropped, silent or mute socket, a dead session with a login
after it. At the end: what the probe found, whether anything that read fresh was not the market's
price, what was lost on ingest (while the broadcaster stood still), and how memory and descriptors
of each role have grown. `--instruments 300` needs a tenth of the machine.
"""

import argparse
import os
import random
import signal
import sqlite3
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.topology import Role
from tests.faults.probe import Probe
from tests.faults.reader import SLACK_S, Reader
from tests.integration.rig import Rig
from tests.support import eventually

FAULT_EVERY_S = 30.0
SAMPLE_EVERY_S = 5.0
WARM_UP_S = 60.0  # of a process: its tables fill, its allocator settles
JUDGED_FROM_S = 600.0  # less than this of a role says nothing about an hour
GROWTH_MB_PER_HOUR_MAX = 20.0
FDS_GROWTH_MAX = 20
MUTE_BEHIND_S = 6.5  # a stream that is mute is noticed by its canaries, after 5 s
WRONG_MAX = 100  # of each kind are printed
INSTRUMENTS = 3_000
TICK_HZ = 5.4  # what the simulator needs for 6,000 of them all: one in four trades seldom

Row = tuple[float, float, int]  # at, resident MB, descriptors


class Sample:
    """Memory and descriptors over time: a series for each life of a role, its warm-up left out."""

    def __init__(self) -> None:
        self._born_s: dict[tuple[str, int], float] = {}
        self._lives: defaultdict[tuple[str, int], list[Row]] = defaultdict(list)

    def take(self, rig: Rig, at_s: float) -> None:
        assert rig.daemon is not None
        pids = {"supervisord": rig.daemon.pid, **{role.value: rig.pid_of(role) for role in Role}}
        for role, pid in pids.items():
            life = (role, pid)
            row = _look(pid, at_s)
            if row and at_s - self._born_s.setdefault(life, at_s) > WARM_UP_S:
                self._lives[life].append(row)

    def leaks(self) -> list[str]:
        """Roles that grew; prints the figures of all."""
        found = []
        for role in ("supervisord", *(role.value for role in Role)):
            lives = [rows for (name, _), rows in self._lives.items() if name == role and rows]
            if not lives:
                print(f"{role}: no life longer than {WARM_UP_S:.0f} s")
                continue
            seconds = sum(rows[-1][0] - rows[0][0] for rows in lives)
            growth, fds = _slope(lives) * 3_600, max(rows[-1][2] - rows[0][2] for rows in lives)
            line = (
                f"{role}: at most {max(row[1] for rows in lives for row in rows):.0f} MB, "
                f"{growth:+.1f} MB per hour over {seconds:.0f} s in {len(lives)} lives, "
                f"at most {fds:+d} descriptors"
            )
            print(line)
            is_leak = seconds >= JUDGED_FROM_S and growth > GROWTH_MB_PER_HOUR_MAX
            if is_leak or fds > FDS_GROWTH_MAX:
                found.append(line)
        return found


def _look(pid: int, at_s: float) -> Row | None:
    """None while the process is being replaced."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return at_s, pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None


def _slope(lives: list[list[Row]]) -> float:
    """MB per second, the same line through all lives, each from a level of its own."""
    over = under = 0.0
    for rows in lives:
        at_s, mb = fmean(row[0] for row in rows), fmean(row[1] for row in rows)
        over += sum((row[0] - at_s) * (row[1] - mb) for row in rows)
        under += sum((row[0] - at_s) ** 2 for row in rows)
    return over / under if under else 0.0


def pid_of(rig: Rig, role: Role) -> int:
    """Never 0, which would be our own process group."""
    return eventually(lambda: rig.pid_of(role), 20)


def kill(rig: Rig, rng: random.Random) -> str:
    role = rng.choice(list(Role))
    os.kill(pid_of(rig, role), signal.SIGKILL)
    return f"kill -9 {role}"


def freeze(rig: Rig, rng: random.Random) -> str:
    role = rng.choice([Role.TICKER, Role.BROADCASTER, Role.REST_POLLER])
    os.kill(pid_of(rig, role), signal.SIGSTOP)
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


def first_keys(rig: Rig, count: int) -> list[str]:
    """The market's first instruments, as the simulated dump lists them."""
    path = rig.root / "state" / "instruments.sqlite"
    eventually(path.exists, 20)
    with sqlite3.connect(path) as db:
        return [row[0] for row in db.execute("SELECT key FROM instruments LIMIT ?", (count,))]


def subscribe_all(rig: Rig, count: int) -> None:
    keys = first_keys(rig, count)
    for start in range(0, len(keys), 500):
        rig.kitefeed("subscribe", *keys[start : start + 500], "--mode", "full")


def all_confirmed(rig: Rig) -> int:
    """Wait until all wanted instruments stream; return how many there are."""

    def confirmed() -> int:
        counts = rig.status()["subscriptions"]
        return int(counts["confirmed"]) if counts["confirmed"] == counts["wanted"] else 0

    return eventually(confirmed, 60, every_s=1)


def run(minutes: float, seed: int, instruments: int) -> int:
    rng = random.Random(seed)
    sample = Sample()
    options = ("--instruments", str(instruments), "--tick-hz", str(TICK_HZ))
    with Rig(simulator_options=options) as rig:
        rig.start()
        subscribe_all(rig, instruments)
        wanted = all_confirmed(rig)
        with Probe(rig.run_dir) as probe, Reader(rig) as reader:
            took_s = storm(rig, probe, reader, sample, rng, minutes * 60)
            confirmed = all_confirmed(rig)
        errors = len(rig.errors())
    leaks = sample.leaks()
    print(
        f"{probe.ticks} ticks, {probe.ticks / took_s:.0f} per second, "
        f"{len(probe.gens)} lives of the broadcaster, "
        f"{sum(probe.lost_batches.values())} batches lost on ingest, {errors} error lines; "
        f"{confirmed} of {wanted} instruments at the end"
    )
    print(f"{reader.judged} values read as fresh were compared with the market")
    wrong = [*probe.violations[:WRONG_MAX], *reader.lies[:WRONG_MAX], *leaks]
    if confirmed != wanted:
        wrong.append(f"{wanted - confirmed} instruments did not come back")
    if not reader.judged:
        wrong.append("no value was read as fresh")
    for line in wrong:
        print(f"WRONG: {line}")
    return 1 if wrong else 0


def storm(
    rig: Rig, probe: Probe, reader: Reader, sample: Sample, rng: random.Random, seconds: float
) -> float:
    """Returns how long it took."""
    start_ns = boot_ns()
    fault_at_s = FAULT_EVERY_S
    while (at_s := (boot_ns() - start_ns) / 1e9) < seconds:
        sample.take(rig, at_s)
        if at_s >= fault_at_s:
            fault_at_s = at_s + FAULT_EVERY_S
            done = rng.choice(FAULTS)(rig, rng)
            print(f"{at_s:7.0f} s  {done}: {probe.ticks} ticks so far", flush=True)
            reader.truth.slack_s = MUTE_BEHIND_S if done == "mute" else SLACK_S
            pause(12)
            rig.simulator.fault("clear")
            rig.until("live", 60)
            reader.truth.slack_s = SLACK_S
        pause(SAMPLE_EVERY_S)
    return at_s


def pause(seconds: float) -> None:
    until_ns = boot_ns() + int(seconds * 1e9)
    eventually(lambda: boot_ns() >= until_ns, seconds + 5, every_s=0.2)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--instruments", type=int, default=INSTRUMENTS)
    options = parser.parse_args()
    return run(options.minutes, options.seed, options.instruments)


if __name__ == "__main__":
    sys.exit(main())
