"""Signals of a command that has children to take down with it. (Actors have their own way.)

They are noted when they come, and end the command only where it waits: an exception in the middle
of a `Popen` would leave its lock taken for ever, or a child that nobody knows.
"""

import signal
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_noted: list[int] = []


def note_when_told_to_end() -> None:
    """Leave Ctrl-C, SIGTERM and the terminal's end to `end_if_told` from now on."""
    for number in _ENDING:
        signal.signal(number, _note)


def _note(number: int, _: FrameType | None) -> None:
    _noted.append(number)


def end_if_told() -> None:
    """Leaves through `finally` when a signal was noted: KeyboardInterrupt, or SystemExit."""
    if signal.SIGINT in _noted:
        raise KeyboardInterrupt
    if _noted:
        raise SystemExit(128 + _noted[0])


def ignore_interrupts() -> None:
    """Let nothing interrupt the clearing up from now on: it has its own time limits."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
    _noted.clear()
