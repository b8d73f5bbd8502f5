"""Answers requests for the last values of everything under a prefix."""

from collections.abc import Callable, Iterable

from kitefeed.actors.broadcaster.frames import Frames
from kitefeed.protocol import feed as f
from kitefeed.protocol.feed import Flag
from kitefeed.protocol.topics import NUL, parse_snapshot_request

SNAPSHOTS_QUEUED_MAX = 1_000
SNAPSHOT_CHUNK = 100  # 30 messages for 3,000 values: far from any high-water mark
SNAPSHOT = int(Flag.SNAPSHOT)

Find = Callable[[bytes, int, int], Iterable[bytes]]
"""The frames of what is kept under a prefix, at boot time and wall clock, flagged as a snapshot."""


class Snapshots:
    """Requests that wait for their answer, oldest first."""

    def __init__(self, frames: Frames, find: Find) -> None:
        self._frames = frames
        self._find = find
        self._waiting: dict[bytes, bytes] = {}  # request -> prefix

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def ask(self, subscription: bytes) -> bool:
        """Queue `subscription` if it is a request for a snapshot, unless too many wait; whether it
        is one."""
        prefix = parse_snapshot_request(subscription)
        if prefix is None:
            return False
        if len(self._waiting) < SNAPSHOTS_QUEUED_MAX and NUL not in subscription[:-1]:
            self._waiting[subscription] = prefix
        return True

    def forget(self, subscription: bytes) -> None:
        self._waiting.pop(subscription, None)

    def next(self, now_ns: int, utc_ns: int) -> list[bytes]:
        """Answer the oldest request: one per turn, so that many clients at once cost many short
        pauses and not a long one."""
        if not self._waiting:
            return []
        request = next(iter(self._waiting))
        found = list(self._find(self._waiting.pop(request), now_ns, utc_ns))
        bodies: list[object] = [
            found[start : start + SNAPSHOT_CHUNK] for start in range(0, len(found), SNAPSHOT_CHUNK)
        ]
        bodies.append(f.SnapshotEnd(len(found)))
        topic = request.removesuffix(NUL)  # the NUL that ends an exact prefix also ends the topic
        return [
            self._frames.own(topic, body, utc_ns, seq=seq, flags=SNAPSHOT)
            for seq, body in enumerate(bodies, start=1)
        ]
