"""ticker: owns Kite's WebSocket. Connects, drops and subscribes on command; decides nothing."""

import asyncio
import logging
import sys

from kitefeed.actors.policy.machine import Welcomed
from kitefeed.actors.runtime import locks, process, session_file
from kitefeed.actors.runtime.bus import Bus
from kitefeed.actors.runtime.driver import Driver
from kitefeed.actors.runtime.hello import hello_of
from kitefeed.actors.runtime.process import Runtime
from kitefeed.actors.ticker import reactor
from kitefeed.actors.ticker.machine import (
    CallbackFailed,
    Command,
    Connect,
    Disconnect,
    Ended,
    Frame,
    LinkId,
    Send,
    Ticker,
    Upgraded,
)
from kitefeed.protocol import location
from kitefeed.protocol.clock import boot_ns, utc_ns
from kitefeed.protocol.errors import ConfigError
from kitefeed.protocol.feed import IngestBatch, encode
from kitefeed.protocol.loop_socket import LoopSocket
from kitefeed.protocol.messages.envelope import Message
from kitefeed.protocol.messages.membership import Beat, Hello
from kitefeed.protocol.sockets import connect_ingest
from kitefeed.protocol.topology import Role

log = logging.getLogger(Role.TICKER)


def main() -> int:
    return process.run(Role.TICKER, live)


async def live(runtime: Runtime) -> None:
    shell = Shell(runtime)
    await runtime.stopped.wait()
    shell.close()


class Shell:
    """The machine's hands: Kite's sockets, the bus and ingest, all on one loop."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._machine = Ticker()
        self._keys = locks.KeyLocks(
            location.key_locks_dir(runtime.settings.source), runtime.boot_id
        )
        self._has_no_keys = False  # the locks cannot be had, and it was said
        self._driver = Driver(self._machine, self._perform)
        reactor.install(asyncio.get_running_loop(), self._library_failed)
        # After the reactor: this import brings kiteconnect.
        from kitefeed.actors.ticker import kite_socket

        self._module = kite_socket
        self._sockets: dict[LinkId, kite_socket.KiteSocket] = {}
        self._ingest = LoopSocket(connect_ingest(runtime.settings.runtime_dir), lambda frames: None)
        self._bus = Bus(
            runtime, self._hello, self._beat, self._driver.feed, lambda: self._feed(Welcomed())
        )

    def close(self) -> None:
        for socket in list(self._sockets.values()):
            socket.close()
        self._driver.close()
        self._bus.close()
        self._ingest.close()
        self._keys.release()

    def _feed(self, event: object) -> None:
        self._driver.feed(event)

    def _perform(self, command: Command) -> None:
        match command:
            case IngestBatch():
                self._ingest.publish([encode(command)])
            case Connect():
                self._connect(command)
            case Disconnect():
                if command.link in self._sockets:
                    self._sockets[command.link].close()
            case Send():
                if command.link in self._sockets:
                    self._sockets[command.link].ask(command.ask)
            case Message():
                self._bus.send(command)

    def _connect(self, command: Connect) -> None:
        link, settings, feed = command.link, self._runtime.settings, self._driver.feed
        session = session_file.by_fingerprint(settings, command.fingerprint)
        if session is None:
            self._feed(Ended(link, None, "session changed"))
            return
        other = self._take_key(session.api_key)
        if other is not None:
            self._feed(Ended(link, None, other))
            return
        callbacks = self._module.SocketCallbacks(
            on_open=lambda: self._feed(Upgraded(link)),
            on_message=lambda payload, is_binary: feed(
                Frame(link, payload, is_binary, utc_ns() / 1e9)
            ),
            on_end=lambda code, reason: self._ended(link, code, reason),
            on_failure=lambda error: self._failed(link, error),
        )
        self._sockets[link] = self._module.KiteSocket(settings.config.kite, session, callbacks)
        self._sockets[link].connect()

    def _take_key(self, api_key: str) -> str | None:
        """Take the lock of this API key; tell who else holds it. If there is no home to keep locks
        in, nobody knows, and the ticker goes on."""
        try:
            return self._keys.take(api_key, self._runtime.settings.config.kite.ws_url)
        except (ConfigError, OSError) as error:
            if not self._has_no_keys:
                self._has_no_keys = True
                log.warning("a second daemon with this API key would not be noticed: %s", error)
            return None

    def _ended(self, link: LinkId, code: int | None, reason: str) -> None:
        self._sockets.pop(link, None)
        self._feed(Ended(link, code, reason))

    def _failed(self, link: LinkId, error: BaseException) -> None:
        log.error("a callback failed, its link is dropped: epoch=%d", link.epoch, exc_info=error)
        self._feed(CallbackFailed(link))

    def _library_failed(self) -> None:
        self._machine.counters["callback_errors"] += 1

    def _hello(self) -> Hello:
        machine = self._machine
        return hello_of(self._runtime, highest_epoch=machine.highest_epoch, links=machine.links)

    def _beat(self) -> Beat:
        return Beat(
            last_tick_age_ns=_age_ns(self._machine.last_tick_ns),
            fresh_tick_age_ns=_age_ns(self._machine.fresh_tick_ns),
            counters=dict(self._machine.counters),
            fresh_ages_ns={s: _age_ns(at) for s, at in self._machine.fresh_shards_ns.items()},
            held=self._machine.held(boot_ns()),
        )


def _age_ns(at_ns: int | None) -> int:
    return -1 if at_ns is None else boot_ns() - at_ns


if __name__ == "__main__":
    sys.exit(main())
