"""Decides which bridge a reader of NATS believes, and what time it is there. Pure.

Several bridges may know one prefix; the one with the highest term is believed, and of it the frames
of the broadcaster it names. Times in frames are of that daemon's host, so its clock is measured: by
questions whose answers cannot have been written outside of the time that they took.
"""

from collections import deque
from typing import NamedTuple

import msgspec

from kitefeed.protocol import feed as f
from kitefeed.protocol.nats import BridgeBeat
from kitefeed.protocol.topics import HEARTBEAT_TOPIC, NUL

SAMPLES = 8
_NONE = b"\0"  # no frame has this behind its NUL


class ClockSample(NamedTuple):
    """One measurement: UTC there when our boot clock was 0, and by how much it may be off."""

    offset_ns: int
    error_ns: int

    def utc_ns(self, now_ns: int) -> int:
        """Return the time there at our boot time `now_ns`; rather too late than too early, so that
        nothing seems younger than it is."""
        return now_ns + self.offset_ns + self.error_ns

    def ahead_ns(self, now_ns: int, own_utc_ns: int) -> int:
        """Return how far our wall clock is ahead of the daemon's, in nanoseconds."""
        return own_utc_ns - now_ns - self.offset_ns


class BridgeClock:
    """The clock of the daemon's host, by our boot clock, which nobody sets. `best`: the measurement
    that counts; None while there is none. It is measured in the link's thread, and `best` may be
    read in any: once, as the next one takes its place at any time."""

    def __init__(self) -> None:
        self._samples: deque[ClockSample] = deque(maxlen=SAMPLES)
        self.best: ClockSample | None = None

    @property
    def is_known(self) -> bool:
        return self.best is not None

    def forget(self) -> None:
        self._samples.clear()
        self.best = None

    def measured(self, asked_ns: int, answered_ns: int, utc_ns: int) -> None:
        """Take an answer that was written at `utc_ns` there and came at boot time `answered_ns`. If
        it does not agree with the best one, that clock was set."""
        error_ns = (answered_ns - asked_ns) // 2 + 1
        sample = ClockSample(utc_ns - (asked_ns + answered_ns) // 2, error_ns)
        best = self.best
        if best and abs(best.offset_ns - sample.offset_ns) > best.error_ns + error_ns:
            self._samples.clear()
        self._samples.append(sample)
        self.best = min(self._samples, key=lambda each: each.error_ns)

    def contradicts(self, now_ns: int, utc_ns: int) -> bool:
        """Whether what was written at `utc_ns` there and came now shows that it was set forward."""
        return self.best is not None and utc_ns > self.best.utc_ns(now_ns)


class Belief:
    """The bridge that is believed, and the numbering of its heartbeats for our reader.

    A heartbeat's number jumps when anything may have been lost: the reader takes that for a gap,
    and asks for the last values.
    """

    def __init__(self) -> None:
        self.beat: BridgeBeat | None = None
        self.term = 0  # of the lease, or of a beat: nothing older is believed
        self._mark = _NONE
        self._seq = 0
        self._daemon_seq = 0
        self._is_cut = False

    @property
    def gen(self) -> int:
        return self.beat.gen if self.beat else 0

    def leased(self, term: int) -> None:
        """Take the lease's word: a bridge of an older term was replaced."""
        self.term = max(self.term, term)
        if self.beat is not None and self.beat.term < self.term:
            self.beat, self._mark = None, _NONE

    def hear(self, beat: BridgeBeat) -> bool:
        """Take a bridge's beat. True when another broadcaster is to be believed from now on."""
        if beat.term < self.term:
            return False
        before = self.beat
        self.beat, self.term = beat, beat.term
        is_other = before is None or (before.term, before.gen) != (beat.term, beat.gen)
        if is_other:
            self._mark = f.encode(f.VERSION) + f.encode(beat.gen)
            self._daemon_seq = 0
            self._is_cut = True
        return is_other

    def admits(self, frame: bytes) -> bool:
        """Whether this frame is of the broadcaster that is believed."""
        return frame.startswith(self._mark, frame.find(NUL) + 2)

    def cut(self) -> None:
        """Note that messages may have been lost."""
        self._is_cut = True

    def heartbeat(self, array: bytes, full_queues: int) -> bytes:
        """Return the daemon's heartbeat as our reader gets it. `full_queues`: how often the
        reader's own queue was full. Raises `feed.DECODE_ERRORS`."""
        message = f.decode_feed_message(array)
        words = f.decode_heartbeat(message.body)
        missing = max(0, message.seq - self._daemon_seq - 1) if self._daemon_seq else 0
        self._daemon_seq = message.seq
        self._seq += 1 + missing + self._is_cut
        self._is_cut = False
        words.full_queues += full_queues
        message.seq = self._seq
        message.body = msgspec.Raw(f.encode(words))
        return f.feed_frame(HEARTBEAT_TOPIC, message)

    def silence(self, reason: str, utc_ns: int) -> bytes | None:
        """Return a heartbeat that says there is no source, and why, for a connection that has
        ended. None before anything was believed."""
        if self.beat is None:
            return None
        words = f.Heartbeat(self.gen, "stale", "none", "unknown", reason, [], 0, 0, 0, 0, 0, 0, 0)
        message = f.FeedMessage(
            f.VERSION, self.gen, 0, 0, 0, 0, 0, utc_ns, utc_ns, msgspec.Raw(f.encode(words))
        )
        return f.feed_frame(HEARTBEAT_TOPIC, message)
