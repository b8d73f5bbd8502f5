"""Last values from NATS as the broadcaster would send them. Pure.

What the broadcaster that is believed did not send, or of which nobody says that it is the newest,
is handed on as cached: received before this `gen`, and without a number.
"""

from collections.abc import Iterator

import msgspec

from kitefeed.protocol import feed as f
from kitefeed.protocol.feed import FeedMessage, Flag, SnapshotEnd

CHUNK = 100  # values in one message
_CACHED = int(Flag.CACHED)


def again(frame: bytes, gen: int, utc_ns: int, flag: int, *, is_proven: bool) -> list[bytes]:
    """Return the frame as it is sent now, with `flag`; nothing for one that cannot be read."""
    topic, array = f.split_frame(frame)
    try:
        message = f.decode_feed_message(array)
    except f.DECODE_ERRORS:
        return []
    if message.gen != gen or not is_proven:
        message.gen, message.seq = gen, 0
        message.flags |= _CACHED
    message.flags |= flag
    message.t_pub_ns = utc_ns
    return [f.feed_frame(topic, message)]


def answer_frames(
    topic: bytes, values: list[bytes], gen: int, utc_ns: int, is_whole: bool
) -> Iterator[bytes]:
    """Yield the answer to a snapshot request. An answer that is not whole says so by its count: the
    reader asks again."""
    bodies: list[object] = [values[n : n + CHUNK] for n in range(0, len(values), CHUNK)]
    bodies.append(SnapshotEnd(len(values) + (not is_whole)))
    for seq, body in enumerate(bodies, 1):
        raw = msgspec.Raw(f.encode(body))
        flags = int(Flag.SNAPSHOT)
        message = FeedMessage(f.VERSION, gen, 0, 0, seq, 0, flags, utc_ns, utc_ns, raw)
        yield f.feed_frame(topic, message)
