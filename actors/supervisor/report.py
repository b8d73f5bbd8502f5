"""The status report, built from the machine's state and its surroundings."""

from dataclasses import dataclass, field

import msgspec

from kitefeed.actors.policy.market import name_of
from kitefeed.actors.supervisor import headline, held, order_book
from kitefeed.actors.supervisor.facts import DialState, SessionFacts, Shard
from kitefeed.actors.supervisor.roster import Member, Roster
from kitefeed.actors.supervisor.state import State
from kitefeed.actors.supervisor.subscriptions import Subscriptions
from kitefeed.protocol.messages.status import (
    ActorStatus,
    ReaderStatus,
    SessionStatus,
    ShardStatus,
    StatusReport,
    Target,
    TcpAddress,
)
from kitefeed.protocol.topology import Role


@dataclass(frozen=True)
class Surroundings:
    """Facts about this process and its settings. `config`: digests of the files. `build`: of this
    installation, from which all processes start."""

    pid: int = 0
    version: str = ""
    endpoints: dict[str, str] = field(default_factory=dict)
    config: dict[str, str] = field(default_factory=dict)
    target: Target | None = None
    tcp_feed: TcpAddress | None = None
    build: str = ""


def status(
    s: State,
    subscriptions: Subscriptions,
    roster: Roster,
    around: Surroundings,
    now_ns: int,
    counters: dict[str, int] | None = None,
    readers: list[ReaderStatus] | None = None,
) -> StatusReport:
    """Build `kitefeed status --json`. `now_ns`: boot time, because the machine's clock stands
    between events. `counters`: the supervisor's own."""
    s.begin(now_ns)
    state = headline.derive(s)
    broadcaster = roster.members.get(Role.BROADCASTER)
    ticker = roster.members.get(Role.TICKER)
    next_open = s.market.next_open(s.segments, s.utc_ns)
    return StatusReport(
        feed=state.feed,
        source=state.source,
        session=state.session,
        override=state.override,
        reason=state.reason,
        since_utc_s=state.since_utc_ns / 1e9,
        epoch=state.epoch,
        consecutive_403=state.consecutive_403,
        retry_in_s=state.retry_in_s,
        user_id=state.user_id,
        user_name=state.user_name,
        standby=s.standby.word,
        market=_market(s),
        next_open=next_open.isoformat() if next_open else None,
        subscriptions=subscriptions.counts(now_ns),
        subscribers=broadcaster.beat.subscribers if broadcaster else 0,
        last_tick_age_s=_last_tick_age_s(s, ticker),
        last_outage=s.outage,
        endpoints=around.endpoints,
        actors=[
            ActorStatus(Role.SUPERVISOR, "up", around.pid, 0.0, counters=counters or {}),
            *roster.report(now_ns),
        ],
        version=around.version,
        shards=[_shard(s, shard, subscriptions) for shard in s.used],
        readers=readers or [],
        sessions=_sessions(s.session),
        config=around.config,
        target=around.target,
        tcp_feed=around.tcp_feed,
        instrument_list=msgspec.structs.replace(s.list, kept=dict(subscriptions.kept)),
        held=held.status(s),
        elsewhere_utc_s=s.session.elsewhere_utc_ns / 1e9 or None,
        orders_unread=order_book.condition(s),
        build=around.build,
    )


def _sessions(facts: SessionFacts) -> list[SessionStatus]:
    return [
        SessionStatus(each, facts.word, True, facts.detail)
        if each == facts.fingerprint
        else SessionStatus(
            each, "refused" if each in facts.refused else "unknown", False,
            facts.refused.get(each, ""),
        )
        for each in facts.candidates
    ]  # fmt: skip


def _shard(s: State, shard: Shard, subscriptions: Subscriptions) -> ShardStatus:
    is_other_tried = s.dial.state is DialState.CONNECTING and s.dial.shard != shard.number
    # What a shard without a socket shows: the others wait while one of them is tried.
    attempt = DialState.WAITING if is_other_tried else s.dial.state
    return ShardStatus(
        shard=shard.number,
        state=shard.link.state if shard.is_open else attempt,
        source=shard.grant.source,
        epoch=shard.grant.epoch,
        instruments=len(shard.instruments),
        confirmed=subscriptions.confirmations.confirmed_of(shard.number),
    )


def _market(s: State) -> dict[str, str]:
    """Return segment of a wanted instrument -> its phase; "open" where ticks overrule the
    calendar."""
    return {
        name_of(segment): "open" if s.is_overruled else s.market.phase(segment, s.utc_ns)
        for segment in sorted(s.segments)
    }


def _last_tick_age_s(s: State, ticker: Member | None) -> float | None:
    """Return the seconds since the newest tick: of the ticker's last beat, and of what it told
    between two beats. A socket's first tick makes the feed live a second before a beat knows."""
    last_ns = s.fresh_ns
    if ticker is not None and ticker.beat.last_tick_age_ns >= 0:
        last_ns = max(last_ns, ticker.heard_ns - ticker.beat.last_tick_age_ns)
    return round((s.now_ns - last_ns) / 1e9, 2) if last_ns else None
