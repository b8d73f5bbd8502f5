"""Simulated days: `python -m tests.simulation.days --days 1000 --seed 1`.

One seed is one day, so that a failing one can be run by itself: `--days 1 --seed N`.
"""

import argparse
import multiprocessing
import signal
import sys
import time
from dataclasses import dataclass

from tests.simulation.exchange import S
from tests.simulation.story import Story


@dataclass
class Failure:
    """The reason why a day is not as promised, and what happened just before."""

    seed: int
    error: BaseException
    story: Story

    def __str__(self) -> str:
        world = self.story.world
        lines = [f"seed {self.seed}: {type(self.error).__name__}: {self.error}", "", "the day:"]
        lines += [f"  {line}" for line in self.story.told[-12:]]
        lines += ["", f"the last {len(world.events)} events (boot time in s):"]
        lines += [f"  {at_ns / S:12.3f} {_brief(what)}" for at_ns, what in world.events]
        lines += ["", f"state: {vars(world.centre.machine.state)}" if world.centre.machine else ""]
        return "\n".join(lines)


def _brief(what: object) -> str:
    text = what if isinstance(what, str) else repr(what)
    return text if len(text) < 220 else f"{text[:220]}…"


def simulate(seed: int) -> Failure | None:
    """One day; None when every promise was kept."""
    story = Story(seed)
    try:
        story.run()
    except Exception as error:  # noqa: BLE001 - a machine that raises is a finding like any other
        return Failure(seed, error, story)
    return None


def _told(seed: int) -> str:
    """Say how a day failed, to a process that cannot be handed its story; nothing of a good one."""
    failure = simulate(seed)
    return f"{failure}\nagain: --days 1 --seed {seed}" if failure else ""


def _leave_interrupts() -> None:
    """Leave Ctrl-C to the process that ends all of them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1, help="of the first day")
    options = parser.parse_args()
    start_s, seeds = time.monotonic(), range(options.seed, options.seed + options.days)
    with multiprocessing.Pool(initializer=_leave_interrupts) as pool:
        for n, failure in enumerate(pool.imap(_told, seeds), 1):
            if failure:
                print(f"\n{failure}", file=sys.stderr)
                return 1
            if sys.stdout.isatty() or n % 100 == 0 or n == options.days:
                took_s = time.monotonic() - start_s
                end = "\n" if n == options.days or not sys.stdout.isatty() else ""
                print(f"\r{n} days, {took_s / n:.3f} s each", end=end, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
