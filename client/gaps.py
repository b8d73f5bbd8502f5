"""Tells a program of ticks that it did not get, or is about to lose. Pure.

Nothing is noted for a program that has no `on_gap`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

from kitefeed.protocol.kite.units import IST

GapReason = Literal[
    "behind",  # nothing is lost yet: three quarters of the room or time that there is are used up
    "skipped",  # older ticks were given up for newer ones: more than `max_age_s` behind
    "overrun",  # ticks that nobody took had no room
    "lost",  # on the way to this program, or perhaps: a queue was full
    "restarted",  # the daemon's broadcaster, and what came meanwhile was numbered for nobody
    "unrecorded",  # before this program came, of what `since` asks for: nobody wrote it down
    "upstream",  # on the way to the daemon: its source ended, or batches of it were lost
]
WARN_AT, CLEAR_AT = 0.75, 0.50  # of the reader's queue, or of its `max_age_s`


class Gap(NamedTuple):
    """The arguments of `on_gap`.

    start, end: between which times (IST) the ticks were received by the daemon that are missing;
    `end` is None while only a loss threatens. instruments: how many of each are missing by now, 0
    where that is not known; empty where it may be any. healed: the last values have come anew
    since, or are held; of a warning, that it is over.
    """

    start: datetime
    end: datetime | None
    instruments: Mapping[str, int]
    reason: GapReason
    healed: bool


@dataclass(slots=True)
class _Hole:
    """One gap as far as it is known. Times are UTC ns."""

    reason: GapReason
    start_ns: int
    end_ns: int | None = None
    missing: dict[str, int] = field(default_factory=dict)
    is_told: bool = False

    def add(self, missing: Mapping[str, int], start_ns: int, end_ns: int | None) -> None:
        self.start_ns = min(self.start_ns, start_ns)
        if end_ns is not None:
            self.end_ns = end_ns if self.end_ns is None else max(self.end_ns, end_ns)
        for name, count in missing.items():
            self.missing[name] = self.missing.get(name, 0) + count


class Gaps:
    """The gaps of a reader. Each is told when it is met, and again when it is healed, with all that
    was missing. A gap that is healed before anybody was told of it is told once. `is_wanted`: there
    is an `on_gap`. `has_news`: whether `take` would give something; a plain attribute, as it is
    looked at often."""

    def __init__(self) -> None:
        self.is_wanted = False
        self.has_news = False
        self._open: dict[GapReason, _Hole] = {}
        self._healed: list[_Hole] = []  # and not told yet

    def missed(
        self, reason: GapReason, missing: Mapping[str, int], start_ns: int, end_ns: int | None
    ) -> None:
        """Note ticks that were not given out, or perhaps not; it is the same gap until it is
        healed."""
        if self.is_wanted:
            hole = self._open.setdefault(reason, _Hole(reason, start_ns))
            hole.add(missing, start_ns, end_ns)
            self._look()

    def heal(self, *reasons: GapReason) -> None:
        for reason in reasons:
            hole = self._open.pop(reason, None)
            if hole is None:
                continue
            last = self._healed[-1] if self._healed else None
            if last is not None and last.reason == reason:  # nobody has waited since to be told
                last.add(hole.missing, hole.start_ns, hole.end_ns)
            else:
                self._healed.append(hole)
        self._look()

    def passed(
        self, reason: GapReason, missing: Mapping[str, int], start_ns: int, end_ns: int
    ) -> None:
        """Note ticks that were not given out, while the newest values are held: that is healed at
        once."""
        if missing:
            self.missed(reason, missing, start_ns, end_ns)
            self.heal(reason)

    def filled(self, share: float, utc_ns: int) -> None:
        """Warn when the room or time for ticks is nearly used up; at 1 ticks are lost."""
        if share >= WARN_AT:
            if "behind" not in self._open:
                self.missed("behind", {}, utc_ns, None)
        elif share <= CLEAR_AT and "behind" in self._open:
            if self._open["behind"].is_told:
                self._open["behind"].end_ns = utc_ns
                self.heal("behind")
            else:
                del self._open["behind"]
                self._look()

    def _look(self) -> None:
        self.has_news = bool(self._healed) or any(not one.is_told for one in self._open.values())

    def take(self) -> Gap | None:
        """Return what to tell next. A warning comes before the loss of which it warned."""
        gap = self._next()
        self._look()
        return gap

    def _next(self) -> Gap | None:
        warning = self._open.get("behind")
        if warning is not None and not warning.is_told:
            return _told(warning, healed=False)
        if self._healed:
            return _told(self._healed.pop(0), healed=True)
        for hole in self._open.values():
            if not hole.is_told:
                return _told(hole, healed=False)
        return None


def _told(hole: _Hole, *, healed: bool) -> Gap:
    hole.is_told = True
    end = None if hole.end_ns is None else _ist(hole.end_ns)
    return Gap(_ist(hole.start_ns), end, dict(hole.missing), hole.reason, healed)


def _ist(utc_ns: int) -> datetime:
    return datetime.fromtimestamp(utc_ns / 1e9, IST)
