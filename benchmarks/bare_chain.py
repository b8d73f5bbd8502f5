"""The floor of three Python processes: packets are recoded, forwarded and decoded as kitefeed does,
and nothing else is done. No grants, no last values, no ages, no losses noticed, no way back.

    python -m benchmarks.bare_chain

What kitefeed costs above it is what kitefeed is for; what pykiteconnect costs above it is all that
three processes and ZeroMQ can gain. The reader starts the other two, so they are on its bill.
"""

import json
import os
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import IPPROTO_TCP, TCP_NODELAY, create_connection, socket
from typing import Any

import msgspec
import zmq

from benchmarks import check, reading, subject
from benchmarks.frames import FRAMES_MAX, Plan, Universe

INGEST, FEED = "ingest", "feed"
UNLIMITED = 0  # as a high-water mark: nothing is dropped, a full pipe waits
RECEIVE_BYTES = 262_144
_UPGRADE = (
    "GET /?api_key={key}&access_token=token HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    "Sec-WebSocket-Version: 13\r\n\r\n"
)
# A client's text frame of a 64-bit length, masked by zeros.
_TEXT_HEAD, _NO_MASK = bytes((0x81, 0xFF)), bytes(4)


def recode(given: reading.Spec, directory: str) -> None:
    """Kite's socket to the forwarder."""
    topics = {token: subject.topic_of(key) for token, key in Universe(len(given.tokens)).all}
    ingest = _socket(zmq.PUSH)
    ingest.connect(_endpoint(directory, INGEST))
    for payload in _payloads(given):
        tokens, bodies, _ = subject.repack(payload)
        if bodies:
            ingest.send(subject.batch([*map(topics.__getitem__, tokens)], bodies))


def forward(directory: str) -> None:
    """The recoder's batches to whoever reads everything."""
    ingest, feed = _socket(zmq.PULL), _socket(zmq.XPUB)
    ingest.bind(_endpoint(directory, INGEST))
    feed.bind(_endpoint(directory, FEED))
    feed.recv()  # somebody listens now
    while True:
        for chunk in subject.forwarded(ingest.recv()):
            feed.send(chunk)


class Reader:
    """Keeps every tick and looks at the clock for each, as the other readers do."""

    def __init__(self, given: reading.Spec, directory: str) -> None:
        self._low, self._high = given.first_price, given.first_price + FRAMES_MAX
        self._tokens_missing = set(given.tokens)
        self._missing = given.ticks
        self._feed = _socket(zmq.SUB)
        self._feed.setsockopt(zmq.SUBSCRIBE, b"")
        self._feed.connect(_endpoint(directory, FEED))
        self.kept: list[Any] = []
        self.times_ns = array("q")

    def wait_for_all(self) -> None:
        """Until each instrument has sent a packet."""
        self._feed.rcvtimeo = 30_000
        while self._tokens_missing:
            bodies = subject.bodies_of(self._feed.recv())
            self._tokens_missing.difference_update(body.instrument_token for body in bodies)

    def collect(self) -> None:
        self._feed.rcvtimeo = reading.FIRST_NS // 1_000_000
        now_ns, add, note = time.monotonic_ns, self.kept.append, self.times_ns.append
        receive, bodies_of = self._feed.recv, subject.bodies_of
        try:
            while self._missing > 0:
                bodies = bodies_of(receive())
                # All packets of one frame have the same price, see `benchmarks.frames`.
                if not self._low <= bodies[0].last_price < self._high:
                    continue
                if not self.kept:
                    self._feed.rcvtimeo = int(reading.SILENT_S * 1_000)
                for body in bodies:
                    add(body)
                    note(now_ns())
                self._missing -= len(bodies)
        except zmq.Again:
            pass  # what is missing is lost

    def received(self, _plan: Plan) -> Iterator[check.Received]:
        return ((body.instrument_token, body.last_price, body) for body in self.kept)


def is_same_wire(packet: bytes, body: Any) -> bool:
    return check.is_wire(packet, subject.wire_values(body))


def _socket(kind: int) -> "zmq.Socket[bytes]":
    made: zmq.Socket[bytes] = zmq.Context.instance().socket(kind)
    made.linger = 0
    made.set_hwm(UNLIMITED)
    return made


def _endpoint(directory: str, name: str) -> str:
    return f"ipc://{directory}/{name}"


def _payloads(given: reading.Spec) -> Iterator[bytes]:
    """Binary messages of a subscribed socket, for ever."""
    link = _subscribed(given)
    held = b""
    while data := link.recv(RECEIVE_BYTES):
        payloads, held, is_plain = subject.binary_messages(held + data, RECEIVE_BYTES * 16)
        if not is_plain:
            raise RuntimeError("the server sent something else than whole binary messages")
        yield from payloads


def _subscribed(given: reading.Spec) -> socket:
    host, _, port = given.address.partition(":")
    link = create_connection((host, int(port)))
    link.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    if given.scheme == "wss":
        link = ssl.create_default_context().wrap_socket(link, server_hostname=host)
    link.sendall(_UPGRADE.format(key=given.key, address=given.address).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += link.recv(1)
    said = json.dumps({"a": "subscribe", "v": given.tokens}).encode()
    link.sendall(_TEXT_HEAD + len(said).to_bytes(8, "big") + _NO_MASK + said)
    return link


@contextmanager
def _chain(given: reading.Spec, directory: str) -> Iterator[None]:
    """The other two processes. They end with this one, by the end of their input."""
    spec = Path(directory, "spec")
    spec.write_bytes(msgspec.json.encode(given))
    command = [sys.executable, "-m", "benchmarks.bare_chain"]
    started = [
        subprocess.Popen([*command, step, directory], stdin=subprocess.PIPE)
        for step in ("forward", "recode")
    ]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def _leave_with_the_reader() -> None:
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    if len(sys.argv) > 1:
        threading.Thread(target=_leave_with_the_reader, daemon=True).start()
        step, directory = sys.argv[1:]
        if step == "forward":
            forward(directory)
        else:
            spec = Path(directory, "spec").read_bytes()
            recode(msgspec.json.decode(spec, type=reading.Spec), directory)
        return
    given = reading.spec()
    with tempfile.TemporaryDirectory(prefix="kb-", dir="/tmp") as directory:
        reader = Reader(given, directory)
        with _chain(given, directory):
            reader.wait_for_all()
            reading.say({"ready": True})
            reader.collect()
            reading.report(given, is_same_wire, reader.received, reader.times_ns)


if __name__ == "__main__":
    main()
