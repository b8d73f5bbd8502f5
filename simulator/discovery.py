"""Lets `kitefeed simulate fault` find the running simulators: each names itself in a small file.

The file holds no secret. It lies in the directory for temporary files, which others may write to,
so one that belongs to somebody else is not believed. Its simulator keeps it locked: the kernel
lets go of the lock when the process ends, however it ends, and whoever looks then removes the file.
"""

import fcntl
import json
import os
import tempfile
from pathlib import Path
from typing import NamedTuple


class Running(NamedTuple):
    """A simulator of this user that runs."""

    rest_url: str
    pid: int


class Announcement:
    """The file of one simulator, locked until `withdraw`. OSError when it cannot be written."""

    def __init__(self, rest_url: str) -> None:
        handle, name = tempfile.mkstemp(dir=_directory(), prefix=f".{_prefix()}")
        temporary = Path(name)
        self._file = open(handle, "w", encoding="utf-8")  # noqa: SIM115 - open as long as we run
        self._path = temporary.with_name(temporary.name.removeprefix(".") + ".json")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)  # before anybody can see it
            json.dump({"rest": rest_url, "pid": os.getpid()}, self._file)
            self._file.flush()
            temporary.replace(self._path)
        except OSError:
            temporary.unlink(missing_ok=True)
            self._file.close()
            raise

    def withdraw(self) -> None:
        """Remove the file. May be repeated."""
        if not self._file.closed:
            self._path.unlink(missing_ok=True)
            self._file.close()


def _directory() -> Path:
    return Path(tempfile.gettempdir())


def _prefix() -> str:
    return f"kitefeed-simulator-{os.getuid()}-"


def running() -> list[Running]:
    """The simulators of this user, by address. Files of dead ones are removed."""
    found = [_read(path) for path in _directory().glob(f"{_prefix()}*.json")]
    return sorted(each for each in found if each is not None)


def _read(path: Path) -> Running | None:
    try:
        if path.lstat().st_uid != os.getuid():
            return None
        with path.open(encoding="utf-8") as file:
            if _is_abandoned(file.fileno()):
                path.unlink(missing_ok=True)
                return None
            record = json.load(file)
            return Running(str(record["rest"]), int(record["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_abandoned(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
