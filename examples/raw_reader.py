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
CLOSED_FRESH_NS = 60_000_000_000
LOST_S = 2.5
DENIED = {"misconfigured", "paused", "closed", "no_entitlement", "stale"}
Message = list[Any]  # [v, gen, shard, epoch, seq, source, flags, t_rx_ns, t_pub_ns, body]


def connect(endpoint: str, instruments: list[str]) -> zmq.Socket[bytes]:
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
    socket.linger = 0
    socket.sndhwm = 0  # or libzmq drops every subscription above the thousandth
    socket.rcvhwm = 10_000
    socket.setsockopt(zmq.HEARTBEAT_IVL, 1_000)
    socket.setsockopt(zmq.HEARTBEAT_TTL, 3_000)
    socket.setsockopt(zmq.SUBSCRIBE, b"hb/feed\0")
    for name in instruments:
        socket.setsockopt(zmq.SUBSCRIBE, f"tick/{name}\0".encode())
    socket.connect(endpoint)
    return socket


def is_fresh(tick: Message, beat: Message | None) -> bool:
    """Whether `tick`, the newest of its instrument, is current. Ask when the value is used."""
    if beat is None or time.time() - beat[8] / 1e9 > LOST_S or tick[1] != beat[1]:
        return False
    words = beat[9]
    if words["source"] not in ("websocket", "rest") or words["feed"] in DENIED:
        return False
    if tick[6] & CACHED_OR_STALE or is_closed(tick, words.get("closed_segments", [])):
        return False
    for shard, source, epoch, is_alive, _, _, period_ns, *_ in words["shards"]:
        if (shard, source, epoch) == (tick[2], tick[5], tick[3]):
            is_old = source == 2 and time.time_ns() - tick[7] > 2 * period_ns
            return bool(is_alive) and not is_old
    return False


def is_closed(tick: Message, closed_segments: list[int]) -> bool:
    """Whether its market is closed; a value that has just come proves the opposite."""
    is_news = not tick[6] & FIRST_PACKET and time.time_ns() - tick[7] <= CLOSED_FRESH_NS
    return tick[9][0] & 0xFF in closed_segments and not is_news


def main(endpoint: str, *instruments: str) -> None:
    socket = connect(endpoint, list(instruments))
    beat: Message | None = None
    last: dict[bytes, tuple[int, int]] = {}  # topic -> (gen, seq)
    while True:
        topic, _, array = socket.recv().partition(b"\0")
        message: Message = msgspec.msgpack.decode(array)
        if topic == b"hb/feed":
            beat = message
            continue
        gen, seq = message[1], message[4]
        if seq and last.get(topic, (0, 0))[0] == gen and seq <= last[topic][1]:
            continue  # a replay for somebody else
        last[topic] = (gen, seq)
        body = message[9]
        price = body[3] / body[2]
        word = "fresh" if is_fresh(message, beat) else "stale"
        print(topic.decode().removeprefix("tick/"), f"{price:.2f}", word, flush=True)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        pass
