"""The REST region: it decides when quotes are polled for a shard, and with which session."""

from kitefeed.actors.supervisor import dial, session
from kitefeed.actors.supervisor.facts import (
    BRIDGE_AFTER_NS,
    POLL_PERIOD_NS,
    POLLS_FAILED_MAX,
    REFUSALS_BEFORE_REST,
    Rest,
    Shard,
)
from kitefeed.actors.supervisor.state import State
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.membership import LinkReport
from kitefeed.protocol.topology import Role


def advance(s: State) -> None:
    for shard in s.shards:
        if shard.rest.epoch or (shard.instruments and not shard.is_open):
            _advance(s, shard)
        else:
            shard.rest_due_ns = 0


def _advance(s: State, shard: Shard) -> None:
    """Start and stop polling as the facts call for. Starting means: a new epoch, its grant, and
    only then (`granted`) the order to the poller."""
    wish = _wish(s, shard)
    shard.rest_due_ns = _bridge_due_ns(s, shard)
    if wish is None:
        if shard.rest.epoch:
            stop(s, shard)
    elif not shard.rest.epoch or shard.rest.fingerprint != wish:
        if shard.rest.is_started:
            s.send(Role.REST_POLLER, m.StopPolling(shard.number))
        shard.rest = Rest(s.next_epoch(), wish)
        dial.outdated(s, shard)


def stop(s: State, shard: Shard) -> None:
    """End polling; a later start gets a new epoch."""
    if shard.rest.is_started and Role.REST_POLLER in s.actors_up:
        s.send(Role.REST_POLLER, m.StopPolling(shard.number))
    shard.rest = Rest()


def reported(s: State, links: tuple[LinkReport, ...]) -> None:
    """Take what a poller reports in its hello."""
    for number in {report.shard for report in links} - set(range(len(s.shards))):
        s.send(Role.REST_POLLER, m.StopPolling(number))
    for shard in s.shards:
        _reported(s, shard, [report for report in links if report.shard == shard.number])


def _reported(s: State, shard: Shard, links: list[LinkReport]) -> None:
    """Adopt polling that is unknown here (this supervisor is the new one) while the fence may still
    let it through. Polling that was ordered and does not run, because the order or its refusal got
    lost, begins anew under another epoch."""
    if shard.rest.epoch in [running.epoch for running in links]:
        return
    if shard.rest.is_started:
        stop(s, shard)
    elif links and not shard.rest.epoch and links[-1].epoch >= shard.grant.epoch:
        running = links[-1]
        ok_ns = s.now_ns if running.is_streaming else 0
        shard.rest = Rest(running.epoch, running.fingerprint, is_started=True, ok_ns=ok_ns)
    elif links:
        s.send(Role.REST_POLLER, m.StopPolling(shard.number))


def granted(s: State, shard: Shard) -> None:
    is_new = shard.rest.epoch and not shard.rest.is_started
    if is_new and s.is_market_open and s.has_hours(shard):
        shard.rest.is_started = True
        _order(s, shard)


def instruments_changed(s: State) -> None:
    for shard in s.shards:
        if shard.rest.is_started and s.has_hours(shard):  # else `advance` ends the polling
            _order(s, shard)


def _order(s: State, shard: Shard) -> None:
    rest = shard.rest
    order = m.StartPolling(
        shard.number, rest.epoch, rest.fingerprint, POLL_PERIOD_NS, s.polled(shard)
    )
    s.send(Role.REST_POLLER, order)


def polled(s: State, event: m.Polled) -> None:
    """Note that a poll was answered, or failed. A refusal parks that session until there is a new
    one."""
    shard = next((sh for sh in s.shards if sh.rest.epoch and sh.rest.epoch == event.epoch), None)
    if shard is None:
        return
    rest = shard.rest
    rest.detail = event.detail
    rest.sweep_ns = event.sweep_ns or rest.sweep_ns
    rest.failures = rest.failures + 1 if event.outcome == "network" else 0
    if event.outcome == "ok":
        rest.ok_ns = s.now_ns
    elif event.outcome == "token":
        s.parked.add(rest.fingerprint)
        session.refused_elsewhere(s, rest.fingerprint, "a quote was refused")
    elif event.outcome == "permission":
        s.parked.add(rest.fingerprint)
        if rest.fingerprint == s.session.fingerprint:
            dial.no_plan(s)


def unpark(s: State, fingerprint: str | None) -> None:
    """Allow polling with this session again."""
    s.parked.discard(fingerprint or "")


def unpark_all(s: State) -> None:
    """Allow polling with any session again."""
    s.parked.clear()


def fresh_for_ns(shard: Shard) -> int:
    """Return how long after a good poll its values count as fresh."""
    return 2 * max(POLL_PERIOD_NS, shard.rest.sweep_ns) + NS_PER_S


def is_fresh(s: State, shard: Shard) -> bool:
    """Whether polling gives fresh values. Where nobody answers it gives none, however long a sweep
    takes."""
    rest = shard.rest
    is_answered = rest.failures < POLLS_FAILED_MAX
    return rest.ok_ns > 0 and is_answered and s.now_ns - rest.ok_ns < fresh_for_ns(shard)


def _wish(s: State, shard: Shard) -> str | None:
    """Return the fingerprint of the session to poll with now, if any. The socket comes first; a
    closed market needs no poll."""
    is_needed = (
        s.override in ("auto", "rest")
        and s.is_market_open
        and s.has_hours(shard)
        and not s.misconfigured
        and not shard.is_open
        and Role.REST_POLLER in s.actors_up
    )
    if not is_needed:
        return None
    if shard.rest.epoch and _is_kept(s, shard):
        return shard.rest.fingerprint
    primary, standby = _candidate(s, "primary"), _candidate(s, "standby")
    if s.session.word in ("refused", "absent"):
        return standby or (primary if s.session.word == "refused" else None)
    # Polling goes on, or begins after 15 s without fresh data while REST answers. Socket refusals
    # have a count of their own, of three.
    is_bridging = bool(shard.rest.epoch) or 0 < _bridge_due_ns(s, shard) <= s.now_ns
    is_refused = s.consecutive_403 >= REFUSALS_BEFORE_REST
    if s.override == "rest" or is_bridging or is_refused:
        return primary
    return None


def _is_kept(s: State, shard: Shard) -> bool:
    """Whether polling goes on as it is: with the standby that works, while a new login is not
    judged; and with an adopted session, while a restarted supervisor has not been told the
    sessions."""
    fingerprint = shard.rest.fingerprint
    is_primary = s.session.fingerprint in (None, fingerprint)
    facts = s.session if is_primary else s.standby
    is_unheard = facts.fingerprint is None and facts.word == "unknown"
    is_same = facts.fingerprint == fingerprint and facts.word != "refused"
    is_judged = s.session.word not in ("unknown", "unverified")
    return (is_unheard or is_same) and not is_judged and fingerprint not in s.parked


def _candidate(s: State, name: m.Slot) -> str | None:
    """Return the session of a slot, if polling with it may work."""
    facts = session.slot(s, name)
    if facts.fingerprint is None or facts.fingerprint in s.parked:
        return None
    if name == "standby" and facts.word == "refused":
        return None
    if name == "primary" and s.has_no_entitlement:
        return None
    return facts.fingerprint


def _bridge_due_ns(s: State, shard: Shard) -> int:
    """Return the boot time at which the bridge is due, 0 for never."""
    is_refused = s.is_socket_refusal and not shard.limited_until_ns
    if shard.is_open or s.session.word != "valid" or is_refused:
        return 0
    since_ns = max(shard.fresh_ns, shard.used_since_ns, s.started_ns, s.session_since_ns)
    return since_ns + BRIDGE_AFTER_NS
