"""Tests what waits in the bridge while it may not publish, and what becomes of it."""

import asyncio
import logging
from typing import Any

import msgspec
import pytest

from kitefeed.actors.runtime.config_tables import NatsTable
from kitefeed.protocol import feed as f
from kitefeed.protocol import nats as wire
from kitefeed.protocol.feed import FeedMessage, Heartbeat, Notice, OrderUpdate
from kitefeed.protocol.nats import Lease, Subjects
from kitefeed.protocol.topics import HEARTBEAT_TOPIC
from kitefeed.services.nats_bridge import publishing
from kitefeed.services.nats_bridge.conditions import Conditions
from kitefeed.services.nats_bridge.lease import STOPS_NS, Keeper
from kitefeed.services.nats_bridge.machine import BEHIND_NS, Machine
from kitefeed.services.nats_bridge.publishing import EVENTS_MAX, HEARTBEATS_MAX, Publishing
from tests.unit.services.nats_bridge.test_machine import GEN, S, tick

HEARTBEAT, ORDER, NOTICE, TICK = "kite.hb", "kite.order.7", "kite.notice.message", "kite.tick.NSE.A"


def frame(topic: bytes, seq: int, body: object) -> bytes:
    raw = msgspec.Raw(f.encode(body))
    return f.feed_frame(topic, FeedMessage(f.VERSION, GEN, 0, 0, seq, 1, 0, S, S, raw))


def heartbeat(seq: int) -> bytes:
    words = Heartbeat(GEN, "live", "websocket", "valid", "", [], 0, 0, 0, 0, 0, 0, 0)
    return frame(HEARTBEAT_TOPIC, seq, words)


def order(seq: int) -> bytes:
    return frame(b"order/7", seq, OrderUpdate({"order_id": "7"}))


def notice(seq: int) -> bytes:
    return frame(b"notice/message", seq, Notice("message", "halt"))


class Client:
    """Takes what is published, and as much of it as it has room for."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes]] = []
        self.room = 1_000_000

    async def publish(
        self, subject: str, data: bytes, reply: str = "", headers: Any = None
    ) -> None:
        if not self.room:
            raise ConnectionResetError
        self.room -= 1
        self.taken.append((subject, data))


class Key:
    """The key, as the bucket holds it."""

    def __init__(self, lease: Lease, revision: int) -> None:
        self.value, self.revision = wire.encode(lease), revision

    async def get(self, _: str) -> "Key":
        return self

    async def update(self, _: str, value: bytes, last: int) -> int:
        assert last == self.revision
        self.value, self.revision = value, last + 1
        return self.revision


class Bridge:
    """One that leads, at `now_ns`, with nothing to do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 100 * S
        monkeypatch.setattr(publishing, "boot_ns", lambda: self.now_ns)
        self.client, self.keeper = Client(), Keeper("here")
        self.machine = Machine(Subjects(), "b1", lambda key: True)
        self._revision = 0
        conditions = Conditions(logging.getLogger("test"))
        tap: Any = None  # nothing is asked of it here
        self.publishing = Publishing(
            Subjects(), self.machine, tap, self.keeper, NatsTable(), conditions
        )
        self.publishing._client, self.publishing._acks = self.client, "acks"  # type: ignore[assignment]
        self.renew()
        self.machine.connected()
        self.publishing._is_leading()
        self.machine.reconciled({}, set(), 0)
        self.publishing._told_gen = GEN

    def renew(self) -> None:
        self._revision += 1
        self.keeper.granted(Lease(1, "here", is_fed=True), self._revision, self.now_ns)

    def take(self, *frames: bytes) -> None:
        for each in frames:
            self.publishing.take(each)

    def published(self) -> list[tuple[str, bytes]]:
        asyncio.run(self.publishing._publish_all())
        taken, self.client.taken = self.client.taken, []
        return taken


@pytest.fixture
def bridge(monkeypatch: pytest.MonkeyPatch) -> Bridge:
    return Bridge(monkeypatch)


def test_what_waits_while_a_slow_server_keeps_it_from_renewing_is_published_then(
    bridge: Bridge,
) -> None:
    bridge.now_ns += STOPS_NS
    words = [heartbeat(1), order(1), tick("NSE:A", 1), heartbeat(2), notice(1)]
    bridge.take(*words)
    assert bridge.published() == []
    bridge.renew()
    assert bridge.published() == [
        (TICK, words[2]), (ORDER, words[1]), (NOTICE, words[4]),
        (HEARTBEAT, words[0]), (HEARTBEAT, words[3]),
    ]  # fmt: skip
    assert bridge.published() == []


def test_nothing_of_it_is_published_after_another_one_was(bridge: Bridge) -> None:
    bridge.take(heartbeat(1), order(1))
    bridge.keeper.denied()
    assert bridge.published() == []
    bridge.renew()
    assert bridge.published() == []


def test_heartbeats_wait_for_the_ticks_before_them_and_events_do_not(bridge: Bridge) -> None:
    bridge.machine._on_the_way = 1_000_000  # no room
    words = [tick("NSE:A", 1), heartbeat(1), order(1)]
    bridge.take(*words)
    bridge.now_ns += BEHIND_NS + 1
    bridge.renew()
    assert bridge.published() == [(ORDER, words[2])]
    bridge.machine._on_the_way = 0
    assert bridge.published() == [(TICK, words[0]), (HEARTBEAT, words[1])]


def test_what_the_client_did_not_take_is_published_over_the_next_connection(
    bridge: Bridge,
) -> None:
    words = [order(1), order(2), heartbeat(1)]
    bridge.take(*words)
    bridge.client.room = 1
    with pytest.raises(ConnectionResetError):
        bridge.published()
    assert bridge.client.taken == [(ORDER, words[0])]
    bridge.client.taken, bridge.client.room = [], 9
    assert bridge.published() == [(ORDER, words[1]), (HEARTBEAT, words[2])]


def test_heartbeats_of_a_long_absence_push_out_no_order(bridge: Bridge) -> None:
    bridge.now_ns += STOPS_NS
    bridge.take(order(1), *(heartbeat(seq) for seq in range(1, HEARTBEATS_MAX + 11)))
    bridge.renew()
    assert bridge.published() == [
        (ORDER, order(1)), *((HEARTBEAT, heartbeat(seq)) for seq in range(11, HEARTBEATS_MAX + 11)),
    ]  # fmt: skip
    bridge.now_ns += STOPS_NS
    bridge.take(*(order(seq) for seq in range(2, EVENTS_MAX + 3)))
    bridge.renew()
    assert bridge.published() == [(ORDER, order(seq)) for seq in range(3, EVENTS_MAX + 3)]


def test_one_that_was_replaced_and_takes_over_again_in_one_look_begins_anew(
    bridge: Bridge,
) -> None:
    """Readers who look at the lease believe no term that is over."""
    bridge.now_ns += 60 * S
    key = Key(Lease(7, "", is_fed=False), 9)  # another one had it, and gave it back
    bridge.publishing._lease = key  # type: ignore[assignment]
    bridge.publishing._is_fed = lambda: True  # type: ignore[method-assign]
    asyncio.run(bridge.publishing._look_at_lease())
    assert bridge.machine.is_leading
    assert bridge.machine.beat(S).term == wire.decode_lease(key.value).term > 7
    assert not bridge.machine.is_reconciled
