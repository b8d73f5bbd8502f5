"""The supervisor's shell: binds bus and control, decodes, calls the core, does what it orders."""

import asyncio
import contextlib
import logging
from functools import partial

from kitefeed.actors.runtime import locks, process
from kitefeed.actors.runtime.descriptors import Room
from kitefeed.actors.runtime.door import Door
from kitefeed.actors.runtime.driver import Driver
from kitefeed.actors.runtime.process import Runtime
from kitefeed.actors.runtime.pulse import to_next_s
from kitefeed.actors.runtime.state_file import StateFile
from kitefeed.actors.supervisor import memory
from kitefeed.actors.supervisor.core import Core, Kill, Order, Send
from kitefeed.actors.supervisor.desk import Reply
from kitefeed.actors.supervisor.facts import Persist, Persisted, Say
from kitefeed.actors.supervisor.listings import Lists
from kitefeed.actors.supervisor.names import LookUp
from kitefeed.actors.supervisor.setup import setup_of
from kitefeed.protocol.clock import boot_ns, utc_ns
from kitefeed.protocol.feed import DECODE_ERRORS
from kitefeed.protocol.loop_socket import GuardedSocket, Peer
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.control import open_request
from kitefeed.protocol.messages.envelope import open_envelope, seal
from kitefeed.protocol.sockets import bus_socket, control_socket
from kitefeed.protocol.topology import BUS, CONTROL, Role

log = logging.getLogger(Role.SUPERVISOR)


def main() -> int:
    return process.run(Role.SUPERVISOR, lambda runtime: Shell(runtime).run())


class Shell:
    """The core's hands: wires, the files, the clock."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        settings, what = runtime.settings, "subscriptions and choices of the operator"
        path = settings.state_dir / memory.FILE_NAME
        self._file = StateFile(path, what, memory.FILE_BYTES_MAX, log)
        persisted = self._file.read(memory.decode) or Persisted()
        self._core = Core(setup_of(runtime), persisted, boot_ns(), utc_ns())
        self._driver = Driver(self._core, self._perform)
        self._lists = Lists(settings.instruments_path)
        self._room = Room(log)
        self._bus = GuardedSocket(bus_socket(), self._on_bus, self._on_bus_stranger)
        self._control = GuardedSocket(control_socket(), self._on_control, self._on_control_stranger)
        self._doors = [
            Door(wire, settings.runtime_dir, row, self._room, log)
            for wire, row in ((self._bus, BUS), (self._control, CONTROL))
        ]

    async def run(self) -> None:
        """Turn once a second until stopped."""
        while not self._runtime.stopped.is_set():
            self._turn()
            delay_s = to_next_s(asyncio.get_running_loop().time())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._runtime.stopped.wait(), delay_s)
        self._perform(self._core.remember())
        for end in (*[door.close for door in self._doors], self._bus.close, self._control.close):
            end()
        self._driver.close()

    def _turn(self) -> None:
        for door in self._doors:
            door.look()
        self._room.look()
        refused, failing = self._bus.refused + self._control.refused, self._file.is_failing
        counted = {"too_many_frames": refused, "writes_failing": int(failing)}
        self._driver.do(partial(self._core.turn, utc_ns(), counted))

    def _on_bus(self, frames: list[bytes], sender: Peer) -> None:
        core, peer = self._core, frames[0]
        try:
            step = partial(core.heard, peer, m.open_bus(frames[-1]), sender.pid)
        except DECODE_ERRORS as error:
            step = partial(core.misheard, BUS, peer, str(error))
        self._driver.do(step)

    def _on_control(self, frames: list[bytes], sender: Peer) -> None:
        core, peer = self._core, frames[0]
        try:
            frame_id, request = open_request(frames[-1])
            step = partial(core.asked, (peer, frame_id), request, *sender)
        except DECODE_ERRORS as error:
            step = partial(core.misheard, CONTROL, peer, str(error))
        self._driver.do(step)

    def _on_bus_stranger(self, frames: list[bytes], sender: Peer) -> None:
        self._driver.do(partial(self._core.intruded, BUS, (frames[0], ""), *sender))

    def _on_control_stranger(self, frames: list[bytes], sender: Peer) -> None:
        try:
            ticket = (frames[0], open_envelope(frames[-1]).id)
        except DECODE_ERRORS:
            ticket = None
        self._driver.do(partial(self._core.intruded, CONTROL, ticket, *sender))

    def _perform(self, order: Order) -> None:
        match order:
            case Send(peer, message):
                self._bus.send([peer, seal(message)])
            case Reply((peer, frame_id), message):
                self._control.send([peer, seal(message, re=frame_id or None)])
            case LookUp():
                self._driver.do(partial(self._core.looked_up, self._lists.look_up(order)))
            case Persist(data):  # a full disk costs the memory of a restart, not the feed
                self._file.write(data)
            case Kill(pid, start_ticks):
                locks.kill(pid, start_ticks)
            case Say(level, text):
                log.log(logging.getLevelNamesMapping()[level.upper()], "%s", text)
