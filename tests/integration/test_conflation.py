"""The latest ticks only, from a real broadcaster: for Feed, and for a plain subscriber that knows
nothing but docs/wire-format.md.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec
import pytest
import zmq

from kitefeed.client.feed import Feed
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.messages import bus as m
from tests.integration.broadcaster_kit import FakeSource, Stage, item
from tests.support import eventually, slowness

pytestmark = pytest.mark.processes

INFY, TCS = "NSE:INFY", "NSE:TCS"
S = 1_000_000_000


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as made:
        made.up()
        yield made


class PlainReader:
    """Sections 2 to 4 of the page, and not a line of kitefeed."""

    def __init__(self, endpoint: str, *subscriptions: bytes) -> None:
        self.socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
        self.socket.linger = 0
        self.socket.sndhwm = 0
        for subscription in subscriptions:
            self.socket.setsockopt(zmq.SUBSCRIBE, subscription)
        self.socket.connect(endpoint)
        self.messages: list[tuple[str, list[Any]]] = []

    def read(self) -> list[tuple[str, list[Any]]]:
        while self.socket.poll(0):
            topic, _, array = self.socket.recv().partition(b"\0")
            self.messages.append((topic.decode(), msgspec.msgpack.decode(array)))
        return self.messages


def tick_until(source: FakeSource, is_done: Any, within_s: float = 8) -> int:
    """A new price about every 10 ms; how many there were."""
    sent = 0

    def attempt() -> bool:
        nonlocal sent
        sent += 1
        source.send([item(INFY, 1_500_00 + sent), item(TCS, 3_000_00 + sent)])
        return bool(is_done())

    eventually(attempt, within_s, every_s=0.01)
    return sent


def test_a_plain_subscriber_gets_the_latest_numbered_and_not_more_often(stage: Stage) -> None:
    supervisor, source = stage.live()
    reader = PlainReader(stage.feed_endpoint, b"last/5/NSE:INFY\0")
    try:
        sent = tick_until(source, lambda: len(reader.read()) >= 10)
    finally:
        reader.socket.close(0)
    assert {topic for topic, _ in reader.messages} == {"last/5/NSE:INFY"}
    live = [message for _, message in reader.messages if not message[6] & 2]  # no replay
    assert all(b[4] == a[4] + 1 for a, b in pairwise(live))
    assert all(b[8] - a[8] >= 0.99 * S / 5 for a, b in pairwise(live))
    assert all(b[9][3] > a[9][3] for a, b in pairwise(live))
    assert sent > 3 * len(live)
    told = supervisor.last(m.ListenersWant)
    assert isinstance(told, m.ListenersWant)
    assert told.keys == (INFY,)


def test_feed_reads_the_latest_of_a_pattern_beside_an_instrument(stage: Stage) -> None:
    _, source = stage.live()
    full = stage.feed(INFY, TCS)
    few = Feed(INFY, "NSE:T*", endpoint=stage.feed_endpoint, per_second=10)
    seen: list[Any] = []

    def has_enough() -> bool:
        while (tick := few.next(0)) is not None:
            seen.append(tick)
        return len(seen) >= 20 and all(tick.is_fresh for tick in few.values())

    with few:
        sent = tick_until(source, has_enough)
        assert {tick.instrument for tick in seen} == {INFY, TCS}
        assert few.gaps == few.duplicates == few.bad_messages == 0
        eventually(lambda: few[INFY].last_price == full[INFY].last_price, 2)
        eventually(lambda: few[INFY].is_fresh, 5)
    assert sent > len(seen) / 2 * 1.5


def test_everything_conflated_has_its_last_values_at_once(stage: Stage) -> None:
    _, source = stage.live()
    warm = stage.feed(TCS)
    tick_until(source, lambda: warm.get(TCS) is not None)
    with Feed(endpoint=stage.feed_endpoint, per_second=1) as feed:
        assert set(feed.snapshot()) == {INFY, TCS}
        started_ns = boot_ns()
        assert feed[TCS].last_price == warm[TCS].last_price
        assert boot_ns() - started_ns < S * slowness()
