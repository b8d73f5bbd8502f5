"""An actor's end of the bus: its socket, and beats from the main loop, as `membership.py` says."""

import asyncio
import logging
from collections.abc import Callable

import msgspec

from kitefeed.actors.runtime.membership import HELLO_RETRY_NS, Duty, Membership
from kitefeed.actors.runtime.process import Runtime
from kitefeed.actors.runtime.pulse import to_next_s
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.exits import Exit
from kitefeed.protocol.feed import DECODE_ERRORS
from kitefeed.protocol.loop_socket import GuardedSocket, Peer
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.envelope import Message, seal
from kitefeed.protocol.messages.membership import Beat, Hello
from kitefeed.protocol.sockets import connect_bus

log = logging.getLogger("kitefeed")


class Bus:
    """An actor's end of the bus. `hello` builds the current Hello; `beat` the current Beat;
    `on_message` gets every command; `on_welcome` is called when a supervisor that did not know us
    welcomes us (a new one, or the old one after a challenge or a silence): earlier reports have to
    be said again. All run on the loop and must not block."""

    def __init__(
        self,
        runtime: Runtime,
        hello: Callable[[], Hello],
        beat: Callable[[], Beat],
        on_message: Callable[[m.BusMessage], None],
        on_welcome: Callable[[], None] | None = None,
    ) -> None:
        self._runtime = runtime
        self._hello = hello
        self._beat = beat
        self._on_message = on_message
        self._on_welcome = on_welcome
        self._wire = GuardedSocket(
            connect_bus(runtime.settings.runtime_dir), self._receive, self._refuse
        )
        self._loop = asyncio.get_running_loop()
        self._membership = Membership()
        self._due_s = self._loop.time()
        self._timer: asyncio.Handle = self._loop.call_soon(self._turn)
        self.bad_messages = 0

    @property
    def supervisor_age_ns(self) -> int:
        """The time since the supervisor was last heard; since boot when it never was."""
        return boot_ns() - self._membership.heard_ns

    def send(self, message: Message) -> bool:
        """Send a report; False when no supervisor can take it. Nothing is queued."""
        return self._wire.send([seal(message)])

    def close(self) -> None:
        self._timer.cancel()
        self._wire.close()

    def _turn(self) -> None:
        """Say hello until welcome, then beat."""
        lag_ns = int((self._loop.time() - self._due_s) * 1e9)
        if self._membership.turn(boot_ns()) is Duty.HELLO:
            self.send(self._hello())
            delay_s = HELLO_RETRY_NS / 1e9
        else:
            self.send(msgspec.structs.replace(self._beat(), lag_ns=max(0, lag_ns)))
            delay_s = to_next_s(self._loop.time())
        self._due_s = self._loop.time() + delay_s
        self._timer = self._loop.call_later(delay_s, self._turn)

    def _refuse(self, _: list[bytes], sender: Peer) -> None:
        """Ignore the message: another user's process holds the supervisor's address."""
        if self.bad_messages == 0:
            log.error("the bus is held by another user: uid=%s pid=%s", sender.uid, sender.pid)
        self.bad_messages += 1

    def _receive(self, frames: list[bytes], _: Peer) -> None:
        try:
            message = m.open_bus(frames[-1])
        except DECODE_ERRORS:
            self.bad_messages += 1
            return
        match self._membership.heard(message, boot_ns()):
            case Duty.WELCOMED if self._on_welcome is not None:
                self._on_welcome()
            case Duty.HELLO:
                self.send(self._hello())
            case Duty.LEAVE:
                log.warning("leaving: %s", getattr(message, "reason", ""))
                self._runtime.stop(Exit.TRY_LATER)
            case Duty.COMMAND:
                self._on_message(message)
