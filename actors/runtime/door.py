"""The `ipc` address of a wire. It lets nobody in whom there is no room for.

libzmq takes in every caller, and aborts the process when no descriptor is left. Therefore the
address belongs to a listening socket of ours, which takes nobody: the kernel lets a few callers
wait there, and refuses the others for the moment. When there is room, a new listening socket takes
the address over, and libzmq gets the old one with the callers that wait at it; no more can come
there. libzmq has to keep it as long as one of them is connected.
"""

import asyncio
import itertools
import logging
import os
import select
import socket
from pathlib import Path

from kitefeed.actors.runtime import peers
from kitefeed.actors.runtime.descriptors import KEPT, KEPT_OF_PROGRAMS, Room
from kitefeed.protocol.loop_socket import LoopSocket
from kitefeed.protocol.sockets import give_listener, take_listener
from kitefeed.protocol.topology import BUS, INGEST, Wire, socket_path

WAITING_MAX = 16  # the kernel lets one more
AGAIN_S = 0.001  # libzmq needs some microseconds to take in who waits
NO_ROOM_S = 1.0
CLEARED_MIN = 64  # with so many listeners at libzmq, useless ones are looked for
NUMBERS = 2**24  # a name is no longer than the address, whose length is limited


class Door:
    """The door of a wire, open from construction on. Raises OSError when the address cannot be
    had."""

    def __init__(
        self, socket: LoopSocket, runtime_dir: Path, wire: Wire, room: Room, log: logging.Logger
    ) -> None:
        self._socket = socket
        self._path = socket_path(runtime_dir, wire)
        self._room = room
        self._kept = KEPT if wire in (BUS, INGEST) else KEPT_OF_PROGRAMS
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count()
        self._given: dict[str, int] = {}  # listeners that libzmq has: name -> descriptor
        self._newest: int | None = None
        self._clear_at = CLEARED_MIN
        self._timer: asyncio.TimerHandle | None = None
        self._listener = self._listen()
        self._watch()

    def has(self, address: str | int) -> bool:
        """Whether a connection with this own address came through here."""
        return address in self._given

    def look(self) -> None:
        """Call this once a second. It makes the socket file again when it was deleted (by a cleaner
        of temporary files): connected peers go on, but nobody else could reach us."""
        if self._room.is_full:
            self._clear()  # perhaps no caller comes any more who would make us look
        if self._path.exists():
            return
        try:
            fresh = self._listen()
        except OSError as error:  # the directory itself may be gone
            self._log.debug("cannot bind anew: file=%s error=%s", self._path, error)
            return
        self._replace(fresh).close()
        self._log.warning("a socket file was deleted; bound anew: file=%s", self._path)

    def close(self) -> None:
        self._rest()
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _listen(self) -> socket.socket:
        """Make a socket that has the address from now on, and to which only the owner can
        connect."""
        name = self._next_name()
        name.unlink(missing_ok=True)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            made.bind(str(name))
            made.listen(WAITING_MAX)
            made.setblocking(False)
            name.rename(self._path)
        except BaseException:
            made.close()
            raise
        finally:
            os.umask(before)
        return made

    def _next_name(self) -> Path:
        while True:
            number = next(self._numbers) % NUMBERS
            name = self._path.with_name(f"{self._path.name[0]}.{number:x}")
            if str(name) not in self._given:
                return name

    def _replace(self, fresh: socket.socket) -> socket.socket:
        """Watch `fresh` instead; return the listener that was watched before."""
        self._rest()
        before, self._listener = self._listener, fresh
        self._watch()
        return before

    def _watch(self) -> None:
        self._loop.add_reader(self._listener, self._admit)

    def _rest(self, delay_s: float | None = None) -> None:
        """Watch no listener, for a while or for good."""
        self._loop.remove_reader(self._listener)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if delay_s is None else self._loop.call_later(delay_s, self._watch)

    def _admit(self) -> None:
        """Let in those who wait, if there is room."""
        if self._newest is not None and _is_waited_at(self._newest):
            self._rest(AGAIN_S)  # earlier callers are not in yet: their descriptors still look free
            return
        if len(self._given) >= self._clear_at:
            self._clear()
        if not self._room.has(self._kept):
            self._clear()
            self._rest(NO_ROOM_S)
            return
        try:
            waiting = self._replace(self._listen())
        except OSError:  # the directory has gone
            self._rest(NO_ROOM_S)
            return
        name = str(waiting.getsockname())
        self._newest = self._given[name] = waiting.detach()
        give_listener(self._socket.socket, self._newest, name)
        self._socket.look()

    def _clear(self) -> None:
        """Take back the listeners whose connections have all ended. The order of the two questions
        matters: a caller that came in meanwhile is counted, and then nobody can come."""
        quiet = [name for name, descriptor in self._given.items() if not _is_waited_at(descriptor)]
        try:
            connected = peers.at(self._given.values())
        except OSError:  # looking takes a descriptor, too
            return
        for name in quiet:
            if not connected[name]:
                take_listener(self._socket.socket, name)
                if self._given.pop(name) == self._newest:
                    self._newest = None
        self._socket.look()
        self._clear_at = max(CLEARED_MIN, 2 * len(self._given))


def _is_waited_at(descriptor: int) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return any(event & select.POLLIN for _, event in poller.poll(0))
