"""The broadcaster's shell: two data wires, the bus, one timer, one file."""

import asyncio
import logging
from pathlib import Path

import msgspec

from kitefeed.actors.broadcaster import events as e
from kitefeed.actors.broadcaster import orders, store
from kitefeed.actors.broadcaster.cutter import Cutter
from kitefeed.actors.broadcaster.machine import Broadcaster
from kitefeed.actors.broadcaster.tcp_feed import TcpFeed
from kitefeed.actors.policy.machine import Welcomed
from kitefeed.actors.runtime import process
from kitefeed.actors.runtime.bus import Bus
from kitefeed.actors.runtime.descriptors import Room
from kitefeed.actors.runtime.door import Door
from kitefeed.actors.runtime.driver import Driver
from kitefeed.actors.runtime.hello import hello_of
from kitefeed.actors.runtime.peers import Address
from kitefeed.actors.runtime.process import Runtime
from kitefeed.actors.runtime.pulse import to_next_s
from kitefeed.actors.runtime.state_file import StateFile
from kitefeed.protocol.clock import boot_ns, utc_ns
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.loop_socket import LoopSocket
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.membership import Beat, Hello
from kitefeed.protocol.sockets import feed_socket, ingest_socket
from kitefeed.protocol.topology import FEED, INGEST, Role

FILE_NAME = "last_values.msgpack"
SAVE_AGAIN_NS = 10 * NS_PER_S  # after a write that failed
SAVE_S_MAX = 1.5  # of the 2 s in which a stop must be over

log = logging.getLogger("broadcaster")


class Shell:
    """Turns frames into events and performs what the machine says."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._loop = asyncio.get_running_loop()
        path = runtime.settings.state_dir / FILE_NAME
        self._file = StateFile(path, "last values", store.FILE_BYTES_MAX, log)
        self._saving: asyncio.Future[bool] | None = None
        gen, values = _load(self._file)
        self._orders = OrdersFile(runtime.settings.state_dir, self._loop)
        self._machine = Broadcaster(
            gen, boot_ns(), values, runtime.misconfigured, self._orders.orders
        )
        directory = runtime.settings.runtime_dir
        self._room = Room(log)
        self._feed = LoopSocket(feed_socket(), self._on_subscription)
        self._feed_door = Door(self._feed, directory, FEED, self._room, log)
        self._ingest = LoopSocket(ingest_socket(), self._on_ingest)
        self._ingest_door = Door(self._ingest, directory, INGEST, self._room, log)
        self._tcp: TcpFeed | None = None
        if runtime.settings.config.feed.tcp:
            self._tcp = TcpFeed(runtime.settings, self._on_subscription, self._room)
        self._bus = Bus(runtime, self._hello, self._beat, self._on_bus, self._on_welcome)
        self._cutter = Cutter(self._is_feed)
        self._look_timer = self._loop.call_later(to_next_s(self._loop.time()), self._look_around)
        # One snapshot a turn, and a program may ask for a thousand: no pause between them.
        self._driver = Driver(self._machine, self._perform, wake=self._turn, delay_s_min=0.0)
        self._driver.feed(self._turn())

    async def close(self) -> None:
        self._look_timer.cancel()
        self._driver.close()
        self._bus.close()
        for door in (self._ingest_door, self._feed_door):
            door.close()
        self._ingest.close()
        self._feed.close()
        if self._tcp is not None:
            self._tcp.close()
        await self._save_last()

    # --- events in ----------------------------------------------------------------------------

    def _on_ingest(self, frames: list[bytes]) -> None:
        self._driver.feed(e.Ingest(frames[0], utc_ns()))

    def _on_subscription(self, frames: list[bytes]) -> None:
        self._driver.feed(e.Subscription(frames[0], utc_ns()))

    def _on_bus(self, message: m.BusMessage) -> None:
        self._driver.feed(e.Told(message, utc_ns()))

    def _on_welcome(self) -> None:
        self._driver.feed(Welcomed())

    def _turn(self) -> e.Wake:
        return e.Wake(utc_ns(), self._bus.supervisor_age_ns)

    # --- commands out -------------------------------------------------------------------------

    def _perform(self, command: e.Command) -> None:
        match command:
            case e.Publish():
                self._feed.publish(command.frames)
                if self._tcp is not None:
                    self._tcp.publish(command.frames)
                self._machine.note_full_queues(self._full_queues, boot_ns())
            case e.Tell():
                self._bus.send(command.message)
            case e.Save():
                self._save(command.rows)
            case e.SaveOrders():
                self._orders.save()

    @property
    def _full_queues(self) -> int:
        return self._feed.full_queues + (0 if self._tcp is None else self._tcp.full_queues)

    def _hello(self) -> Hello:
        hello = hello_of(self._runtime, highest_epoch=self._machine.fence.highest_epoch)
        return msgspec.structs.replace(hello, grants=self._machine.grants())

    def _beat(self) -> Beat:
        return Beat(
            values=len(self._machine.values),
            subscribers=self._machine.listeners.subscribers,
            losses=self._machine.fence.losses,
            alive_shards=self._machine.fence.alive(boot_ns()),
            counters={
                **self._machine.counters(),
                "too_many_frames": self._ingest.refused,
                "readers_cut": self._cutter.count,
                "callers_cut": 0 if self._tcp is None else self._tcp.refused,
                "writes_failing": int(self._file.is_failing or self._orders.is_failing),
            },
        )

    def _is_feed(self, address: Address) -> bool:
        """Whether readers are connected to this address."""
        return self._feed_door.has(address) or (self._tcp is not None and self._tcp.has(address))

    def _look_around(self) -> None:
        """Look after what no event tells."""
        self._feed_door.look()
        self._ingest_door.look()
        self._room.look()
        self._cutter.look()
        self._look_timer = self._loop.call_later(to_next_s(self._loop.time()), self._look_around)

    # --- the file -----------------------------------------------------------------------------

    def _save(self, rows: list[store.Saved]) -> None:
        """Write in a thread, because an fsync may take a second. One at a time."""
        if self._saving is not None and not self._saving.done():
            self._driver.feed(e.SaveFailed())
            return
        data = store.encode_file(self._machine.gen, rows)
        self._saving = self._loop.run_in_executor(None, self._file.write, data)
        self._saving.add_done_callback(self._on_saved)

    def _on_saved(self, saving: asyncio.Future[bool]) -> None:
        if saving.cancelled() or not saving.result():
            self._driver.feed(e.SaveFailed())

    async def _save_last(self) -> None:
        """Write the last values at the end, unless the disk takes too long: the file of ten seconds
        ago is then good enough."""
        pending = [self._saving] if self._saving is not None and not self._saving.done() else []
        rows = self._machine.rows(boot_ns(), utc_ns())
        try:
            async with asyncio.timeout(SAVE_S_MAX):
                await self._orders.saved()
                await asyncio.gather(*pending, return_exceptions=True)
                if rows:
                    data = store.encode_file(self._machine.gen, rows)
                    await asyncio.to_thread(self._file.write, data)
        except TimeoutError:
            log.warning("last values were not written within %s s", SAVE_S_MAX)


class OrdersFile:
    """The file of known orders, written at once when an update was published: the next broadcaster
    must not publish it again."""

    def __init__(self, state_dir: Path, loop: asyncio.AbstractEventLoop) -> None:
        path = state_dir / orders.FILE_NAME
        self._file = StateFile(path, "updates of orders", orders.FILE_BYTES_MAX, log)
        self._loop = loop
        self._saving: asyncio.Future[bool] | None = None
        self._tried_ns = 0
        self.orders = orders.Orders()
        found = self._file.read(orders.decode_file)
        if found is not None:
            self.orders.load(found, utc_ns())

    @property
    def is_failing(self) -> bool:
        return self._file.is_failing

    def save(self) -> None:
        """Write in a thread, one at a time; the next events ask again until it is done."""
        if self._saving is not None and not self._saving.done():
            return
        if self.is_failing and boot_ns() - self._tried_ns < SAVE_AGAIN_NS:
            return
        self._tried_ns = boot_ns()
        data = self.orders.encoded(utc_ns())
        self._saving = self._loop.run_in_executor(None, self._file.write, data)
        self._saving.add_done_callback(self._on_saved)

    def _on_saved(self, saving: asyncio.Future[bool]) -> None:
        if saving.cancelled() or not saving.result():
            self.orders.has_changed = True
        elif self.orders.has_changed:
            self.save()

    async def saved(self) -> None:
        """Write, at the end, what is not written yet."""
        while self._saving is not None and not self._saving.done():
            await asyncio.gather(self._saving, return_exceptions=True)
        if self.orders.has_changed:
            await asyncio.to_thread(self._file.write, self.orders.encoded(utc_ns()))


def _load(file: StateFile) -> tuple[int, store.LastValues]:
    """Return this life's gen and the values that an earlier one left. The gen rises even if the
    clock was set back, because readers compare them."""
    values = store.LastValues()
    gen = utc_ns()
    last_gen, rows = file.read(store.decode_file) or (0, [])
    values.load(rows, now_ns=boot_ns(), utc_ns=gen)
    return max(gen, last_gen + 1), values


async def _main(runtime: Runtime) -> None:
    shell = Shell(runtime)
    log.info("broadcaster is up: values=%d", len(shell._machine.values))
    try:
        await runtime.stopped.wait()
    finally:
        await shell.close()


def main() -> int:
    return process.run(Role.BROADCASTER, _main)
