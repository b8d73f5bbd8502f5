"""Files that are replaced as a whole: a reader sees all of the old or all of the new, whatever
happened to the writer (`kill -9`, a full disk).

A writer that dies leaves its temporary file behind, `.<name>.<pid>.<random>`; the pid tells whether
somebody still works on it.
"""

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Write a temp file, fsync, rename. Mode 0600; the directory is made 0700 when it is missing.
    Raises OSError, and then `path` is as it was and nothing is left beside it."""
    temporary = temporary_beside(path)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def temporary_beside(path: Path) -> Path:
    """Make a new empty file, mode 0600, that is to become `path`."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.{os.getpid()}.")
    os.close(handle)
    return Path(name)


def clear_leftovers(path: Path) -> None:
    """Remove the leftovers of dead writers of `path`. Call it before this process writes `path`: a
    file with its own pid is then a namesake's (containers give pids again)."""
    prefix = f".{path.name}."
    try:
        names = os.listdir(path.parent)
    except OSError:  # no directory, no leftovers
        return
    for name in names:
        pid, dot, _ = name.removeprefix(prefix).partition(".")
        if name.startswith(prefix) and dot and pid.isdecimal() and not _is_another(int(pid)):
            try:
                (path.parent / name).unlink(missing_ok=True)
            except OSError:  # a read-only disk: no harm done
                pass


def _is_another(pid: int) -> bool:
    """Whether `pid` is a living process of this user other than this one."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except (OSError, OverflowError):  # EPERM: somebody else's, who cannot write here
        return False
    return True
