"""The interface of every actor's machine, so that one driver and one test harness serve them
all."""

from typing import Protocol, TypeVar

import msgspec

Event = TypeVar("Event", contravariant=True)
Command = TypeVar("Command")


class Wake(msgspec.Struct, frozen=True):
    """The event that stands for time passing: the machine's deadline has come, or may have."""


class Welcomed(msgspec.Struct, frozen=True):
    """A supervisor has welcomed this actor; it may have missed earlier reports."""


class Machine(Protocol[Event, Command]):
    """A pure machine: no clock, randomness, file, socket or log. Same events and times, same
    commands."""

    @property
    def deadline_ns(self) -> int | None:
        """Boot time at which it wants a `Wake`; None when it waits for nothing."""

    def handle(self, event: Event, now_ns: int) -> list[Command]:
        """Apply one event at boot time `now_ns` and return what the shell must do, in order.

        An event that does not fit the state changes nothing and returns nothing.
        """


def earliest(*dues_ns: int | None) -> int | None:
    """Return the first of these deadlines; None when there is none. It is asked after every
    event."""
    first_ns = None
    for due_ns in dues_ns:
        if due_ns is not None and (first_ns is None or due_ns < first_ns):
            first_ns = due_ns
    return first_ns
