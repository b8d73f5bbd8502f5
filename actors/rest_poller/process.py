"""rest_poller: all REST market data behind one bucket, and the daily instrument dump."""

import asyncio
import logging
import sys

import msgspec

from kitefeed.actors.policy.machine import Welcomed
from kitefeed.actors.rest_poller.dump import Fetched
from kitefeed.actors.rest_poller.dump_schedule import (
    ClockRead,
    DumpEnded,
    FetchDump,
    Remark,
    TakeDump,
)
from kitefeed.actors.rest_poller.machine import Answered, Ask, Command, RestPoller
from kitefeed.actors.rest_poller.order_book import BookRead, ReadBook
from kitefeed.actors.runtime import process, session_file
from kitefeed.actors.runtime.blocking import Blocking
from kitefeed.actors.runtime.bus import Bus
from kitefeed.actors.runtime.config import Settings
from kitefeed.actors.runtime.driver import Driver
from kitefeed.actors.runtime.hello import hello_of
from kitefeed.actors.runtime.instruments_db import offered_path
from kitefeed.actors.runtime.kite_rest import KiteRest, RestFailure
from kitefeed.actors.runtime.process import Runtime
from kitefeed.actors.runtime.secrets import redact
from kitefeed.protocol.clock import utc_ns
from kitefeed.protocol.feed import IngestBatch, encode
from kitefeed.protocol.instrument_list import InstrumentsDb, ListDamaged
from kitefeed.protocol.loop_socket import LoopSocket
from kitefeed.protocol.messages.envelope import Message
from kitefeed.protocol.messages.membership import Beat, Hello
from kitefeed.protocol.sockets import connect_ingest
from kitefeed.protocol.topology import Role

QUOTE_TIMEOUT_S = 4.0
BOOK_TIMEOUT_S = 8.0
THREADS_MAX = 3  # one works; a hung one is left behind
CLOCK_S = 5.0  # how often the machine is told the time of day
DUMP_WITHIN_S = 120.0

log = logging.getLogger(Role.REST_POLLER)


def main() -> int:
    return process.run(Role.REST_POLLER, live)


async def live(runtime: Runtime) -> None:
    shell = Shell(runtime)
    await runtime.stopped.wait()
    await shell.close()


class Shell:
    """The machine's hands: quote threads, the dump's child, the bus and ingest."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._settings = runtime.settings
        self._machine = RestPoller()
        self._driver = Driver(self._machine, self._perform)
        self._threads = Blocking("quote", THREADS_MAX)
        self._book_threads = Blocking("orders", THREADS_MAX)
        self._clients = Clients(runtime.settings)
        self._dump: asyncio.Task[None] | None = None
        self._dump_problem = ""
        self._damage = ""  # of the list on disk, as it was said
        self._list = InstrumentsDb(runtime.settings.instruments_path)
        self._odd_said: set[str] = set()  # once each: there are not many fields
        self._ingest = LoopSocket(connect_ingest(runtime.settings.runtime_dir), lambda frames: None)
        self._bus = Bus(
            runtime, self._hello, self._beat, self._driver.feed,
            lambda: self._driver.feed(Welcomed()),
        )  # fmt: skip
        self._loop = asyncio.get_running_loop()
        self._clock: asyncio.Handle = self._loop.call_soon(self._read_clock)

    async def close(self) -> None:
        self._clock.cancel()
        self._driver.close()
        if self._dump is not None:
            self._dump.cancel()
            await asyncio.gather(self._dump, return_exceptions=True)
        self._bus.close()
        self._ingest.close()

    def _perform(self, command: Command) -> None:
        match command:
            case IngestBatch():
                self._ingest.publish([encode(command)])
            case Ask():
                self._ask(command)
            case ReadBook():
                self._read_book(command)
            case FetchDump():
                self._dump = asyncio.ensure_future(self._fetch(command.day_ist))
                self._dump.add_done_callback(_raise_bugs)
            case TakeDump():
                offered_path(self._list.path).replace(self._list.path)
            case Remark(text):
                log.warning("%s", text)
            case Message():
                self._bus.send(command)

    def _ask(self, ask: Ask) -> None:
        if not self._threads.start(lambda: self._clients.quote(ask), self._driver.feed):
            detail = "earlier requests still hang"
            self._driver.feed(Answered(ask.request, "network", detail=detail))

    def _read_book(self, wish: ReadBook) -> None:
        if not self._book_threads.start(lambda: read_book(self._settings, wish), self._driver.feed):
            detail = "earlier requests still hang"
            self._driver.feed(BookRead(wish.request, "network", detail=detail))

    def _read_clock(self) -> None:
        read = ClockRead(utc_ns() / 1e9)
        try:
            facts = self._list.facts()
        except ListDamaged as error:
            self._set_aside(error)
        else:
            self._damage = ""
            if facts is not None:
                read = ClockRead(utc_ns() / 1e9, facts.rows, facts.day_ist)
        self._driver.feed(read)
        self._clock = self._loop.call_later(CLOCK_S, self._read_clock)

    def _set_aside(self, error: ListDamaged) -> None:
        """Set the damaged list aside; say so once, also where the disk refuses."""
        aside = self._list.path.with_name(f"{self._list.path.name}.damaged")
        try:
            self._list.path.replace(aside)
        except OSError:  # the new list is put in its place anyway
            pass
        if str(error) != self._damage:
            log.error("%s: set aside as %s, fetching it anew", error, aside.name)
        self._damage = str(error)

    async def _fetch(self, day_ist: str) -> None:
        ended = await fetch_dump(self._settings, day_ist)
        if ended.problem and not self._dump_problem:
            log.warning("the instrument dump cannot be fetched, trying again: %s", ended.problem)
        elif ended.rows:
            log.info("the instrument dump was fetched: rows=%d day=%s", ended.rows, day_ist)
        self._dump_problem = ended.problem
        self._driver.feed(ended)

    def _hello(self) -> Hello:
        machine = self._machine
        return hello_of(self._runtime, highest_epoch=machine.highest_epoch, links=machine.links)

    def _beat(self) -> Beat:
        for odd in sorted(self._machine.odd - self._odd_said):
            log.warning("a field was left out of a quote, whose price is passed on: %s", odd)
        self._odd_said |= self._machine.odd
        return Beat(counters=dict(self._machine.counters))


class Clients:
    """One connection to Kite, kept for the session in use. Used from one thread at a time, apart
    from threads that hang, whose client is not used again."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._idle: tuple[str, KiteRest] | None = None

    def quote(self, ask: Ask) -> Answered:
        """Ask for quotes. Blocks; raises nothing. The session is read anew: a logout ends polling
        at once."""
        session = session_file.by_fingerprint(self._settings, ask.fingerprint)
        if session is None:
            return Answered(ask.request, "network", detail="session changed")
        idle, self._idle = self._idle, None
        if idle is not None and idle[0] == ask.fingerprint:
            rest = idle[1]
        else:
            rest = KiteRest(self._settings.config.kite, session, QUOTE_TIMEOUT_S)
        try:
            quotes = rest.quote(ask.tokens)
        except RestFailure as error:
            return Answered(ask.request, error.fault.value, detail=error.detail)
        self._idle = (ask.fingerprint, rest)
        return Answered(ask.request, "ok", quotes)


def read_book(settings: Settings, wish: ReadBook) -> BookRead:
    """Read the order book of a session, and its user. Blocks; raises nothing."""
    session = session_file.by_fingerprint(settings, wish.fingerprint)
    if session is None:
        return BookRead(wish.request, "network")
    rest = KiteRest(settings.config.kite, session, BOOK_TIMEOUT_S)
    try:
        orders = rest.orders()
        user_id = session.user_id or rest.profile().user_id
    except RestFailure as error:
        return BookRead(wish.request, error.fault.value, detail=error.detail)
    return BookRead(wish.request, "ok", user_id, orders)


async def fetch_dump(settings: Settings, day_ist: str) -> DumpEnded:
    """Run the child, which puts the new list beside the one in use."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kitefeed.actors.rest_poller.dump",
        "--url", settings.config.kite.rest_url,
        "--list", str(settings.instruments_path),
        "--day", day_ist,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(DUMP_WITHIN_S):
            out, error = await child.communicate()
    except TimeoutError:
        return DumpEnded(0, day_ist, problem=f"no answer within {DUMP_WITHIN_S:g} s")
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode == 0:
        new = msgspec.json.decode(out, type=Fetched)
        return DumpEnded(new.rows, day_ist, new.digest, new.losses, new.left_out)
    lines = redact(error.decode(errors="replace")).strip().splitlines()
    problem = lines[-1] if lines else f"the child ended with code {child.returncode}"
    return DumpEnded(0, day_ist, problem=problem)


def _raise_bugs(task: asyncio.Task[None]) -> None:
    """Raise the exception of a task, which ends the actor: a task keeps it until somebody asks."""
    if not task.cancelled():
        task.result()


if __name__ == "__main__":
    sys.exit(main())
