"""Does what one process does with one frame, as a program for callgrind:

    python -m benchmarks.steps STEP FRAME ROUNDS

The machines are called as their shells call them, with bytes that are there already; sockets and
event loops are left aside. A frame's packets are of some of 3,000 instruments that are wanted.
"""

import gc
import sys
from collections.abc import Callable
from pathlib import Path

from kitefeed.actors.broadcaster import events as e
from kitefeed.actors.broadcaster.machine import Broadcaster
from kitefeed.actors.broadcaster.store import LastValues
from kitefeed.actors.ticker.machine import Frame, LinkId, Ticker, Upgraded
from kitefeed.client.tick import NOBODY
from kitefeed.client.view import View
from kitefeed.protocol import feed, topics
from kitefeed.protocol.kite.repack import repack_frame
from kitefeed.protocol.kite.ticks import frame_of_packets
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.instruments import Instrument

FRAME_NS = 10_000_000  # 100 frames per second
START_NS, UTC_S = 1_000_000_000_000, 1_790_000_000
ROUNDS_MAX = 60
SOCKET_MAX = 3_000  # instruments of one socket, of which a frame has few
Step = Callable[[int], object]  # of the frame of this number


def ticker(frame: bytes) -> Callable[[int], list[bytes]]:
    """From a frame to the bytes that are sent to the broadcaster."""
    machine, link = Ticker(), LinkId(0, 1)
    tokens = {*repack_frame(frame).tokens, *range(1, SOCKET_MAX << 8, 1 << 8)}
    wanted = tuple(Instrument(t, f"NSE:{t}", "full") for t in tokens)
    for event in (m.OpenLink(*link, "", START_NS), Upgraded(link), m.Subscribe(*link, wanted)):
        machine.handle(event, START_NS)
    # Each of them has sent its cached packet: nothing is waited for.
    full = [token.to_bytes(4, "big") + bytes(180) for token in tokens]
    machine.handle(Frame(link, frame_of_packets(full), True, UTC_S), START_NS)

    def step(number: int) -> list[bytes]:
        event = Frame(link, frame, True, UTC_S)
        commands = machine.handle(event, START_NS + number * FRAME_NS)
        return [feed.encode(each) for each in commands if isinstance(each, feed.IngestBatch)]

    return step


def broadcaster(frame: bytes, subscription: bytes) -> Step:
    """From those bytes to messages that are sent to who subscribed so."""
    make = ticker(frame)
    batches = [make(number) for number in range(ROUNDS_MAX)]
    machine = Broadcaster(1, START_NS, LastValues())
    machine.handle(e.Told(m.Grant(0, 1, "websocket"), UTC_S * 10**9), START_NS)
    machine.handle(e.Subscription(b"\1" + subscription, UTC_S * 10**9), START_NS)

    def step(number: int) -> None:
        after_ns = number * FRAME_NS
        for batch in batches[number]:
            machine.handle(e.Ingest(batch, UTC_S * 10**9 + after_ns), START_NS + after_ns)

    return step


def reader(frame: bytes, *, is_chunked: bool) -> Step:
    """From a message of `ticks/all`, or from one for each tick, to ticks in a program, no field of
    which is read."""
    packets, view = repack_frame(frame), View(NOBODY)
    names = [topics.tick_topic(f"NSE:{token}") for token in packets.tokens]

    def messages(number: int) -> list[bytes]:
        at_ns, seq = UTC_S * 10**9 + number * FRAME_NS, number + 1
        frames = feed.TickFrames(1, 0, 1, feed.Source.WEBSOCKET, at_ns, at_ns)
        if is_chunked:
            return [frames.chunk(seq, names, [seq] * len(names), packets.bodies, [])]
        pairs = zip(names, packets.bodies, strict=True)
        return [frames.one(name, seq, 0, body) for name, body in pairs]

    numbered = [messages(number) for number in range(ROUNDS_MAX)]

    def step(number: int) -> None:
        now_ns, utc_ns = START_NS + number * FRAME_NS, UTC_S * 10**9 + number * FRAME_NS
        apply, take = view.apply, view.take  # as readers have them
        for each in numbered[number]:
            apply(each, now_ns, utc_ns)
        while take() is not None:
            pass

    return step


STEPS: dict[str, Callable[[bytes], Step]] = {
    "ticker": ticker,
    "broadcaster-all": lambda frame: broadcaster(frame, topics.TICKS_TOPIC + topics.NUL),
    "broadcaster-each": lambda frame: broadcaster(frame, topics.TICK),
    "reader-all": lambda frame: reader(frame, is_chunked=True),
    "reader-each": lambda frame: reader(frame, is_chunked=False),
}


def main(name: str, path: str, rounds: int) -> None:
    step = STEPS[name](Path(path).read_bytes())
    gc.disable()  # two runs are compared: neither is to do more than the other
    for number in range(rounds):
        step(number)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
