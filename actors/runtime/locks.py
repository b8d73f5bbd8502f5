"""One process per role: an flock on `<runtime_dir>/<role>.lock`, taken before any socket is bound.

The lock dies with its process, also on `kill -9`. The file says who holds it, so that others can
prove a pid before they signal it.
"""

import fcntl
import os
from pathlib import Path

import msgspec

from kitefeed.actors.runtime.directories import prepare_directory
from kitefeed.protocol.errors import TryLater
from kitefeed.protocol.topology import Role


class Holder(msgspec.Struct, frozen=True):
    """Content of a lock file. start_ticks: field 22 of /proc/<pid>/stat, 0 where there is none.
    parent_pid: supervisord when `is_supervised`."""

    role: str
    pid: int
    start_ticks: int
    boot_id: str
    parent_pid: int
    is_supervised: bool


class RoleLock:
    """Held from construction to the end of the process. Raises TryLater when taken."""

    def __init__(self, runtime_dir: Path, role: Role, boot_id: str) -> None:
        prepare_directory(runtime_dir)
        self.path = path_of(runtime_dir, role)
        self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = read_holder(self.path)
            os.close(self._handle)
            pid = holder.pid if holder else "unknown"
            raise TryLater(f"The role {role} is held by process {pid}: `kitefeed down`") from None
        self.holder = Holder(
            role=role,
            pid=os.getpid(),
            start_ticks=start_ticks(os.getpid()),
            boot_id=boot_id,
            parent_pid=os.getppid(),
            is_supervised="SUPERVISOR_ENABLED" in os.environ,
        )
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, msgspec.json.encode(self.holder), 0)

    def touch(self) -> None:
        """Shows that the holder's loop turns; its age is what the watchdog looks at."""
        os.utime(self._handle)

    def release(self) -> None:
        os.close(self._handle)


def path_of(runtime_dir: Path, role: Role) -> Path:
    return runtime_dir / f"{role}.lock"


def read_holder(path: Path) -> Holder | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Holder)
    except (OSError, msgspec.DecodeError):
        return None


def live_holders(runtime_dir: Path) -> list[Holder]:
    """Who holds the roles of `runtime_dir` right now."""
    return [h for role in Role if (h := live_holder(runtime_dir, role)) is not None]


def live_holder(runtime_dir: Path, role: Role) -> Holder | None:
    """The process that holds `role`, proven by the lock itself, or None."""
    path = path_of(runtime_dir, role)
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return read_holder(path)
    finally:
        os.close(handle)
    return None


def start_ticks(pid: int) -> int:
    """When `pid` started, in clock ticks since boot: with the pid it names one process for ever.
    0 when there is no such process, or no /proc (macOS)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19])


def is_same_process(pid: int, ticks: int) -> bool:
    """Whether `pid` still is the process that had `ticks`; only then may it be signalled."""
    return pid > 1 and start_ticks(pid) == ticks
