"""Keeps each target's messages until they are delivered, and decides when to try. Pure.

Each target has a queue of its own, and gets one message after the other. One that fails is tried
again by TRIES_S and then given up, so that what is newer has its turn.
"""

from collections import deque
from typing import NamedTuple

import msgspec

from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.services.notifier.alerts import Alert

TRIES_S = (5, 15, 60, 300, 900)  # waits after a failure; after the last try a message is given up
QUEUED_MAX = 50  # messages that wait for one target; the oldest goes


class Try(NamedTuple):
    """Deliver `alert` to `target` now, and say what came of it by `done`."""

    target: str
    alert: Alert


class TargetState(msgspec.Struct):
    """The state of one target, for people. Times UTC epoch seconds, 0 for never.

    problem: why the last try failed; empty when it did not. lost: messages given up.
    """

    delivered: int = 0
    lost: int = 0
    waiting: int = 0
    problem: str = ""
    delivered_utc_s: float = 0.0


class _Target:
    def __init__(self) -> None:
        self.queue: deque[Alert] = deque()
        self.tries = 0
        self.due_ns = 0
        self.is_trying = False
        self.state = TargetState()

    def drop(self) -> None:
        self.queue.popleft()
        self.tries, self.due_ns = 0, 0


class Outbox:
    def __init__(self, targets: list[str]) -> None:
        self._targets = {name: _Target() for name in targets}

    def put(self, alert: Alert) -> None:
        """Queue the alert for every target."""
        for target in self._targets.values():
            if len(target.queue) >= QUEUED_MAX:
                # The first may be under way.
                del target.queue[int(target.is_trying)]
                target.state.lost += 1
            target.queue.append(alert)

    def due(self, now_ns: int) -> list[Try]:
        """Return the messages to try now, at most one for each target. `now_ns`: boot time."""
        found = []
        for name, target in self._targets.items():
            if target.queue and not target.is_trying and now_ns >= target.due_ns:
                target.is_trying = True
                found.append(Try(name, target.queue[0]))
        return found

    def done(self, name: str, problem: str, now_ns: int, utc_s: float) -> None:
        """Take the outcome of a try; problem: empty when it was delivered."""
        target = self._targets[name]
        target.is_trying = False
        target.state.problem = problem
        if not problem:
            target.drop()
            target.state.delivered += 1
            target.state.delivered_utc_s = round(utc_s, 3)
        elif target.tries < len(TRIES_S):
            target.due_ns = now_ns + TRIES_S[target.tries] * NS_PER_S
            target.tries += 1
        else:
            target.drop()
            target.state.lost += 1

    @property
    def states(self) -> dict[str, TargetState]:
        for target in self._targets.values():
            target.state.waiting = len(target.queue)
        return {name: target.state for name, target in self._targets.items()}

    @property
    def is_delivered(self) -> bool:
        """Whether the last try to each target succeeded."""
        return not any(target.state.problem for target in self._targets.values())

    def is_busy(self, now_ns: int) -> bool:
        """Whether something is under way, or is to be tried now."""
        targets = self._targets.values()
        return any(t.queue and (t.is_trying or now_ns >= t.due_ns) for t in targets)
