"""The REST region: when quotes are polled, and with which session."""

from kitefeed.actors.supervisor import doubt, link, session
from kitefeed.actors.supervisor.facts import (
    BRIDGE_AFTER_NS,
    POLL_PERIOD_NS,
    POLLS_FAILED_MAX,
    REFUSALS_BEFORE_REST,
    SHARD,
    Rest,
)
from kitefeed.actors.supervisor.state import State
from kitefeed.protocol import messages as m
from kitefeed.protocol.topology import Role


def advance(s: State) -> None:
    """Starts and stops polling as the facts call for. Starting means: a new epoch, its grant, and
    only then (`granted`) the order to the poller."""
    wish = _wish(s)
    s.rest_due_ns = _bridge_due_ns(s)
    if wish is None:
        if s.rest.epoch:
            stop(s)
    elif not s.rest.epoch or s.rest.fingerprint != wish:
        if s.rest.is_started:
            s.send(Role.REST_POLLER, m.StopPolling(SHARD))
        s.rest = Rest(s.next_epoch(), wish, parked=s.rest.parked)
        link.outdated(s)


def stop(s: State) -> None:
    """Ends polling; a later start gets a new epoch."""
    if s.rest.is_started and Role.REST_POLLER in s.actors_up:
        s.send(Role.REST_POLLER, m.StopPolling(SHARD))
    s.rest = Rest(parked=s.rest.parked)


def reported(s: State, links: tuple[m.LinkReport, ...]) -> None:
    """What a poller that says hello is polling. Polling that nobody here knows of is adopted (this
    supervisor is the new one) while the fence may still let it through; what was ordered and is
    not polled, because the order or its refusal got lost, begins anew under another epoch."""
    if s.rest.epoch in [running.epoch for running in links]:
        return
    if s.rest.is_started:
        stop(s)
    elif links and not s.rest.epoch and links[-1].epoch >= s.grant.epoch:
        running = links[-1]
        ok_ns = s.now_ns if running.is_streaming else 0
        s.rest = Rest(
            running.epoch,
            running.fingerprint,
            is_started=True,
            ok_ns=ok_ns,
            parked=s.rest.parked,
        )
    elif links:
        s.send(Role.REST_POLLER, m.StopPolling(SHARD))


def granted(s: State) -> None:
    if s.rest.epoch and not s.rest.is_started and s.is_market_open:
        s.rest.is_started = True
        _order(s)


def instruments_changed(s: State) -> None:
    if s.rest.is_started and s.polled():  # else `advance` ends the polling
        _order(s)


def _order(s: State) -> None:
    rest = s.rest
    order = m.StartPolling(SHARD, rest.epoch, rest.fingerprint, POLL_PERIOD_NS, s.polled())
    s.send(Role.REST_POLLER, order)


def polled(s: State, event: m.Polled) -> None:
    """A poll was answered, or failed. A refusal parks that session until there is a new one."""
    rest = s.rest
    if event.epoch != rest.epoch:
        return
    rest.detail = event.detail
    rest.sweep_ns = event.sweep_ns or rest.sweep_ns
    rest.failures = rest.failures + 1 if event.outcome == "network" else 0
    if event.outcome == "ok":
        rest.ok_ns = s.now_ns
    elif event.outcome == "token":
        rest.parked.add(rest.fingerprint)
        session.refused_elsewhere(s, rest.fingerprint, "a quote was refused")
    elif event.outcome == "permission":
        rest.parked.add(rest.fingerprint)
        if rest.fingerprint == s.session.fingerprint:
            doubt.no_entitlement(s)


def unpark(s: State) -> None:
    """A new session, or the operator's word: polling may be tried again."""
    s.rest.parked.clear()


def fresh_for_ns(s: State) -> int:
    """How long after a good poll its values count as fresh."""
    return 2 * max(POLL_PERIOD_NS, s.rest.sweep_ns) + 1_000_000_000


def is_fresh(s: State) -> bool:
    """However long a sweep takes: where nobody answers, polling gives nothing fresh."""
    is_answered = s.rest.failures < POLLS_FAILED_MAX
    return s.rest.ok_ns > 0 and is_answered and s.now_ns - s.rest.ok_ns < fresh_for_ns(s)


def _wish(s: State) -> str | None:
    """Fingerprint of the session to poll with now, if any. The link comes first; a closed market
    needs no poll."""
    is_needed = (
        s.override in ("auto", "rest")
        and s.is_market_open
        and s.instruments
        and not s.misconfigured
        and not s.is_link_open
        and Role.REST_POLLER in s.actors_up
    )
    if not is_needed:
        return None
    if s.rest.epoch and _is_kept(s):
        return s.rest.fingerprint
    primary, standby = _candidate(s, "primary"), _candidate(s, "standby")
    if s.session.word in ("refused", "absent"):
        return standby or (primary if s.session.word == "refused" else None)
    if s.override == "rest" or _is_bridge_due(s) or s.consecutive_403 >= REFUSALS_BEFORE_REST:
        return primary
    return None


def _is_kept(s: State) -> bool:
    """While a new login is not judged, polling goes on with the standby that works; and while a
    restarted supervisor has not been told the sessions, with whatever it adopted."""
    is_primary = s.session.fingerprint in (None, s.rest.fingerprint)
    facts = s.session if is_primary else s.standby
    is_unheard = facts.fingerprint is None and facts.word == "unknown"
    is_same = facts.fingerprint == s.rest.fingerprint and facts.word != "refused"
    is_judged = s.session.word not in ("unknown", "unverified")
    is_parked = s.rest.fingerprint in s.rest.parked
    return (is_unheard or is_same) and not is_judged and not is_parked


def _candidate(s: State, name: m.Slot) -> str | None:
    """The session of a slot, if polling it may work."""
    facts = session.slot(s, name)
    if facts.fingerprint is None or facts.fingerprint in s.rest.parked:
        return None
    if name == "standby" and facts.word == "refused":
        return None
    if name == "primary" and s.has_no_entitlement:
        return None
    return facts.fingerprint


def _is_bridge_due(s: State) -> bool:
    """15 s without fresh data while REST answers. A socket refusal has its own count of three."""
    due_ns = _bridge_due_ns(s)
    is_polling = bool(s.rest.epoch)
    return is_polling or (0 < due_ns <= s.now_ns)


def _bridge_due_ns(s: State) -> int:
    """When the bridge is due, 0 for never."""
    if s.is_link_open or s.session.word != "valid" or s.is_socket_refusal:
        return 0
    return max(s.fresh_ns, s.started_ns, s.session_since_ns) + BRIDGE_AFTER_NS
