"""Finds what is wrong now, by the code under which somebody is told. Pure: facts in, conditions
out."""

from datetime import datetime, time
from typing import NamedTuple

from kitefeed.actors.policy.market import NSE, READY_AT, TOKEN_FLUSH, Market, to_ist
from kitefeed.client.status import Status
from kitefeed.protocol.kite.ticks import EXCHANGE_NAMES
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages.status import ListStatus, StatusReport
from kitefeed.services.notifier.alerts import Code

FREE_MB_MIN = 50  # an instrument list has 30, and is written beside the old one
# Readiness is looked at from READY_FROM on: what lacks for GRACE_READY_NS is told at READY_AT.
GRACE_READY_NS = 30 * NS_PER_S
READY_FROM = time(READY_AT.hour, READY_AT.minute - 1, 60 - GRACE_READY_NS // NS_PER_S)
ELSEWHERE_NS = 900 * NS_PER_S  # so long a login elsewhere may be somebody's own, who comes back
COMMAND_NS = 120 * NS_PER_S  # a login by itself has had its first try by then
COMMANDS_NS = 600 * NS_PER_S  # and its last: three, a minute and five minutes apart
FETCHING_NS = 600 * NS_PER_S  # a list is fetched again after 5, 15, 30, then every 60 s
# The headlines of a feed that is as it should be, and those of one that gives fresh prices.
WELL = ("live", "rest", "closed", "paused")
FED = ("live", "rest")
# Conditions that end together, when prices are fresh again.
RECORDER = "recorder"  # the service, as it names itself
OUTAGES = (Code.LOGIN, Code.REST, Code.NO_ENTITLEMENT, Code.LOST)
_SEGMENTS = {name: segment for segment, name in EXCHANGE_NAMES.items()}


class Observation(NamedTuple):
    """One look at the daemon.

    status: the feed as any program reads it. is_heard: see `is_fed` of its heartbeat.
    report: None when the supervisor does not answer. free_mb: of state_dir; None when unknown.
    elsewhere: as `session.elsewhere`. login_at: when the session is seen to each day (IST), None
    for never. has_command: something logs in by itself, then or when somebody else did.
    """

    status: Status
    is_heard: bool
    report: StatusReport | None
    free_mb: float | None = None
    elsewhere: str = "alert"
    login_at: time | None = None
    has_command: bool = False


class Condition(NamedTuple):
    """what: in a sentence. grace_ns: how long it must last before somebody is told. since_utc_ns:
    when it began, where the daemon says so. todo: see `compose`. is_outage: prices lack meanwhile.
    """

    what: str
    grace_ns: int
    since_utc_ns: int | None = None
    todo: str | None = None
    is_outage: bool = True


def is_session_gone(facts: Observation) -> bool:
    """Whether the supervisor says that there is no session, or none that Kite accepts."""
    return facts.report is not None and facts.report.session in ("refused", "absent")


def segments_of(report: StatusReport | None) -> frozenset[int]:
    """Return the segments of what is wanted; NSE stands for "the market" when nothing is."""
    named = report.market if report is not None else {}
    return frozenset(_SEGMENTS[name] for name in named if name in _SEGMENTS) or frozenset((NSE,))


def is_well(facts: Observation) -> bool:
    """Whether data arrives wherever it should, and somebody decides."""
    feed = facts.status.feed
    is_fed = facts.is_heard if feed in FED else feed in WELL
    return is_fed and facts.report is not None


def find(
    facts: Observation, market: Market, segments: frozenset[int], utc_ns: int
) -> dict[Code, Condition]:
    """Return what is wrong, for the segments that are wanted."""
    found = dict(_of_feed(facts))
    report = facts.report
    is_any_open = market.is_any_open(segments, utc_ns)
    opens = None if is_any_open else market.opens_today(segments, utc_ns)
    if opens is not None and _is_login_due(facts, utc_ns):
        found[Code.LOGIN] = _login_due(facts, opens)
    if warning := market.warning(utc_ns):
        found[Code.CALENDAR] = Condition(warning, 60 * NS_PER_S)
    if report is not None and (doubt := _of_list(report.instrument_list)):
        found[Code.LIST] = doubt
    if full := _of_disk(facts):
        found[Code.DISK] = Condition(full, 30 * NS_PER_S)
    is_soon = opens is not None and to_ist(utc_ns).time() >= READY_FROM
    if opens is not None and is_soon and (missing := _missing(facts, utc_ns)):
        found[Code.NOT_READY] = _not_ready(missing, opens)
    return found


# --- the feed -----------------------------------------------------------------------------------


def _of_feed(facts: Observation) -> list[tuple[Code, Condition]]:
    """Return at most one condition: the headline is one word."""
    status, report = facts.status, facts.report
    since = status.since_utc_ns or None
    if status.feed == "login_required":
        return [
            (
                Code.LOGIN,
                Condition(_sentence(status.reason), _login_grace(facts, 5 * NS_PER_S), since),
            )
        ]
    if status.feed == "no_entitlement":
        return [(Code.NO_ENTITLEMENT, Condition(_sentence(status.reason), 5 * NS_PER_S, since))]
    if status.feed in FED and status.session in ("refused", "absent"):
        what = (
            "Kite refuses the session, but its socket still streams: prices are fresh, and are "
            "lost at the next reconnect."
        )
        return [(Code.LOGIN, Condition(what, _login_grace(facts, 30 * NS_PER_S)))]
    if status.feed == "rest" and status.override != "rest":
        return [(Code.REST, Condition(_sentence(status.reason), 30 * NS_PER_S, since))]
    if lost := _lost(facts):
        return [(Code.LOST, Condition(lost, 30 * NS_PER_S))]
    if report is None:
        what = "The daemon's supervisor does not answer: what happens next is decided by nobody."
        return [(Code.LOST, Condition(what, 60 * NS_PER_S))]
    return []


def _login_grace(facts: Observation, usual_ns: int) -> int:
    """Return the grace. It is longer where somebody else's login ended the session, and the next
    one comes without us."""
    report = facts.report
    if report is None or report.elsewhere_utc_s is None:
        return usual_ns
    return {"wait": ELSEWHERE_NS, "command": COMMAND_NS}.get(facts.elsewhere, usual_ns)


def _lost(facts: Observation) -> str:
    status, report = facts.status, facts.report
    if status.feed == "lost":
        return "The daemon is silent: it has gone, or hangs. No price is fresh."
    if status.feed == "misconfigured":
        return f"The configuration cannot be used: {status.reason}"
    if status.feed == "stale" and not (report and not report.subscriptions.wanted):
        return f"The market is open and no price is fresh: {status.reason}."
    if status.feed in FED and not facts.is_heard:
        return (
            "The market is open, and of a part of it no price is fresh: a source, or an index that "
            "always ticks, is silent."
        )
    return ""


# --- beside it ----------------------------------------------------------------------------------


def _of_list(known: ListStatus) -> Condition | None:
    if known.outcome == "doubted":
        what = f"A new instrument list is not believed, that of {known.day_ist} stays in use"
        return Condition(f"{what}: {known.detail}.", 60 * NS_PER_S)
    if known.outcome == "failed":
        have = f"that of {known.day_ist} stays in use" if known.rows else "there is none"
        what = f"The instrument list could not be had, {have}: {known.detail}."
        return Condition(what, FETCHING_NS, todo="Nothing: it is fetched again by itself.")
    return None


def _of_disk(facts: Observation) -> str:
    actors = facts.report.actors if facts.report is not None else []
    failing = [actor.role for actor in actors if actor.counters.get("writes_failing")]
    if failing:
        return f"What must survive a restart cannot be written, by: {', '.join(failing)}."
    readers = facts.report.readers if facts.report is not None else []
    for reader in readers:
        if reader.name == RECORDER and reader.problem:
            return f"The feed is not recorded, or soon will not be: {reader.problem}."
    if facts.free_mb is not None and facts.free_mb < FREE_MB_MIN:
        return f"{facts.free_mb:.0f} MB are free in state_dir; {FREE_MB_MIN} are needed."
    return ""


# --- before the open ----------------------------------------------------------------------------


def _is_login_due(facts: Observation, utc_ns: int) -> bool:
    """Whether the hour of `login.at` has come and there is no session. While the market is open the
    headline tells that; the service `login` only writes into the log."""
    at = facts.login_at
    if at is None or facts.status.feed != "closed" or not is_session_gone(facts):
        return False
    return to_ist(utc_ns).time() >= max(at, TOKEN_FLUSH)


def _login_due(facts: Observation, opens: datetime) -> Condition:
    what = f"There is no session that Kite accepts, and the market opens at {opens:%H:%M} IST."
    grace_ns = COMMANDS_NS if facts.has_command else GRACE_READY_NS
    return Condition(what, grace_ns, is_outage=False)


def _missing(facts: Observation, utc_ns: int) -> list[str]:
    """Return what the open still lacks, the session first."""
    status, report = facts.status, facts.report
    if status.feed == "lost" or report is None:
        return ["a daemon that answers"]
    if status.feed in ("misconfigured", "paused"):
        return [status.reason]
    found = []
    if report.session != "valid":
        found.append(f"a valid session (it is {report.session})")
    counts = report.subscriptions
    states = [shard.state for shard in report.shards]
    has_sockets = bool(states) and all(state in ("priming", "live") for state in states)
    if report.session == "valid" and counts.wanted and not has_sockets:
        found.append("a socket to Kite")
    if not counts.wanted:
        found.append("instruments: none is wanted")
    if counts.refused:
        found.append(f"{len(counts.refused)} instruments, such as {min(counts.refused)}")
    today = to_ist(utc_ns).date().isoformat()
    if report.instrument_list.day_ist < today:
        of = report.instrument_list.day_ist
        found.append(f"today's instrument list{f' (that of {of} is in use)' if of else ''}")
    down = [actor.role for actor in report.actors if actor.state != "up"]
    if down:
        found.append(f"processes: {', '.join(down)}")
    if disk := _of_disk(facts):
        found.append(f"room on the disk ({disk.rstrip('.')})")
    return found


def _not_ready(missing: list[str], opens: datetime) -> Condition:
    what = f"The market opens at {opens:%H:%M} IST. Missing: {'; '.join(missing)}."
    needs_login = missing[0].startswith("a valid session")
    todo = "Log in: {login}" if needs_login else "On the host: `kitefeed doctor`."
    return Condition(what, GRACE_READY_NS, todo=todo)


def _sentence(text: str) -> str:
    """A reason as a sentence of its own."""
    return f"{text[:1].upper()}{text[1:]}."
