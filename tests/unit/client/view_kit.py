"""A view with a clock of its own, and the messages a broadcaster would send it."""

from typing import Protocol

import msgspec

from kitefeed.actors.broadcaster.fence import Fence, Holding
from kitefeed.actors.broadcaster.judge import judge
from kitefeed.client.tick import Staleness, Tick
from kitefeed.client.view import View
from kitefeed.protocol import feed as f
from kitefeed.protocol.feed import FeedMessage, FeedState, Heartbeat, Source
from kitefeed.protocol.kite.ticks import FULL, DepthLevel, TickBody, pack_depth
from kitefeed.protocol.topics import HEARTBEAT_TOPIC, snapshot_request, tick_topic

REQUEST = snapshot_request("ab", b"tick/")
S = 1_000_000_000
UTC = 1_790_000_000 * S
INFY = "NSE:INFY"
DEPTH = pack_depth([DepthLevel(10, 150_000, 2)], [DepthLevel(20, 150_050, 3)])


class HasView(Protocol):
    @property
    def view(self) -> View: ...

    @property
    def now_ns(self) -> int: ...


class Judged:
    """Judges ticks by a view whose clock is virtual."""

    def __init__(self, reader: HasView) -> None:
        self._reader = reader

    def why_stale(self, tick: Tick) -> Staleness:
        return self._reader.view.why_stale(tick, self._reader.now_ns)

    def has_source(self, tick: Tick) -> bool:
        return self._reader.view.has_source(tick, self._reader.now_ns)


class Reader:
    """A view with a clock, and the messages a broadcaster would send it."""

    def __init__(
        self,
        wanted: frozenset[str] | None = None,
        max_age_s: float | None = 2.0,
        is_remote: bool = False,
    ) -> None:
        self.now_ns = 1_000 * S
        self.step_ns = 0  # of the wall clock
        self.gen = 1
        self.view = View(Judged(self), wanted, max_age_s=max_age_s, is_remote=is_remote)
        self._heartbeat_seq = 0

    @property
    def utc_ns(self) -> int:
        return self.now_ns + UTC + self.step_ns

    def message(self, body: object, **fields: int) -> FeedMessage:
        defaults = {
            "gen": self.gen, "shard": 0, "epoch": 7, "seq": 1, "source": Source.WEBSOCKET,
            "flags": 0, "t_rx_ns": self.utc_ns, "t_pub_ns": self.utc_ns,
        }  # fmt: skip
        raw = msgspec.Raw(f.encode(body))
        return FeedMessage(v=f.VERSION, body=raw, **{**defaults, **fields})

    def frame(self, key: str = INFY, price: int = 150_000, **fields: int) -> bytes:
        body = TickBody(408065, FULL, 100, price, close=120_000, depth=DEPTH)
        return f.feed_frame(tick_topic(key), self.message(body, **fields))

    def tick(self, key: str = INFY, price: int = 150_000, **fields: int) -> None:
        self.apply(self.frame(key, price, **fields))

    def apply(self, frame: bytes) -> None:
        self.view.apply(frame, self.now_ns, self.utc_ns)

    def heartbeat(
        self,
        *,
        feed: str = "live",
        source: str = "websocket",
        granted: Source = Source.WEBSOCKET,
        epoch: int = 7,
        is_alive: bool = True,
        period_ns: int = 0,
        sent_ago_ns: int = 0,
        closed: list[int] | None = None,
        fresh_shards: list[int] | None = None,
        loss_age_ns: int = -1,
        full_queues: int = 0,
        held_segments: tuple[int, ...] = (),
    ) -> None:
        self._heartbeat_seq += 1
        sent_ns = self.now_ns - sent_ago_ns
        held = Holding(
            epoch, granted, period_ns=period_ns,
            heard_ns=sent_ns if is_alive else 0, frame_ns=sent_ns, value_ns=sent_ns,
            loss_ns=0 if loss_age_ns < 0 else sent_ns - loss_age_ns,
            held_segments=[*held_segments],
        )  # fmt: skip
        fence = Fence()
        fence.holdings[0] = held
        words = FeedState(feed, source, closed_segments=closed or [], fresh_shards=fresh_shards)
        shards = judge(fence, words, sent_ns, self.utc_ns - sent_ago_ns)
        body = Heartbeat(self.gen, feed, source, "valid", "", shards, 0, 0, 0, 0, 0, 1, 0,
                         words.closed_segments, fresh_shards, full_queues)  # fmt: skip
        message = self.message(
            body, seq=self._heartbeat_seq, source=0, t_pub_ns=self.utc_ns - sent_ago_ns
        )
        self.apply(f.feed_frame(HEARTBEAT_TOPIC, message))

    def value(self, key: str = INFY) -> Tick:
        return self.view.values[key]
