"""ZeroMQ sockets with every option in one place.

All options are set before bind or connect: libzmq 4.3.5 has a crash when a high-water mark reaches
a pipe that is being torn down. Linger is always 0: a queued message to an absent peer would
otherwise hang the exit for ever.
"""

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import zmq
from zmq.utils import z85

from kitefeed.protocol import zap
from kitefeed.protocol.errors import BadInput, Unavailable
from kitefeed.protocol.keys import ClientKeys, KeyPair
from kitefeed.protocol.messages.control import ControlReply, ControlRequest, open_reply
from kitefeed.protocol.messages.envelope import new_id, seal
from kitefeed.protocol.secret import Secret
from kitefeed.protocol.topology import BUS, CONTROL, FEED, INGEST, Wire, endpoint

DEALER_BYTES_MAX = 4 * 1_048_576  # a Subscribe of 9,000 instruments is ~300 kB
REPORTS_QUEUED_MAX = 2  # an old one is worth nothing
HEARTBEAT_MS = 1_000
PEER_LOST_MS = 3_000
HANDSHAKE_MS = 5_000  # a connection that says nothing costs a descriptor no longer than this
ZAP_ENDPOINT = "inproc://zeromq.zap.01"  # libzmq's own name for it

_get: Callable[..., int] = zmq.backend.Socket.get  # type: ignore[assignment]
_EVENTS, _POLLIN, _RCVMORE = int(zmq.EVENTS), int(zmq.POLLIN), int(zmq.RCVMORE)


def _socket(kind: int, *, send_hwm: int, receive_hwm: int, bytes_max: int) -> zmq.Socket[bytes]:
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(kind)
    socket.linger = 0
    socket.sndhwm = send_hwm
    socket.rcvhwm = receive_hwm
    socket.maxmsgsize = bytes_max
    return socket


def finish_sending() -> None:
    """Wait until closed sockets have sent the rest of their messages, or their linger is over: a
    process that ends earlier loses them. All sockets of this process have to be closed, for
    good."""
    zmq.Context.instance().term()


def bus_socket() -> zmq.Socket[bytes]:
    """Open the supervisor's end of the bus. Unreachable peers raise instead of vanishing
    silently."""
    return _router_socket(BUS)


def control_socket() -> zmq.Socket[bytes]:
    """Open the supervisor's end of the control socket."""
    return _router_socket(CONTROL)


def _router_socket(wire: Wire) -> zmq.Socket[bytes]:
    socket = _socket(
        zmq.ROUTER,
        send_hwm=wire.binder_hwm,
        receive_hwm=wire.binder_hwm,
        bytes_max=wire.message_bytes_max,
    )
    socket.router_mandatory = True
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, PEER_LOST_MS)
    return socket


def connect_bus(runtime_dir: Path) -> zmq.Socket[bytes]:
    """Open an actor's end of the bus. IMMEDIATE: nothing is queued while the supervisor is away."""
    return _connect_dealer(endpoint(runtime_dir, BUS), BUS.peer_hwm)


def connect_control(control_endpoint: str) -> zmq.Socket[bytes]:
    """Open a command's or client's end of the control socket. Requests are queued until it
    answers."""
    return _connect_dealer(control_endpoint, CONTROL.peer_hwm, is_immediate=False)


def connect_reports(control_endpoint: str) -> zmq.Socket[bytes]:
    """Open a client's end of the control socket for messages without answer: nothing is queued
    while the supervisor is away, and next to nothing when it is slow."""
    return _connect_dealer(control_endpoint, REPORTS_QUEUED_MAX)


def send_or_drop(socket: zmq.Socket[bytes], frame: bytes) -> None:
    try:
        socket.send(frame, zmq.NOBLOCK)
    except zmq.Again:
        pass


def _connect_dealer(address: str, hwm: int, *, is_immediate: bool = True) -> zmq.Socket[bytes]:
    socket = _socket(zmq.DEALER, send_hwm=hwm, receive_hwm=hwm, bytes_max=DEALER_BYTES_MAX)
    socket.setsockopt(zmq.IMMEDIATE, int(is_immediate))
    _set_reconnect(socket)
    _connect(socket, address)
    return socket


def ingest_socket() -> zmq.Socket[bytes]:
    """Open the broadcaster's end of ingest. It binds a SUB so that sources, which are restarted
    more often, own no address."""
    socket = _socket(
        zmq.SUB,
        send_hwm=0,
        receive_hwm=INGEST.binder_hwm,
        bytes_max=INGEST.message_bytes_max,
    )
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    return socket


def connect_ingest(runtime_dir: Path) -> zmq.Socket[bytes]:
    """Open a source's end of ingest. XPUB never blocks; with IMMEDIATE nothing stale is queued for
    an absent broadcaster."""
    socket = _socket(zmq.XPUB, send_hwm=INGEST.peer_hwm, receive_hwm=0, bytes_max=-1)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    _set_reconnect(socket)
    _connect(socket, endpoint(runtime_dir, INGEST))
    return socket


def feed_socket() -> zmq.Socket[bytes]:
    """Open the broadcaster's end of the feed. VERBOSER: every subscribe and unsubscribe is
    reported, so that listeners can be counted and each new one gets its last values. NODROP: the
    socket reports a full queue instead of dropping in silence (`LoopSocket.publish`)."""
    socket = _socket(
        zmq.XPUB,
        send_hwm=FEED.binder_hwm,
        receive_hwm=0,
        bytes_max=FEED.message_bytes_max,
    )
    socket.setsockopt(zmq.XPUB_VERBOSER, 1)
    socket.setsockopt(zmq.XPUB_NODROP, 1)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    return socket


def bind_tcp_feed(address: str, own: KeyPair) -> zmq.Socket[bytes]:
    """Bind the broadcaster's end of the feed for other hosts. It is encrypted; the ZAP wire, bound
    before it, decides which clients it lets in. Raises OSError when `address` is taken or not this
    host's."""
    socket = feed_socket()
    try:
        socket.setsockopt(zmq.IPV6, int("[" in address))
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, own.secret.reveal().encode())
        socket.setsockopt(zmq.ZAP_DOMAIN, zap.DOMAIN)
        # Without it a connection that no ZAP answers for would be let in.
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, PEER_LOST_MS)
        _bind(socket, address)
    except BaseException:
        socket.close(0)
        raise
    return socket


def inproc_feed(name: str) -> tuple[zmq.Socket[bytes], str]:
    """Open a feed for one reader in this process, and its address."""
    address = f"inproc://kitefeed-{name}"
    socket = feed_socket()
    _bind(socket, address)
    return socket, address


def bind_zap() -> zmq.Socket[bytes]:
    """Bind the socket on which libzmq asks this process whether a client may connect
    (`protocol.zap`)."""
    socket = _socket(zmq.REP, send_hwm=0, receive_hwm=0, bytes_max=-1)
    socket.bind(ZAP_ENDPOINT)
    return socket


def new_key_pair() -> KeyPair:
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), Secret(secret.decode()))


def key_text(key: bytes) -> str:
    """Write a key of 32 bytes as key files have it."""
    return z85.encode(key).decode()


def connect_feed(
    feed_endpoint: str, keys: ClientKeys | None = None, queued_max: int = FEED.peer_hwm
) -> zmq.Socket[bytes]:
    """Open a subscriber's end of the feed, not yet subscribed to anything. `keys`: for a tcp
    endpoint.

    SNDHWM 0: subscriptions are messages, and at the default of 1,000 libzmq silently drops the
    rest. HEARTBEAT_TTL: the broadcaster cuts us when we are frozen, and frees our queue.
    """
    socket = _socket(zmq.SUB, send_hwm=0, receive_hwm=queued_max, bytes_max=-1)
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TTL, PEER_LOST_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, PEER_LOST_MS)
    _set_reconnect(socket)
    if keys is not None:
        socket.setsockopt(zmq.IPV6, int("[" in feed_endpoint))
        socket.setsockopt(zmq.CURVE_SERVERKEY, keys.server.encode())
        socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.own.public.encode())
        socket.setsockopt(zmq.CURVE_SECRETKEY, keys.own.secret.reveal().encode())
    _connect(socket, feed_endpoint)
    return socket


def has_message(socket: zmq.Socket[bytes]) -> bool:
    """Whether a message can be received now. Never blocks."""
    return bool(_get(socket, _EVENTS) & _POLLIN)


def has_more(socket: zmq.Socket[bytes]) -> bool:
    """Whether the message goes on after the frame received last."""
    return bool(_get(socket, _RCVMORE))


def _connect(socket: zmq.Socket[bytes], address: str) -> None:
    """Connect. Raises BadInput for an impossible address: a path too long for a socket, an unknown
    protocol."""
    try:
        socket.connect(address)
    except zmq.ZMQError as error:
        socket.close(0)
        raise BadInput(f"{address} cannot be connected to: {error.strerror}") from None


def _set_reconnect(socket: zmq.Socket[bytes]) -> None:
    socket.setsockopt(zmq.RECONNECT_IVL, 100)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1_000)


def give_listener(socket: zmq.Socket[bytes], descriptor: int, path: str) -> None:
    """Give `socket` a listening socket that was bound to `path`: it lets in those who wait there.
    It owns `descriptor` from here on, also when OSError is raised. `take_listener` is the way
    back."""
    socket.setsockopt(zmq.USE_FD, descriptor)
    try:
        _bind(socket, f"ipc://{path}")
    except OSError:
        os.close(descriptor)
        raise


def take_listener(socket: zmq.Socket[bytes], path: str) -> None:
    """Close the listener, and with it every connection that came through it."""
    try:
        socket.unbind(f"ipc://{path}")
    except zmq.ZMQError:  # it has gone
        pass


class Caller(NamedTuple):
    """An event of a connection at a socket of ours: `kind` is of `ARRIVED`, `ADMITTED`, `GONE`."""

    kind: str
    descriptor: int


ARRIVED, ADMITTED, GONE = "arrived", "admitted", "gone"
_ARRIVALS = {int(zmq.EVENT_ACCEPTED): ARRIVED, int(zmq.EVENT_HANDSHAKE_SUCCEEDED): ADMITTED}
_DEPARTURES = int(
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
_EVENT = struct.Struct("=Hi")  # zmq_socket_monitor(3)


def callers_of(socket: zmq.Socket[bytes], address: str) -> zmq.Socket[bytes]:
    """Open a socket that tells of every connection to `socket` (`caller_of`); `address`: an
    `inproc` address of its own. Nothing is dropped: libzmq would rather stop taking connections."""
    socket.monitor(address, sum(_ARRIVALS) | _DEPARTURES)
    made = _socket(zmq.PAIR, send_hwm=0, receive_hwm=0, bytes_max=-1)
    made.connect(address)
    return made


def caller_of(frames: list[bytes]) -> Caller:
    event, descriptor = _EVENT.unpack(frames[0])
    return Caller(_ARRIVALS.get(event, GONE), descriptor)


def _bind(socket: zmq.Socket[bytes], address: str) -> None:
    """Bind. Raises OSError instead of zmq.ZMQError, which no other module knows."""
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        raise OSError(error.errno, error.strerror) from None


def request(
    control_endpoint: str, message: ControlRequest, *, timeout_s: float, tries: int = 3
) -> ControlReply:
    """Send one control request and return its reply, blocking; the same id is sent again when
    nothing comes.

    Raises Unavailable when no reply came within `timeout_s` (split over the tries).
    """
    frame_id = new_id()
    frame = seal(message, id=frame_id)
    for _ in range(tries):
        socket = connect_control(control_endpoint)
        try:
            socket.send(frame)
            while socket.poll(int(timeout_s * 1_000 / tries)):
                answered, reply = open_reply(socket.recv())
                if answered == frame_id:
                    return reply
        finally:
            socket.close(0)
    raise Unavailable(
        f"No kitefeed daemon answers at {control_endpoint}: start it with `kitefeed up`"
    )
