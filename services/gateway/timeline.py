"""What happened to the feed while the gateway ran, for people. Pure."""

from collections import deque

import msgspec

EVENTS_MAX = 200
_WORDS = {
    "live": "Live: prices stream from Kite",
    "rest": "Prices are polled, not streamed",
    "stale": "No fresh prices",
    "login_required": "Login needed",
    "no_entitlement": "The app's plan has no market data",
    "closed": "The market is closed",
    "paused": "Paused by the operator",
    "misconfigured": "The configuration cannot be used",
    "lost": "The daemon is silent",
}
_WELL = ("live", "closed")


class Event(msgspec.Struct, frozen=True):
    """One change of the headline. number: counts from 1. at_utc_s: UTC epoch seconds. lasted_s: how
    long the trouble was that this ends; None when it ends none."""

    number: int
    at_utc_s: float
    feed: str
    source: str
    text: str
    lasted_s: float | None = None


class Timeline:
    """The latest events, oldest first."""

    def __init__(self) -> None:
        self.events: deque[Event] = deque(maxlen=EVENTS_MAX)
        self._count = 0
        self._shown: tuple[str, str] | None = None
        self._trouble_utc_s: float | None = None

    def note(self, feed: str, source: str, reason: str, utc_s: float) -> Event | None:
        """The event of this state, None when it is no news."""
        if (feed, source) == self._shown:
            return None
        self._shown = (feed, source)
        lasted_s = None
        if feed in _WELL:
            if self._trouble_utc_s is not None:
                lasted_s = round(utc_s - self._trouble_utc_s, 1)
            self._trouble_utc_s = None
        elif self._trouble_utc_s is None:
            self._trouble_utc_s = utc_s
        self._count += 1
        text = _WORDS.get(feed, feed)
        if feed not in _WELL and reason:
            text = f"{text}: {reason}"
        event = Event(self._count, round(utc_s, 3), feed, source, text, lasted_s)
        self.events.append(event)
        return event

    def after(self, number: int) -> list[Event]:
        """Those that came after event `number`."""
        return [event for event in self.events if event.number > number]
