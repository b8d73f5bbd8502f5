"""What a quote says about a socket: why it was refused, whether a stream is alive, whether the plan
has data at all."""

from kitefeed.actors.supervisor import dial, link, probe, session
from kitefeed.actors.supervisor.facts import (
    REFUSALS_BEFORE_REST,
    SOCKET_REFUSED_RETRY_NS,
    LinkState,
    ProbeKind,
    Shard,
)
from kitefeed.actors.supervisor.state import State
from kitefeed.protocol import messages as m
from kitefeed.protocol.kite.ticks import segment_of

UNANSWERED_MAX = 2  # quotes that could not be had about a silent canary: then it is not waited for


def advance(s: State) -> None:
    """Takes what the probe left in this step; asks about the next stream that is in doubt."""
    answer, s.probe_news = s.probe_news, None
    if answer is not None:
        _hear(s, *answer)
    for shard in s.shards:
        doubt = shard.link.doubt
        if doubt is None or _is_asking(s):
            continue
        if _is_meant(s, doubt):
            probe.ask(s, doubt.kind, doubt)
        else:
            shard.link.doubt = None


def _is_asking(s: State) -> bool:
    return s.probe.request is not None or s.probe.moved_due_ns > 0


def _hear(s: State, kind: ProbeKind, outcome: m.ProbeOutcome) -> None:
    """What a quote said about a refused socket, a doubtful stream, or a plan without data."""
    shard = s.shard_of(s.probe.epoch)
    if shard is not None:
        shard.link.doubt = None
    if outcome == "token":
        _session_died(s, kind, shard)
    elif kind == "classify":
        _classified(s, outcome)
    elif kind == "entitlement":
        if outcome in ("same", "moved"):
            s.has_no_entitlement = False
            s.parked.discard(s.session.fingerprint or "")
            dial.retry_now(s)
    elif shard is not None:
        _doubt_resolved(s, shard, kind, outcome)


def _session_died(s: State, kind: ProbeKind, shard: Shard | None) -> None:
    """A quote met a dead session. A stream of that session that was in doubt is no better, so it is
    closed; of one that uses another session (the new login is refused) the quote says nothing."""
    session.refused_elsewhere(s, s.session.fingerprint, "a quote was refused")
    if shard is not None:
        if shard.link.fingerprint != s.session.fingerprint:
            _doubt_resolved(s, shard, kind, "network")
            return
        dial.hang_up(s, shard)
    waits_for = s.dial.cause if s.dial.state is LinkState.WAITING else ""
    is_affected = shard is not None or waits_for == "entitlement"
    if waits_for != "session" and (is_affected or s.dial.state is LinkState.CLASSIFYING):
        s.has_no_entitlement = False
        dial.wait(s, "session", s.ladders.session.next_ns())


def _classified(s: State, outcome: m.ProbeOutcome) -> None:
    """A 403 whose session is good: a plan without data, or a refusal of the socket alone."""
    if s.dial.state is not LinkState.CLASSIFYING:
        return
    if outcome == "permission":
        no_entitlement(s)
    else:
        s.is_socket_refusal = True
        is_rest_due = s.consecutive_403 >= REFUSALS_BEFORE_REST
        wait_ns = SOCKET_REFUSED_RETRY_NS if is_rest_due else s.ladders.socket.next_ns()
        dial.wait(s, "socket", wait_ns)


def no_entitlement(s: State) -> None:
    """Neither source can work: say it once, ask again every 15 minutes."""
    s.has_no_entitlement = True
    if s.closed:
        dial.wait(s, "entitlement", 0)


def doubted(s: State, doubt: m.LinkDoubt) -> None:
    """Frames arrive but nothing proves them new: one quote decides (`advance`)."""
    shard = s.shard_of(doubt.epoch)
    is_asked = s.probe.epoch == doubt.epoch and _is_asking(s)
    if shard is not None and not is_asked:
        shard.link.doubt, shard.link.doubted_ns = doubt, s.now_ns


def _is_meant(s: State, doubt: m.LinkDoubt) -> bool:
    """Of a closed segment nothing is expected, and its quotes prove nothing; outside of continuous
    trading an always-active instrument may be silent."""
    segment = segment_of(doubt.token)
    return s.is_open(segment) if doubt.kind == "unproven" else s.is_trading(segment)


def _doubt_resolved(s: State, shard: Shard, kind: ProbeKind, outcome: m.ProbeOutcome) -> None:
    if outcome not in ("same", "moved"):
        shard.link.unanswered += kind == "canary"
        if shard.link.unanswered >= UNANSWERED_MAX:
            link.restart(s, shard)
        return
    shard.link.unanswered = 0
    if outcome == "same":
        if shard.link.state is LinkState.PRIMING:
            link.became_live(s, shard)  # quiet: the exchange has nothing newer than what we show
    elif s.is_trading(segment_of(s.probe.token)):  # an auction's price reaches quotes, no streams
        s.say("the market moves and the stream does not: connecting anew")
        link.restart(s, shard)
