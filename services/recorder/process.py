"""recorder: writes the feed down, as it comes, for as long as it is kept."""

import asyncio
import logging
import secrets
import sys
from pathlib import Path

import kitefeed
from kitefeed.actors.runtime.config import Settings
from kitefeed.actors.runtime.process import Runtime
from kitefeed.protocol.clock import boot_ns, utc_ns
from kitefeed.protocol.instrument_list import InstrumentsDb, ListDamaged
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.loop_socket import LoopSocket
from kitefeed.protocol.messages.control import PROBLEM_CHARS_MAX, ReaderReport
from kitefeed.protocol.messages.envelope import seal
from kitefeed.protocol.recording import Described
from kitefeed.protocol.sockets import connect_feed, connect_reports, send_or_drop
from kitefeed.protocol.topics import presence
from kitefeed.protocol.topology import CHUNKS_QUEUED_MAX, CONTROL, FEED, endpoint
from kitefeed.services import life
from kitefeed.services.recorder import shelf
from kitefeed.services.recorder.machine import Ask, Command, Previous, Recorder, subscriptions
from kitefeed.services.recorder.promotion import Promotion, is_possible
from kitefeed.services.recorder.writer import FREE_MB_MIN, Writer

NAME = "recorder"
LOOK_S = 0.2
REPORT_NS = 2 * NS_PER_S
CLOSE_S = 3.0  # supervisord kills after 5

log = logging.getLogger(NAME)


def main() -> int:
    return life.run(NAME, live)


async def live(runtime: Runtime) -> None:
    shell = await Shell.made(runtime.settings)
    log.info("ready, records to %s", runtime.settings.record_path)
    try:
        async with life.chores(shell.look(), shell.promote()):
            await runtime.stopped.wait()
    finally:
        await shell.close()


class Shell:
    """The machine between the feed's socket and the writer's thread."""

    @classmethod
    async def made(cls, settings: Settings) -> "Shell":
        """Make it, once what a former life left is put in order: before the feed is read."""
        directory = settings.record_path
        assert directory is not None  # noqa: S101  (it would be switched off)
        previous = None
        try:
            previous = await asyncio.to_thread(shelf.recover, directory)
        except OSError as error:
            log.warning("what was recorded before cannot be looked at: %s", error)
        return cls(settings, directory, previous)

    def __init__(self, settings: Settings, directory: Path, previous: Previous | None) -> None:
        record = settings.config.record
        self._promotion = Promotion(directory, log) if record.parquet else None
        on_sealed = self._promotion.add if self._promotion else lambda path: None
        self._writer = writer = Writer(directory, record.keep_days, log, on_sealed)
        self._list = InstrumentsDb(settings.instruments_path)
        seed = secrets.token_hex(6)
        self._machine = Recorder(seed, kitefeed.__version__, self._described, previous)
        self._request = b""
        self._reader = seed
        self._report_due_ns = 0
        self._reported = (boot_ns(), 0)  # when, and how many ticks by then
        self._reports = connect_reports(endpoint(settings.runtime_dir, CONTROL))
        writer.start()
        feed = connect_feed(endpoint(settings.runtime_dir, FEED), None, CHUNKS_QUEUED_MAX)
        self._wire = LoopSocket(feed, self._on_message)
        for topic in (*subscriptions(), presence(seed)):
            feed.subscribe(topic)
        self._perform(self._machine.begin(boot_ns()))

    async def look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if not self._writer.is_alive:
                raise RuntimeError("the writer's thread has ended")
            self._machine.trouble = self._writer.trouble
            self._perform(self._machine.turn(boot_ns(), utc_ns()))
            self._maybe_report()

    async def promote(self) -> None:
        if self._promotion is None:
            return
        if not is_possible():
            log.info("no Parquet is made of it: that needs `pip install 'kitefeed[record]'`")
            return
        await self._promotion.work()

    async def close(self) -> None:
        """Writes what is there, unless the disk takes too long."""
        self._wire.close()
        self._reports.close(0)
        self._perform(self._machine.end())
        if not await asyncio.to_thread(self._writer.close, CLOSE_S):
            log.warning("the end of the recording was not written within %s s", CLOSE_S)

    def _on_message(self, frames: list[bytes]) -> None:
        self._perform(self._machine.frame(frames[0], boot_ns(), utc_ns()))

    def _perform(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Ask):
                self._ask(command.request)
            else:
                self._writer.put(command)
        self._machine.backlog_bytes = self._writer.backlog_bytes

    def _ask(self, request: bytes) -> None:
        if self._request:
            self._wire.socket.unsubscribe(self._request)
        self._request = request
        self._wire.socket.subscribe(request)
        self._wire.look()

    def _described(self, found: list[Described]) -> list[Described]:
        """Add what the day's list knows of them; nothing if there is none that can be used."""
        try:
            rows = self._list.described([each.key for each in found])
        except ListDamaged:
            return found
        return [
            Described(each.token, each.key, each.divisor, each.segment, *rows[each.key])
            if each.key in rows
            else each
            for each in found
        ]

    def _maybe_report(self) -> None:
        """Tell the daemon how it goes, as every reader does."""
        now_ns, machine = boot_ns(), self._machine
        if now_ns < self._report_due_ns:
            return
        self._report_due_ns = now_ns + REPORT_NS
        then_ns, ticks = self._reported
        self._reported = now_ns, machine.ticks
        report = ReaderReport(
            reader=self._reader,
            name=NAME,
            ticks_per_s=round((machine.ticks - ticks) * 1e9 / (now_ns - then_ns), 1),
            gaps=machine.lost,
            problem=self._problem()[:PROBLEM_CHARS_MAX],
        )
        send_or_drop(self._reports, seal(report))

    def _problem(self) -> str:
        """Say why nothing is recorded, or soon will not be; empty while all is well."""
        if self._writer.trouble:
            return self._writer.trouble
        free_mb = self._writer.free_mb
        if free_mb is not None and free_mb < FREE_MB_MIN:
            return f"{free_mb:.0f} MB are free for it; {FREE_MB_MIN} are needed"
        return ""


if __name__ == "__main__":
    sys.exit(main())
