"""Times the work of once a second: at whole seconds of the clock that all processes share.

A process at rest then wakes once a second instead of once for each thing it does, and the beats of
all actors reach the supervisor together. Waking costs more than the work: a quarter of a
millisecond with cold caches, of which a core has ten per 1 %.
"""

PULSE_S = 1.0
_TOO_SOON_S = 0.05  # a timer may fire a little early


def to_next_s(now_s: float) -> float:
    """Return the seconds from `now_s` (the loop's clock) to the next whole second, or to the one
    after it when that is now."""
    left_s = PULSE_S - now_s % PULSE_S
    return left_s if left_s > _TOO_SOON_S else left_s + PULSE_S
