"""A ZeroMQ socket that an asyncio loop reads and writes, and the process at its other end."""

import os
import sys
from asyncio import get_running_loop
from collections.abc import Callable, Iterable
from typing import NamedTuple

import zmq

from kitefeed.protocol.sockets import has_message, has_more

DRAIN_MAX = 256  # frames handled per turn, so that timers and other sockets get theirs
FRAMES_MAX = 8  # parts of one message; MAXMSGSIZE bounds a part, not their number

# `Socket.send` without pyzmq's checks of its arguments: 0.4 us a message against 1.2.
_send = zmq.backend.Socket.send
_NOBLOCK = int(zmq.NOBLOCK)

OnMessage = Callable[[list[bytes]], None]


class LoopSocket:
    """A socket on an asyncio loop: drained on readiness, never awaited per message (which costs
    three times as much). `on_message` gets the frames of one message and must not raise.

    ZeroMQ's descriptor is edge-triggered, and sending may swallow the edge; therefore every send
    schedules a look at the receiving side.
    """

    def __init__(self, socket: zmq.Socket[bytes], on_message: OnMessage) -> None:
        self.socket = socket
        self._on_message = on_message
        self._loop = get_running_loop()
        self._is_drain_due = False
        self.refused = 0  # messages of too many frames
        self.full_queues = 0  # how often the queue to a subscriber was found full
        self._loop.add_reader(socket.fileno(), self._drain)
        self._schedule()

    def send(self, frames: list[bytes]) -> bool:
        """Hand a message to ZeroMQ without blocking; False when nobody can take it now."""
        try:
            self.socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.ZMQError:  # EAGAIN: full or no peer; EHOSTUNREACH: the peer has gone
            return False
        finally:
            self._schedule()
        return True

    def publish(self, frames: Iterable[bytes]) -> None:
        """Send messages of one frame each on a feed's socket, which never blocks. A reader whose
        queue is full gets nothing more until it has emptied half of it: that is counted once."""
        socket, send, flags = self.socket, _send, _NOBLOCK
        for frame in frames:
            try:
                send(socket, frame, flags)
            except zmq.Again:
                self.full_queues += 1
                self._send_to_the_rest(frame)
        # Sending also takes in messages. A look is cheaper than a turn of the loop for nothing.
        if has_message(socket):
            self._schedule()

    def offer(self, frame: bytes) -> bool:
        """Send a message of one frame on a feed's socket, if every reader has room for it."""
        try:
            _send(self.socket, frame, _NOBLOCK)
        except zmq.Again:
            return False
        finally:
            self._schedule()
        return True

    def _send_to_the_rest(self, frame: bytes) -> None:
        """Send it to all readers whose queue has room."""
        self.socket.setsockopt(zmq.XPUB_NODROP, 0)
        try:
            _send(self.socket, frame, _NOBLOCK)
        finally:
            self.socket.setsockopt(zmq.XPUB_NODROP, 1)

    def close(self, linger_ms: int = 0) -> None:
        """Close the socket. `linger_ms`: how long the last messages may still go out; see
        `finish_sending`."""
        self._loop.remove_reader(self.socket.fileno())
        self.socket.close(linger_ms)

    def look(self) -> None:
        """Look at the receiving side. Call this after any other use of the socket: it may swallow
        the edge."""
        self._schedule()

    def _schedule(self) -> None:
        if not self._is_drain_due:
            self._is_drain_due = True
            self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        """Take the messages that are there. It asks before each one: an exception for nothing costs
        twice as much, and nearly always there is one message."""
        self._is_drain_due = False
        socket = self.socket
        for _ in range(DRAIN_MAX):
            if socket.closed or not has_message(socket):
                return
            self._take()
        self._schedule()

    def _take(self) -> None:
        frames = [self.socket.recv(_NOBLOCK)]
        if has_more(self.socket):
            frames += self.socket.recv_multipart(_NOBLOCK)
        if len(frames) <= FRAMES_MAX:
            self._on_message(frames)
        else:
            self.refused += 1


class Peer(NamedTuple):
    """The process at the other end of an `ipc` connection, as the kernel says it (SO_PEERCRED);
    None where it does not."""

    uid: int | None
    pid: int | None

    @property
    def is_trusted(self) -> bool:
        """Whether the process is ours, or root's, who can do anything anyway. Where no uid is known
        (not on Linux) the socket file's mode alone decides."""
        if self.uid is None:
            return sys.platform != "linux"
        return self.uid in (os.geteuid(), 0)


class GuardedSocket(LoopSocket):
    """A wire of the control path, which asks the kernel who sent each message. Strangers' messages
    go to `on_stranger`; they come only through a directory or socket file that was opened up."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        on_message: Callable[[list[bytes], Peer], None],
        on_stranger: Callable[[list[bytes], Peer], None],
    ) -> None:
        self._on_known = on_message
        self._on_stranger = on_stranger
        super().__init__(socket, lambda frames: None)

    def _take(self) -> None:
        parts = self.socket.recv_multipart(zmq.NOBLOCK, copy=False)
        if len(parts) > FRAMES_MAX:
            self.refused += 1
            return
        peer = _peer_of(parts[-1])
        take = self._on_known if peer.is_trusted else self._on_stranger
        take([part.bytes for part in parts], peer)


def _peer_of(part: zmq.Frame) -> Peer:
    """Read libzmq's `localhost:<uid>:<gid>:<pid>`."""
    try:
        _, uid, _, pid = str(part.get("Peer-Address")).split(":")
        return Peer(int(uid), int(pid) if pid else None)
    except (zmq.ZMQError, ValueError):
        return Peer(None, None)
