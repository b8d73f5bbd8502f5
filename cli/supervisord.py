"""What supervisord loads before it starts the first program, by `[rpcinterface:kitefeed]`.

It is the one hook that runs in supervisord itself, also when it was started by hand, by init or by
cron with an empty environment.
"""

import fcntl
import os
import stat
import subprocess
from typing import Any

from kitefeed.cli.environment import name_supervisord, prefer_own_programs

STDOUT = 1


class _Nothing:
    """An RPC interface without methods."""


def prepare(supervisord: Any, **config: str) -> _Nothing:
    """The factory supervisord calls. Its real work is done on this process."""
    prefer_own_programs()
    name_supervisord()
    make_stdout_reopenable()
    return _Nothing()


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
