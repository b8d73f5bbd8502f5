"""What a quote says about the link: why a socket was refused, whether a stream is alive, whether
the plan has data at all."""

from kitefeed.actors.supervisor import link, probe, session
from kitefeed.actors.supervisor.facts import (
    REFUSALS_BEFORE_REST,
    SOCKET_REFUSED_RETRY_NS,
    LinkState,
    ProbeKind,
)
from kitefeed.actors.supervisor.state import State
from kitefeed.protocol import messages as m
from kitefeed.protocol.kite.ticks import segment_of


def advance(s: State) -> None:
    """Takes what the probe left in this step."""
    answer, s.probe_news = s.probe_news, None
    if answer is not None:
        _hear(s, *answer)


def _hear(s: State, kind: ProbeKind, outcome: m.ProbeOutcome) -> None:
    """What a quote said about a refused socket, a doubtful stream, or a plan without data."""
    is_of_link = s.is_link_open and s.probe.epoch == s.link.epoch
    if outcome == "token":
        _session_died(s, kind, is_of_link=is_of_link)
    elif kind == "classify":
        _classified(s, outcome)
    elif kind == "entitlement":
        if outcome in ("same", "moved"):
            s.has_no_entitlement = False
            s.rest.parked.discard(s.session.fingerprint or "")
            link.retry_now(s)
    elif is_of_link:
        _doubt_resolved(s, kind, outcome)


def _session_died(s: State, kind: ProbeKind, *, is_of_link: bool) -> None:
    """A quote met a dead session. A stream of that session that was in doubt is no better, so it is
    closed; of one that uses another session (the new login is refused) the quote says nothing."""
    session.refused_elsewhere(s, s.session.fingerprint, "a quote was refused")
    if is_of_link and s.link.fingerprint != s.session.fingerprint:
        _doubt_resolved(s, kind, "network")
        return
    if is_of_link:
        link.order_close(s, s.link.epoch)
    is_parked = s.link.state is LinkState.WAITING and s.link.cause == "entitlement"
    if is_of_link or is_parked or s.link.state is LinkState.CLASSIFYING:
        s.has_no_entitlement = False
        link.wait(s, "session", s.ladders.session.next_ns())


def _classified(s: State, outcome: m.ProbeOutcome) -> None:
    """A 403 whose session is good: a plan without data, or a refusal of the socket alone."""
    if s.link.state is not LinkState.CLASSIFYING:
        return
    if outcome == "permission":
        no_entitlement(s)
    else:
        s.is_socket_refusal = True
        is_rest_due = s.consecutive_403 >= REFUSALS_BEFORE_REST
        wait_ns = SOCKET_REFUSED_RETRY_NS if is_rest_due else s.ladders.socket.next_ns()
        link.wait(s, "socket", wait_ns)


def no_entitlement(s: State) -> None:
    """Neither source can work: say it once, ask again every 15 minutes."""
    s.has_no_entitlement = True
    if s.link.state is LinkState.CONNECTING:
        link.order_close(s, s.link.epoch)
    if not s.is_link_open:
        link.wait(s, "entitlement", 0)


def doubted(s: State, doubt: m.LinkDoubt) -> None:
    """Frames arrive but nothing proves them new: one quote decides. Of a closed segment nothing is
    expected, and its quotes prove nothing; outside of continuous trading an always-active
    instrument may be silent."""
    is_ours = doubt.epoch == s.link.epoch and s.is_link_open
    is_asking = s.probe.request is not None or s.probe.moved_due_ns
    segment = segment_of(doubt.token)
    is_meant = s.is_open(segment) if doubt.kind == "unproven" else s.is_trading(segment)
    if is_ours and is_meant and not is_asking:
        probe.ask(s, doubt.kind, doubt)


def _doubt_resolved(s: State, kind: ProbeKind, outcome: m.ProbeOutcome) -> None:
    if outcome == "same":
        if s.link.state is LinkState.PRIMING:
            link.became_live(s)  # quiet: the exchange has nothing newer than what we show
    elif outcome == "moved":
        if not s.is_trading(segment_of(s.probe.token)):
            return  # an auction's price may reach a quote and no stream: no proof either way
        s.say("the market moves and the stream does not: connecting anew")
        link.restart(s)
    elif kind == "canary" and s.probe.failures >= 2:
        link.restart(s)
