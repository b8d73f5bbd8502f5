"""The messages of the data path: ingest batches (source to broadcaster) and feed frames
(broadcaster to programs).

Arrays, append-only: fields are added at the end with a default, never moved, never retyped.
docs/wire-format.md is the public description; tests/golden holds committed bytes.

The tick body is encoded once, at the source. The broadcaster carries it as `msgspec.Raw` and never
decodes it.
"""

from enum import IntEnum, IntFlag
from typing import Annotated

import msgspec

from kitefeed.protocol.kite.ticks import DEPTH_BYTES, TickBody
from kitefeed.protocol.topics import NUL, TICKS_TOPIC

VERSION = 1
HEARTBEAT_HOLDS_NS = 2_500_000_000  # two missed, and half a second for a busy host
# A frame beyond ~128 kB costs page faults, and its first tick waits for its last to be decoded.
TICKS_PER_CHUNK_MAX = 256


class Source(IntEnum):
    """The kind of place that a value was obtained from."""

    NONE = 0
    WEBSOCKET = 1
    REST = 2
    REPLAY = 3  # a recording, of whatever it once came from


class Flag(IntFlag):
    """Facts about one message, OR-ed together."""

    SNAPSHOT = 1  # part of the answer to a snapshot request
    REPLAY = 2  # sent again, with its old seq, because somebody subscribed
    CACHED = 4  # loaded from disk: older than this broadcaster
    STALE = 8  # its source no longer held the grant, or streamed it, when this was sent
    FIRST_PACKET = 16  # the exchange's cached packet after a subscribe, not a new event


class Item(msgspec.Struct, array_like=True, gc=False):
    """One message of a batch: its topic (no NUL), `Flag`s known at the source, its encoded body.
    With STALE and no body (nil) it says that this instrument is streamed no more."""

    topic: bytes
    flags: int
    body: msgspec.Raw


class OrderBook(msgspec.Struct, array_like=True, gc=False):
    """Every order of the day of the account `user_id`, as Kite's order book has it. `reading`: the
    number of the `ReadOrders` that asked for it."""

    reading: int
    user_id: str
    orders: list[Item]


class IngestBatch(msgspec.Struct, array_like=True, gc=False):
    """Everything decoded from one Kite frame or one REST answer, in order. One ZeroMQ frame.

    Ticks of a stream come as columns, which cost a tenth of what `Item`s do: `topics`, the encoded
    `bodies`, and `flags`, empty when all are zero. All else comes as `items`; never both. A batch
    with neither is a beat: the source is alive and tells how old its last frame is.
    `batch_seq` counts from 1 inside one epoch. Boot-time nanoseconds, comparable on one host.
    `canary_boot_ns` is when a stream that carries something always active was last proven, by a
    tick of anything or by a quote; 0 where nothing is. `held_segments` (low bytes of tokens): their
    values are stale, because an always-active one of them is silent while others tick.
    `period_ns`: how often the source promises a fresh value; 0 for a stream.
    `book`: the order book, asked for at `received_boot_ns`; with nothing else, and of no shard.
    """

    v: int
    shard: int
    epoch: int
    source: int
    batch_seq: int
    received_boot_ns: int
    last_frame_boot_ns: int
    canary_boot_ns: int
    period_ns: int
    items: list[Item]
    topics: list[bytes] = []
    bodies: list[bytes] = []
    flags: list[int] = []
    held_segments: list[int] = []
    book: OrderBook | None = None


class FeedMessage(msgspec.Struct, array_like=True, gc=False):
    """The msgpack array behind `topic NUL` of a feed frame.

    gen: the broadcaster's life, strictly rising (wall clock ns at its start). seq: counts from 1
    per topic inside one gen; 0 where nothing is counted. Times are UTC epoch nanoseconds.
    """

    v: int
    gen: int
    shard: int
    epoch: int
    seq: int
    source: int
    flags: int
    t_rx_ns: int
    t_pub_ns: int
    body: msgspec.Raw


class ReceivedBody(TickBody):
    """A `TickBody` that is only decoded when its depth can be unpacked."""

    depth: Annotated[bytes, msgspec.Meta(min_length=DEPTH_BYTES, max_length=DEPTH_BYTES)] | None = (
        None
    )


class TickChunk(msgspec.Struct, array_like=True):
    """Body of `ticks/all`: up to TICKS_PER_CHUNK_MAX ticks as columns, in order. `seqs` are those
    of the ticks' own topics; `flags` is empty when all are zero."""

    topics: list[bytes]
    seqs: list[int]
    bodies: list[ReceivedBody]
    flags: list[int] = []


class EncodedChunk(TickChunk):
    """A `TickChunk` with its bodies as they came, each to be decoded by `decode_body`."""

    bodies: list[msgspec.Raw]  # type: ignore[assignment]


class ChunkMessage(FeedMessage):
    """A `FeedMessage` of `ticks/all`, decoded but for the bodies."""

    body: EncodedChunk  # type: ignore[assignment]


class SnapshotEnd(msgspec.Struct):
    """Body of the last answer to a snapshot request (a map); the ones before it are arrays of
    binaries, each a whole feed frame (`topic NUL array`) with the SNAPSHOT flag set."""

    count: int


class SegmentHealth(msgspec.Struct, array_like=True):
    """A segment (low byte of a token) whose values count as fresh from another time than those of
    its shard, and only if they are news (no FIRST_PACKET). Its market is closed by the calendar; or
    an always-active instrument of it is silent while others tick, and then no value is fresh."""

    segment: int
    fresh_since_ns: int  # as in ShardHealth


class ShardHealth(msgspec.Struct, array_like=True):
    """One shard in a heartbeat: who may feed it, how alive that source is, and since when its
    values count as fresh, at send time."""

    shard: int
    source: int
    epoch: int
    is_alive: bool  # the granted source is heard and its own upstream is heard
    frame_age_ns: int  # since the source last heard from Kite
    canary_age_ns: int  # since a stream with an always-active instrument was proven; -1 without one
    period_ns: int  # REST: how often values are polled; 0 for a stream
    # Since batches of ticks were lost on the way to the broadcaster, -1 for never under this grant:
    # an older value may not be the latest. It is asked for anew.
    loss_age_ns: int = -1
    # The result of all this and of the headline, for as long as a heartbeat holds: values of this
    # source (same epoch) that were received at this time or later are fresh. UTC; 0 for none.
    fresh_since_ns: int = 0
    segments: list[SegmentHealth] = []


class Heartbeat(msgspec.Struct):
    """Body of `hb/feed`, one per second. A map, so that a reader may pick fields by name."""

    gen: int
    feed: str
    source: str
    session: str
    reason: str
    shards: list[ShardHealth]
    published: int
    fenced: int
    lost_batches: int
    bad_batches: int
    values: int
    subscribers: int
    supervisor_age_ns: int  # since the supervisor was last heard; the words above are as old
    # Segments (low byte of a token) that the calendar has closed.
    closed_segments: list[int] = []
    # Shards whose values may be fresh although `feed` is the word for the worst; None: not told.
    fresh_shards: list[int] | None = None
    # How often the queue to some reader was full: that reader lost the next messages. A reader that
    # had much to read when this rose may be the one; for a quiet instrument no gap would tell it.
    full_queues: int = 0


class FeedState(msgspec.Struct):
    """Body of `state/feed`: the supervisor's picture, sent when it changes and on subscribe.

    feed, source, session, override: the closed lists of ARCHITECTURE.md. since_utc_ns: when `feed`
    took its value. retry_in_s: seconds from `at_utc_ns` to the next attempt, None when none is due.
    closed_segments, fresh_shards: see Heartbeat.
    """

    feed: str = "stale"
    source: str = "none"
    session: str = "unknown"
    override: str = "auto"
    reason: str = "starting"
    since_utc_ns: int = 0
    at_utc_ns: int = 0
    epoch: int = 0
    consecutive_403: int = 0
    retry_in_s: float | None = None
    user_id: str | None = None
    user_name: str | None = None
    closed_segments: list[int] = []
    fresh_shards: list[int] | None = None


class OrderUpdate(msgspec.Struct):
    """Body of `order/<order_id>`: Kite's order object as it came, undocumented fields included. The
    `source` of its message tells whether Kite sent it, or its order book had it."""

    data: dict[str, object]


class Notice(msgspec.Struct):
    """Body of `notice/message` and `notice/error`: a sentence of the broker or of Kite."""

    kind: str
    text: str


_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
decode_batch = msgspec.msgpack.Decoder(IngestBatch).decode
decode_feed_message = msgspec.msgpack.Decoder(FeedMessage).decode
decode_heartbeat = msgspec.msgpack.Decoder(Heartbeat).decode
decode_body = msgspec.msgpack.Decoder(ReceivedBody).decode
decode_chunk_message = msgspec.msgpack.Decoder(ChunkMessage).decode
decode_state = msgspec.msgpack.Decoder(FeedState).decode
decode_order = msgspec.msgpack.Decoder(OrderUpdate).decode
decode_notice = msgspec.msgpack.Decoder(Notice).decode
decode_snapshot_chunk = msgspec.msgpack.Decoder(list[bytes] | SnapshotEnd).decode


def feed_frame(topic: bytes, message: FeedMessage) -> bytes:
    """Return the one ZeroMQ frame of a feed message: `topic NUL array`."""
    return topic + NUL + _encoder.encode(message)


class TickFrames:
    """Writes the feed frames of one batch of ticks, byte by byte: what is the same for all is
    encoded once, and no body is touched (0.2 us a frame; a `FeedMessage` encoded anew takes 0.5).
    """

    def __init__(
        self, gen: int, shard: int, epoch: int, source: int, t_rx_ns: int, t_pub_ns: int
    ) -> None:
        head = b"".join(map(encode, (VERSION, gen, shard, epoch)))
        self.before_seq = b"\x9a" + head + b"\xce"  # then the seq, as a 32-bit number
        self._source = encode(source)
        self._times = encode(t_rx_ns) + encode(t_pub_ns)

    def after_seq(self, flags: int) -> bytes:
        """Return the bytes between the seq and the body."""
        return self._source + encode(flags) + self._times

    def one(self, topic: bytes, seq: int, flags: int, body: bytes) -> bytes:
        """Return the frame of one message."""
        number = seq.to_bytes(4, "big")
        return b"".join((topic, NUL, self.before_seq, number, self.after_seq(flags), body))

    def chunk_head(self, seq: int) -> bytes:
        """Return the frame of `ticks/all` up to its body."""
        number = seq.to_bytes(4, "big")
        return b"".join((TICKS_TOPIC, NUL, self.before_seq, number, self.after_seq(0)))

    def chunk(
        self, seq: int, topics: list[bytes], seqs: list[int], bodies: list[bytes], flags: list[int]
    ) -> bytes:
        """Return the frame of `ticks/all`: a `TickChunk` around bodies that are encoded already."""
        return b"".join(
            (
                self.chunk_head(seq), b"\x94", encode(topics), encode(seqs),
                b"\xdc", len(bodies).to_bytes(2, "big"), *bodies, encode(flags),
            )
        )  # fmt: skip


def split_frame(frame: bytes) -> tuple[bytes, bytes]:
    """Split a feed frame into topic (no NUL) and array; an empty array when there is no NUL."""
    topic, _, array = frame.partition(NUL)
    return topic, array


# What a decoder may raise on hostile bytes: wrong shapes, invalid UTF-8, 100 kB of nested arrays.
DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
