"""Plain ZeroMQ subscribers, many in one process, that read and do not decode.

    python -m benchmarks.read_raw

64 decoding readers are more than a small machine can run; what is asked here is what a subscriber
costs the daemon. Each counts its messages and adds them up by a checksum: at the end all have to be
the same, and as many as the reader that decodes has had.
"""

import time
import zlib
from typing import Any

import zmq

from benchmarks import reading


class Subscriber:
    def __init__(self, context: "zmq.Context[Any]", endpoint: str, topics: list[str]) -> None:
        self.socket = context.socket(zmq.SUB)
        # docs/wire-format.md, section 1.
        self.socket.setsockopt(zmq.SNDHWM, 0)
        self.socket.setsockopt(zmq.RCVHWM, 30_000)
        self.socket.setsockopt(zmq.LINGER, 0)
        for topic in topics:
            self.socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
        self.socket.connect(endpoint)
        self.count = 0
        self.checksum = 0

    def drain(self) -> int:
        before = self.count
        try:
            while True:
                self.checksum = zlib.crc32(self.socket.recv(zmq.NOBLOCK), self.checksum)
                self.count += 1
        except zmq.Again:
            return self.count - before


def main() -> None:
    told = reading.hear()
    context: zmq.Context[Any] = zmq.Context()
    made = [
        Subscriber(context, told["endpoint"], told["topics"]) for _ in range(told["subscribers"])
    ]
    poller = zmq.Poller()
    for each in made:
        poller.register(each.socket, zmq.POLLIN)
    _read_until_quiet(poller, made)
    reading.say({"connected": True})
    # What the decoding reader is sent when it subscribes, those who read its topics get as well.
    reading.hear()
    _read_until_quiet(poller, made)
    for each in made:
        each.count = each.checksum = 0
    reading.say({"ready": True})
    poller.poll(int(reading.FIRST_NS / 1e6))
    _read_until_quiet(poller, made)
    reading.say({"counts": [each.count for each in made], "sums": [s.checksum for s in made]})
    reading.hear()


def _read_until_quiet(poller: zmq.Poller, made: list[Subscriber]) -> None:
    """Until nothing came for a second."""
    last_s = time.monotonic()
    while time.monotonic() - last_s < 1:
        poller.poll(100)
        if sum(each.drain() for each in made):
            last_s = time.monotonic()


if __name__ == "__main__":
    main()
