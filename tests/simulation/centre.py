"""The two stable centres: the supervisor with its roster, desk and file, and the broadcaster with
its disk. Beside them the subscriber who believes what the feed says, and is checked for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from kitefeed.actors.broadcaster import events as e
from kitefeed.actors.broadcaster.fence import SOURCES
from kitefeed.actors.broadcaster.machine import Broadcaster
from kitefeed.actors.broadcaster.orders import Orders, decode_file
from kitefeed.actors.broadcaster.store import CACHED, LastValues, Saved, Value
from kitefeed.actors.policy.machine import Machine, Welcomed
from kitefeed.actors.supervisor import listings, memory
from kitefeed.actors.supervisor.core import Core, Kill, LookUp, Order, Send, Setup
from kitefeed.actors.supervisor.facts import Command, Persist, Persisted, Say
from kitefeed.actors.supervisor.machine import Event, Supervisor
from kitefeed.client.pipe import RESYNC_NS
from kitefeed.client.tick import NOBODY, Tick
from kitefeed.client.view import View
from kitefeed.protocol.feed import Flag
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.control import ControlRequest
from kitefeed.protocol.messages.envelope import Message
from kitefeed.protocol.messages.membership import Beat, BeatAck, Hello
from kitefeed.protocol.topics import (
    LAST,
    NUL,
    SNAPSHOT,
    TICK,
    key_of,
    last_head,
    snapshot_request,
    tick_of,
)
from kitefeed.protocol.topology import Role
from tests.simulation.exchange import LISTED, S
from tests.simulation.hosts import Host
from tests.simulation.life import require

if TYPE_CHECKING:
    from tests.simulation.world import World

KEPT_FLAGS = int(Flag.SNAPSHOT | Flag.REPLAY | Flag.CACHED | Flag.STALE)
SAVED_AFTER_NS = 30 * S  # it saves every ten seconds, and may have stood still for nine
BACKOFF_S = [5.0, 15.0, 30.0, 60.0]


class Watched(Supervisor):
    """The machine, with each of its steps checked."""

    def __init__(self, world: World, **options: Any) -> None:
        super().__init__(**options)
        self._world = world

    def handle(self, event: Event, now_ns: int) -> list[Command]:
        checker = self._world.checker
        self._world.note(event)
        checker.before(self, event)
        commands = super().handle(event, now_ns)
        checker.after(self, event, commands)
        for command in commands:
            if isinstance(command, Say):
                checker.on_line(command)
        return commands


class Centre(Host):
    """The supervisor's shell around its core. It has no end of the bus: it is the bus."""

    role = Role.SUPERVISOR
    machine: Supervisor
    core: Core

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.disk = memory.encode(Persisted())
        self.crash_in = 0  # dies before it performs this many more orders; 0: it does not

    def start(self) -> Machine[Any, Any]:
        world, basket = self.world, self.world.basket
        setup = Setup(
            self.boot_id, world.calendar, world.rng.random, BACKOFF_S, basket.configured,
            basket.canaries, capacity=world.capacity,
        )  # fmt: skip
        persisted = memory.decode(self.disk)
        self.core = Core(setup, persisted, world.now_ns, world.utc_ns, partial(Watched, world))
        self.machine, self.subscriptions = self.core.supervisor, self.core.subscriptions
        self.crash_in = 0
        world.checker.on_supervisor_start(self.machine)
        return self.core

    def turn(self) -> None:
        self.turn_due_ns = self.world.now_ns + S
        self.tell(partial(self.core.turn, self.world.utc_ns, {}))

    def hear(self, message: m.BusMessage, peer: str) -> None:
        self.tell(partial(self.core.heard, peer.encode(), message, None))

    def operate(self, request: ControlRequest) -> None:
        """A command of the operator."""
        self.world.checker.on_operator(request)
        ticket = (b"cli", f"cli{self.world.number()}")
        self.do(lambda: self.tell(partial(self.core.asked, ticket, request, None, None)))

    def tell(self, step: Callable[[int], list[Order]]) -> None:
        """Calls a method of the core; one that has crashed hears nothing."""
        if self.is_up and self.driver is not None:
            self.driver.do(step)

    def perform(self, command: Order) -> None:
        world = self.world
        if self.crash_in:
            self.crash_in -= 1
            if not self.crash_in:
                world.killed(self, 1.0)
        if not self.is_up:
            return  # the rest of this step's orders died with it
        match command:
            case Send(peer, BeatAck()):
                world.acknowledge(peer.decode())
            case Send(peer, message):
                if isinstance(message, m.OpenLink):
                    is_stored = memory.decode(self.disk).epoch >= message.epoch
                    require(is_stored, "epoch used before it was stored")
                world.command(peer.decode(), message)
            case LookUp(is_offered=is_offered):
                listing = world.lists.offered if is_offered else world.lists.used
                found = listings.look_up(command, listing, lambda key: [])
                self.tell(partial(self.core.looked_up, found))
            case Persist(data):
                self.disk = data
            case Kill(pid):
                world.kill_process(pid)
            case Say():
                world.checker.on_said(command)
        world.note(command)


class Mouth(Host):
    """The broadcaster's shell, with the disk that outlives it."""

    role = Role.BROADCASTER
    machine: Broadcaster

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.rows: list[Saved] = []
        self.orders = b""
        self.gen = 0
        self.oldest_ns = 0  # what a source gives to this life was received since then
        self.granted: set[tuple[int, int]] = set()  # shard and epoch, in this life
        self._grants: dict[int, m.Grant] = {}  # shard -> the highest, the latest of that
        self._held = (0, 0)  # how many values it holds, and since when

    def kill(self) -> None:
        since_ns = max(self._held[1], self.world.stood_ns)
        if self.is_up and self.world.now_ns - since_ns > SAVED_AFTER_NS:
            require(len(self.rows) >= self._held[0], "what was held for a while is on disk")
        super().kill()

    def start(self) -> Machine[Any, Any]:
        world = self.world
        self.granted.clear()
        self._grants.clear()
        self._held = (0, world.now_ns)
        values = LastValues()
        values.load(self.rows, now_ns=world.now_ns, utc_ns=world.utc_ns)
        self.gen = max(world.utc_ns, self.gen + 1)
        self.oldest_ns = world.oldest_unread_ns
        orders = Orders()
        if self.orders:
            orders.load(decode_file(self.orders), world.utc_ns)
        self.machine = Broadcaster(self.gen, world.now_ns, values, orders=orders)
        world.observer.restarted()
        for reader in world.readers:  # ZeroMQ connects anew, and repeats them
            self.later(0.15, reader.subscribe)
        return self.machine

    def waking(self) -> object:
        return e.Wake(self.world.utc_ns, self.world.now_ns - self.membership.heard_ns)

    def perform(self, command: e.Command) -> None:
        match command:
            case e.Publish(frames):
                for reader in self.world.readers:
                    for frame in frames:
                        reader.apply(frame)
            case e.Tell(message):
                self.send(message)
            case e.Save(rows):
                self.rows = rows
            case e.SaveOrders():
                self.orders = self.machine.orders.encoded(self.world.utc_ns)

    def command(self, message: Message) -> None:
        if isinstance(message, m.Grant):
            self.granted.add((message.shard, message.epoch))
            known = self._grants.get(message.shard, message)
            self._grants[message.shard] = max(known, message, key=lambda grant: grant.epoch)
            if message.epoch == known.epoch:
                self._grants[message.shard] = message
        self.feed(e.Told(message, self.world.utc_ns))  # type: ignore[arg-type]

    def check_fenced(self, tick: Tick) -> None:
        """Check that what is sent as new is of the one source that holds the grant."""
        if not tick.flags & KEPT_FLAGS:
            grant = self._grants.get(tick.arrival.shard)
            is_granted = (
                grant is not None and grant.epoch == tick.arrival.epoch
                and SOURCES[grant.source] == tick.source_code
            )  # fmt: skip
            require(is_granted, "no tick after its source lost the grant")

    def welcomed(self) -> None:
        self.feed(Welcomed())

    def hello(self) -> Hello:
        machine = self.machine
        return Hello(
            self.role, self.boot_id, self.pid, 1, "sim", machine.fence.highest_epoch,
            grants=machine.grants(),
        )  # fmt: skip

    def beat(self) -> Beat:
        values = len(self.machine.values)
        require(values >= self._held[0], "what is a few hours old is kept")
        if values != self._held[0]:
            self._held = values, self.world.now_ns
        fence = self.machine.fence
        alive = fence.alive(self.world.now_ns)
        return Beat(values=values, subscribers=1, losses=fence.losses, alive_shards=alive)


class Reader:
    """A program with a Feed: the real view of it, without the socket."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.view = View(NOBODY)  # it is asked itself, with the time
        self.keys = set(world.basket.read)
        self.period_ns = 0  # how much later than others it may hear of a value
        self.asked_ns: dict[str, int] = {}
        self.left: dict[str, tuple[int, bool]] = {}  # key -> since when, and was it carried then
        self.doubted_since_ns = 0  # since when something lost is not made good
        self._requests: list[bytes] = []
        self._requested_ns = 0
        self._is_resync_due = False

    def subscribe(self) -> None:
        """Send what libzmq sends again to every broadcaster it finds."""
        self._send(b"\1", b"hb/", b"state/feed\0", *self._subscriptions(), *self._requests)

    def _subscriptions(self) -> list[bytes]:
        return [self._topic(key) for key in sorted(self.keys)]

    def _reads(self, topic: bytes) -> bool:
        """Whether libzmq lets it through, by the subscriptions of now."""
        if topic.startswith(SNAPSHOT):
            return topic + NUL in self._requests or topic in self._requests
        return not topic.startswith(LAST) and (
            not topic.startswith(TICK) or key_of(topic) in self.keys
        )

    def want(self, key: str) -> None:
        if key not in self.keys:
            self.keys.add(key)
            self.left.pop(key, None)
            self.world.alert(1)  # what is told of it is told now
            self.asked_ns[key] = self.world.now_ns
            self._send(b"\1", self._topic(key))

    def drop(self, key: str) -> None:
        if key in self.keys and key != self.world.basket.anchor:
            self.keys.discard(key)
            self.world.alert(1)
            centre = self.world.centre
            instruments = centre.machine.state.instruments if centre.machine else ()
            self.left[key] = self.world.now_ns, any(i.key == key for i in instruments)
            self._send(b"\0", self._topic(key))
            self.view.values.forget(key)  # the program that read it has ended
            self.view._topics.pop(self._topic(key).removesuffix(NUL), None)
            if self._requests:
                self._resync()  # without what it asked for

    def apply(self, frame: bytes) -> None:
        if not self._reads(frame.partition(NUL)[0]):
            return
        self.view.apply(frame, self.world.now_ns, self.world.utc_ns)
        for tick in self.view.arrived:
            self.world.mouth.check_fenced(tick)
        self.view.arrived.clear()
        if self is self.world.reader:
            for order in self.view.orders:
                self.world.orders.heard(order)
        self.view.orders.clear()
        self.doubted_since_ns = self.doubted_since_ns or self.world.now_ns
        if not self.view.losses.is_in_doubt:
            self.doubted_since_ns = 0
        if self.view.losses.is_incomplete and not self._is_resync_due:
            self._is_resync_due = True
            due_ns = max(self.world.now_ns, self._requested_ns + RESYNC_NS)
            self.world.at(due_ns, self._resync)

    def _resync(self) -> None:
        """As the Feed does: the last values of all that it reads, asked for anew."""
        self._is_resync_due = False
        self._requested_ns = self.world.now_ns
        self._send(b"\0", *self._requests)
        nonce = f"{self.world.now_ns:x}"
        self._requests = [snapshot_request(nonce, topic) for topic in self._subscriptions()]
        self.view.losses.expect([request.removesuffix(NUL) for request in self._requests])
        self._send(b"\1", *self._requests)

    @property
    def fresh(self) -> set[str]:
        now_ns = self.world.now_ns
        return {k for k, tick in self.view.values.items() if self.view.is_fresh(tick, now_ns)}

    def _topic(self, key: str) -> bytes:
        return b"tick/" + key.encode() + b"\0"

    def _send(self, verb: bytes, *topics: bytes) -> None:
        mouth = self.world.mouth
        for topic in topics:
            event = e.Subscription(verb + topic, self.world.utc_ns)
            mouth.do(lambda event=event: mouth.feed(event))  # type: ignore[misc]


class Screen(Reader):
    """A program that reads the latest of each instrument, a few times a second: of all that streams
    (which asks for nothing), or of what is configured."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        basket = world.basket
        self.keys = set(LISTED) if basket.has_all else set(basket.configured)
        self.period_ns = S // basket.per_second
        self._head = last_head(basket.per_second)

    def subscribe(self) -> None:
        super().subscribe()
        if not self._requests:
            self._resync()

    def kept(self) -> list[tuple[str, Value]]:
        """Return what the broadcaster holds of what is read here, except what is from disk."""
        values = self.world.mouth.machine.values
        kept = [(key_of(topic), value) for topic, value in values.matching(TICK)]
        return [(key, v) for key, v in kept if key in self.keys and not v.flags & CACHED]

    def _subscriptions(self) -> list[bytes]:
        return [self._head] if self.world.basket.has_all else super()._subscriptions()

    def _reads(self, topic: bytes) -> bool:
        if tick_of(topic) is None:
            return super()._reads(topic)
        return topic.startswith(self._head) and key_of(topic) in self.keys

    def _topic(self, key: str) -> bytes:
        return self._head + key.encode() + NUL
