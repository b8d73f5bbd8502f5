"""The supervisor as one object without I/O: everything between a decoded message and an order.

Its caller (`process.py`, or a simulated day) tells it what was heard and what time it is, does what
it orders, in order, and answers each `LookUp` with `looked_up`. It owns the roles' holders
(`roster.py`), the wants (`subscriptions.py`, `names.py`), the control desk (`desk.py`), the
readers' reports (`readers.py`), and the machine of sessions, sockets and grants (`machine.py`).
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from kitefeed.actors.policy.machine import Wake
from kitefeed.actors.policy.market import Market
from kitefeed.actors.supervisor import memory, report
from kitefeed.actors.supervisor.desk import Desk, Procedure, Reply, Ticket
from kitefeed.actors.supervisor.facts import (
    ActorLost,
    ActorUp,
    Clock,
    Elsewhere,
    Instruct,
    Instruments,
    Persist,
    Persisted,
    Say,
)
from kitefeed.actors.supervisor.machine import Event, Supervisor
from kitefeed.actors.supervisor.names import Found, LookUp, Names
from kitefeed.actors.supervisor.readers import Readers
from kitefeed.actors.supervisor.roster import Member, Roster
from kitefeed.actors.supervisor.shards import WHOLE_KEY, Capacity
from kitefeed.actors.supervisor.subscriptions import Subscriptions
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.control import (
    AskQuotes,
    ControlRequest,
    GetStatus,
    NameTokens,
    ReaderReport,
    Refused,
    WantInstruments,
)
from kitefeed.protocol.messages.envelope import Message
from kitefeed.protocol.messages.instruments import Mode
from kitefeed.protocol.messages.membership import Beat, BeatAck, Challenge, Hello, Leave, Welcome
from kitefeed.protocol.messages.status import StatusReport
from kitefeed.protocol.topology import BUS, Role, Wire

STRANGERS_MAX = 100  # users that are named in the log, once each
DECODE_ERROR_CHARS_MAX = 200


class Send(msgspec.Struct, frozen=True):
    """Send `message` to this peer of the bus; one that is gone is no error."""

    peer: bytes
    message: Message


class Kill(msgspec.Struct, frozen=True):
    """End this process, if it is still the one that was started at `start_ticks`."""

    pid: int
    start_ticks: int


Order = Send | Reply | LookUp | Persist | Kill | Say


@dataclass(frozen=True)
class Setup:
    """The configuration for the core, and facts about this process. `jitter`: numbers in [0, 1)."""

    boot_id: str
    market: Market
    jitter: Callable[[], float]
    backoff_s: list[float]
    configured: Sequence[str] = ()
    canaries: Sequence[str] = ()
    mode: Mode = "full"
    capacity: Capacity = WHOLE_KEY
    elsewhere: Elsewhere = "alert"
    misconfigured: str | None = None
    uid: int | None = None
    around: report.Surroundings = field(default_factory=report.Surroundings)


class Core:
    """The supervisor's mind. Times are boot-time nanoseconds. Each method returns what is to be
    done, in order. `machine` makes the machine of the sessions and sockets."""

    def __init__(
        self,
        setup: Setup,
        persisted: Persisted,
        now_ns: int,
        utc_ns: int,
        machine: Callable[..., Supervisor] = Supervisor,
    ) -> None:
        self._setup = setup
        self.supervisor = machine(
            now_ns=now_ns,
            utc_ns=utc_ns,
            market=setup.market,
            backoff_s=setup.backoff_s,
            persisted=persisted,
            jitter=setup.jitter,
            misconfigured=setup.misconfigured,
            capacity=setup.capacity,
            elsewhere=setup.elsewhere,
        )
        self.subscriptions = Subscriptions(
            setup.configured, setup.canaries, setup.mode, persisted.subscriptions, setup.capacity,
            persisted.kept,
        )  # fmt: skip
        self.roster = Roster(now_ns)
        self._readers = Readers()
        self._names = Names(self.subscriptions)
        self._desk = Desk(
            self.supervisor, self.subscriptions, self._names, self._feed, self._look_up,
            self._wants_changed, self._status,
        )  # fmt: skip
        self._procedures: deque[Procedure[None]] = deque()  # the first one may wait for a `Found`
        self._strangers: set[int | None] = set()  # users that were named
        self._counters: Counter[str] = Counter(bad_messages=0, strangers=0)
        self._now_ns = now_ns

    @property
    def deadline_ns(self) -> int | None:
        """The boot time at which it wants to be woken, see `handle`."""
        return self.supervisor.deadline_ns

    # --- what it is told ----------------------------------------------------------------------

    def heard(
        self, peer: bytes, message: m.BusMessage, pid: int | None, now_ns: int
    ) -> list[Order]:
        """Take a message of the bus. `pid`: of its sender, by the kernel; None where it does not
        say."""
        return self._do(self._heard(peer, message, pid, now_ns), now_ns)

    def asked(
        self, ticket: Ticket, request: ControlRequest, uid: int | None, pid: int | None,
        now_ns: int,
    ) -> list[Order]:  # fmt: skip
        """Take a request of a command or program."""
        return self._do(self._asked(ticket, request, uid, pid, now_ns), now_ns)

    def misheard(self, wire: Wire, peer: bytes, error: str, now_ns: int) -> list[Order]:
        """Take something that is no message of this version."""
        self._counters["bad_messages"] += 1
        if wire is BUS:
            return []
        text = (
            f"this is not a request this version knows ({error[:DECODE_ERROR_CHARS_MAX]}): "
            "install one version everywhere"
        )
        return [Reply((peer, ""), Refused("bad_request", text))]

    def intruded(
        self, wire: Wire, ticket: Ticket | None, uid: int | None, pid: int | None, now_ns: int
    ) -> list[Order]:
        """Refuse another user's process, which spoke on `wire`: the directory of its address was
        opened up. The process is told so, under the id of its request; nobody looks at what it
        asked. `ticket` is None where there was no such id."""
        self._counters["strangers"] += 1
        orders: list[Order] = []
        if uid not in self._strangers and len(self._strangers) < STRANGERS_MAX:
            self._strangers.add(uid)
            where = self._setup.around.endpoints.get(wire.name, "").removeprefix("ipc://")
            text = (
                "another user's process spoke and was refused: "
                f"`chmod 700 {where.rpartition('/')[0]}`; wire={wire.name} uid={uid} pid={pid}"
            )
            orders.append(Say("warning", text))
        why = (
            f"user {uid} may not speak to the daemon of user {self._setup.uid}: "
            "run the command as that user"
        )
        if ticket is not None and wire is BUS:
            orders.append(Send(ticket[0], Leave(why)))
        elif ticket is not None:
            orders.append(Reply(ticket, Refused("forbidden", why)))
        return orders

    def looked_up(self, found: Found, now_ns: int) -> list[Order]:
        """Take the answer to the last `LookUp`."""
        return self._go_on(found)

    def turn(self, utc_ns: int, counted: Mapping[str, int], now_ns: int) -> list[Order]:
        """Note that a second has passed. `counted`: the process's counters, to be shown; a
        `writes_failing` among them means that the last Persist failed and is to be tried again."""
        self._counters.update({k: n - self._counters[k] for k, n in counted.items()})
        return self._do(self._turn(utc_ns, now_ns), now_ns)

    def handle(self, event: Wake, now_ns: int) -> list[Order]:
        """Do what is due, because the deadline has come."""
        return self._do(self._feed(event), now_ns)

    def remember(self) -> Persist:
        """Return the last order before the end."""
        return Persist(memory.encode(self.supervisor.state.persisted))

    # --- procedures ---------------------------------------------------------------------------

    def _do(self, procedure: Procedure[None] | Iterator[Order], now_ns: int) -> list[Order]:
        self._now_ns = now_ns
        self._procedures.append(procedure)  # type: ignore[arg-type]
        return self._go_on(None) if len(self._procedures) == 1 else []

    def _go_on(self, found: Found | None) -> list[Order]:
        """Run the procedures that wait, one after the other, until something is to be looked up."""
        orders: list[Order] = []
        while self._procedures:
            try:
                order = self._procedures[0].send(found)  # type: ignore[arg-type]
            except StopIteration:
                self._procedures.popleft()
                order = None
            found = None
            if order is not None:
                orders.append(order)
            if isinstance(order, LookUp):
                break
        return orders

    def _feed(self, event: Event) -> Iterator[Order]:
        """Give the machine an event; send its instructions for a role to the process that holds
        it."""
        for command in self.supervisor.handle(event, self._now_ns):
            if not isinstance(command, Instruct):
                yield command
                continue
            if isinstance(command.message, m.Subscribe | m.StartPolling):
                self.subscriptions.confirmations.told(command.message, self._now_ns)
            peer = self.roster.peer_of(command.role)
            if peer is not None:
                yield Send(peer, command.message)

    def _turn(self, utc_ns: int, now_ns: int) -> Procedure[None]:
        self._names.turn()
        for member in self.roster.lost(now_ns):
            yield Say("warning", f"{member.hello.role} has not been heard for 5 s: killed")
            yield Kill(member.hello.pid, member.hello.start_ticks)
            yield from self._feed(ActorLost(member.hello.role))
        yield from self._feed(Clock(utc_ns))
        is_changed = self.subscriptions.expire(now_ns)
        if is_changed or self.subscriptions.unresolved():
            yield from self._wants_changed()
        yield from self._desk.turn(now_ns)
        if self._counters["writes_failing"]:
            yield self.remember()

    # --- the bus ------------------------------------------------------------------------------

    def _heard(
        self, peer: bytes, message: m.BusMessage, pid: int | None, now_ns: int
    ) -> Procedure[None]:
        if isinstance(message, Hello):
            # The pid is what would be killed. (The kernel says none across pid namespaces.)
            if pid and pid != message.pid:
                self._counters["bad_messages"] += 1
            else:
                yield from self._hello(message, peer, now_ns)
            return
        member = self.roster.heard(peer, now_ns)
        if member is None:
            yield Send(peer, Challenge())
        elif isinstance(message, m.SPEAKS[member.hello.role]):
            yield from self._report(message, member, now_ns)
        else:
            self._counters["bad_messages"] += 1

    def _hello(self, hello: Hello, peer: bytes, now_ns: int) -> Iterator[Order]:
        arrival = self.roster.hello(hello, peer, now_ns)
        if arrival.replaced is not None:
            leave = Leave(f"process {hello.pid} holds the role {hello.role} now")
            yield Send(arrival.replaced.peer, leave)
            yield from self._feed(ActorLost(hello.role))
        yield Send(peer, Welcome(self._setup.boot_id))
        yield from self._feed(ActorUp(hello, arrival.is_new))

    def _report(self, message: m.BusMessage, member: Member, now_ns: int) -> Procedure[None]:
        match message:
            case Beat():
                self.roster.beat(member, message)
                yield Send(member.peer, BeatAck())
                if member.hello.role in (Role.TICKER, Role.BROADCASTER):
                    yield from self._feed(message)
                return
            case m.ListenersWant():
                if self.subscriptions.listen(message, now_ns):
                    yield from self._wants_changed()
            case m.Confirmed():
                self.subscriptions.confirmations.confirm(message)
            case m.Quoted():
                yield from self._desk.quoted(message)
                return
            case m.InstrumentsReady(rows, day_ist):
                yield Say("info", f"instrument list is ready rows={rows} day={day_ist}")
                yield from self._feed(message)
                yield from self._relist(day_ist)
                return
            case m.InstrumentsOffered():
                yield Send(member.peer, (yield from self._names.lacking(message)))
                return
            case _:
                yield from self._feed(message)  # type: ignore[arg-type]
        yield from self._desk.turn(now_ns)

    # --- the control socket -------------------------------------------------------------------

    def _asked(
        self, ticket: Ticket, request: ControlRequest, uid: int | None, pid: int | None,
        now_ns: int,
    ) -> Procedure[None]:  # fmt: skip
        if isinstance(request, ReaderReport):
            self._readers.note(request, pid, now_ns)
            return
        if _is_change(request):
            name = type(request).__name__
            yield Say("info", f"asked to change: request={name} uid={uid} pid={pid}")
        yield from self._desk.handle(*ticket, request, now_ns)

    def _status(self) -> StatusReport:
        return report.status(
            self.supervisor.state,
            self.subscriptions,
            self.roster,
            self._setup.around,
            self._now_ns,
            {**self._counters, **self.supervisor.counters},
            self._readers.report(self._now_ns),
        )

    # --- instruments --------------------------------------------------------------------------

    def _look_up(self, keys: Sequence[str] | None = None) -> Procedure[None]:
        missing = yield from self._names.look_up(keys)
        for key in self.subscriptions.configured & missing.keys():
            text = f"{key}, in the configuration, cannot be had: {missing[key]}"
            yield Say("warning", text)

    def _wants_changed(self) -> Procedure[None]:
        """Tell the machine what is wanted, if it knows something else."""
        yield from self._look_up()
        state = self.supervisor.state
        if self.subscriptions.operator != state.persisted.subscriptions:
            state.persisted.subscriptions = dict(self.subscriptions.operator)
            yield self.remember()
        instruments = self.subscriptions.instruments()
        unresolved = len(self.subscriptions.unresolved())
        if (instruments, unresolved) != (state.instruments, state.unresolved):
            yield from self._feed(Instruments(instruments, unresolved))

    def _relist(self, day_ist: str) -> Procedure[None]:
        yield from self._names.relist(day_ist)
        in_use, persisted = self.subscriptions.in_use(), self.supervisor.state.persisted
        kept = {key: (in_use[key].token, in_use[key].expiry) for key in self.subscriptions.kept}
        if kept != persisted.kept:
            persisted.kept = kept
            yield self.remember()
        yield from self._wants_changed()


def _is_change(request: ControlRequest) -> bool:
    """Whether an operator changes what the daemon does: that is one line in the log, with the
    user."""
    match request:
        case WantInstruments():
            return request.is_kept
        case GetStatus() | NameTokens() | AskQuotes():
            return False
        case _:
            return True
