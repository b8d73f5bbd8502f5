"""Plays a recorded day on a feed and a control socket of its own."""

import asyncio
import logging
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import kitefeed
from kitefeed.actors.broadcaster import events as e
from kitefeed.actors.runtime.descriptors import Room
from kitefeed.actors.runtime.door import Door
from kitefeed.actors.runtime.locks import RoleLock
from kitefeed.actors.runtime.pulse import to_next_s
from kitefeed.cli import signals
from kitefeed.cli.replay.desk import ReplayDesk
from kitefeed.cli.replay.machine import Replay
from kitefeed.cli.replay.pace import Pacer
from kitefeed.client.recording import Recording
from kitefeed.protocol.clock import boot_ns, utc_ns
from kitefeed.protocol.feed import DECODE_ERRORS
from kitefeed.protocol.loop_socket import GuardedSocket, LoopSocket, Peer
from kitefeed.protocol.messages.control import Refused, open_request
from kitefeed.protocol.messages.envelope import new_id, open_envelope, seal
from kitefeed.protocol.recording import Record
from kitefeed.protocol.sockets import control_socket, feed_socket, finish_sending
from kitefeed.protocol.topology import CONTROL, FEED, Role, endpoints

LOOK_S = 0.05
ROOM_S = 0.001  # between two looks whether every reader has room
QUEUE_MAX = 200  # messages, at full speed: what waits in a queue was sent long ago
SETTLED_S = 0.5  # without another subscription: readers have asked for everything
LINGER_MS = 10_000  # for the end of the day: a reader that hangs keeps nobody longer
TURN_RECORDS = 50  # played in a row before subscribers are looked after

log = logging.getLogger("replay")


class Options(NamedTuple):
    """speed: None for as fast as readers take it. is_stepped: a line of standard input plays the
    next ticks. readers: how many programs it waits for. ends: with the recording."""

    speed: float | None = 1.0
    is_stepped: bool = False
    readers: int = 1
    ends: bool = False


async def run(recording: Recording, runtime_dir: Path, options: Options) -> None:
    """Play until the end, or a signal. Raises TryLater when something runs in `runtime_dir`."""
    locks = [RoleLock(runtime_dir, role, new_id()) for role in (Role.BROADCASTER, Role.SUPERVISOR)]
    shell = Shell(recording, runtime_dir, options)
    linger_ms = 0
    try:
        await shell.live()
        linger_ms = LINGER_MS
    finally:
        shell.close(linger_ms)
        for lock in locks:
            lock.release()
    finish_sending()


class Shell:
    """The machine between the files and the sockets."""

    def __init__(self, recording: Recording, runtime_dir: Path, options: Options) -> None:
        self._recording = recording
        self._options = options
        self._records: Iterator[Record] = recording.records()
        wanted, prefixes = recording.wanted
        speed = None if options.is_stepped else options.speed
        self._machine = Replay(utc_ns(), boot_ns(), recording.date, speed, wanted, prefixes)
        self._first = self._to_the_beginning()
        names = {each.token: each.key for each in recording.instruments}
        self._desk = ReplayDesk(self._machine, names, kitefeed.__version__)
        self._endpoints = endpoints(runtime_dir)
        self._steps = asyncio.Semaphore(0)
        self._news = asyncio.Event()  # somebody has come
        self._loop = asyncio.get_running_loop()
        self._room = Room(log)
        socket = feed_socket()
        if speed is None:
            socket.sndhwm = QUEUE_MAX
        self._feed = LoopSocket(socket, self._on_subscription)
        self._control = GuardedSocket(control_socket(), self._on_control, self._on_stranger)
        self._doors = [
            Door(self._feed, runtime_dir, FEED, self._room, log),
            Door(self._control, runtime_dir, CONTROL, self._room, log),
        ]

    def close(self, linger_ms: int) -> None:
        """`linger_ms`: how long readers may take for what they were not sent yet."""
        for door in self._doors:
            door.close()
        self._feed.close(linger_ms)
        self._control.close()
        if self._options.is_stepped:
            self._loop.remove_reader(sys.stdin.fileno())

    async def live(self) -> None:
        looking = asyncio.ensure_future(self._look())
        playing = asyncio.ensure_future(self._play())
        try:
            await asyncio.wait({looking, playing}, return_when=asyncio.FIRST_COMPLETED)
            if playing.done():
                playing.result()
                if not self._options.ends:
                    await looking
        finally:
            for task in (looking, playing):
                task.cancel()
            results = await asyncio.gather(looking, playing, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result

    # --- the day ------------------------------------------------------------------------------

    def _to_the_beginning(self) -> Record | None:
        """Turn the records before the time at which it begins into last values; return the first
        after."""
        for record in self._records:
            if record.t_ns >= self._recording.since_ns:
                return record
            self._machine.play(record, boot_ns(), utc_ns())
        return None

    async def _play(self) -> None:
        machine, pace = self._machine, Pacer(self._options.speed)
        await self._readers_have_come()
        if self._options.is_stepped:
            self._loop.add_reader(sys.stdin.fileno(), self._on_line)
        machine.is_still = self._options.is_stepped
        count, record = 0, self._first
        while record is not None:
            if self._options.is_stepped:
                await self._steps.acquire()
            elif wait_ns := pace.wait_ns(record.t_ns, boot_ns()):
                await asyncio.sleep(wait_ns / 1e9)
            ticks = machine.published
            await self._publish(machine.play(record, boot_ns(), utc_ns()))
            if self._options.is_stepped and machine.published == ticks:
                self._steps.release()  # no step without a tick
            count += 1
            if count % TURN_RECORDS == 0:
                await asyncio.sleep(0)
            record = next(self._records, None)
        machine.is_still = True
        await self._publish(machine.end(boot_ns(), utc_ns()))
        log.info("the recording is over")

    async def _readers_have_come(self) -> None:
        """Wait until enough programs are here, and have asked for all they want: a program asks for
        ticks when it has heard a heartbeat. A person who steps sees when they have."""
        while self._options.readers:
            self._news.clear()
            is_enough = self._machine.listeners.subscribers >= self._options.readers
            if is_enough and self._options.is_stepped:
                return
            try:
                await asyncio.wait_for(self._news.wait(), SETTLED_S if is_enough else None)
            except TimeoutError:
                return

    async def _publish(self, frames: list[bytes]) -> None:
        """Publish the frames. At full speed no reader loses anything: the day waits for the
        slowest."""
        if self._options.speed is not None and not self._options.is_stepped:
            self._feed.publish(frames)
            self._machine.note_full_queues(self._feed.full_queues, boot_ns())
            return
        for frame in frames:
            # ZeroMQ tells nobody that there is room.
            while not self._feed.offer(frame):  # noqa: ASYNC110
                await asyncio.sleep(ROOM_S)

    def _on_line(self) -> None:
        if sys.stdin.readline():
            self._steps.release()
        else:  # nobody is there who would step on
            self._loop.remove_reader(sys.stdin.fileno())

    # --- the sockets --------------------------------------------------------------------------

    async def _look(self) -> None:
        """Send heartbeats, snapshots and conflated values, and look for the end."""
        due_s = 0.0
        while True:
            signals.end_if_told()
            self._step(e.Wake(utc_ns(), 0))
            if self._loop.time() >= due_s:
                due_s = self._loop.time() + to_next_s(self._loop.time())
                for door in self._doors:
                    door.look()
                self._room.look()
            wait_ns = self._machine.deadline_ns - boot_ns()
            await asyncio.sleep(min(LOOK_S, max(0.0, wait_ns / 1e9)))

    def _on_subscription(self, frames: list[bytes]) -> None:
        self._step(e.Subscription(frames[0], utc_ns()))
        self._news.set()

    def _step(self, event: e.Event) -> None:
        for command in self._machine.handle(event, boot_ns()):
            if isinstance(command, e.Publish):
                self._feed.publish(command.frames)

    def _on_control(self, frames: list[bytes], sender: Peer) -> None:
        try:
            frame_id, request = open_request(frames[-1])
        except DECODE_ERRORS:
            return
        reply = self._desk.answer(request, self._endpoints)
        if reply is not None:
            self._control.send([frames[0], seal(reply, re=frame_id)])

    def _on_stranger(self, frames: list[bytes], sender: Peer) -> None:
        with suppress(*DECODE_ERRORS):
            asked = open_envelope(frames[-1]).id
            refusal = Refused("forbidden", "this replay is another user's")
            self._control.send([frames[0], seal(refusal, re=asked)])
