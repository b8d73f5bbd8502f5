"""Waiting in commands: for a condition, or simply for a moment. Signals that were noted (`signals`)
take effect here."""

import time
from collections.abc import Callable

from kitefeed.cli import signals
from kitefeed.protocol.clock import boot_ns

LOOK_S = 0.1


def pause(seconds: float) -> None:
    time.sleep(seconds)
    signals.end_if_told()


def wait_until(condition: Callable[[], bool], within_s: float, *, look_s: float = LOOK_S) -> bool:
    """Look every `look_s`, at least once; return whether the condition came true in time."""
    give_up_ns = boot_ns() + int(within_s * 1e9)
    while not condition():
        if boot_ns() >= give_up_ns:
            return False
        pause(look_s)
    return True
