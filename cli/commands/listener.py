"""The watchdog that supervisord runs beside the programs (`[eventlistener:watchdog]`).

Two things supervisord cannot see for itself: that the supervisor actor hangs (nobody else would
kill it), and that a program it gave up may work again by now. And it tells systemd how the daemon
is. Stdout carries supervisord's event protocol and nothing else; what is to be read goes to stderr.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import click

from kitefeed.actors.runtime import config, locks
from kitefeed.cli import environment
from kitefeed.cli.control import runtime_dir
from kitefeed.cli.service_manager import ManagerHealth, ServiceManager
from kitefeed.protocol import location
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.errors import ConfigError, Unavailable
from kitefeed.protocol.feed import DECODE_ERRORS
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages.control import GetStatus, Status
from kitefeed.protocol.messages.status import StatusReport
from kitefeed.protocol.topology import CONTROL, Role, endpoint

TICKS_UNTOUCHED_MAX = 2  # of 5 s each: a loop that did not turn for 10 s is hung
REVIVE_AFTER_NS = 60 * NS_PER_S  # after FATAL; long enough not to fill a log, short for a person
ANSWER_S = 1.0  # the supervisor answers from memory

Start = Callable[[str], None]
"""Asks supervisord to start `group:name`. Raises OSError or xmlrpc's Fault."""


class Watchdog:
    """Is fed with supervisord's events. `parent_pid`: the supervisord whose programs are ours.
    `health`: tells the service manager, every 5 s."""

    def __init__(
        self,
        directory: Path,
        parent_pid: int,
        start: Start,
        say: Callable[[str], None],
        health: ManagerHealth,
    ) -> None:
        self._lock = locks.path_of(directory, Role.SUPERVISOR)
        self._directory = directory
        self._parent_pid = parent_pid
        self._start = start
        self._say = say
        self._health = health
        self._seen: tuple[int, int] | None = None  # the supervisor's pid, its lock's mtime
        self._ticks_untouched = 0
        self._due_ns: dict[str, int] = {}
        self._said: set[str] = set()

    def handle(self, event: str, payload: dict[str, str], now_ns: int) -> None:
        if event == "PROCESS_STATE_FATAL":
            name = f"{payload['groupname']}:{payload['processname']}"
            self._due_ns[name] = now_ns + REVIVE_AFTER_NS
            if name not in self._said:
                self._said.add(name)
                self._say(f"{name} keeps ending at its start; it is tried again every minute")
        else:
            self._look_at_supervisor()
            self._revive(now_ns)
            self._health.look()

    def _revive(self, now_ns: int) -> None:
        for name in [name for name, due_ns in self._due_ns.items() if due_ns <= now_ns]:
            del self._due_ns[name]
            try:
                self._start(name)
            except Exception as error:  # noqa: BLE001 - an RPC fault must not end the watchdog
                self._say(f"{name} cannot be started: {error}")

    def _look_at_supervisor(self) -> None:
        """Kill the supervisor actor if it hangs: its main loop touches its lock every second. Ticks
        are counted instead of reading a clock: a clock that jumps, or a laptop that slept, looks
        like a hang."""
        holder = locks.live_holder(self._directory, Role.SUPERVISOR)
        if holder is None or holder.parent_pid != self._parent_pid:
            self._seen, self._ticks_untouched = None, 0
            return
        seen = (holder.pid, self._lock.stat().st_mtime_ns)
        self._ticks_untouched = self._ticks_untouched + 1 if seen == self._seen else 0
        self._seen = seen
        if self._ticks_untouched >= TICKS_UNTOUCHED_MAX:
            self._ticks_untouched = 0
            if locks.is_same_process(holder.pid, holder.start_ticks):
                self._say(f"the supervisor actor (pid {holder.pid}) hangs; it is killed")
                os.kill(holder.pid, signal.SIGKILL)


@click.command("supervisord-listener", hidden=True)
def listener() -> None:
    """Speak supervisord's event protocol on stdin and stdout; started by supervisor.conf."""
    directory = runtime_dir()
    manager = ServiceManager(location.service_manager())
    health = ManagerHealth(manager, lambda: _status(directory), _is_configuration_usable)
    watchdog = Watchdog(directory, os.getppid(), _start_by_rpc, _say, health)
    serve(watchdog, sys.stdin, sys.stdout)


def serve(watchdog: Watchdog, source: TextIO, sink: TextIO) -> None:
    """Say READY, take an event, say RESULT, until `source` ends (supervisord.org/events.html)."""
    while True:
        sink.write("READY\n")
        sink.flush()
        line = source.readline()
        if not line:
            return
        header = _pairs(line)
        payload = _pairs(source.read(int(header["len"])))
        watchdog.handle(header["eventname"], payload, boot_ns())
        sink.write("RESULT 2\nOK")
        sink.flush()


def _pairs(text: str) -> dict[str, str]:
    """Read `a:1 b:2` as a dict; supervisord sends headers and payloads in this form."""
    return dict(word.split(":", 1) for word in text.split() if ":" in word)


def _start_by_rpc(name: str) -> None:
    environment.supervisord_rpc().supervisor.startProcess(name, False)


def _status(directory: Path) -> StatusReport | None:
    # Imported here: without a service manager that asks, the watchdog does without ZeroMQ.
    from kitefeed.protocol.sockets import request

    try:
        reply = request(endpoint(directory, CONTROL), GetStatus(), timeout_s=ANSWER_S, tries=1)
    except (Unavailable, *DECODE_ERRORS):
        return None
    return reply.report if isinstance(reply, Status) else None


def _is_configuration_usable() -> bool:
    """Whether a new start could use the configuration. An actor that waits for a usable one does
    not beat; `kitefeed up` would end with 78, and systemd would not start it again."""
    try:
        config.load_for_daemon()
    except ConfigError:
        return False
    return True


def _say(sentence: str) -> None:
    print(f"watchdog: {sentence}", file=sys.stderr, flush=True)
