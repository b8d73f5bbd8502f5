"""The client's socket habits, against a bare XPUB in this process."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from kitefeed.client.feed import Feed
from kitefeed.protocol import sockets
from kitefeed.protocol.errors import BadInput, Unavailable
from kitefeed.protocol.topology import FEED, endpoint
from tests.support import bound, eventually


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="kf") as made:  # a socket path is short
        yield Path(made)


@pytest.fixture
def publisher(directory: Path) -> Iterator["zmq.Socket[bytes]"]:
    socket = bound(sockets.feed_socket(), directory, FEED)
    yield socket
    socket.close(0)


def subscriptions(
    socket: "zmq.Socket[bytes]", count: int, reader: "zmq.Socket[bytes] | None" = None
) -> list[bytes]:
    """`count` reports of an XPUB. `reader` is looked at meanwhile: a SUB notices a reconnect, and
    repeats its subscriptions, only when its program touches it."""
    got: list[bytes] = []

    def attempt() -> bool:
        if reader is not None:
            reader.poll(0)
        while socket.poll(0):
            got.append(socket.recv())
        return len(got) >= count

    eventually(attempt, 5)
    return got


@pytest.mark.parametrize("name", ["INFY", "NSE:", ":INFY", "", "NSE:IN\0FY", "NSE:" + "X" * 300])
def test_what_cannot_be_an_instrument_is_bad_input_before_any_wire_is_opened(name: str) -> None:
    with pytest.raises(BadInput, match="EXCHANGE:SYMBOL"):
        Feed(name, endpoint="ipc:///nowhere/feed.sock")


@pytest.mark.parametrize("address", [f"ipc:///tmp/{'x' * 120}/feed.sock", "carrier://pigeon", ""])
def test_an_address_that_can_be_none_is_bad_input(address: str) -> None:
    with pytest.raises(BadInput, match=f"{address} cannot be connected to"):
        Feed("NSE:INFY", endpoint=address)


def test_a_publisher_without_heartbeats_is_no_daemon(
    directory: Path, publisher: "zmq.Socket[bytes]"
) -> None:
    with pytest.raises(Unavailable):
        Feed("NSE:INFY", endpoint=endpoint(directory, FEED), timeout_s=0.2)
    asked = subscriptions(publisher, 5)
    assert b"\1tick/NSE:INFY\0" in asked
    assert b"\1hb/feed\0" in asked


def test_after_a_reconnect_libzmq_sends_subscriptions_in_byte_order_so_snapshots_come_last(
    directory: Path, publisher: "zmq.Socket[bytes]"
) -> None:
    """Speed rests on this order (the live topics are installed before a snapshot is answered);
    correctness does not, because seq shows a gap."""
    reader = sockets.connect_feed(endpoint(directory, FEED))
    wanted = [b"~snap!ab!tick/", b"tick/", b"~client!9", b"hb/feed\0", b"state/feed\0"]
    for subscription in wanted:
        reader.setsockopt(zmq.SUBSCRIBE, subscription)
    subscriptions(publisher, len(wanted))
    publisher.close(0)
    again = bound(sockets.feed_socket(), directory, FEED)
    try:
        got = subscriptions(again, len(wanted), reader)
    finally:
        again.close(0)
        reader.close(0)
    assert got == [b"\1" + subscription for subscription in sorted(wanted)]


def test_no_subscription_is_lost_above_a_thousand(
    directory: Path, publisher: "zmq.Socket[bytes]"
) -> None:
    reader = sockets.connect_feed(endpoint(directory, FEED))
    for n in range(3_000):
        reader.setsockopt(zmq.SUBSCRIBE, b"tick/NSE:%d\0" % n)
    assert len(subscriptions(publisher, 3_000)) == 3_000
    reader.close(0)
