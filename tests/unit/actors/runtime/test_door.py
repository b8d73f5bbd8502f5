"""An `ipc` address that lets in as many as there is room for, with real sockets of libzmq."""

import asyncio
import logging
import os
import socket
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
import zmq

from kitefeed.actors.runtime import door as door_module
from kitefeed.actors.runtime.descriptors import KEPT_OF_PROGRAMS, Room
from kitefeed.actors.runtime.door import WAITING_MAX, Door
from kitefeed.protocol import sockets
from kitefeed.protocol.loop_socket import LoopSocket
from kitefeed.protocol.topology import FEED, endpoint, socket_path
from tests.support import eventually_async

log = logging.getLogger("door")


class Doorway:
    """A feed's socket, its door, and the programs that come."""

    def __init__(self, directory: Path, room: Room) -> None:
        self.directory = directory
        self.path = socket_path(directory, FEED)
        self.heard: list[bytes] = []
        self.wire = LoopSocket(sockets.feed_socket(), lambda frames: self.heard.append(frames[0]))
        self.door = Door(self.wire, directory, FEED, room, log)
        self.readers: list[zmq.Socket[bytes]] = []
        self.bare: list[socket.socket] = []

    def reader(self, topic: bytes) -> "zmq.Socket[bytes]":
        made = sockets.connect_feed(endpoint(self.directory, FEED))
        made.setsockopt(zmq.SUBSCRIBE, topic)
        self.readers.append(made)
        return made

    def connect(self) -> bool:
        """A connection that says nothing; False when the kernel refuses it."""
        made = socket.socket(socket.AF_UNIX)
        self.bare.append(made)
        made.setblocking(False)
        try:
            made.connect(str(self.path))
        except BlockingIOError:
            return False
        return True

    async def has_heard(self, topic: bytes) -> None:
        await eventually_async(lambda: b"\1" + topic in self.heard, 5)

    async def reads(self, reader: "zmq.Socket[bytes]", topic: bytes) -> None:
        self.wire.publish([topic])
        await eventually_async(lambda: reader.poll(0), 5)
        assert reader.recv() == topic

    def close(self) -> None:
        for each in (*self.readers, *self.bare):
            each.close()
        self.door.close()
        self.wire.close()


class RoomThatIsTold:
    """`is_free` is what it says."""

    def __init__(self) -> None:
        self.is_free = True
        self.is_full = False

    def has(self, kept: int) -> bool:
        assert kept == KEPT_OF_PROGRAMS
        return self.is_free


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="kf") as made:  # a socket path is short
        yield Path(made)


def run(directory: Path, story: Callable[[Doorway, RoomThatIsTold], Awaitable[None]]) -> None:
    async def play() -> None:
        room = RoomThatIsTold()
        doorway = Doorway(directory, cast(Room, room))
        try:
            await asyncio.wait_for(story(doorway, room), 20)
        finally:
            doorway.close()

    asyncio.run(play())


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def listeners(directory: Path) -> int:
    """Listening sockets that were bound in `directory`, the door's own and those libzmq has.
    Descriptors would not tell: those of an earlier test are closed a little later."""
    rows = [row.split() for row in Path("/proc/net/unix").read_text().splitlines()]
    listening = "00010000"
    return sum(row[3] == listening and row[-1].startswith(str(directory)) for row in rows)


def test_the_socket_file_can_be_connected_to_by_its_owner_only_and_goes_with_us(
    directory: Path,
) -> None:
    async def story(doorway: Doorway, _: RoomThatIsTold) -> None:
        assert doorway.path.stat().st_mode & 0o177 == 0
        doorway.reader(b"t")
        await doorway.has_heard(b"t")
        assert doorway.path.stat().st_mode & 0o177 == 0
        assert os.listdir(directory) == [doorway.path.name]

    before = os.umask(0)
    run(directory, story)
    os.umask(before)
    assert os.listdir(directory) == []


def test_programs_come_in_one_after_the_other_and_together(directory: Path) -> None:
    async def story(doorway: Doorway, _: RoomThatIsTold) -> None:
        first = doorway.reader(b"first")
        await doorway.has_heard(b"first")
        topics = [b"t%d." % number for number in range(60)]
        for topic in topics:
            doorway.reader(topic)
        for topic in topics:
            await doorway.has_heard(topic)
        await doorway.reads(first, b"first")

    run(directory, story)


def test_without_room_nobody_is_let_in_and_who_is_in_is_served(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door_module, "NO_ROOM_S", 0.05)

    async def story(doorway: Doorway, room: RoomThatIsTold) -> None:
        inside = doorway.reader(b"inside")
        await doorway.has_heard(b"inside")
        room.is_free = False
        before = descriptors()
        late = doorway.reader(b"late")
        assert sum(doorway.connect() for _ in range(200)) <= WAITING_MAX + 1
        await asyncio.sleep(0)
        await doorway.reads(inside, b"inside")
        assert descriptors() - before <= len(doorway.bare) + 4  # ours, and none of the daemon's
        assert b"\1late" not in doorway.heard
        room.is_free = True
        await doorway.has_heard(b"late")
        await doorway.reads(late, b"late")

    run(directory, story)


def test_a_listener_whose_connections_have_ended_is_taken_back(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door_module, "CLEARED_MIN", 4)

    async def story(doorway: Doorway, _: RoomThatIsTold) -> None:
        stays = doorway.reader(b"stays")
        await doorway.has_heard(b"stays")
        for number in range(40):
            topic = b"t%d." % number
            doorway.reader(topic)
            await doorway.has_heard(topic)
            doorway.readers.pop().close(0)
            await eventually_async(lambda topic=topic: b"\0" + topic in doorway.heard, 5)
        await eventually_async(lambda: listeners(directory) <= 10, 5)
        await doorway.reads(stays, b"stays")

    run(directory, story)


def test_listeners_are_taken_back_when_all_have_gone_and_nobody_else_comes(
    directory: Path,
) -> None:
    async def story(doorway: Doorway, room: RoomThatIsTold) -> None:
        topics = [b"t%d." % number for number in range(20)]
        for topic in topics:
            doorway.reader(topic)
            await doorway.has_heard(topic)
        room.is_full = True
        while doorway.readers:
            doorway.readers.pop().close(0)
        for topic in topics:
            await eventually_async(lambda topic=topic: b"\0" + topic in doorway.heard, 5)
        assert listeners(directory) == len(topics) + 1  # one each, and the one that is watched

        def has_become_free() -> bool:
            doorway.door.look()
            return listeners(directory) == 1

        await eventually_async(has_become_free, 5)

    run(directory, story)


def test_a_deleted_socket_file_is_made_again_and_who_is_in_goes_on(directory: Path) -> None:
    async def story(doorway: Doorway, _: RoomThatIsTold) -> None:
        inside = doorway.reader(b"inside")
        await doorway.has_heard(b"inside")
        doorway.path.unlink()
        doorway.door.look()
        doorway.reader(b"late")
        await doorway.has_heard(b"late")
        await doorway.reads(inside, b"inside")

    run(directory, story)


def test_a_directory_that_has_gone_is_no_error_and_is_mended_when_it_is_back(
    directory: Path,
) -> None:
    async def story(doorway: Doorway, _: RoomThatIsTold) -> None:
        doorway.path.unlink()
        os.rmdir(directory)
        doorway.door.look()
        os.mkdir(directory)
        doorway.door.look()
        doorway.reader(b"late")
        await doorway.has_heard(b"late")

    run(directory, story)
