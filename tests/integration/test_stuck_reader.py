"""A subscriber of everything that never reads, as any language may have it: what waits for it."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from kitefeed.protocol import feed as f
from kitefeed.protocol.messages.membership import Beat
from kitefeed.protocol.topics import NUL, TICKS_TOPIC
from tests.integration.broadcaster_kit import FakeSupervisor, Stage, item
from tests.support import eventually

pytestmark = pytest.mark.processes

KEYS = [f"NFO:BANKNIFTY26DEC{strike}CE" for strike in range(40_000, 40_256)]
CHUNK = [item(key, 1_500_00, token) for token, key in enumerate(KEYS)]  # 47 kB, the largest one
MORE = 500  # 24 MB of them
GROWTH_MB_MAX = 8


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as made:
        yield made


def rss_mb(process: subprocess.Popen[bytes]) -> float:
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def cut(supervisor: FakeSupervisor) -> int:
    beat = supervisor.last(Beat)
    return beat.counters.get("readers_cut", 0) if isinstance(beat, Beat) else 0


def newest_seq(reader: zmq.Socket[bytes], send: Callable[[], None]) -> int:
    """Of the first instrument, after one more chunk was sent."""
    send()
    seq = 0
    while reader.poll(100):
        _, array = f.split_frame(reader.recv())
        seq = f.decode_chunk_message(array).body.seqs[0]
    return seq


def test_a_reader_that_takes_nothing_is_cut_off_and_costs_no_more(stage: Stage) -> None:
    process = stage.up()
    supervisor, source = stage.live()
    healthy = stage.feed()
    with zmq.Context() as context, context.socket(zmq.SUB) as stuck:
        stuck.linger = 0
        stuck.rcvhwm = 10
        stuck.subscribe(TICKS_TOPIC + NUL)
        stuck.connect(stage.feed_endpoint)

        def is_begun() -> bool:
            source.send(CHUNK)
            return KEYS[0] in healthy

        eventually(is_begun, 10, every_s=0.1)

        def send() -> None:
            """The next one when this one has come: none is lost on a busy host."""
            before = healthy[KEYS[0]].seq
            source.send(CHUNK)
            eventually(lambda: healthy[KEYS[0]].seq > before, 10, every_s=0)

        def is_cut() -> bool:
            send()
            return cut(supervisor) == 1

        eventually(is_cut, 45, every_s=0.005)
        before_mb = rss_mb(process)
        for _ in range(MORE):
            send()
        assert rss_mb(process) - before_mb < GROWTH_MB_MAX
        assert cut(supervisor) == 1
        # Once it reads, it finds the past, and after it the present: ZeroMQ has connected anew.
        eventually(lambda: newest_seq(stuck, send) == healthy[KEYS[0]].seq, 20, every_s=0.05)
    assert healthy.gaps == 0
