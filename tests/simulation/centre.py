"""The two stable centres: the supervisor with its roster, desk and file, and the broadcaster with
its disk. Beside them the subscriber who believes what the feed says, and is checked for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from kitefeed.actors.broadcaster import events as e
from kitefeed.actors.broadcaster.fence import SOURCES
from kitefeed.actors.broadcaster.machine import Broadcaster
from kitefeed.actors.broadcaster.orders import Orders, decode_file
from kitefeed.actors.broadcaster.store import CACHED, LastValues, Saved, Value
from kitefeed.actors.supervisor.desk import Desk
from kitefeed.actors.supervisor.facts import (
    ActorLost,
    ActorUp,
    Clock,
    Command,
    Instruments,
    Persist,
    Persisted,
    Say,
    Send,
)
from kitefeed.actors.supervisor.machine import Supervisor
from kitefeed.actors.supervisor.names import Names
from kitefeed.actors.supervisor.roster import Member, Roster
from kitefeed.actors.supervisor.subscriptions import Subscriptions
from kitefeed.client.reader import RESYNC_NS
from kitefeed.client.tick import NOBODY, Tick
from kitefeed.client.view import View
from kitefeed.protocol import messages as m
from kitefeed.protocol.feed import Flag
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


class Centre(Host):
    """The supervisor's shell. It has no end of the bus: it is the bus."""

    role = Role.SUPERVISOR
    machine: Supervisor

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.disk = msgspec.json.encode(Persisted())
        self.crash_in = 0  # dies before it performs this many more commands; 0: it does not

    def start(self) -> None:
        world = self.world
        persisted = msgspec.json.decode(self.disk, type=Persisted)
        self.machine = Supervisor(
            now_ns=world.now_ns,
            utc_ns=world.utc_ns,
            market=world.calendar,
            backoff_s=BACKOFF_S,
            persisted=persisted,
            jitter=world.rng.random,
            capacity=world.capacity,
        )
        configured, canaries = world.basket.configured, world.basket.canaries
        self.subscriptions = Subscriptions(
            configured, canaries, "full", persisted.subscriptions, world.capacity, persisted.kept
        )
        self.names = Names(self.subscriptions, world.lists.used, lambda key: [])
        self.roster = Roster(world.now_ns)
        self.desk = Desk(
            self.machine, self.subscriptions, lambda *_: None, self.feed, self._look_up,
            self._wants_changed, self._status, self.names.of,
        )  # fmt: skip
        self.crash_in = 0
        world.checker.on_supervisor_start(self.machine)

    def _status(self) -> m.StatusReport:
        raise NotImplementedError

    # --- turns and frames ---------------------------------------------------------------------

    def turn(self) -> None:
        now_ns = self.world.now_ns
        self.turn_due_ns = now_ns + S
        for member in self.roster.lost(now_ns):
            self.world.kill_process(member.hello.boot_id)
            self.feed(ActorLost(member.hello.role))
        self.feed(Clock(self.world.utc_ns))
        if not self.is_up:
            return
        is_changed = self.subscriptions.expire(now_ns)
        if is_changed or self.subscriptions.unresolved():
            self._wants_changed()
        self.names.turn()
        self.desk.turn(now_ns)

    def hear(self, message: m.BusMessage, peer: str) -> None:
        if isinstance(message, m.Hello):
            self._hello(message, peer)
            return
        member = self.roster.heard(peer.encode(), self.world.now_ns)
        if member is None:
            self.world.command(peer, m.Challenge())
        elif isinstance(message, m.SPEAKS[member.hello.role]):
            self._report(message, member)

    def _hello(self, hello: m.Hello, peer: str) -> None:
        arrival = self.roster.hello(hello, peer.encode(), self.world.now_ns)
        if arrival.replaced is not None:
            self.world.command(arrival.replaced.peer.decode(), m.Leave("another holds the role"))
            self.feed(ActorLost(hello.role))
        self.world.command(peer, m.Welcome(self.boot_id))
        self.feed(ActorUp(hello, arrival.is_new))

    def _report(self, message: m.BusMessage, member: Member) -> None:
        match message:
            case m.Beat():
                self.world.acknowledge(member.hello.boot_id)
                if member.hello.role in (Role.TICKER, Role.BROADCASTER):
                    self.feed(message)
            case m.ListenersWant():
                self.subscriptions.listen(message, self.world.now_ns)
                self._wants_changed()
            case m.Confirmed():
                self.subscriptions.orders.confirm(message)
                self.desk.turn(self.world.now_ns)
            case m.InstrumentsReady():
                self.feed(message)
                self._relist(message.day_ist)
            case m.InstrumentsOffered():
                answer = self.names.lacking(message, self.world.lists.offered)
                self.world.command(member.peer.decode(), answer)
            case _:
                self.feed(message)

    def _wants_changed(self) -> None:
        self._look_up(list(self.subscriptions.wanted()))
        persisted = self.machine.state.persisted
        if self.subscriptions.operator != persisted.subscriptions:
            persisted.subscriptions = dict(self.subscriptions.operator)
            self.perform(Persist())
        instruments = self.subscriptions.instruments()
        unresolved = len(self.subscriptions.unresolved())
        state = self.machine.state
        if (instruments, unresolved) != (state.instruments, state.unresolved):
            self.feed(Instruments(instruments, unresolved))

    def _relist(self, day_ist: str) -> None:
        self.names.relist(day_ist)
        in_use, persisted = self.subscriptions.in_use(), self.machine.state.persisted
        kept = {key: (in_use[key].token, in_use[key].expiry) for key in self.subscriptions.kept}
        if kept != persisted.kept:
            persisted.kept = kept
            self.perform(Persist())
        self._wants_changed()

    def _look_up(self, keys: Sequence[str] | None = None) -> None:
        self.names.look_up(keys)

    def operate(self, request: m.ControlRequest) -> None:
        """A command of the operator."""
        self.world.checker.on_operator(request)
        ident = f"cli{self.world.number()}"
        self.do(lambda: self.desk.handle(b"cli", ident, request, self.world.now_ns))

    # --- the machine --------------------------------------------------------------------------

    def feed(self, event: object) -> None:
        if self.is_up:
            super().feed(event)

    def handle(self, event: Any) -> list[Command]:
        if not self.is_up:
            return []
        checker = self.world.checker
        self.world.note(event)
        checker.before(self.machine, event)
        commands = self.machine.handle(event, self.world.now_ns)
        checker.after(self.machine, event, commands)
        return commands

    def perform(self, command: Command) -> None:
        if self.crash_in:
            self.crash_in -= 1
            if not self.crash_in:
                self.world.killed(self, 1.0)
        if not self.is_up:
            return  # the rest of this step's commands died with it
        match command:
            case Send(role, message):
                self._note(message)
                peer = self.roster.peer_of(role)
                if peer is not None:
                    self.world.command(peer.decode(), message)
            case Persist():
                self.disk = msgspec.json.encode(self.machine.state.persisted)
            case Say():
                self.world.checker.on_line(command)
        self.world.note(command)

    def _note(self, message: m.Message) -> None:
        if isinstance(message, m.Subscribe | m.StartPolling):
            self.subscriptions.orders.told(message, self.world.now_ns)
        if isinstance(message, m.OpenLink):
            stored = msgspec.json.decode(self.disk, type=Persisted).epoch
            require(stored >= message.epoch, "epoch used before it was stored")


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

    def start(self) -> None:
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

    def waking(self) -> object:
        return e.Turn(self.world.utc_ns, self.world.now_ns - self.heard_ns)

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

    def command(self, message: m.Message) -> None:
        if isinstance(message, m.Grant):
            self.granted.add((message.shard, message.epoch))
            known = self._grants.get(message.shard, message)
            self._grants[message.shard] = max(known, message, key=lambda grant: grant.epoch)
            if message.epoch == known.epoch:
                self._grants[message.shard] = message
        self.feed(e.Told(message, self.world.utc_ns))  # type: ignore[arg-type]

    def check_fenced(self, tick: Tick) -> None:
        """What is sent as new is of the one source that holds the grant."""
        if not tick.flags & KEPT_FLAGS:
            grant = self._grants.get(tick.arrival.shard)
            is_granted = (
                grant is not None and grant.epoch == tick.arrival.epoch
                and SOURCES[grant.source] == tick.source_code
            )  # fmt: skip
            require(is_granted, "no tick after its source lost the grant")

    def welcomed(self) -> None:
        self.feed(e.Introduced())

    def hello(self) -> m.Hello:
        machine = self.machine
        return m.Hello(
            self.role, self.boot_id, self.life, 1, "sim", machine.fence.highest_epoch,
            grants=machine.grants(),
        )  # fmt: skip

    def beat(self) -> m.Beat:
        values = len(self.machine.values)
        require(values >= self._held[0], "what is a few hours old is kept")
        if values != self._held[0]:
            self._held = values, self.world.now_ns
        fence = self.machine.fence
        alive = fence.alive(self.world.now_ns)
        return m.Beat(values=values, subscribers=1, losses=fence.losses, alive_shards=alive)


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
        """What libzmq sends again to every broadcaster it finds."""
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
        """What the broadcaster holds of what is read here, except what is from disk."""
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
