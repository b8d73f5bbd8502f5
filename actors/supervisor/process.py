"""The supervisor's shell: binds bus and control, turns frames into events, performs commands."""

import asyncio
import logging
import os
import random
import signal
from collections.abc import Sequence

from kitefeed.actors.policy.market import Market
from kitefeed.actors.runtime import calendar_file, instrument_search, locks, process
from kitefeed.actors.runtime.descriptors import Room
from kitefeed.actors.runtime.door import Door
from kitefeed.actors.runtime.driver import Driver
from kitefeed.actors.runtime.instruments_db import offered_path
from kitefeed.actors.runtime.process import Runtime
from kitefeed.actors.runtime.pulse import to_next_s
from kitefeed.actors.runtime.state_file import StateFile
from kitefeed.actors.supervisor import memory, report
from kitefeed.actors.supervisor.desk import Desk, Ticket
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
from kitefeed.actors.supervisor.readers import Readers
from kitefeed.actors.supervisor.roster import Member, Roster
from kitefeed.actors.supervisor.shards import Capacity
from kitefeed.actors.supervisor.subscriptions import Subscriptions
from kitefeed.protocol import messages as m
from kitefeed.protocol.clock import boot_ns, utc_ns
from kitefeed.protocol.feed import DECODE_ERRORS
from kitefeed.protocol.instrument_list import InstrumentsDb
from kitefeed.protocol.sockets import GuardedWire, Peer, bus_socket, control_socket
from kitefeed.protocol.topology import BUS, CONTROL, Role, socket_path
from kitefeed.protocol.topology import Wire as WireRow

STRANGERS_MAX = 100  # users that are named in the log, once each
_LEVELS = {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO}

log = logging.getLogger(Role.SUPERVISOR)


class Shell:
    """Wires and files around the machine. Nothing here decides."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        settings = runtime.settings
        config = settings.config
        path = settings.state_dir / memory.FILE_NAME
        self._file = StateFile(
            path, "subscriptions and choices of the operator", memory.FILE_BYTES_MAX, log
        )
        persisted = self._file.read(memory.decode) or Persisted()
        capacity = Capacity(config.kite.sockets_max, config.kite.instruments_per_socket)
        self._machine = Supervisor(
            now_ns=boot_ns(),
            utc_ns=utc_ns(),
            market=Market(config.market.hours, calendar_file.load(settings.calendar_path)),
            backoff_s=config.backoff_s,
            persisted=persisted,
            jitter=random.random,
            misconfigured=runtime.misconfigured,
            capacity=capacity,
            elsewhere=config.session.elsewhere,
        )
        self._subscriptions = Subscriptions(
            config.instruments, config.canaries, config.mode, persisted.subscriptions, capacity,
            persisted.kept,
        )  # fmt: skip
        self._roster = Roster(boot_ns())
        self._readers = Readers()
        db = InstrumentsDb(settings.instruments_path)
        self._offered = InstrumentsDb(offered_path(settings.instruments_path))
        self._names = Names(self._subscriptions, db, lambda key: instrument_search.near(db, key))
        self._driver = Driver(self._machine, self._perform)
        self._strangers: set[int | None] = set()
        self._room = Room(log)
        self._bus = GuardedWire(bus_socket(), self._on_bus, self._on_bus_stranger)
        self._desk = Desk(
            self._machine,
            self._subscriptions,
            self._reply,
            self._driver.feed,
            self._look_up,
            self._on_wants_changed,
            self._status,
            self._names.of,
        )
        self._control = GuardedWire(control_socket(), self._on_control, self._on_control_stranger)
        self._doors = [
            Door(wire, settings.runtime_dir, row, self._room, log)
            for wire, row in ((self._bus, BUS), (self._control, CONTROL))
        ]
        self._tcp_feed = settings.tcp_feed
        self.bad_messages = 0
        self.strangers = 0

    async def run(self) -> None:
        """Turns once a second until stopped."""
        while not self._runtime.stopped.is_set():
            self._turn()
            try:
                delay_s = to_next_s(asyncio.get_running_loop().time())
                await asyncio.wait_for(self._runtime.stopped.wait(), delay_s)
            except TimeoutError:
                continue
        self._persist()
        for door in self._doors:
            door.close()
        for wire in (self._bus, self._control):
            wire.close()
        self._driver.close()

    def _turn(self) -> None:
        now_ns = boot_ns()
        self._names.turn()
        for door in self._doors:
            door.look()
        self._room.look()
        for member in self._roster.lost(now_ns):
            log.warning("%s has not been heard for 5 s: killed", member.hello.role)
            _kill(member.hello.pid, member.hello.start_ticks)
            self._driver.feed(ActorLost(member.hello.role))
        self._driver.feed(Clock(utc_ns()))
        if self._subscriptions.expire(now_ns):
            self._on_wants_changed()
        if self._subscriptions.unresolved():
            self._on_wants_changed()
        self._desk.turn(now_ns)
        if self._file.is_failing:
            self._persist()

    # --- bus ------------------------------------------------------------------------------------

    def _on_bus(self, frames: list[bytes], sender: Peer) -> None:
        try:
            message = m.open_bus(frames[-1])
        except DECODE_ERRORS:
            self.bad_messages += 1
            return
        peer = frames[0]
        if isinstance(message, m.Hello):
            # The pid is what would be killed. (The kernel says none across pid namespaces.)
            if sender.pid and sender.pid != message.pid:
                self.bad_messages += 1
            else:
                self._on_hello(message, peer)
            return
        member = self._roster.heard(peer, boot_ns())
        if member is None:
            self._bus.send([peer, m.seal(m.Challenge())])
        elif isinstance(message, m.SPEAKS[member.hello.role]):
            self._on_report(message, member)
        else:
            self.bad_messages += 1

    def _on_hello(self, hello: m.Hello, peer: bytes) -> None:
        arrival = self._roster.hello(hello, peer, boot_ns())
        if arrival.replaced is not None:
            leave = m.Leave(f"process {hello.pid} holds the role {hello.role} now")
            self._bus.send([arrival.replaced.peer, m.seal(leave)])
            self._driver.feed(ActorLost(hello.role))
        self._bus.send([peer, m.seal(m.Welcome(self._runtime.boot_id))])
        self._driver.feed(ActorUp(hello, arrival.is_new))

    def _on_report(self, message: m.BusMessage, member: Member) -> None:
        match message:
            case m.Beat():
                member.beat = message
                self._bus.send([member.peer, m.seal(m.BeatAck())])
                if member.hello.role in (Role.TICKER, Role.BROADCASTER):
                    self._driver.feed(message)
            case m.ListenersWant():
                if self._subscriptions.listen(message, boot_ns()):
                    self._on_wants_changed()
                self._desk.turn(boot_ns())
            case m.Confirmed():
                self._subscriptions.orders.confirm(message)
                self._desk.turn(boot_ns())
            case m.Quoted():
                self._desk.quoted(message)
            case m.InstrumentsReady(rows, day_ist):
                log.info("instrument list is ready rows=%d day=%s", rows, day_ist)
                self._driver.feed(message)
                self._relist(day_ist)
            case m.InstrumentsOffered():
                answer = self._names.lacking(message, self._offered)
                self._bus.send([member.peer, m.seal(answer)])
            case _:
                self._driver.feed(message)
                self._desk.turn(boot_ns())

    # --- control --------------------------------------------------------------------------------

    def _on_control(self, frames: list[bytes], sender: Peer) -> None:
        peer = frames[0]
        try:
            frame_id, request = m.open_request(frames[-1])
        except DECODE_ERRORS as error:
            self.bad_messages += 1
            text = (
                f"this is not a request this version knows ({str(error)[:200]}): "
                "install one version everywhere"
            )
            self._control.send([peer, m.seal(m.Refused("bad_request", text))])
            return
        if isinstance(request, m.ReaderReport):
            self._readers.note(request, sender.pid, boot_ns())
            return
        if _is_change(request):
            name = type(request).__name__
            log.info("asked to change: request=%s uid=%s pid=%s", name, sender.uid, sender.pid)
        self._desk.handle(peer, frame_id, request, boot_ns())

    def _reply(self, ticket: Ticket, message: m.Message) -> None:
        peer, frame_id = ticket
        self._control.send([peer, m.seal(message, re=frame_id)])

    # --- strangers ------------------------------------------------------------------------------

    def _on_bus_stranger(self, frames: list[bytes], sender: Peer) -> None:
        self._note_stranger(sender, BUS)
        self._bus.send([frames[0], m.seal(m.Leave(_forbidden(sender)))])

    def _on_control_stranger(self, frames: list[bytes], sender: Peer) -> None:
        """Answered without a look at what was asked, but under the id it was asked with."""
        self._note_stranger(sender, CONTROL)
        try:
            asked = m.open_envelope(frames[-1]).id
        except DECODE_ERRORS:
            return
        refusal = m.Refused("forbidden", _forbidden(sender))
        self._control.send([frames[0], m.seal(refusal, re=asked)])

    def _note_stranger(self, sender: Peer, wire: WireRow) -> None:
        self.strangers += 1
        if sender.uid not in self._strangers and len(self._strangers) < STRANGERS_MAX:
            self._strangers.add(sender.uid)
            where = socket_path(self._runtime.settings.runtime_dir, wire)
            log.warning(
                "another user's process spoke and was refused: `chmod 700 %s`; "
                "wire=%s uid=%s pid=%s", where.parent, wire.name, sender.uid, sender.pid,
            )  # fmt: skip

    def _status(self) -> m.StatusReport:
        return report.status(
            self._machine.state,
            self._subscriptions,
            self._roster,
            self._runtime.settings.runtime_dir,
            boot_ns(),
            self._counters(),
            self._readers.report(boot_ns()),
            self._runtime.settings.digests,
            self._runtime.settings.config.kite.target(),
            self._tcp_feed,
        )

    def _counters(self) -> dict[str, int]:
        return {
            "bad_messages": self.bad_messages,
            "too_many_frames": self._bus.refused + self._control.refused,
            "strangers": self.strangers,
            "writes_failing": int(self._file.is_failing),
            **self._machine.counters,
        }

    # --- instruments ----------------------------------------------------------------------------

    def _on_wants_changed(self) -> None:
        self._look_up()
        if self._subscriptions.operator != self._machine.state.persisted.subscriptions:
            self._machine.state.persisted.subscriptions = dict(self._subscriptions.operator)
            self._persist()
        instruments = self._subscriptions.instruments()
        unresolved = len(self._subscriptions.unresolved())
        state = self._machine.state
        if (instruments, unresolved) != (state.instruments, state.unresolved):
            self._driver.feed(Instruments(instruments, unresolved))

    def _relist(self, day_ist: str) -> None:
        self._names.relist(day_ist)
        in_use, persisted = self._subscriptions.in_use(), self._machine.state.persisted
        kept = {key: (in_use[key].token, in_use[key].expiry) for key in self._subscriptions.kept}
        if kept != persisted.kept:
            persisted.kept = kept
            self._persist()
        self._on_wants_changed()

    def _look_up(self, keys: Sequence[str] | None = None) -> None:
        missing = self._names.look_up(keys)
        for key in self._subscriptions.configured & missing.keys():
            log.warning("%s, in the configuration, cannot be had: %s", key, missing[key])

    # --- commands of the machine ------------------------------------------------------------------

    def _perform(self, command: Command) -> None:
        match command:
            case Send(role, message):
                self._note(message)
                peer = self._roster.peer_of(role)
                if peer is not None:
                    self._bus.send([peer, m.seal(message)])
            case Persist():
                self._persist()
            case Say(level, text):
                log.log(_LEVELS[level], "%s", text)

    def _note(self, message: m.Message) -> None:
        if isinstance(message, m.Subscribe | m.StartPolling):
            self._subscriptions.orders.told(message, boot_ns())

    def _persist(self) -> None:
        """A full disk costs the memory of a restart, not the feed."""
        self._file.write(memory.encode(self._machine.state.persisted))


def _is_change(request: m.ControlRequest) -> bool:
    """Whether an operator changes what the daemon does: one line in the log, with who asked."""
    match request:
        case m.WantInstruments():
            return request.is_kept
        case m.GetStatus() | m.NameTokens() | m.AskQuotes():
            return False
        case _:
            return True


def _forbidden(sender: Peer) -> str:
    return (
        f"user {sender.uid} may not speak to the daemon of user {os.geteuid()}: "
        "run the command as that user"
    )


def _kill(pid: int, ticks: int) -> None:
    """Kills a hung actor, proven to be the process that said hello."""
    if locks.is_same_process(pid, ticks):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


async def live(runtime: Runtime) -> None:
    if runtime.misconfigured:
        log.error("misconfigured: %s", runtime.misconfigured)
    await Shell(runtime).run()


def main() -> int:
    return process.run(Role.SUPERVISOR, live)
