"""One process per role, an actor's or a service's: an flock on `<runtime_dir>/<role>.lock`, taken
before any socket is bound. And one ticker of a user per API key, whatever daemon it belongs to:
that lock is taken before Kite is called.

A lock dies with its process, also on `kill -9`. The file says who holds it, so that others can
prove a pid before they signal it.
"""

import contextlib
import fcntl
import hashlib
import os
import signal
import time
from pathlib import Path

import msgspec

from kitefeed.actors.runtime.directories import prepare_directory
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.errors import TryLater
from kitefeed.protocol.topology import Role

# A process that only looks is done in microseconds, unless a busy host interrupts it just then.
LOOKED_AT_NS = 200_000_000
TRY_AGAIN_S = 0.02


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
    """The lock of a role, held from construction to the end of the process. Raises TryLater when
    taken."""

    def __init__(self, runtime_dir: Path, role: str, boot_id: str) -> None:
        prepare_directory(runtime_dir)
        self.path = path_of(runtime_dir, role)
        self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _take(self._handle):
            holder = read_holder(self.path)
            os.close(self._handle)
            pid = holder.pid if holder else "unknown"
            raise TryLater(f"The role {role} is held by process {pid}: `kitefeed down`")
        self.holder = _sign(self._handle, role, boot_id)

    def touch(self) -> None:
        """Show that the holder's loop turns; the watchdog looks at the file's age."""
        os.utime(self._handle)

    def release(self) -> None:
        os.close(self._handle)


def _take(handle: int) -> bool:
    """Take the lock; whether it is ours now. A process that only looks (`live_holder`) has it for a
    moment."""
    give_up_ns = boot_ns() + LOOKED_AT_NS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if boot_ns() >= give_up_ns:
                return False
            time.sleep(TRY_AGAIN_S)
        else:
            return True


def _sign(handle: int, role: str, boot_id: str) -> Holder:
    holder = Holder(
        role=role,
        pid=os.getpid(),
        start_ticks=start_ticks(os.getpid()),
        boot_id=boot_id,
        parent_pid=os.getppid(),
        is_supervised="SUPERVISOR_ENABLED" in os.environ,
    )
    os.ftruncate(handle, 0)
    os.pwrite(handle, msgspec.json.encode(holder), 0)
    return holder


class KeyLocks:
    """API keys that this ticker uses. Kite counts sockets per key: the tickers of two daemons would
    together open more than it allows. A key at another address (a simulator) is another key."""

    def __init__(self, directory: Path, boot_id: str) -> None:
        self._directory = directory
        self._boot_id = boot_id
        self._held: dict[Path, int] = {}

    def take(self, api_key: str, ws_url: str) -> str | None:
        """Take the lock; return None when the key is ours now, else why it is not. Raises
        ConfigError or OSError when `directory` cannot be used."""
        path = _key_path(self._directory, api_key, ws_url)
        if path in self._held:
            return None
        prepare_directory(self._directory)
        handle = lock_named(path)
        if handle is None:
            return f"{_named(read_holder(path))} uses this API key: `kitefeed down` ends that one"
        self._held[path] = handle
        _sign(handle, Role.TICKER, self._boot_id)
        return None

    def release(self) -> None:
        """Release all, and remove the files; a process that waits for one finds out that it is
        gone."""
        for path, handle in self._held.items():
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            os.close(handle)
        self._held.clear()


def _key_path(directory: Path, api_key: str, ws_url: str) -> Path:
    name = hashlib.blake2b(f"{api_key}\n{ws_url}".encode(), digest_size=16).hexdigest()
    return directory / f"{name}.lock"


def key_holder(directory: Path, api_key: str, ws_url: str) -> Holder | None:
    """Return the ticker that uses this API key right now, or None. It only reads the file: taking
    the lock for a look could refuse the ticker that wants it at this moment."""
    holder = read_holder(_key_path(directory, api_key, ws_url))
    is_there = holder is not None and is_same_process(holder.pid, holder.start_ticks)
    return holder if is_there else None


def lock_named(path: Path) -> int | None:
    """Lock the file that has this name now; None when another process holds it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_ino == path.stat().st_ino:
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except FileNotFoundError:
            pass  # removed by the one who released it, between our two calls
        os.close(handle)


def _named(holder: Holder | None) -> str:
    if holder is None:
        return "another daemon"
    started_by = f", started by process {holder.parent_pid}" if holder.is_supervised else ""
    return f"process {holder.pid} of another daemon{started_by},"


def path_of(runtime_dir: Path, role: str) -> Path:
    return runtime_dir / f"{role}.lock"


def read_holder(path: Path) -> Holder | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Holder)
    except (OSError, msgspec.DecodeError):
        return None


def live_holders(runtime_dir: Path) -> list[Holder]:
    """List who holds the roles of `runtime_dir` right now."""
    return [h for role in Role if (h := live_holder(runtime_dir, role)) is not None]


def live_holder(runtime_dir: Path, role: str) -> Holder | None:
    """Return the process that holds `role`, proven by the lock itself, or None."""
    path = path_of(runtime_dir, role)
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: others may look, too
    except OSError:
        return read_holder(path)
    finally:
        os.close(handle)
    return None


def start_ticks(pid: int) -> int:
    """Return when `pid` started, in clock ticks since boot: with the pid it names one process for
    ever. 0 when there is no such process, or no /proc (macOS)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19])


def is_same_process(pid: int, ticks: int) -> bool:
    """Whether `pid` still is the process that had `ticks`; only then may it be signalled."""
    return pid > 1 and ticks > 0 and start_ticks(pid) == ticks  # 0 names no process


def kill(pid: int, ticks: int) -> None:
    """Kill a process that hangs, if `pid` still is the one that had `ticks`."""
    if is_same_process(pid, ticks):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
