"""Many readers of everything that only take what comes, in one process: what they cost others.

    python -m benchmarks.drain

It is told {"kind": "nats", "port": N, "subject": S, "readers": N} or
{"kind": "tcp", "config": PATH, "readers": N}, and says {"ready": true} when all are subscribed.
"""

import selectors
import socket
from typing import Any

import zmq

from benchmarks import reading, subject

TAKEN_MAX = 1 << 18


def drain_nats(told: dict[str, Any]) -> None:
    selector = selectors.DefaultSelector()
    for _ in range(told["readers"]):
        made = socket.create_connection(("127.0.0.1", told["port"]))
        made.sendall(
            b'CONNECT {"verbose":false,"headers":true}\r\n'
            + f"SUB {told['subject']} 1\r\nPING\r\n".encode()
        )
        selector.register(made, selectors.EVENT_READ, made)
    reading.say({"ready": True})
    while True:
        for key, _ in selector.select():
            reader: socket.socket = key.data
            data = reader.recv(TAKEN_MAX)
            if data.endswith(b"PING\r\n"):
                reader.sendall(b"PONG\r\n")


def drain_tcp(told: dict[str, Any]) -> None:
    poller = zmq.Poller()
    for made in subject.far_sockets(told["config"], told["readers"]):
        poller.register(made, zmq.POLLIN)
    reading.say({"ready": True})
    while True:
        for made, _ in poller.poll():
            try:
                while True:
                    made.recv(zmq.NOBLOCK)
            except zmq.Again:
                pass


def main() -> None:
    told = reading.hear()
    {"nats": drain_nats, "tcp": drain_tcp}[told["kind"]](told)


if __name__ == "__main__":
    main()
