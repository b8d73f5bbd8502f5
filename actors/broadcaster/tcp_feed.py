"""The feed for other hosts: a second XPUB, encrypted, that carries what may leave this machine."""

import asyncio
import logging
from collections.abc import Callable

from kitefeed.actors.runtime import memory
from kitefeed.actors.runtime.config import Settings
from kitefeed.actors.runtime.secrets import remember
from kitefeed.protocol import keys, zap
from kitefeed.protocol.sockets import Wire, bind_tcp_feed, bind_zap, key_text
from kitefeed.protocol.topics import NOTICE, ORDER

REBIND_S = 1.0
NAMED_MAX = 200  # addresses, and clients at them, that are named in the log, once each

log = logging.getLogger("broadcaster")


class TcpFeed:
    """Subscriptions go to `on_subscription` as those of the other socket do, and both sockets are
    given the answers: they reach whoever has subscribed to their topic, on either.

    An address that cannot be bound is tried again every second: programs on this host must not
    lose their feed over it.
    """

    def __init__(self, settings: Settings, on_subscription: Callable[[list[bytes]], None]) -> None:
        feed = settings.config.feed
        self._address = feed.tcp
        self._keys = settings.keys_path
        self._has_orders = feed.tcp_orders
        self._on_subscription = on_subscription
        self._own = keys.read_server(settings.keys_path)
        remember(self._own.secret)
        memory.close_to_others()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._is_said = False
        self._named: set[tuple[str | None, str]] = set()
        self._zap = Wire(bind_zap(), self._judge)  # before the socket that depends on it
        self._wire: Wire | None = None
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

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._wire is not None:
            self._wire.close()
        self._zap.close()

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
        self._wire = Wire(socket, self._on_subscription)
        log.info("the feed is open to clients with a key: address=%s", self._address)

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
        return keys.allowed(self._keys).get(key_text(key))
