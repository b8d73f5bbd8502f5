"""Tests who is calling, as the kernel says it, and how much one message may be."""

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from kitefeed.protocol import loop_socket, sockets
from kitefeed.protocol.keys import ClientKeys
from kitefeed.protocol.loop_socket import FRAMES_MAX, GuardedSocket, LoopSocket, Peer
from kitefeed.protocol.messages.control import (
    ControlRequest,
    DropInstruments,
    GetStatus,
    WantInstruments,
    open_request,
)
from kitefeed.protocol.messages.envelope import seal
from kitefeed.protocol.messages.instruments import LIST_MAX
from kitefeed.protocol.topology import CONTROL, FEED, INGEST, WIRES, endpoint
from tests.support import bound, eventually_async


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="kf") as made:  # a socket path is short
        yield Path(made)


def test_a_guarded_wire_knows_the_uid_and_pid_of_every_sender(directory: Path) -> None:
    heard: list[tuple[bytes, Peer]] = []
    strangers: list[object] = []

    async def converse() -> None:
        wire = GuardedSocket(
            bound(sockets.control_socket(), directory, CONTROL),
            lambda frames, peer: heard.append((frames[-1], peer)),
            lambda frames, peer: strangers.append(peer),
        )
        sender = sockets.connect_control(endpoint(directory, CONTROL))
        try:
            sender.send(b"hello")
            await eventually_async(lambda: heard, 5)
            sender.send_multipart([b"x"] * FRAMES_MAX)  # one more with the sender's address
            await eventually_async(lambda: wire.refused, 5)
        finally:
            sender.close(0)
            wire.close()

    asyncio.run(converse())
    assert heard == [(b"hello", Peer(os.geteuid(), os.getpid()))]
    assert strangers == []


def test_a_strangers_message_goes_nowhere_else(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Peer, "is_trusted", False)
    heard: list[object] = []
    strangers: list[Peer] = []

    async def converse() -> None:
        wire = GuardedSocket(
            bound(sockets.control_socket(), directory, CONTROL),
            lambda frames, peer: heard.append(frames),
            lambda frames, peer: strangers.append(peer),
        )
        sender = sockets.connect_control(endpoint(directory, CONTROL))
        try:
            sender.send(b"hello")
            await eventually_async(lambda: strangers, 5)
        finally:
            sender.close(0)
            wire.close()

    asyncio.run(converse())
    assert heard == []
    assert strangers[0].uid == os.geteuid()


def test_ours_and_root_are_trusted_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1_000)
    assert Peer(1_000, 1).is_trusted
    assert Peer(0, 1).is_trusted
    assert not Peer(1_001, 1).is_trusted
    assert Peer(None, None).is_trusted == (sys.platform != "linux")


def test_a_message_of_too_many_frames_is_counted_and_dropped(directory: Path) -> None:
    heard: list[list[bytes]] = []

    async def converse() -> None:
        wire = LoopSocket(bound(sockets.ingest_socket(), directory, INGEST), heard.append)
        sender = sockets.connect_ingest(directory)
        try:
            while not wire.refused:  # the connection takes a moment, and XPUB drops until then
                sender.send_multipart([b"x"] * (FRAMES_MAX + 1))
                await asyncio.sleep(0)
            sender.send_multipart([b"y"] * FRAMES_MAX)
            await eventually_async(lambda: heard, 5)
        finally:
            sender.close(0)
            wire.close()

    asyncio.run(asyncio.wait_for(converse(), 10))
    assert heard == [[b"y"] * FRAMES_MAX]


def test_every_binder_bounds_what_it_takes_in_one_frame_and_how_long_a_handshake_takes() -> None:
    made = [
        sockets.bus_socket(), sockets.control_socket(), sockets.ingest_socket(),
        sockets.feed_socket(),
    ]  # fmt: skip
    try:
        for socket, wire in zip(made, WIRES, strict=True):
            assert socket.maxmsgsize == wire.message_bytes_max
            assert socket.getsockopt(zmq.HANDSHAKE_IVL) == sockets.HANDSHAKE_MS
    finally:
        for socket in made:
            socket.close(0)


def test_the_calls_past_pyzmqs_checks_do_what_its_own_methods_do(directory: Path) -> None:
    """`Socket.send` and `Socket.get` of the backend are no documented API of pyzmq."""
    publisher, reader = bound(sockets.feed_socket(), directory, FEED), None
    try:
        reader = sockets.connect_feed(endpoint(directory, FEED))
        reader.setsockopt(zmq.SUBSCRIBE, b"t")
        assert publisher.poll(5_000)
        assert sockets.has_message(publisher)
        assert publisher.recv() == b"\1t"
        assert not sockets.has_message(publisher)
        loop_socket._send(publisher, b"tick", loop_socket._NOBLOCK)
        assert reader.poll(5_000)
        assert reader.recv() == b"tick"
        for option in (zmq.EVENTS, zmq.RCVMORE, zmq.RCVTIMEO):
            assert sockets._get(reader, int(option)) == reader.getsockopt(option)
        publisher.close(0)
        with pytest.raises(zmq.ZMQError):
            loop_socket._send(publisher, b"tick", loop_socket._NOBLOCK)
    finally:
        publisher.close(0)
        if reader is not None:
            reader.close(0)


@pytest.mark.parametrize(
    "message",
    [
        WantInstruments(("NSE:INFY",) * (LIST_MAX + 1)),
        DropInstruments(("NSE:INFY",) * (LIST_MAX + 1)),
        DropInstruments(("NSE:" + "X" * 300,)),
    ],
)
def test_a_request_longer_than_its_limits_is_no_request(message: ControlRequest) -> None:
    with pytest.raises(Exception, match="length <="):
        open_request(seal(message))


def test_an_id_is_short() -> None:
    with pytest.raises(Exception, match="length <= 64"):
        open_request(seal(GetStatus(), id="x" * 65))


def test_over_tcp_nobody_is_let_in_while_no_handler_knows_the_keys() -> None:
    """Without its domain enforced, libzmq lets in whoever knows the server's public key."""
    own, other = sockets.new_key_pair(), sockets.new_key_pair()
    server = sockets.bind_tcp_feed("tcp://127.0.0.1:*", own)
    client = sockets.connect_feed(
        server.getsockopt_string(zmq.LAST_ENDPOINT), ClientKeys(own.public, other)
    )
    client.setsockopt(zmq.SUBSCRIBE, b"")
    try:
        assert not server.poll(1_000)
    finally:
        client.close(0)
        server.close(0)
