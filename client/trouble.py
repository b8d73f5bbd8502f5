"""Tells programs written for Kite when the feed cannot give live prices. Pure.

An official client cannot see how old a price is. So it is sent none that is not live, and a
sentence instead: one when the trouble begins, one when it is over.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

from kitefeed.client.tick import Arrival, Tick
from kitefeed.protocol.kite.units import NS_PER_S

# A new login, or a socket that is replaced, is over sooner, and not worth a word.
PATIENCE_NS = 2 * NS_PER_S
Policy = Literal["silence", "hold", "close"]
_WELL = ("live", "closed")
REPLAY = "kitefeed: these are prices of a recorded day that is played again, and none is live"
_REMEDIES = {
    "login_required": "log in: `kitefeed login`",
    "no_entitlement": "the app's plan has no market data",
    "misconfigured": "see `kitefeed status`",
    "paused": "`kitefeed source auto` resumes it",
    "rest": "prices are polled meanwhile",
    "lost": "start the daemon: `kitefeed up`",
}


class Trouble:
    """Is told the feed's state again and again. `sentence` is what a program that connects now is
    told, None while all is well."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._since_ns: int | None = None
        self._feed = ""
        self.sentence: str | None = None

    @property
    def is_on(self) -> bool:
        return self.sentence not in (None, REPLAY)

    def note(self, feed: str, reason: str, now_ns: int) -> str | None:
        """Take the state of the feed; return what to tell everybody now, if anything."""
        if feed in _WELL:
            was_on, self.sentence, self._since_ns = self.is_on, None, None
            return "kitefeed: prices are live again" if was_on and feed == "live" else None
        if feed == "replay":
            is_news, self.sentence, self._since_ns = self.sentence != REPLAY, REPLAY, None
            return REPLAY if is_news else None
        if self._since_ns is None:
            self._since_ns = now_ns
        if now_ns - self._since_ns < PATIENCE_NS:
            return None
        is_news = not self.is_on
        held = self._policy == "hold" and feed == "rest"
        what = "prices are polled, not streamed" if held else "no live prices, and none are sent"
        remedy = _REMEDIES.get(feed, "kitefeed goes on trying")
        self.sentence = f"kitefeed: {what} ({feed.replace('_', ' ')}: {reason}); {remedy}"
        return self.sentence if is_news else None


def may_pass(policy: Policy, source: str, is_closed: bool) -> bool:
    """Whether a program may be sent a value that comes from `source` now (as `Tick.source`). Last
    values of a closed market are sent as Kite sends them: to who subscribes."""
    if source == "cache":
        return is_closed
    return source in ("websocket", "replay") or policy == "hold"


def judged(policy: Policy, ticks: Iterable[Tick], is_closed: bool) -> Iterator[tuple[Tick, bool]]:
    """Yield each tick, and whether `may_pass` it. Ticks that came together have one source, so it
    is asked for once."""
    arrival: Arrival | None = None
    flags, may = 0, False
    for tick in ticks:
        if tick.arrival is not arrival or tick.flags != flags:
            arrival, flags = tick.arrival, tick.flags
            may = may_pass(policy, tick.source, is_closed)
        yield tick, may
