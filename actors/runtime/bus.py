"""An actor's end of the bus: says hello, beats every second from the main loop, passes the rest on.

The supervisor answers every beat; three unanswered ones and the actor says hello again. Commands
for an absent supervisor are not queued: both sides repeat desired state after a hello.
"""

import asyncio
import logging
from collections.abc import Callable

import msgspec

from kitefeed.actors.runtime.process import Runtime
from kitefeed.actors.runtime.pulse import to_next_s
from kitefeed.protocol import messages as m
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.exits import Exit
from kitefeed.protocol.feed import DECODE_ERRORS
from kitefeed.protocol.sockets import GuardedWire, Peer, connect_bus

HELLO_RETRY_S = 0.2
SUPERVISOR_LOST_NS = 3_000_000_000

log = logging.getLogger("kitefeed")


class Bus:
    """`hello` builds the current Hello; `beat` the current Beat; `on_message` gets every command;
    `on_welcome` is called when a supervisor takes us on that did not know us before (a new one, or
    the old one after a challenge or a silence): what was reported earlier is to be said again. All
    run on the loop and must not block."""

    def __init__(
        self,
        runtime: Runtime,
        hello: Callable[[], m.Hello],
        beat: Callable[[], m.Beat],
        on_message: Callable[[m.BusMessage], None],
        on_welcome: Callable[[], None] | None = None,
    ) -> None:
        self._runtime = runtime
        self._hello = hello
        self._beat = beat
        self._on_message = on_message
        self._on_welcome = on_welcome
        self._wire = GuardedWire(
            connect_bus(runtime.settings.runtime_dir), self._receive, self._refuse
        )
        self._loop = asyncio.get_running_loop()
        self._supervisor: str | None = None  # boot_id of the one that welcomed us
        self._heard_ns = 0
        self._due_s = self._loop.time()
        self._timer: asyncio.Handle = self._loop.call_soon(self._turn)
        self.bad_messages = 0

    @property
    def supervisor_age_ns(self) -> int:
        """Since the supervisor was last heard; since boot when it never was."""
        return boot_ns() - self._heard_ns

    @property
    def is_welcome(self) -> bool:
        return self._supervisor is not None

    def send(self, message: m.Message) -> bool:
        """Sends a report; False when no supervisor can take it. Nothing is queued."""
        return self._wire.send([m.seal(message)])

    def close(self) -> None:
        self._timer.cancel()
        self._wire.close()

    def _turn(self) -> None:
        """Says hello until welcome, then beats."""
        lag_ns = int((self._loop.time() - self._due_s) * 1e9)
        if self.supervisor_age_ns > SUPERVISOR_LOST_NS:
            self._supervisor = None
        if self._supervisor is None:
            self.send(self._hello())
            delay_s = HELLO_RETRY_S
        else:
            self.send(msgspec.structs.replace(self._beat(), lag_ns=max(0, lag_ns)))
            delay_s = to_next_s(self._loop.time())
        self._due_s = self._loop.time() + delay_s
        self._timer = self._loop.call_later(delay_s, self._turn)

    def _refuse(self, _: list[bytes], sender: Peer) -> None:
        """Somebody else's process holds the supervisor's address: not a word of it counts."""
        if self.bad_messages == 0:
            log.error("the bus is held by another user: uid=%s pid=%s", sender.uid, sender.pid)
        self.bad_messages += 1

    def _receive(self, frames: list[bytes], _: Peer) -> None:
        try:
            message = m.open_bus(frames[-1])
        except DECODE_ERRORS:
            self.bad_messages += 1
            return
        self._heard_ns = boot_ns()
        match message:
            case m.Welcome():
                is_repetition = self._supervisor == message.boot_id
                self._supervisor = message.boot_id
                if self._on_welcome is not None and not is_repetition:
                    self._on_welcome()
            case m.Challenge():
                self._supervisor = None
                self.send(self._hello())
            case m.Leave():
                log.warning("leaving: %s", message.reason)
                self._runtime.stop(Exit.TRY_LATER)
            case m.BeatAck():
                pass
            case _:
                self._on_message(message)
