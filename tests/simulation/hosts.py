"""Processes of the simulated machine: the real machines behind modelled shells.

What a shell does in `process.py` (hello, beats, the bus, its calls to Kite) is played here on the
world's clock. A host can be killed (its inbox is lost) or frozen (its inbox waits).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kitefeed.actors.auth_watcher import machine as watcher
from kitefeed.actors.policy.machine import Machine, Wake, Welcomed
from kitefeed.actors.rest_poller import machine as poller
from kitefeed.actors.rest_poller.dump_schedule import ClockRead, DumpEnded, FetchDump, TakeDump
from kitefeed.actors.rest_poller.order_book import BookRead, ReadBook
from kitefeed.actors.runtime.driver import Driver
from kitefeed.actors.runtime.membership import HELLO_RETRY_NS, Duty, Membership
from kitefeed.actors.ticker import machine as ticker
from kitefeed.actors.ticker.subscriptions import Ask
from kitefeed.actors.token_validator import machine as validator
from kitefeed.protocol.feed import IngestBatch
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.envelope import Message
from kitefeed.protocol.messages.membership import Beat, Hello
from kitefeed.protocol.topology import Role
from tests.simulation.exchange import S
from tests.simulation.kite import DROPPED, HEARTBEAT, Socket
from tests.simulation.life import require

if TYPE_CHECKING:
    from tests.simulation.world import World

CLOCK_READ_NS = 5 * S
LOOK_NS = S // 4
ASKED_AGAIN_S = 9  # when what was lost twice has been asked again
CACHED_NEW_NS = 7 * S  # a packet whose last trade is so recent is news, cached or not
NEVER = 1 << 62
PIDS = 10_000  # lives of one role


class Timer:
    """The one timer of a process, on the virtual clock."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.due_ns = NEVER
        self._act: Callable[[], None] = lambda: None

    def call_later(self, delay_s: float, act: Callable[[], None]) -> Timer:
        self.due_ns, self._act = self._world.now_ns + round(delay_s * S), act
        return self

    def cancel(self) -> None:
        self.due_ns = NEVER

    def tick(self) -> None:
        if self._world.now_ns >= self.due_ns:
            self.cancel()
            self._act()


class Host:
    """One actor: its process (`life` counts them), its end of the bus, its driver: those that are
    shipped, on the virtual clock."""

    role: Role

    def __init__(self, world: World) -> None:
        self.world = world
        self.life = 0
        self.boot_id = ""
        self.is_up = False
        self.is_frozen = False
        self.froze_ns = self.thawed_ns = 0  # last
        self.machine: Any = None
        self.driver: Driver | None = None
        self.timer = Timer(world)
        self.membership = Membership()
        self.told_ns = 0  # when something of ours last reached the supervisor
        self.turn_due_ns = 0
        self.inbox: list[Callable[[], None]] = []

    @property
    def pid(self) -> int:
        return list(Role).index(self.role) * PIDS + self.life

    @property
    def supervisor(self) -> str | None:
        """Boot id of the one that welcomed us."""
        return self.membership.supervisor

    @property
    def is_running(self) -> bool:
        return self.is_up and not self.is_frozen

    def boot(self) -> None:
        self.life += 1
        self.boot_id = f"{self.role}-{self.life}"
        self.is_up, self.is_frozen = True, False
        self.membership = Membership(self.world.now_ns)
        self.turn_due_ns = self.world.now_ns
        self.inbox.clear()
        machine, clock = self.start(), lambda: self.world.now_ns
        self.timer.cancel()
        self.driver = Driver(machine, self.perform, clock, self.timer.call_later, self.waking)

    def start(self) -> Machine[Any, Any]:
        """Makes the machine of this life, and what is to be driven."""
        raise NotImplementedError

    def kill(self) -> None:
        self.is_up = False
        self.inbox.clear()
        if self.driver is not None:
            self.driver.close()

    def thaw(self) -> None:
        """SIGCONT: everything that waited happens now."""
        self.is_frozen, self.thawed_ns = False, self.world.now_ns
        waiting, self.inbox = self.inbox, []
        for act in waiting:
            act()

    def do(self, act: Callable[[], None]) -> None:
        """Something reaches this process: now, when it runs again, or never."""
        if self.is_frozen:
            self.inbox.append(act)
        elif self.is_up:
            act()

    def in_this_life(self, act: Callable[[], None]) -> Callable[[], None]:
        """`act`, unless the process is another one by then."""
        life = self.life

        def fire() -> None:
            if self.life == life:
                act()

        return fire

    def later(self, delay_s: float, act: Callable[[], None]) -> None:
        """A callback of this life of the process."""
        self.world.after(delay_s, self.in_this_life(lambda: self.do(act)))

    # --- machine ------------------------------------------------------------------------------

    def feed(self, event: object) -> None:
        assert self.driver is not None
        self.driver.feed(event)

    def perform(self, command: Any) -> None:
        raise NotImplementedError

    @property
    def deadline_ns(self) -> int:
        """The machine's own; its timer may come sooner, and find that it has moved."""
        due_ns: int | None = self.machine.deadline_ns
        if due_ns is None:
            return NEVER
        return due_ns if self.timer.due_ns == NEVER else max(due_ns, self.timer.due_ns)

    @property
    def due_ns(self) -> int:
        """The time at which it wants the processor next."""
        return min(self.turn_due_ns, self.timer.due_ns)

    def tick(self) -> None:
        """Does what is due."""
        if self.world.now_ns >= self.turn_due_ns:
            self.turn()
        self.timer.tick()

    def waking(self) -> object:
        return Wake()

    # --- bus ----------------------------------------------------------------------------------

    def turn(self) -> None:
        now_ns = self.world.now_ns
        if self.membership.turn(now_ns) is Duty.HELLO:
            self.send(self.hello())
            self.turn_due_ns = now_ns + HELLO_RETRY_NS
        else:
            self.turn_due_ns = now_ns + S
            self.world.beat(self, self.beat())

    def send(self, message: Message) -> None:
        self.world.report(self, message)

    def receive(self, message: m.BusMessage) -> None:
        match self.membership.heard(message, self.world.now_ns):
            case Duty.WELCOMED:
                self.welcomed()
            case Duty.HELLO:
                self.send(self.hello())
            case Duty.LEAVE:
                self.world.killed(self, 1.5)
            case Duty.COMMAND:
                self.command(message)

    def hello(self) -> Hello:
        return Hello(self.role, self.boot_id, self.pid, 1, "sim")

    def beat(self) -> Beat:
        return Beat()

    def welcomed(self) -> None:
        pass

    def command(self, message: Message) -> None:
        self.feed(message)


class Ticker(Host):
    role = Role.TICKER
    machine: ticker.Ticker

    def start(self) -> Machine[Any, Any]:
        self.machine = ticker.Ticker()
        self._has_news: set[ticker.LinkId] = set()  # more than old packets of Kite's cache
        return self.machine

    def kill(self) -> None:
        super().kill()
        self.world.kite.sockets.clear()

    def perform(self, command: Any) -> None:
        match command:
            case IngestBatch():
                self.world.ingest(command)
            case ticker.Connect(link, fingerprint):
                self._connect(link, fingerprint)
            case ticker.Disconnect(link):
                if link in self.world.kite.sockets:
                    self.later(0.05, lambda: self._ended(link, 1000, ""))
            case ticker.Send(link, ask):
                socket = self.world.kite.sockets.get(link)
                if socket is not None and socket.is_open:
                    self._asked(socket, ask)
            case Message():
                if isinstance(command, m.LinkFresh):
                    link = ticker.LinkId(command.shard, command.epoch)
                    require(link in self._has_news, "a cached packet is no proof of life")
                self.send(command)

    def _asked(self, socket: Socket, ask: Ask) -> None:
        if self.world.kite.is_lost(ask):
            self.world.alert(ASKED_AGAIN_S)  # its timer counts until it is repaired
            return
        packets = self.world.kite.asked(socket, ask)
        if packets is not None and not socket.fault:
            life = self.life
            self.world.after(0.03, lambda: self._packets(life, socket, packets))

    def _packets(self, life: int, socket: Socket, packets: bytes) -> None:
        world = self.world
        if self.life == life and not socket.fault and world.kite.sockets.get(socket.link):
            traded_ns = [world.exchange.traded_ns(t, world.true_utc_ns) for t in socket.modes]
            is_new = world.true_utc_ns - max(traded_ns, default=0) < CACHED_NEW_NS
            self.do(lambda: self.frame(socket.link, packets, is_new=is_new or world.has_stepped))

    def _connect(self, link: ticker.LinkId, fingerprint: str) -> None:
        self.world.checker.on_connect(fingerprint)
        if fingerprint not in [seen for seen, _ in self.world.files.values()]:
            self.feed(ticker.Ended(link, None, "session changed"))
            return
        delay_s, failure = self.world.kite.connect(link, fingerprint)
        if failure:
            self.later(delay_s, lambda: self.feed(ticker.Ended(link, 1006, failure)))
        else:
            self.later(delay_s, lambda: self._opened(link))

    def _opened(self, link: ticker.LinkId) -> None:
        socket = self.world.kite.sockets.get(link)
        if socket is None:
            return
        if self.world.kite.net != "ok":
            self._ended(link, 1006, DROPPED)
            return
        socket.is_open = True
        socket.faulty_since_ns = self.world.now_ns  # no one could notice before
        socket.frame_due_ns = self.world.now_ns + S // 5
        self.feed(ticker.Upgraded(link))

    def _ended(self, link: ticker.LinkId, code: int | None, reason: str) -> None:
        if self.world.kite.sockets.pop(link, None) is not None:
            self.feed(ticker.Ended(link, code, reason))

    def drop(self, link: ticker.LinkId, code: int, reason: str) -> None:
        """Kite, or the network, ends a connection."""
        self.do(lambda: self._ended(link, code, reason))

    def frame(
        self, link: ticker.LinkId, payload: bytes, *, is_binary: bool = True, is_new: bool = True
    ) -> None:
        if is_new and len(payload) > len(HEARTBEAT):
            self._has_news.add(link)
        self.feed(ticker.Frame(link, payload, is_binary, self.world.utc_ns / S))

    def hello(self) -> Hello:
        machine = self.machine
        return Hello(
            self.role, self.boot_id, self.pid, 1, "sim", machine.highest_epoch, machine.links
        )

    def beat(self) -> Beat:
        now_ns = self.world.now_ns
        tick_ns, fresh_ns = self.machine.last_tick_ns, self.machine.fresh_tick_ns
        return Beat(
            last_tick_age_ns=-1 if tick_ns is None else now_ns - tick_ns,
            fresh_tick_age_ns=-1 if fresh_ns is None else now_ns - fresh_ns,
            fresh_ages_ns={s: now_ns - at for s, at in self.machine.fresh_shards_ns.items()},
            held=self.machine.held(now_ns),
        )

    def welcomed(self) -> None:
        self.feed(Welcomed())


class Poller(Host):
    role = Role.REST_POLLER
    machine: poller.RestPoller

    def start(self) -> Machine[Any, Any]:
        self.machine = poller.RestPoller()
        self._clock_due_ns = self.world.now_ns
        return self.machine

    def perform(self, command: Any) -> None:
        match command:
            case IngestBatch():
                self.world.ingest(command)
            case poller.Ask(request, fingerprint, tokens):
                self._ask(request, fingerprint, tokens)
            case ReadBook(request, fingerprint):
                self._read_book(request, fingerprint)
            case FetchDump(day_ist):
                self.later(2.0, lambda: self._fetched(day_ist))
            case TakeDump():
                self.world.lists.take()
            case Message():
                self.send(command)

    def _ask(self, request: int, fingerprint: str, tokens: tuple[int, ...]) -> None:
        world = self.world
        world.checker.on_quote(fingerprint)
        if fingerprint not in [seen for seen, _ in world.files.values()]:
            self.feed(poller.Answered(request, "network", detail="session changed"))
            return
        delay_s, answer = world.kite.quotes(request, fingerprint, tokens)
        if world.is_instant:
            self.feed(answer)
        else:
            self.later(delay_s, lambda: self.feed(answer))

    def _read_book(self, request: int, fingerprint: str) -> None:
        world = self.world
        if fingerprint not in [seen for seen, _ in world.files.values()]:
            self.feed(BookRead(request, "network"))
            return
        delay_s, answer = world.kite.order_book(request, fingerprint, world.orders.book())
        self.later(delay_s, lambda: self.feed(answer))

    def _fetched(self, day_ist: str) -> None:
        kite = self.world.kite
        if kite.rest == "ok" and kite.net == "ok":
            self.feed(self.world.lists.fetch(day_ist))
        else:
            self.feed(DumpEnded(0, day_ist, problem="no answer"))

    @property
    def due_ns(self) -> int:
        return min(super().due_ns, self._clock_due_ns)

    def tick(self) -> None:
        if self.world.now_ns >= self._clock_due_ns:
            self._clock_due_ns = self.world.now_ns + CLOCK_READ_NS
            self.feed(ClockRead(self.world.utc_ns / S, *self.world.lists.read()))
        super().tick()

    def hello(self) -> Hello:
        machine = self.machine
        return Hello(
            self.role, self.boot_id, self.pid, 1, "sim", machine.highest_epoch, machine.links
        )

    def welcomed(self) -> None:
        self.feed(Welcomed())


class Validator(Host):
    role = Role.TOKEN_VALIDATOR
    machine: validator.TokenValidator

    def start(self) -> Machine[Any, Any]:
        self.machine = validator.TokenValidator()
        return self.machine

    def perform(self, command: Any) -> None:
        match command:
            case validator.Ask(request_id, fingerprint):
                self._ask(request_id, fingerprint)
            case m.Validated():
                self.world.checker.on_verdict(command)
                self.send(command)

    def _ask(self, request_id: int, fingerprint: str) -> None:
        if fingerprint not in [seen for seen, _ in self.world.files.values()]:
            detail = "session changed"
            self.feed(validator.Answered(request_id, "unverified", detail=detail))
            return
        delay_s, answer = self.world.kite.profile(request_id, fingerprint)
        self.later(delay_s, lambda: self.feed(answer))


class Watcher(Host):
    role = Role.AUTH_WATCHER
    machine: watcher.AuthWatcher

    def start(self) -> Machine[Any, Any]:
        self.machine = watcher.AuthWatcher()
        self._looked: object = None
        self._look_due_ns = 0
        return self.machine

    def perform(self, command: Any) -> None:
        self.send(command)

    @property
    def due_ns(self) -> int:
        return min(super().due_ns, self._look_due_ns)

    def tick(self) -> None:
        super().tick()
        now_ns = self.world.now_ns
        if self._looked != self.world.files or now_ns >= self._look_due_ns:
            self._looked, self._look_due_ns = dict(self.world.files), now_ns + LOOK_NS
            for slot, (fingerprint, problem) in self.world.files.items():
                self.feed(watcher.Observed(slot, fingerprint, problem))

    def welcomed(self) -> None:
        self.feed(Welcomed())
