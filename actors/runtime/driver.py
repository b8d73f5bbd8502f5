"""Drives a machine: events in, commands out, one timer for its deadline."""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

from kitefeed.actors.policy.machine import Machine, Wake
from kitefeed.protocol.clock import boot_ns

DELAY_S_MIN = 0.001  # a machine that is due for ever leaves the loop time for others
DELAY_S_MAX = 60.0  # a host that slept has other ideas of when a timer is due


class Timer(Protocol):
    def cancel(self) -> None: ...


class Driver:
    """Drives one machine. `perform` carries out one command; it may call `feed` again, which is
    queued behind the commands of the running step, so that a machine is never re-entered. Time is
    given: `clock` is the boot time in ns, `call_later` (seconds, callback) sets a timer, by default
    the running loop's. `wake` makes the event of a deadline that has come; none comes sooner than
    after `delay_s_min`."""

    def __init__(
        self,
        machine: Machine[Any, Any],
        perform: Callable[[Any], None],
        clock: Callable[[], int] = boot_ns,
        call_later: Callable[[float, Callable[[], None]], Timer] | None = None,
        wake: Callable[[], object] = Wake,
        delay_s_min: float = DELAY_S_MIN,
    ) -> None:
        self.machine = machine
        self._perform = perform
        self._clock = clock
        self._call_later = call_later or asyncio.get_running_loop().call_later
        self._wake = wake
        self._delay_s_min = delay_s_min
        self._timer: Timer | None = None
        self._timer_due_ns = 0
        self._steps: list[Callable[[int], Iterable[Any]]] = []
        self._is_stepping = False
        self._is_closed = False

    def feed(self, event: object) -> None:
        """Give the machine one event now, and do what it says."""
        self.do(partial(self.machine.handle, event))

    def do(self, step: Callable[[int], Iterable[Any]]) -> None:
        """Call `step`, a method of the machine, with the boot time, and do what it says."""
        if self._is_closed:
            return
        self._steps.append(step)
        if self._is_stepping:
            return
        self._is_stepping = True
        try:
            while self._steps:
                for command in self._steps.pop(0)(self._clock()):
                    self._perform(command)
        finally:
            self._is_stepping = False
        self._arm()

    def close(self) -> None:
        """End it; steps that wait for the running one, or come later, are dropped."""
        self._is_closed = True
        self._steps.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _on_timer(self) -> None:
        self._timer = None
        self.feed(self._wake())

    def _arm(self) -> None:
        """Set the timer to the machine's deadline. When that moved later, the old timer finds it
        out: busy machines move it with every event, and a timer costs more than a look."""
        deadline_ns = None if self._is_closed else self.machine.deadline_ns
        if self._timer is not None:
            if deadline_ns is not None and deadline_ns >= self._timer_due_ns:
                return
            self._timer.cancel()
            self._timer = None
        if deadline_ns is not None:
            delay_s = max(self._delay_s_min, (deadline_ns - self._clock()) / 1e9)
            self._timer_due_ns = deadline_ns
            self._timer = self._call_later(min(delay_s, DELAY_S_MAX), self._on_timer)
