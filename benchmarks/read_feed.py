"""A program of a user: kitefeed's client in a process of its own.

    python -m benchmarks.read_feed

Kinds: `each` (Feed with instruments: a message for each tick), `all` (Feed without), `eager` (as
`all`, every field read and put into the official client's dict).
"""

import time
from array import array
from collections.abc import Callable
from typing import Any

from benchmarks import check, reading, subject
from benchmarks.frames import FRAMES_MAX, Plan
from benchmarks.reading import Spec

QUIET_S = 0.3  # without a tick for so long: what was there before the run has all been read


def collect(
    feed: subject.Feed, given: Spec, keep: subject.Materialise
) -> tuple[list[Any], "array[int]"]:
    """The ticks of this run as the program keeps them, and when it had each."""
    kept: list[Any] = []
    times_ns = array("q")
    missing = given.ticks
    low, high = given.first_price, given.first_price + FRAMES_MAX
    now_ns, add, note = time.monotonic_ns, kept.append, times_ns.append
    give_up_ns = now_ns() + reading.FIRST_NS
    while missing:
        tick = feed.next(0.5)
        if tick is None:
            if now_ns() > give_up_ns:
                break
        elif low <= tick.raw.last_price < high:
            add(keep(tick))
            at_ns = now_ns()
            note(at_ns)
            give_up_ns = at_ns + reading.SILENT_NS
            missing -= 1
    return kept, times_ns


def is_same_wire(packet: bytes, tick: subject.Tick) -> bool:
    return check.is_wire(packet, subject.wire_values(tick.raw))


def main() -> None:
    given = reading.spec()
    is_eager = given.kind == "eager"
    keep: Callable[[subject.Tick], Any] = subject.official_dict if is_eager else subject.itself
    with subject.open_feed(given.config, given.keys) as feed:
        while feed.next(QUIET_S) is not None:
            pass
        reading.say({"ready": True})
        kept, times_ns = collect(feed, given, keep)

        def received(plan: Plan) -> Any:
            if is_eager:
                return check.received_officially(kept, plan)
            return ((tick.raw.instrument_token, tick.raw.last_price, tick) for tick in kept)

        is_same = check.is_official if is_eager else is_same_wire
        reading.report(given, is_same, received, times_ns)
        if feed.gaps and len(kept) == given.ticks:
            raise RuntimeError("the feed says that ticks were lost, but all have come")


if __name__ == "__main__":
    main()
