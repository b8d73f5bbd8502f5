"""The feed without kitefeed: any ZeroMQ and any msgpack will do. See docs/wire-format.md.

python examples/raw_reader.py ipc:///home/me/.kitefeed/run/feed.sock NSE:INFY NSE:TCS
"""

import sys
import time
from typing import Any

import msgspec
import zmq

CACHED_OR_STALE = 4 | 8
FIRST_PACKET = 16
HEARTBEAT_HOLDS_NS = 2_500_000_000
LATE_NS = 2_000_000_000  # a message as old as this is the past; and as often one may begin anew
FULL_QUEUE = (
    4_000  # messages; with fewer since the heartbeat before last, no queue of ours was full
)
# It has to go on while the host sleeps.
CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Message:
    """One message as it came. `body`: of a tick, an array; of a heartbeat, a map."""

    def __init__(self, array: bytes) -> None:
        decoded: list[Any] = msgspec.msgpack.decode(array)
        self.v, self.gen, self.shard, self.epoch, self.seq, self.source, self.flags = decoded[:7]
        t_rx_ns, self.t_pub_ns, self.body = decoded[7:10]
        self.behind_ns = max(0, time.time_ns() - self.t_pub_ns)
        self._arrived_ns = time.clock_gettime_ns(CLOCK)
        self._age_ns = max(0, self.t_pub_ns - t_rx_ns) + self.behind_ns

    def age_ns(self) -> int:
        """Since it was received by the daemon; a heartbeat's: since it was sent."""
        return self._age_ns + time.clock_gettime_ns(CLOCK) - self._arrived_ns


class Reader:
    """Keeps the newest tick of each instrument, and judges it."""

    def __init__(self, endpoint: str, instruments: list[str]) -> None:
        self._endpoint = endpoint
        self._topics = [b"tick/" + name.encode() for name in instruments]
        self._begin()

    def _begin(self) -> None:
        """The daemon sends the last value of each exact topic to every new connection."""
        self._socket = self._connect()
        self._began_ns = time.monotonic_ns()
        self.ticks: dict[bytes, Message] = {}
        self._beat: Message | None = None
        self._gen = 0
        self._seqs: dict[bytes, int] = {}
        self._has_lost = False
        self._counts = 0, 0  # messages since the last heartbeat, and between the two before

    def _connect(self) -> "zmq.Socket[bytes]":
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
        socket.linger = 0
        socket.sndhwm = 0  # or libzmq drops every subscription above the thousandth
        socket.rcvhwm = 30_000
        socket.setsockopt(zmq.HEARTBEAT_IVL, 1_000)
        socket.setsockopt(zmq.HEARTBEAT_TTL, 3_000)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 3_000)
        for topic in [b"hb/feed", *self._topics]:
            socket.setsockopt(zmq.SUBSCRIBE, topic + b"\0")
        socket.connect(self._endpoint)
        return socket

    def next(self) -> bytes:
        """The topic of the next new tick, which is then in `ticks`."""
        while True:
            if self._has_lost and time.monotonic_ns() - self._began_ns > LATE_NS:
                self._socket.close(0)
                self._begin()
            topic = self.take(self._socket.recv())
            if topic in self.ticks:
                return topic

    def take(self, frame: bytes) -> bytes:
        """The topic of the new tick in it, or nothing."""
        topic, _, array = frame.partition(b"\0")
        message = Message(array)
        if message.v != 1 or not self._is_new(topic, message):
            return b""
        if topic == b"hb/feed":
            self._hear(message)
            return b""
        self.ticks[topic] = message
        return topic

    def _is_new(self, topic: bytes, message: Message) -> bool:
        self._counts = self._counts[0] + 1, self._counts[1]
        if message.gen != self._gen:  # another broadcaster, which counts anew
            self._gen, self._beat = message.gen, None
            self._seqs.clear()
        if message.behind_ns > LATE_NS:  # what waits here is the past
            self._lose()
            return False
        last = self._seqs.get(topic, 0)
        if last and message.seq <= last:
            return False  # sent again for somebody else, or from disk
        if last and message.seq > last + 1:
            self._lose()
        self._seqs[topic] = message.seq
        return True

    def _hear(self, beat: Message) -> None:
        last, self._beat = self._beat, beat
        queues, before = (each.body.get("full_queues", 0) for each in (beat, last or beat))
        if queues != before and sum(self._counts) >= FULL_QUEUE:
            self._lose()
        self._counts = 0, self._counts[0]

    def _lose(self) -> None:
        """A newer value of any instrument may be among what was lost: none of them counts."""
        self.ticks.clear()
        self._has_lost = True

    def is_fresh(self, topic: bytes) -> bool:
        """Whether the newest tick of `topic` is current. Ask when the value is used."""
        tick, beat = self.ticks.get(topic), self._beat
        if tick is None or beat is None or beat.age_ns() > HEARTBEAT_HOLDS_NS:
            return False
        if tick.gen != beat.gen or tick.flags & CACHED_OR_STALE:
            return False
        for entry in beat.body["shards"]:
            shard, source, epoch, *_, since_ns, segments = [*entry, 0, []][:10]
            if (shard, source, epoch) == (tick.shard, tick.source, tick.epoch):
                for segment, segment_since_ns in segments:
                    if segment == tick.body[0] & 0xFF:
                        since_ns = 0 if tick.flags & FIRST_PACKET else segment_since_ns
                return since_ns > 0 and tick.age_ns() <= beat.age_ns() + beat.t_pub_ns - since_ns
        return False


def main(endpoint: str, *instruments: str) -> None:
    reader = Reader(endpoint, list(instruments))
    while True:
        topic = reader.next()
        body = reader.ticks[topic].body
        word = "fresh" if reader.is_fresh(topic) else "stale"
        print(topic.decode().removeprefix("tick/"), f"{body[3] / body[2]:.2f}", word, flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 3 or "://" not in sys.argv[1]:
        sys.exit(
            "Name the feed's endpoint (`kitefeed status --json`) and instruments: "
            "python examples/raw_reader.py ipc:///home/me/.kitefeed/run/feed.sock NSE:INFY"
        )
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        pass
