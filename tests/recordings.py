"""Recordings that tests make by hand: a feed's frames, and files of them."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from kitefeed.protocol import feed as f
from kitefeed.protocol import recording as r
from kitefeed.protocol.feed import FeedMessage, Flag, ShardHealth, Source
from kitefeed.protocol.kite.ticks import FULL, TickBody, pack_depth
from kitefeed.protocol.kite.ticks import DepthLevel as Level
from kitefeed.protocol.recording import Codec, Described, End, Gap, Header, Kind, Type
from kitefeed.protocol.topics import (
    HEARTBEAT_TOPIC,
    NUL,
    STATE_TOPIC,
    snapshot_request,
    tick_topic,
)

S = 1_000_000_000
DAY = "2026-11-30"
NINE_FIFTEEN = 1_796_010_300 * S  # of that day in India
INFY, NIFTY, GOLD = 408065, 256265, 53496327
KEYS = {INFY: "NSE:INFY", NIFTY: "NSE:NIFTY 50", GOLD: "MCX:GOLD26DECFUT"}
DEPTH = pack_depth([Level(10, 1500_00, 2)], [Level(7, 1500_10, 1)])


class Writes:
    """Writes what a broadcaster of one gen and one source publishes, at the times that a test
    says."""

    def __init__(self, gen: int = 7, epoch: int = 3, source: int = Source.WEBSOCKET) -> None:
        self.gen, self.epoch, self.source = gen, epoch, source
        self.seqs: dict[bytes, int] = {}
        self.values: dict[bytes, tuple[int, bytes, int]] = {}
        self.exchange_s = NINE_FIFTEEN // S  # the timestamp of its ticks
        self._requests = 0

    def body(self, token: int, price: int, volume: int = 100) -> TickBody:
        return TickBody(
            token, FULL, 100, price, 1, price, volume, 10, 20, price, price + 5, price - 5, price,
            NINE_FIFTEEN // S, 0, 0, 0, self.exchange_s, DEPTH,
        )  # fmt: skip

    def chunk(
        self, at_ns: int, prices: dict[int, int], *, age_ns: int = 1_000_000, flags: int = 0
    ) -> bytes:
        topics, seqs, bodies = [], [], []
        for token, price in prices.items():
            topic = tick_topic(KEYS.get(token, f"NSE:S{token}"))
            body = f.encode(self.body(token, price))
            seq = self._next(topic)
            self.values[topic] = seq, body, at_ns - age_ns
            topics.append(topic)
            seqs.append(seq)
            bodies.append(body)
        writer = f.TickFrames(self.gen, 0, self.epoch, self.source, at_ns - age_ns, at_ns)
        given = [flags] * len(topics) if flags else []
        return writer.chunk(self._next(b"ticks/all"), topics, seqs, bodies, given)

    def heartbeat(
        self, at_ns: int, feed: str = "live", *, source: int | None = None, fresh: bool = True
    ) -> bytes:
        shard = ShardHealth(
            0, self.source if source is None else source, self.epoch, True, 0, -1, 0, -1,
            1 if fresh else 0,
        )  # fmt: skip
        body = f.Heartbeat(
            self.gen, feed, "websocket", "valid", "", [shard], 0, 0, 0, 0, len(self.values), 1, 0
        )
        return self._own(HEARTBEAT_TOPIC, self._next(HEARTBEAT_TOPIC), body, at_ns)

    def state(self, at_ns: int, feed: str = "live") -> bytes:
        state = f.FeedState(feed=feed, source="websocket", session="valid", reason="")
        return self._own(STATE_TOPIC, self._next(STATE_TOPIC), state, at_ns)

    def snapshot(self, at_ns: int, request: bytes = b"") -> list[bytes]:
        """The answer to a request for all last values."""
        self._requests += 1
        topic = (request or snapshot_request(f"{self._requests:x}", b"")).removesuffix(NUL)
        frames = [
            f.feed_frame(
                name,
                FeedMessage(
                    1, self.gen, 0, self.epoch, seq, self.source, Flag.SNAPSHOT, rx_ns, at_ns,
                    msgspec.Raw(body),
                ),
            )
            for name, (seq, body, rx_ns) in self.values.items()
        ]  # fmt: skip
        bodies: list[object] = [frames] if frames else []
        bodies.append(f.SnapshotEnd(len(frames)))
        return [self._own(topic, n, body, at_ns) for n, body in enumerate(bodies, start=1)]

    def _own(self, topic: bytes, seq: int, body: object, at_ns: int) -> bytes:
        message = FeedMessage(
            1, self.gen, 0, 0, seq, 0, 0, at_ns, at_ns, msgspec.Raw(f.encode(body))
        )
        return f.feed_frame(topic, message)

    def _next(self, topic: bytes) -> int:
        self.seqs[topic] = self.seqs.get(topic, 0) + 1
        return self.seqs[topic]


def described(*tokens: int) -> list[Described]:
    return [Described(token, KEYS[token], 100, token & 0xFF) for token in tokens]


def record_of(item: bytes | Gap, at_ns: int) -> bytes:
    if isinstance(item, Gap):
        return r.encode_record(Type.GAP, at_ns, r.encode(item))
    return r.encode_record(Type.FRAME, at_ns, item)


def segment(
    blocks: Iterable[list[tuple[int, bytes | Gap]]],
    *,
    started_ns: int = NINE_FIFTEEN,
    ended: str = "hour",
    codec: int = Codec.NONE,
    instruments: list[Described] | None = None,
    day: str = DAY,
) -> list[bytes]:
    """The bytes of a segment: its head with the header, then each block. Items of a block: when,
    and a frame or a gap."""
    header = Header(1, day, started_ns, "test", instruments or described(INFY, NIFTY))
    kind = Kind.HEADER
    head = r.encode_block(kind, r.encode(header), started_ns, started_ns, codec)
    parts, last_ns = [r.HEAD + head], started_ns
    for items in blocks:
        payload = b"".join(record_of(item, at_ns) for at_ns, item in items)
        flags = r.HAS_NOTES if any(isinstance(item, Gap) for _, item in items) else 0
        first_ns, last_ns = items[0][0], items[-1][0]
        parts.append(r.encode_block(Kind.RECORDS, payload, first_ns, last_ns, codec, flags))
    if ended:
        parts.append(r.encode_block(Kind.END, r.encode(End(ended)), last_ns, last_ns, 0))
    return parts


def put(directory: Path, parts: Iterable[bytes], at_ns: int = NINE_FIFTEEN, day: str = DAY) -> Path:
    """A file of them, where readers look for it."""
    folder = directory / day
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / r.segment_name(at_ns)
    path.write_bytes(b"".join(parts))
    return path
