"""The one module that reads clocks.

Intervals and deadlines use boot time: unlike CLOCK_MONOTONIC it goes on while a laptop sleeps, so a
token checked before a suspend is not believed to be a second old after it. All processes of one
host share it. The wall clock is for stamps that people and other hosts read, and for the calendar.
"""

import time

_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # macOS has no boot-time clock


def boot_ns() -> int:
    """Return nanoseconds since boot, suspend included; comparable between processes of this
    host."""
    return time.clock_gettime_ns(_BOOT_CLOCK)


def utc_ns() -> int:
    """Return the wall clock: nanoseconds since the Unix epoch, UTC."""
    return time.time_ns()
