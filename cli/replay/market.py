"""A recorded day as the simulator's market."""

import datetime
from collections.abc import Iterator

from kitefeed.client.recording import Recording
from kitefeed.protocol import feed as f
from kitefeed.protocol.kite.ticks import SEGMENT_INDICES
from kitefeed.protocol.recording import Described, Type
from kitefeed.protocol.topics import SNAPSHOT, TICKS_TOPIC
from kitefeed.simulator.listings import Listing
from kitefeed.simulator.replayed import RecordedMarket, TickBatch


def recorded_market(
    date: str, since: str | None, directory: str | None, speed: float | None
) -> RecordedMarket:
    """Make the market of a recorded day. Raises BadInput and ConfigError, as `Recording`."""
    recording = Recording(date, dir=directory, since=since)
    listings = [_listing(each) for each in recording.instruments]
    return RecordedMarket(listings, _messages(recording), speed, recording.since_ns)


def _messages(recording: Recording) -> Iterator[TickBatch]:
    seen: dict[bytes, tuple[int, int]] = {}
    for record in recording.records():
        if record.type != Type.FRAME:
            continue
        try:
            found = _ticks(record.data, seen)
        except f.DECODE_ERRORS:
            continue
        if found:
            yield TickBatch(record.t_ns, found, record.data.startswith(SNAPSHOT))


def _ticks(frame: bytes, seen: dict[bytes, tuple[int, int]]) -> list[f.ReceivedBody]:
    """Return the ticks of a message that did not come before."""
    topic, array = f.split_frame(frame)
    if topic == TICKS_TOPIC:
        chunk = f.decode_chunk_message(array)
        columns = chunk.body
        rows = zip(columns.topics, columns.seqs, columns.bodies, strict=False)
        return [
            f.decode_body(body) for name, seq, body in rows if _is_new(seen, name, chunk.gen, seq)
        ]
    if not topic.startswith(SNAPSHOT):
        return []
    body = f.decode_snapshot_chunk(f.decode_feed_message(array).body)
    return [] if isinstance(body, f.SnapshotEnd) else list(_values(body, seen))


def _values(frames: list[bytes], seen: dict[bytes, tuple[int, int]]) -> Iterator[f.ReceivedBody]:
    for frame in frames:
        topic, array = f.split_frame(frame)
        if topic.startswith(b"tick/"):
            message = f.decode_feed_message(array)
            if _is_new(seen, topic, message.gen, message.seq):
                yield f.decode_body(message.body)


def _is_new(seen: dict[bytes, tuple[int, int]], topic: bytes, gen: int, seq: int) -> bool:
    before = seen.get(topic)
    if before is not None and before[0] == gen and seq <= before[1]:
        return False
    seen[topic] = gen, seq
    return True


def _listing(found: Described) -> Listing:
    exchange, _, symbol = found.key.partition(":")
    return Listing(
        token=found.token,
        exchange=exchange,
        symbol=symbol,
        name=found.name or symbol,
        kind=found.kind or "EQ",
        segment="INDICES" if found.segment == SEGMENT_INDICES else exchange,
        price=1.0,
        tick_size=found.tick_size or 0.05,
        lot_size=found.lot_size or 1,
        expiry=datetime.date.fromisoformat(found.expiry) if found.expiry else None,
        strike=found.strike,
    )
