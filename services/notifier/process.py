"""notifier: tells people of trouble, and a dead man's switch that all is well."""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Coroutine
from datetime import time
from typing import Any

import msgspec

from kitefeed.actors.policy.market import Market
from kitefeed.actors.runtime import calendar_file
from kitefeed.actors.runtime.config import Settings
from kitefeed.actors.runtime.process import Runtime
from kitefeed.actors.runtime.pulse import to_next_s
from kitefeed.actors.runtime.state_file import StateFile
from kitefeed.client.feed_async import AsyncFeed
from kitefeed.protocol.clock import boot_ns, utc_ns
from kitefeed.protocol.errors import ConfigError, Unavailable
from kitefeed.protocol.exits import Exit
from kitefeed.protocol.feed import DECODE_ERRORS
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages.control import GetStatus, Status
from kitefeed.protocol.messages.status import StatusReport
from kitefeed.protocol.sockets import request
from kitefeed.protocol.topology import CONTROL, endpoint
from kitefeed.services import life
from kitefeed.services.freshness import is_fed
from kitefeed.services.notifier.alerts import MINUTE_NS, Alert
from kitefeed.services.notifier.conditions import Observation
from kitefeed.services.notifier.machine import Machine, Ping, Rules, Send
from kitefeed.services.notifier.outbox import Outbox, TargetState, Try
from kitefeed.services.notifier.record import FILE_BYTES_MAX, NotifierState, decode, path_of
from kitefeed.services.notifier.targets import Deliver, heartbeat, links_of, targets_of

NAME = "notifier"
ANSWER_S = 1.0  # the supervisor answers from memory
ASK_NS = 5 * NS_PER_S  # the feed's words come by themselves, and sooner
FAREWELL_S = 6.0  # supervisord kills after 8
TARGETS_AGAIN_S = 5.0
MB = 1_048_576

log = logging.getLogger(NAME)


def main() -> int:
    return life.run(NAME, live)


async def live(runtime: Runtime) -> None:
    settings = runtime.settings
    targets = await _targets(runtime)
    if targets is None:
        return
    # It reads the feed's words alone.
    feed = AsyncFeed([], config=settings.source, name=NAME)
    notifier = Notifier(settings, feed, targets)
    _warn_of_modes(settings)
    log.info("ready, tells: %s", ", ".join(targets) or "the dead man's switch alone")
    try:
        async with life.chores(life.opened(feed, settings.source), notifier.watch()):
            await runtime.stopped.wait()
        if runtime.exit_code is Exit.OK:  # else it is no orderly end
            await notifier.end()
    finally:
        feed.close()


def _warn_of_modes(settings: Settings) -> None:
    """Warn when others can read URLs, which hold tokens; a configuration without them may be read
    by anybody."""
    alerts, path = settings.config.alerts, settings.source
    urls = [*alerts.urls, alerts.webhook, alerts.heartbeat_url]
    if path is not None and any(url.reveal() for url in urls) and path.stat().st_mode & 0o077:
        log.warning(
            "%s holds URLs of alerts, and others can read it: `chmod 600 %s`, or put them into "
            "alerts.urls_file", path, path,
        )  # fmt: skip


async def _targets(runtime: Runtime) -> dict[str, Deliver] | None:
    """Wait until the file of URLs can be used; None when the service ends before that."""
    is_said = False
    while not runtime.stopped.is_set():
        try:
            return targets_of(runtime.settings)
        except ConfigError as error:
            if not is_said:
                is_said = True
                log.error("nobody can be told of anything: %s condition=alerts", error)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(runtime.stopped.wait(), TARGETS_AGAIN_S)
    return None


class Notifier:
    """The machine and the outbox with the world around them."""

    def __init__(self, settings: Settings, feed: AsyncFeed, targets: dict[str, Deliver]) -> None:
        alerts, hours = settings.config.alerts, settings.config.market.hours
        self._settings = settings
        self._feed = feed
        self._targets = targets
        self._control = endpoint(settings.runtime_dir, CONTROL)
        self._heartbeat_url = alerts.heartbeat_url
        self._switch = TargetState()
        self._outbox = Outbox(list(targets))
        self._file = StateFile(path_of(settings), "alerts that were told", FILE_BYTES_MAX, log)
        known = self._file.read(decode) or NotifierState()
        self._written = b""
        self._machine = Machine(
            Rules(alerts.remind_min * MINUTE_NS, alerts.at_night),
            links_of(settings),
            Market(hours, calendar_file.load(settings.calendar_path)),
            utc_ns(),
            known.memory,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._failing: set[str] = set()
        self._ask_due_ns = 0
        self._report: StatusReport | None = None
        self._free_mb: float | None = None

    async def watch(self) -> None:
        """Looks every second, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(to_next_s(loop.time()))
            facts = await self._facts()
            is_delivered = self._outbox.is_delivered
            for command in self._machine.look(facts, utc_ns(), is_delivered=is_delivered):
                match command:
                    case Send(alert):
                        self._put(alert)
                    case Ping():
                        self._start(self._beat())
            self._deliver()
            await asyncio.to_thread(self._save, self._record())

    async def end(self) -> None:
        """Say good-bye; what could not be delivered in time is not."""
        self._put(self._machine.farewell(utc_ns()).alert)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                while self._outbox.is_busy(boot_ns()):
                    self._deliver()
                    await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._save(self._record())

    async def _facts(self) -> Observation:
        if boot_ns() >= self._ask_due_ns:
            self._ask_due_ns = boot_ns() + ASK_NS
            self._report = await asyncio.to_thread(self._ask)
            self._free_mb = self._measure_disk()
        status, heard = self._feed.status, self._feed.heartbeat
        is_heard = heard is not None and is_fed(heard)
        config = self._settings.config
        login_at = time.fromisoformat(config.login.at) if config.login.at else None
        return Observation(
            status, is_heard, self._report, self._free_mb,
            config.session.elsewhere, login_at, bool(config.login.command),
        )  # fmt: skip

    def _ask(self) -> StatusReport | None:
        """Return what `kitefeed status` shows; None when the supervisor does not answer."""
        try:
            reply = request(self._control, GetStatus(), timeout_s=ANSWER_S, tries=1)
        except (Unavailable, *DECODE_ERRORS):
            return None
        return reply.report if isinstance(reply, Status) else None

    def _measure_disk(self) -> float | None:
        try:
            facts = os.statvfs(self._settings.state_dir)
        except OSError:
            return None
        return facts.f_bavail * facts.f_frsize / MB

    # --- telling ------------------------------------------------------------------------------

    def _put(self, alert: Alert) -> None:
        log.info("told: %s wakes=%s", alert.title, str(alert.wakes).lower())
        self._outbox.put(alert)

    def _deliver(self) -> None:
        for each in self._outbox.due(boot_ns()):
            self._start(self._try(each))

    async def _try(self, each: Try) -> None:
        problem = await self._targets[each.target](each.alert)
        self._outbox.done(each.target, problem, boot_ns(), utc_ns() / 1e9)
        self._say(each.target, problem)

    async def _beat(self) -> None:
        if self._heartbeat_url.reveal():
            self._switch.problem = await heartbeat(self._heartbeat_url)
            self._say("heartbeat_url", self._switch.problem)

    def _say(self, target: str, problem: str) -> None:
        """Write one line when a target begins to fail, and one when it is over."""
        if problem and target not in self._failing:
            self._failing.add(target)
            log.error(
                "alerts do not reach alerts.%s: %s; tried again by itself, `kitefeed alerts test` "
                "tries it now condition=alerts", target, problem,
            )  # fmt: skip
        elif not problem and target in self._failing:
            self._failing.discard(target)
            log.info("alerts reach alerts.%s again condition=alerts", target)

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(life.fail)

    def _record(self) -> bytes:
        states = {**self._outbox.states, "heartbeat_url": self._switch}
        return msgspec.json.encode(NotifierState(self._machine.memory, states))

    def _save(self, data: bytes) -> None:
        if data != self._written and self._file.write(data):
            self._written = data


if __name__ == "__main__":
    sys.exit(main())
