"""Acts on what a quote says about a socket: why it was refused, whether a stream is alive, whether
the plan has data at all."""

from typing import Literal

from kitefeed.actors.supervisor import closing, dial, link, probe, rest, session
from kitefeed.actors.supervisor.facts import (
    FUTILE_AGAIN_NS,
    ProbeKind,
    Shard,
    SocketState,
)
from kitefeed.actors.supervisor.news import Classified, QuoteAnswered, SessionDied
from kitefeed.actors.supervisor.state import State
from kitefeed.protocol.kite.ticks import segment_of
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.topology import Role

UNANSWERED_MAX = 2  # after so many quotes that could not be had, a silent stream is given up


def advance(s: State) -> None:
    """Take the probe's answer of this step; ask about the next stream that is in doubt."""
    answer = s.take(QuoteAnswered)
    if answer is not None:
        _hear(s, answer.kind, answer.outcome)
    for shard in s.shards:
        doubt = shard.link.doubt
        if doubt is None or _is_asking(s):
            continue
        # Of a closed segment nothing is expected, and its quotes prove nothing; outside of
        # continuous trading an always-active instrument may be silent.
        segment = segment_of(doubt.token)
        can_tell = s.is_open(segment) if doubt.kind == "unproven" else s.is_trading(segment)
        if can_tell:
            probe.ask(s, doubt.kind, doubt)
        else:
            shard.link.doubt = None


def _is_asking(s: State) -> bool:
    return s.probe.request is not None or s.probe.moved_due_ns > 0


def _hear(s: State, kind: ProbeKind, outcome: m.ProbeOutcome) -> None:
    """Apply what a quote said: classify a 403, settle a doubt, or judge a plan without data."""
    shard = s.shard_of(s.probe.epoch)
    doubt = shard.link.doubt if shard is not None else None
    if shard is not None:
        shard.link.doubt = None
    if outcome == "token":
        _session_died(s, shard, doubt)
    elif kind == "classify":
        dial.hear(s, Classified(outcome))
    elif kind == "entitlement":
        if outcome in ("same", "moved"):
            rest.unpark(s, s.session.fingerprint)
            dial.has_plan(s)
    elif shard is not None and doubt is not None:
        _doubt_resolved(s, shard, doubt, outcome)
        if outcome == "same" and doubt.kind == "canary":
            _settle_alike(s, doubt)


def _settle_alike(s: State, settled: m.LinkDoubt) -> None:
    """Answer other sockets that ask about the same canary, too, if they had the same price of it
    and ask about no other volume. Quotes are few: while they are slow, one would not count any more
    before the next."""
    for shard in s.shards:
        doubt = shard.link.doubt
        if (
            doubt is not None
            and (doubt.kind, doubt.token) == (settled.kind, settled.token)
            and doubt.last_price == settled.last_price
            and doubt.volume_traded in (None, settled.volume_traded)
        ):
            shard.link.doubt = None
            _doubt_resolved(s, shard, doubt, "same")


def _session_died(s: State, shard: Shard | None, doubt: m.LinkDoubt | None) -> None:
    """Apply a quote that met a dead session. A doubtful stream of that session is no better, so it
    is closed. The quote says nothing of a stream that ticks, or uses another session (the new login
    is refused)."""
    session.refused_elsewhere(s, s.session.fingerprint, "a quote was refused")
    if shard is not None and doubt is not None:
        if shard.link.fingerprint != s.session.fingerprint or _is_ticking(shard, doubt):
            _doubt_resolved(s, shard, doubt, "network")
            return
        closing.hang_up(s, shard)
    dial.hear(s, SessionDied(is_doubted=doubt is not None))


def forget(s: State) -> None:
    """Forget the question: there is another session, of which its answer says nothing."""
    shard = s.shard_of(s.probe.epoch)
    if shard is not None:
        shard.link.doubt = None
    probe.forget(s)


def doubted(s: State, doubt: m.LinkDoubt) -> None:
    """Note a stream whose frames nothing proves to be new: one quote decides (`advance`)."""
    shard = s.shard_of(doubt.epoch)
    is_asked = s.probe.epoch == doubt.epoch and _is_asking(s)
    if shard is not None and not is_asked:
        link = shard.link
        if shard.fresh_ns > link.doubted_ns:  # another silence
            link.unanswered = 0
        link.doubt, link.doubted_ns = doubt, s.now_ns


def _is_ticking(shard: Shard, doubt: m.LinkDoubt) -> bool:
    """Whether something on the socket has ticked since: then it stays, whatever quotes say."""
    return doubt.is_alone or shard.fresh_ns > shard.link.doubted_ns


def _doubt_resolved(s: State, shard: Shard, doubt: m.LinkDoubt, outcome: m.ProbeOutcome) -> None:
    is_auction = outcome == "moved" and not s.is_trading(segment_of(doubt.token))
    if is_auction:  # an auction's price reaches quotes, no streams
        return
    if outcome == "input":
        _settle(s, shard, doubt, "lacking")
    if doubt.is_alone:
        if outcome in ("same", "moved"):
            _settle(s, shard, doubt, outcome)
    elif outcome == "same":
        shard.link.unanswered = 0
        if not _is_ticking(shard, doubt):
            _settle(s, shard, doubt, "same")
        if shard.link.state is SocketState.PRIMING:
            link.became_live(s, shard)  # quiet: the exchange has nothing newer than what we show
    elif outcome == "moved":
        shard.link.unanswered = 0
        _moved(s, shard, doubt)
    elif doubt.kind == "canary" and not _is_ticking(shard, doubt):
        shard.link.unanswered += 1  # quotes that could not be had: two end a silent stream, once
        are_enough = shard.link.unanswered >= UNANSWERED_MAX
        if are_enough and _may_restart_again(s, shard, FUTILE_AGAIN_NS):
            _restart(s, shard)


def _settle(
    s: State, shard: Shard, doubt: m.LinkDoubt, outcome: Literal["same", "moved", "lacking"]
) -> None:
    verdict = m.DoubtSettled(shard.number, shard.link.epoch, doubt.token, outcome)
    s.send(Role.TICKER, verdict)


def _moved(s: State, shard: Shard, doubt: m.LinkDoubt) -> None:
    """Act on a quote with another price. If the socket before said the same as this one, a new one
    would do so, too: a settlement price reaches quotes, and no stream."""
    if _is_futile(s, shard, doubt):
        _settle(s, shard, doubt, "moved")
    else:
        s.say("the market moves and the stream does not: connecting anew")
        _restart(s, shard)
    shard.contradicted[doubt.token] = s.probe.last_price


def _is_futile(s: State, shard: Shard, doubt: m.LinkDoubt) -> bool:
    if not doubt.is_unchanged or _may_restart_again(s, shard, 0):
        return False
    is_known = shard.contradicted.get(doubt.token) == s.probe.last_price
    return is_known or not _may_restart_again(s, shard, FUTILE_AGAIN_NS)


def _may_restart_again(s: State, shard: Shard, after_ns: int) -> bool:
    """Whether the last restart was `after_ns` ago (0: never long enough), or was of use: something
    has ticked since."""
    has_ticked = shard.fresh_ns >= shard.restarted_ns
    return has_ticked or (after_ns > 0 and s.now_ns - shard.restarted_ns >= after_ns)


def _restart(s: State, shard: Shard) -> None:
    shard.restarted_ns = s.now_ns
    link.restart(s, shard)
