"""Signals of a command that has children to take down with it. (Actors have their own way.)"""

import signal
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGHUP)


def unwind_when_told_to_end() -> None:
    """SIGTERM, and the terminal's end, leave through `finally`, as Ctrl-C does."""
    for number in _ENDING:
        signal.signal(number, _raise)


def _raise(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def ignore_interrupts() -> None:
    """From now on nothing interrupts the clearing up: it has its own time limits."""
    for number in (signal.SIGINT, *_ENDING):
        signal.signal(number, signal.SIG_IGN)
