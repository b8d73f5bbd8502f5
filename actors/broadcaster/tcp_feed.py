"""The feed for other hosts: a second XPUB, encrypted. It carries only what may leave this
machine."""

import asyncio
import logging
from collections.abc import Callable

from kitefeed.actors.runtime import memory, peers
from kitefeed.actors.runtime.config import Settings
from kitefeed.actors.runtime.descriptors import KEPT_OF_PROGRAMS, Room
from kitefeed.actors.runtime.peers import Address
from kitefeed.actors.runtime.secrets import remember
from kitefeed.protocol import keys, zap
from kitefeed.protocol.loop_socket import LoopSocket
from kitefeed.protocol.sockets import (
    ADMITTED,
    ARRIVED,
    bind_tcp_feed,
    bind_zap,
    caller_of,
    callers_of,
    key_text,
)
from kitefeed.protocol.topics import NOTICE, ORDER

REBIND_S = 1.0
CALLERS_MAX = 256  # connections without a proven key yet
CALLERS_ENDPOINT = "inproc://tcp-callers"
NAMED_MAX = 200  # addresses, and clients at them, that are named in the log, once each

log = logging.getLogger("broadcaster")


class TcpFeed:
    """The second XPUB. Its subscriptions go to `on_subscription` as those of the first do, and both
    sockets get the answers: these reach the subscribers of their topic on either socket.

    An address that cannot be bound is tried again every second: programs on this host must not
    lose their feed over it.
    """

    def __init__(
        self, settings: Settings, on_subscription: Callable[[list[bytes]], None], room: Room
    ) -> None:
        feed = settings.config.feed
        self._address = feed.tcp
        self._keys = settings.keys_path
        self._has_orders = feed.tcp_orders
        self._on_subscription = on_subscription
        self._room = room
        self._port = int(feed.tcp.rpartition(":")[2])
        self._callers: dict[int, None] = {}  # connections that have not proven a key, oldest first
        self._own = keys.read_server(settings.keys_path)
        remember(self._own.secret)
        memory.close_to_others()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._is_said = False
        self.refused = 0  # connections that were cut for want of room
        self._named: set[tuple[str | None, str]] = set()
        self._zap = LoopSocket(bind_zap(), self._judge)  # before the socket that depends on it
        self._wire: LoopSocket | None = None
        self._monitor: LoopSocket | None = None
        self._bind()

    def publish(self, frames: list[bytes]) -> None:
        wire = self._wire
        if wire is None:
            return
        if not self._has_orders:
            frames = [frame for frame in frames if not frame.startswith((ORDER, NOTICE))]
        wire.publish(frames)

    @property
    def full_queues(self) -> int:
        return 0 if self._wire is None else self._wire.full_queues

    def has(self, address: Address) -> bool:
        """Whether a connection with this own address came through here."""
        return address == self._port

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for wire in (self._wire, self._monitor, self._zap):
            if wire is not None:
                wire.close()

    def _bind(self) -> None:
        try:
            socket = bind_tcp_feed(self._address, self._own)
        except OSError as error:
            if not self._is_said:
                log.error(
                    "feed.tcp cannot be bound: address=%s error=%s", self._address, error.strerror
                )
            self._is_said = True
            self._timer = self._loop.call_later(REBIND_S, self._bind)
            return
        self._wire = LoopSocket(socket, self._on_subscription)
        self._monitor = LoopSocket(callers_of(socket, CALLERS_ENDPOINT), self._on_caller)
        self._wire.look()
        log.info("the feed is open to clients with a key: address=%s", self._address)

    def _on_caller(self, frames: list[bytes]) -> None:
        """Cut off the caller that has waited longest to prove a key when too many wait, or when
        there is no room left. When there is none, also cut one that has proven a key. (libzmq takes
        in every caller; without a descriptor it takes in nobody: on tcp that does not end the
        process.)"""
        caller = caller_of(frames)
        if caller.kind == ARRIVED:
            self._callers[caller.descriptor] = None
            if len(self._callers) > CALLERS_MAX or not self._room.has(KEPT_OF_PROGRAMS):
                self._cut(next(iter(self._callers)))
            return
        self._callers.pop(caller.descriptor, None)
        if caller.kind == ADMITTED and not self._room.has(KEPT_OF_PROGRAMS):
            self._cut(caller.descriptor)

    def _cut(self, descriptor: int) -> None:
        self._callers.pop(descriptor, None)
        peers.cut(descriptor, self.has)
        self.refused += 1

    def _judge(self, frames: list[bytes]) -> None:
        verdict = zap.judge(frames, self._name_of)
        self._zap.send(verdict.reply)
        who = (verdict.name, verdict.address)
        if who in self._named or len(self._named) >= NAMED_MAX:
            return
        self._named.add(who)
        if verdict.name is None:
            log.warning("a client without a known key was refused: address=%s", verdict.address)
        else:
            log.info("a client connected: name=%s address=%s", *who)

    def _name_of(self, key: bytes) -> str | None:
        try:
            return keys.allowed(self._keys).get(key_text(key))
        except OSError:  # no descriptor is left to read them
            return None
