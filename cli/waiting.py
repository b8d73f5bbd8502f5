"""Waiting in commands: for a condition, or simply for a moment. Here signals that were noted take
effect (`signals`)."""

import time
from collections.abc import Callable

from kitefeed.cli import signals
from kitefeed.protocol.clock import boot_ns

LOOK_S = 0.1


def pause(seconds: float) -> None:
    time.sleep(seconds)
    signals.end_if_told()


def wait_until(condition: Callable[[], bool], within_s: float, *, look_s: float = LOOK_S) -> bool:
    """Looks every `look_s`; whether the condition came true in time. Looks at least once."""
    give_up_ns = boot_ns() + int(within_s * 1e9)
    while not condition():
        if boot_ns() >= give_up_ns:
            return False
        pause(look_s)
    return True
