"""Decides when somebody is told of what. Pure: facts and times in, messages out.

A condition is told once it has lasted for its grace, and once more when it is over. In between it
is repeated at most every `remind_ns`, in market hours only. Outside of them nobody is told anything
at night: what still holds in the morning is told then.

Times are the wall clock's, because what was told is remembered over restarts of the host. Should
that clock be put back, what lies in its future counts as now.
"""

from datetime import time
from typing import NamedTuple

import msgspec

from kitefeed.actors.policy.market import Market, to_ist
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.services.notifier import conditions
from kitefeed.services.notifier.alerts import (
    KINDS,
    MINUTE_NS,
    Alert,
    Code,
    Links,
    compose,
    lasted,
)
from kitefeed.services.notifier.conditions import FED, OUTAGES, Condition, Observation, find

NIGHT_FROM, NIGHT_UNTIL = time(22), time(8)  # IST
START_NS = 60 * NS_PER_S  # the daemon starts beside this service: what lacks so long is no news
OVER_NS = 5 * NS_PER_S  # a condition that comes back within it never went
AGAIN_NS = 5 * MINUTE_NS  # a condition that comes and goes is told no more often
BEAT_NS = MINUTE_NS


class Episode(msgspec.Struct):
    """One condition, from its beginning to its end. Times UTC; 0 for not yet. is_outage: as of the
    condition that was seen last."""

    since_utc_ns: int
    told_utc_ns: int = 0
    gone_utc_ns: int = 0
    is_outage: bool = True


class Outage(msgspec.Struct):
    """A time without fresh prices by streaming, whatever it is called meanwhile. told: the codes of
    it that somebody was told. is_of_daemon: it is the daemon itself that is away, so that a closed
    market does not end it."""

    since_utc_ns: int
    over_utc_ns: int = 0
    told: list[Code] = []
    is_of_daemon: bool = False


class Memory(msgspec.Struct):
    """The memory, over restarts, of what must not be told twice. told_utc_ns: when each code was
    last told."""

    episodes: dict[Code, Episode] = {}
    told_utc_ns: dict[Code, int] = {}
    outage: Outage | None = None

    def clamp(self, utc_ns: int) -> None:
        """Move no time into the future, for a clock that was put back."""
        for code, told_ns in self.told_utc_ns.items():
            self.told_utc_ns[code] = min(told_ns, utc_ns)
        for each in (*self.episodes.values(), *([self.outage] if self.outage else [])):
            for name in each.__struct_fields__:
                if name.endswith("_utc_ns"):
                    setattr(each, name, min(getattr(each, name), utc_ns))


class Rules(NamedTuple):
    """remind_ns: the least time between two messages of one condition. at_night: whether nights
    are as days, and reminders come outside of market hours, too."""

    remind_ns: int = 15 * MINUTE_NS
    at_night: bool = False


class Send(NamedTuple):
    """Tell everybody who is named."""

    alert: Alert


class Ping(NamedTuple):
    """Tell the dead man's switch that all is well."""


Command = Send | Ping


class Machine:
    def __init__(
        self, rules: Rules, links: Links, market: Market, utc_ns: int, memory: Memory | None = None
    ) -> None:
        self.memory = memory or Memory()
        self._rules = rules
        self._links = links
        self._market = market
        self._start_utc_ns = utc_ns
        self._segments = conditions.segments_of(None)
        self._beat_utc_ns: int | None = None

    def look(self, facts: Observation, utc_ns: int, *, is_delivered: bool = True) -> list[Command]:
        """Return what to tell now; call it every second. is_delivered: no earlier message waits for
        a target that fails. While one does, the dead man's switch is not fed, so that it tells in
        its way."""
        self.memory.clamp(utc_ns)
        self._start_utc_ns = min(self._start_utc_ns, utc_ns)
        if facts.report is not None:
            self._segments = conditions.segments_of(facts.report)
        found = find(facts, self._market, self._segments, utc_ns)
        alerts = [self._outage(facts, found, utc_ns)]
        alerts += [self._hold(code, each, utc_ns) for code, each in found.items()]
        gone = [code for code in self.memory.episodes if code not in found]
        alerts += [self._end(code, facts, utc_ns) for code in gone]
        commands: list[Command] = [Send(alert) for alert in alerts if alert is not None]
        last_ns = self._beat_utc_ns
        is_beat_due = last_ns is None or not 0 <= utc_ns - last_ns < BEAT_NS
        if is_delivered and conditions.is_well(facts) and is_beat_due:
            self._beat_utc_ns = utc_ns
            commands.append(Ping())
        return commands

    def farewell(self, utc_ns: int) -> Send:
        """Say at an orderly end that silence means nothing from here on."""
        what = "kitefeed's alerts were stopped in order, with the daemon or alone."
        return Send(compose(Code.STOPPED, what, self._links, utc_ns))

    # --- conditions ---------------------------------------------------------------------------

    def _hold(self, code: Code, condition: Condition, utc_ns: int) -> Alert | None:
        """Tell of a condition that is there: told at first, then repeated."""
        since_ns = min(condition.since_utc_ns or utc_ns, utc_ns)
        episode = self.memory.episodes.setdefault(code, Episode(since_ns))
        episode.gone_utc_ns, episode.is_outage = 0, condition.is_outage
        again = ""
        if not episode.told_utc_ns:
            is_starting = utc_ns - self._start_utc_ns < START_NS and code in _OF_A_START
            is_early = utc_ns - episode.since_utc_ns < condition.grace_ns
            is_again = utc_ns - self.memory.told_utc_ns.get(code, -AGAIN_NS) < AGAIN_NS
            if is_starting or is_early or is_again or self._is_night(utc_ns):
                return None
        elif self._is_reminder_due(code, episode, utc_ns):
            again = lasted(utc_ns - episode.since_utc_ns)
        else:
            return None
        episode.told_utc_ns = self.memory.told_utc_ns[code] = utc_ns
        outage = self.memory.outage
        if outage is not None and code in OUTAGES and code not in outage.told:
            outage.told.append(code)
        return compose(code, condition.what, self._links, utc_ns, todo=condition.todo, again=again)

    def _is_reminder_due(self, code: Code, episode: Episode, utc_ns: int) -> bool:
        remind_ns = KINDS[code].remind_ns
        if remind_ns is None or not (self._rules.at_night or self._is_open(utc_ns)):
            return False
        return utc_ns - episode.told_utc_ns >= max(remind_ns, self._rules.remind_ns)

    def _end(self, code: Code, facts: Observation, utc_ns: int) -> Alert | None:
        """Tell of a condition that is not there any more."""
        episode = self.memory.episodes[code]
        is_by_report = code in _BY_REPORT or (code in OUTAGES and not episode.is_outage)
        if facts.report is None and is_by_report:  # nobody says so
            return None
        if code is Code.LOGIN and not episode.is_outage and conditions.is_session_gone(facts):
            return None  # the market opens, or it is paused: another word, the same login
        episode.gone_utc_ns = episode.gone_utc_ns or utc_ns
        if utc_ns - episode.gone_utc_ns < OVER_NS:
            return None
        is_outage = code in OUTAGES and episode.is_outage
        if episode.told_utc_ns and is_outage and self.memory.outage is not None:
            return None  # it is told with the outage's end, and no second time before that
        is_said = episode.told_utc_ns and not is_outage
        if code is Code.NOT_READY and self._is_open(utc_ns):  # its time is over, not the trouble
            is_said = False
        if is_said and self._is_night(utc_ns):
            return None
        del self.memory.episodes[code]
        took = lasted(episode.gone_utc_ns - episode.since_utc_ns)
        what = f"{code} ({KINDS[code].title.lower()}) is over after {took}."
        return compose(Code.RECOVERED, what, self._links, utc_ns) if is_said else None

    def _outage(
        self, facts: Observation, found: dict[Code, Condition], utc_ns: int
    ) -> Alert | None:
        """Tell of the end of an outage, when prices are fresh again."""
        feed = facts.status.feed
        lacking = {code: each for code, each in found.items() if code in OUTAGES and each.is_outage}
        since_ns = [each.since_utc_ns or utc_ns for each in lacking.values()]
        outage = self.memory.outage
        if since_ns:
            if outage is None:
                outage = self.memory.outage = Outage(min(*since_ns, utc_ns))
            # Codes told before the outage began count, too, as a login before the market opens.
            outage.told += [
                code for code in lacking if self._was_told(code) and code not in outage.told
            ]
            outage.over_utc_ns = 0
            outage.is_of_daemon = feed in ("lost", "misconfigured") or facts.report is None
            return None
        if outage is None:
            return None
        is_back = outage.is_of_daemon and outage.told == [Code.LOST]
        if feed not in FED and not is_back:  # the market closed on it, or it was paused
            self.memory.outage = None
            return None
        outage.over_utc_ns = outage.over_utc_ns or utc_ns
        is_told = bool(outage.told)
        if utc_ns - outage.over_utc_ns < OVER_NS or (is_told and self._is_night(utc_ns)):
            return None
        self.memory.outage = None
        took = lasted(outage.over_utc_ns - outage.since_utc_ns)
        now = (
            f"prices are fresh, by {facts.status.source}" if feed in FED else f"the feed is {feed}"
        )
        what = f"{' and '.join(outage.told)} over after {took}: {now}."
        return compose(Code.RECOVERED, what, self._links, utc_ns) if is_told else None

    def _was_told(self, code: Code) -> bool:
        episode = self.memory.episodes.get(code)
        return episode is not None and episode.told_utc_ns > 0

    # --- times --------------------------------------------------------------------------------

    def _is_open(self, utc_ns: int) -> bool:
        return self._market.is_any_open(self._segments, utc_ns)

    def _is_night(self, utc_ns: int) -> bool:
        """Whether nobody is told anything now."""
        if self._rules.at_night or self._is_open(utc_ns):
            return False
        return not NIGHT_UNTIL <= to_ist(utc_ns).time() < NIGHT_FROM


# Codes that every start meets for a while, and codes that only the supervisor's report tells.
_OF_A_START = (Code.LOST, Code.NOT_READY)
_BY_REPORT = (Code.LIST, Code.DISK)
