"""Measures what `kitefeed top` shows: from the status, from the feed, and from the kernel.

Rates are means over the last five seconds at most. Ticks are counted by their numbers, so a rate is
that of the daemon and not of how fast this program reads.
"""

from collections import deque
from collections.abc import Callable

import msgspec

from kitefeed.cli.process_stats import Usage, usage_of
from kitefeed.client.feed import Feed, Tick
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.errors import KitefeedError
from kitefeed.protocol.feed import Heartbeat, Source
from kitefeed.protocol.messages.status import ActorStatus, ReaderStatus, StatusReport
from kitefeed.protocol.topology import FEED, Role

WINDOW = 6  # samples, one per second
INSTRUMENTS_MAX = 20  # of each kind; a screen shows fewer
OPEN_S = 1.0  # one attempt to open the feed; the screen stands still so long
NAME = "kitefeed top"


class ActorRow(msgspec.Struct):
    """cpu_percent: of one core. lag_ms: how late its loop ran a timer."""

    role: str
    state: str
    pid: int | None
    cpu_percent: float | None
    rss_mb: float | None
    lag_ms: float | None
    heard_age_s: float | None


class SourceRow(msgspec.Struct):
    """One shard, and who feeds it. last_tick_age_s: since the newest value was received.
    frame_age_s: since Kite was heard at all. period_s: REST, how often each is polled."""

    shard: int
    source: str
    is_alive: bool
    epoch: int
    instruments: int
    ticks_per_s: float
    last_tick_age_s: float | None
    frame_age_s: float | None
    canary_age_s: float | None
    period_s: float | None


class Broadcast(msgspec.Struct):
    """The broadcaster; counts are of its present life. queue_max: messages that may wait for one
    subscriber. ZeroMQ tells neither how many do, nor what it dropped for whom, so each program
    counts its own losses (`readers`)."""

    published_per_s: float | None
    conflated_per_s: float | None
    frames_per_s: float | None  # of all sockets to Kite
    published: int
    subscribers: int
    values: int
    lost_batches: int
    fenced: int
    bad_batches: int
    full_queues: int  # how often the queue to some program was full
    queue_max: int = FEED.binder_hwm


class InstrumentRow(msgspec.Struct):
    instrument: str
    ticks_per_s: float
    age_s: float
    last_price: float
    source: str
    is_fresh: bool


class Sample(msgspec.Struct):
    """One look. busiest: by rate; stalest: by age, of those that stream."""

    feed: str
    source: str
    session: str
    reason: str
    epoch: int
    actors: list[ActorRow]
    sources: list[SourceRow]
    broadcast: Broadcast | None
    readers: list[ReaderStatus]
    busiest: list[InstrumentRow]
    stalest: list[InstrumentRow]


class Rates:
    """The rates at which counters rise. A counter that fell was restarted, and begins anew."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[tuple[float, float]]] = {}

    def of(self, name: str, value: float, at_s: float) -> float | None:
        """Return the rate per second; None at the first look."""
        seen = self._seen.setdefault(name, deque(maxlen=WINDOW))
        if seen and value < seen[-1][1]:
            seen.clear()
        if not seen or at_s > seen[-1][0]:
            seen.append((at_s, value))
        (first_s, first), (last_s, last) = seen[0], seen[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else None


class Sampler:
    """`get_status` asks the supervisor; `own_pid` is left out of the readers."""

    def __init__(self, get_status: Callable[[], StatusReport], own_pid: int) -> None:
        self._get_status = get_status
        self._own_pid = own_pid
        self._feed: Feed | None = None
        self._rates = Rates()
        self._seqs: deque[tuple[float, dict[str, tuple[int, int]]]] = deque(maxlen=WINDOW)

    def close(self) -> None:
        if self._feed is not None:
            self._feed.close()

    def look(self) -> Sample:
        """Raises Unavailable when no supervisor answers."""
        report = self._get_status()
        feed = self._feed or self._maybe_open(report)
        ticks = feed.snapshot() if feed else {}
        rates = self._tick_rates(ticks)
        heartbeat = feed.heartbeat if feed else None
        return Sample(
            feed=report.feed,
            source=report.source,
            session=report.session,
            reason=report.reason,
            epoch=report.epoch,
            actors=[self._actor(actor) for actor in report.actors],
            sources=_sources(heartbeat, ticks, rates),
            broadcast=self._broadcast(report, heartbeat),
            readers=[reader for reader in report.readers if reader.pid != self._own_pid],
            busiest=_busiest(ticks, rates),
            stalest=_stalest(ticks, rates),
        )

    def _maybe_open(self, report: StatusReport) -> Feed | None:
        """Open the feed; None while the broadcaster is away. It reads all ticks together, which is
        cheap."""
        try:
            endpoint = report.endpoints[FEED.name]
            self._feed = Feed(endpoint=endpoint, timeout_s=OPEN_S, name=NAME)
        except (KitefeedError, KeyError):
            return None
        return self._feed

    def _actor(self, actor: ActorStatus) -> ActorRow:
        usage: Usage | None = usage_of(actor.pid)
        cpu = None
        if usage is not None:
            cpu = self._rates.of(f"cpu {actor.role} {actor.pid}", usage.cpu_s, boot_ns() / 1e9)
        return ActorRow(
            role=actor.role,
            state=actor.state,
            pid=actor.pid,
            cpu_percent=None if cpu is None else round(cpu * 100, 1),
            rss_mb=None if usage is None else round(usage.rss_mb, 1),
            lag_ms=actor.lag_ms,
            heard_age_s=actor.beat_age_s,
        )

    def _broadcast(self, report: StatusReport, heartbeat: Heartbeat | None) -> Broadcast | None:
        if heartbeat is None:
            return None
        frames = self._counter_rate(report, Role.TICKER, "frames")
        published = self._counter_rate(report, Role.BROADCASTER, "published")
        conflated = self._counter_rate(report, Role.BROADCASTER, "conflated")
        return Broadcast(
            published_per_s=published,
            conflated_per_s=conflated,
            frames_per_s=frames,
            published=heartbeat.published,
            subscribers=heartbeat.subscribers,
            values=heartbeat.values,
            lost_batches=heartbeat.lost_batches,
            fenced=heartbeat.fenced,
            bad_batches=heartbeat.bad_batches,
            full_queues=heartbeat.full_queues,
        )

    def _counter_rate(self, report: StatusReport, role: Role, name: str) -> float | None:
        """Return the rate of a counter, which came with an actor's beat and is as old as that."""
        for actor in report.actors:
            if actor.role == role and name in actor.counters and actor.beat_age_s is not None:
                at_s = boot_ns() / 1e9 - actor.beat_age_s
                key = f"{role} {actor.pid} {name}"
                rate = self._rates.of(key, actor.counters[name], at_s)
                return None if rate is None else round(rate, 1)
        return None

    def _tick_rates(self, ticks: dict[str, Tick]) -> dict[str, float]:
        now_s = boot_ns() / 1e9
        self._seqs.append((now_s, {key: (tick.gen, tick.seq) for key, tick in ticks.items()}))
        first_s, first = self._seqs[0]
        if now_s <= first_s:
            return {}
        rates = {}
        for key, (gen, seq) in self._seqs[-1][1].items():
            gen_before, before = first.get(key, (gen, seq))
            rises = seq - before if gen == gen_before else 0
            rates[key] = max(0, rises) / (now_s - first_s)
        return rates


def _sources(
    heartbeat: Heartbeat | None, ticks: dict[str, Tick], rates: dict[str, float]
) -> list[SourceRow]:
    rows = []
    for health in heartbeat.shards if heartbeat else []:
        own = [t for t in ticks.values() if (t.shard, t.epoch) == (health.shard, health.epoch)]
        newest = max(own, key=lambda tick: tick.t_rx_ns, default=None)
        rows.append(
            SourceRow(
                shard=health.shard,
                source=Source(health.source).name.lower(),
                is_alive=health.is_alive,
                epoch=health.epoch,
                instruments=len(own),
                ticks_per_s=round(sum(rates.get(tick.instrument, 0.0) for tick in own), 1),
                last_tick_age_s=None if newest is None else round(newest.age_s, 2),
                frame_age_s=_seconds(health.frame_age_ns),
                canary_age_s=_seconds(health.canary_age_ns),
                period_s=_seconds(health.period_ns or -1),
            )
        )
    return rows


def _busiest(ticks: dict[str, Tick], rates: dict[str, float]) -> list[InstrumentRow]:
    moving = sorted((key for key in rates if rates[key] > 0), key=lambda key: -rates[key])
    return [_instrument(ticks[key], rates) for key in moving[:INSTRUMENTS_MAX]]


def _stalest(ticks: dict[str, Tick], rates: dict[str, float]) -> list[InstrumentRow]:
    oldest_first = sorted(ticks.values(), key=lambda tick: tick.t_rx_ns)
    found: list[InstrumentRow] = []
    for tick in oldest_first:
        if len(found) == INSTRUMENTS_MAX:
            break
        if tick.source != "cache":
            found.append(_instrument(tick, rates))
    return found


def _instrument(tick: Tick, rates: dict[str, float]) -> InstrumentRow:
    return InstrumentRow(
        instrument=tick.instrument,
        ticks_per_s=round(rates.get(tick.instrument, 0.0), 1),
        age_s=round(tick.age_s, 1),
        last_price=tick.last_price,
        source=tick.source,
        is_fresh=tick.is_fresh,
    )


def _seconds(ns: int) -> float | None:
    return round(ns / 1e9, 2) if ns >= 0 else None
