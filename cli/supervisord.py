"""Prepares supervisord before it starts the first program, by `[rpcinterface:kitefeed]`.

It is the one hook that runs in supervisord itself, also when it was started by hand, by init or by
cron with an empty environment.
"""

import contextlib
import fcntl
import os
import signal
import stat
import subprocess
import sys
from typing import Any

from supervisor import loggers
from supervisor.medusa.asyncore_25 import socket_map

from kitefeed.actors.runtime import config
from kitefeed.cli.environment import name_supervisord, prefer_own_programs
from kitefeed.cli.streams import complain
from kitefeed.protocol.clock import utc_ns
from kitefeed.protocol.errors import ConfigError
from kitefeed.services.table import switched_off

STDOUT = 1


class _Nothing:
    """An RPC interface without methods."""


def prepare(supervisord: Any, **_: str) -> _Nothing:
    """The factory supervisord calls. Its real work is done on this process."""
    prefer_own_programs()
    name_supervisord()
    leave_out_services_that_are_off(supervisord)
    make_stdout_reopenable()
    Waker().install()
    let_children_end()
    say_once_that_the_log_is_lost()
    return _Nothing()


def leave_out_services_that_are_off(supervisord: Any) -> None:
    """Keep services that are off from starting: each would start a process that finds this out and
    ends, at a fifth of a second of a core.

    The configuration is asked as the programs would ask it, which start in the directory of
    supervisord's configuration. Programs that may find another answer look for themselves: those
    that are given settings in `environment`, and all while the configuration cannot be used.
    """
    try:
        with contextlib.chdir(supervisord.options.here):
            off = switched_off(config.load().config)
    except (ConfigError, OSError):
        return
    for group in supervisord.process_groups.values():
        for name, process in group.processes.items():
            if name in off and not is_given_settings(process.config.environment):
                # supervisord itself starts what was never started; on an order, everything. With
                # `autostart` changed, `supervisorctl update` would take the group for another.
                process.laststart = process.laststop = utc_ns() / 1e9


def is_given_settings(environment: dict[str, str] | None) -> bool:
    return any(name.startswith(("KITEFEED_", "HOME")) for name in environment or {})


def let_children_end() -> None:
    """Give a child the default SIGTERM. It has our handlers until it becomes its program: a SIGTERM
    in that moment would be lost in them, and the stop would take until the SIGKILL."""
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def say_once_that_the_log_is_lost() -> None:
    """Let a full disk behind the log cost lines, and not a traceback for each of them."""
    said: list[str] = []

    def handle_error(_: loggers.Handler) -> None:
        why = str(sys.exc_info()[1])
        if why not in said:
            said.append(why)
            complain(f"kitefeed: the log cannot be written ({why}); the daemon goes on without it")

    loggers.Handler.handleError = handle_error


class Waker:
    """Ends supervisord's waits when a signal comes, such as that of a child that died: its loop
    would collect it up to a second later, and start it again up to a second after that.

    One of the dispatchers whose descriptors the loop waits for.
    """

    AGAIN = b"\0"  # signals are written as their numbers, from 1 on

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)

    def install(self) -> None:
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        socket_map[self._reading] = self

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def handle_read_event(self) -> None:
        """Wakes the loop twice: in one round it collects the dead, in the next it starts them."""
        if os.read(self._reading, 4_096).strip(self.AGAIN):
            os.write(self._writing, self.AGAIN)

    def handle_error(self) -> None:
        """Stop waking: `handle_read_event` has raised. From here on supervisord wakes once a
        second, as it would have."""
        signal.set_wakeup_fd(-1)
        socket_map.pop(self._reading, None)


def make_stdout_reopenable() -> None:
    """Sees to it that programs' logs can be opened as /dev/fd/1.

    A socket (journald, some CI runners) or a terminal of another user (after `su`) cannot be opened
    by that name; `cat` then stands in between and ends with us. A plain file is put into append
    mode: it is opened a second time, and the two would write over each other.
    """
    if _can_open_stdout():
        if stat.S_ISREG(os.fstat(STDOUT).st_mode):
            flags = fcntl.fcntl(STDOUT, fcntl.F_GETFL)
            fcntl.fcntl(STDOUT, fcntl.F_SETFL, flags | os.O_APPEND)
        return
    # A session of its own: Ctrl-C must not end it before the last lines are written.
    reading, writing = os.pipe()
    cat = subprocess.Popen(["cat"], stdin=reading, start_new_session=True)
    cat.returncode = 0  # supervisord reaps its children itself; Popen must not look for this one
    os.dup2(writing, STDOUT)
    os.close(reading)
    os.close(writing)


def _can_open_stdout() -> bool:
    try:
        os.close(os.open(f"/dev/fd/{STDOUT}", os.O_WRONLY | os.O_APPEND))
    except OSError:
        return False
    return True
