"""A program of a user: kitefeed's client in a process of its own.

    python -m benchmarks.read_feed

Kinds: `each` (Feed with instruments: a message for each tick), `all` (Feed without); `each-eager`
and `eager` are the same, every field read and put into the official client's dict. `nats` and
`tcp`: everything, by these. `-pure` behind a kind: with the loops in Python.
"""

import time
from array import array
from collections.abc import Callable
from typing import Any

from benchmarks import check, peers, reading, subject
from benchmarks.check import LossesTold
from benchmarks.frames import FRAMES_MAX, Plan
from benchmarks.reading import Spec

NOTHING = LossesTold(0, 0)
QUIET_S = 0.3  # without a tick for so long: what was there before the run has all been read


def collect(
    feed: subject.Feed, given: Spec, keep: subject.Materialise
) -> tuple[list[Any], "array[int]"]:
    """The ticks of this run as the program keeps them, and when it had each. For each tick it does
    what the official client's reader does: keeps it, and looks at the clock."""
    kept: list[Any] = []
    times_ns = array("q")
    tick, missing = _first(feed, given), given.ticks
    now_ns, add, note, read = time.monotonic_ns, kept.append, times_ns.append, feed.next
    while tick is not None:
        add(keep(tick))
        note(now_ns())
        missing -= 1
        tick = read(reading.SILENT_S) if missing else None
    return kept, times_ns


def _first(feed: subject.Feed, given: Spec) -> subject.Tick | None:
    """The first tick of this run: other ones come before it, none in its midst."""
    low, high = given.first_price, given.first_price + FRAMES_MAX
    give_up_ns = time.monotonic_ns() + reading.FIRST_NS
    while time.monotonic_ns() < give_up_ns:
        tick = feed.next(0.5)
        if tick is not None and low <= tick.raw.last_price < high:
            return tick
    return None


def losses(feed: subject.Feed, before: LossesTold = NOTHING) -> LossesTold:
    """Return what the program was told that it did not get, since it was told `before`."""
    upstream = feed.heartbeat.lost_batches if feed.heartbeat else 0
    here = feed.gaps + feed.skipped + feed.overrun
    return LossesTold(here - before.here, upstream - before.upstream)


def is_same_wire(packet: bytes, tick: subject.Tick) -> bool:
    return check.is_wire(packet, subject.wire_values(tick.raw))


def _opened(given: Spec) -> subject.Feed:
    if given.key in (peers.NATS.key, peers.TCP.key):
        return subject.open_far(given.config, given.key)
    return subject.open_feed(given.config, given.keys)


def main() -> None:
    given = reading.spec()
    is_eager = "eager" in given.key
    keep: Callable[[subject.Tick], Any] = subject.official_dict if is_eager else subject.itself
    with _opened(given) as feed:
        while feed.next(QUIET_S) is not None:
            pass
        before = losses(feed)
        reading.say({"ready": True})
        kept, times_ns = collect(feed, given, keep)
        told = losses(feed, before)  # now: while it compares, it reads nothing and skips ticks

        def received(plan: Plan) -> Any:
            if is_eager:
                return check.received_officially(kept, plan)
            return ((tick.raw.instrument_token, tick.raw.last_price, tick) for tick in kept)

        is_same = check.is_official if is_eager else is_same_wire
        reading.report(given, is_same, received, times_ns, told)


if __name__ == "__main__":
    main()
