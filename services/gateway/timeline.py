"""Tells people what happened to the feed while the gateway ran. Pure."""

from collections import deque

import msgspec

EVENTS_MAX = 200
_WORDS = {
    "live": "Prices are live",
    "rest": "Prices are polled",
    "stale": "No fresh prices",
    "login_required": "Login needed",
    "no_entitlement": "The app's plan has no market data",
    "closed": "The market is closed",
    "paused": "Paused by the operator",
    "misconfigured": "The configuration cannot be used",
    "lost": "The daemon is silent",
}
_WELL = ("live", "closed")
_GIVES = ("websocket", "rest")  # of the sources: between the others nothing changes for a person


class Event(msgspec.Struct, frozen=True):
    """One change of the headline, or a login (`feed` is "login"). number: counts from 1. at_utc_s:
    UTC epoch seconds. reason: "" where the text says it. lasted_s: how long the trouble was that
    this ends, login_s: how long ago the login was that ended it; None where there was none."""

    number: int
    at_utc_s: float
    feed: str
    source: str
    text: str
    lasted_s: float | None = None
    reason: str = ""
    login_s: float | None = None


class Timeline:
    """The latest events, oldest first."""

    def __init__(self) -> None:
        self.events: deque[Event] = deque(maxlen=EVENTS_MAX)
        self._count = 0
        self._shown: tuple[str, str] | None = None
        self._session = ""  # the last word that said something for certain
        self._trouble_utc_s: float | None = None
        self._login_utc_s: float | None = None  # in this trouble

    def note(self, feed: str, source: str, session: str, reason: str, utc_s: float) -> list[Event]:
        """Note this state; return its events, none when it is no news."""
        found = [*self._login(source, session, utc_s), *self._headline(feed, source, reason, utc_s)]
        self.events.extend(found)
        return found

    def after(self, number: int) -> list[Event]:
        """Return the events that came after event `number`."""
        return [event for event in self.events if event.number > number]

    def _login(self, source: str, session: str, utc_s: float) -> list[Event]:
        former = self._session
        if session in ("absent", "refused", "valid"):
            self._session = session
        if session != "valid" or former not in ("absent", "refused"):
            return []
        if self._trouble_utc_s is not None:
            self._login_utc_s = utc_s
        return [self._event(utc_s, "login", source, "Logged in to Kite")]

    def _headline(self, feed: str, source: str, reason: str, utc_s: float) -> list[Event]:
        shown = (feed, source if source in _GIVES and feed != "closed" else "")
        if shown == self._shown:
            return []
        self._shown = shown
        text = _WORDS.get(feed, feed)
        if (feed, source) == ("login_required", "rest"):
            text = f"{text}, prices are polled"
        if feed in _WELL:
            return [self._end(utc_s, feed, source, text)]
        if self._trouble_utc_s is None:
            self._trouble_utc_s = utc_s
        why = "" if reason.lower().startswith(text.lower()) else reason
        return [self._event(utc_s, feed, source, text, reason=why)]

    def _end(self, utc_s: float, feed: str, source: str, text: str) -> Event:
        """Make the event that ends the trouble, if there was some."""
        lasted_s, login_s = (
            None if since is None else round(utc_s - since, 1)
            for since in (self._trouble_utc_s, self._login_utc_s)
        )
        self._trouble_utc_s = self._login_utc_s = None
        return self._event(utc_s, feed, source, text, lasted_s=lasted_s, login_s=login_s)

    def _event(
        self,
        utc_s: float,
        feed: str,
        source: str,
        text: str,
        *,
        reason: str = "",
        lasted_s: float | None = None,
        login_s: float | None = None,
    ) -> Event:
        self._count += 1
        at_utc_s = round(utc_s, 3)
        return Event(self._count, at_utc_s, feed, source, text, lasted_s, reason, login_s)
