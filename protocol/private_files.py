"""Files that hold a secret: opened once, judged by what was opened, and read within a limit."""

import os
import stat
from pathlib import Path


class Unsafe(Exception):
    """The file is not one that a secret may lie in. The text is a sentence with the remedy and
    repeats nothing of what the file holds."""


def read(path: Path, bytes_max: int) -> bytes | None:
    """Return the content of `path`; None when there is no such file. Raises Unsafe for a link, for
    anything but a plain file of ours that only we can read, and for more than `bytes_max`."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unsafe(f"{path} cannot be opened ({error.strerror}); make it a plain file") from None
    try:
        _check(path, os.fstat(handle))
        data = os.read(handle, bytes_max + 1)
    finally:
        os.close(handle)
    if len(data) > bytes_max:
        raise Unsafe(f"{path} is larger than {bytes_max} bytes: it is another file; remove it")
    return data


def _check(path: Path, facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise Unsafe(f"{path} is not a plain file; remove it and make it anew")
    if facts.st_uid != os.geteuid():
        raise Unsafe(f"{path} belongs to another user; remove it and make it anew")
    if facts.st_mode & 0o077:
        mode = stat.S_IMODE(facts.st_mode)
        raise Unsafe(f"{path} has mode {mode:04o}, others can read it: `chmod 600 {path}`")


def create(path: Path, data: bytes) -> None:
    """Write a new file of mode 0600. Raises FileExistsError, and leaves the old one alone, when
    there is one."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
