"""Tells the supervisor what programs want."""

from kitefeed.actors.broadcaster.events import Tell
from kitefeed.actors.broadcaster.listeners import Listeners, exact_topic
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.topics import MODE, WANT

LISTENERS_DELAY_NS = 50_000_000  # a program subscribes to its instruments in one burst
LISTENERS_DELAY_NS_MAX = 250_000_000  # of programs that come and go without a pause


class Wishes:
    """Tells wants after a pause, so that the subscriptions of one program are one message. It tells
    all of them, and only when they differ from the last message. `due_ns`: boot time, None when
    nothing is due."""

    def __init__(self, listeners: Listeners) -> None:
        self.due_ns: int | None = None
        self._listeners = listeners
        self._since_ns = 0  # the first change that is not told yet
        self._told: m.ListenersWant | None = None  # None: whatever it is, tell it

    def note(self, subscription: bytes, now_ns: int) -> None:
        """Note that somebody has subscribed to this, or does so no more."""
        if not subscription.startswith((MODE, WANT)) and exact_topic(subscription) is None:
            return
        if self.due_ns is None:
            self._since_ns = now_ns
        self.due_ns = min(self._since_ns + LISTENERS_DELAY_NS_MAX, now_ns + LISTENERS_DELAY_NS)

    def all_at_once(self, now_ns: int) -> list[Tell]:
        """Tell everything now, to a supervisor that knows nothing."""
        self._told, self.due_ns = None, now_ns
        return self.turn(now_ns)

    def turn(self, now_ns: int) -> list[Tell]:
        if self.due_ns is None or now_ns < self.due_ns:
            return []
        self.due_ns = None
        wanted = self._listeners.want()
        if wanted == self._told:
            return []
        self._told = wanted
        return [Tell(wanted)]
