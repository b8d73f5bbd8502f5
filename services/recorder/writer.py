"""Writes what the machine orders, in a thread: a disk may be slow, full or gone, and the feed's
frames are taken in meanwhile.

What cannot be written is tried again until it can be, at the place where it was to stand. Blocks
are on the disk's own medium after SYNC_S, and when a segment is sealed: a kill of this process, or
of the daemon, loses nothing that was written, a loss of power what was written since.
"""

import errno
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from kitefeed.protocol import recording as r
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.recording import Kind
from kitefeed.services.recorder import shelf
from kitefeed.services.recorder.machine import Command, Open, Seal, Write

SYNC_S = 5.0
RETRY_S = 5.0
FREE_MB_MIN = 50  # below it somebody is told, while there is still room
MB = 1_048_576


class Writer:
    """directory: of all recordings. keep_days: see `shelf.forget`. on_sealed: is called, in the
    thread, with each segment that is whole.

    trouble: why nothing can be written now, empty when it can be. backlog_bytes: what waits.
    """

    def __init__(
        self,
        directory: Path,
        keep_days: int,
        log: logging.Logger,
        on_sealed: Callable[[Path], None] = lambda path: None,
    ) -> None:
        self.trouble = ""
        self.backlog_bytes = 0
        self.written_bytes = 0
        self._directory = directory
        self._keep_days = keep_days
        self._log = log
        self._on_sealed = on_sealed
        self._codec = r.best_codec()
        self._waiting: deque[Command] = deque()
        self._changed = threading.Condition()
        self._is_ending = False
        self._failing_since_ns: int | None = None
        self._file: int | None = None
        self._path = directory
        self._offset = 0
        self._last_ns = 0  # of the segment's last record
        self._synced_ns = 0
        self._is_unsynced = False
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, command: Command) -> None:
        """Queue a command; never blocks. How much may wait is the machine's business."""
        with self._changed:
            self._waiting.append(command)
            self.backlog_bytes += _size(command)
            self._changed.notify()

    def close(self, timeout_s: float) -> bool:
        """Write what waits, at most so long; False when something is left."""
        with self._changed:
            self._is_ending = True
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive() and not self._waiting

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def free_mb(self) -> float | None:
        """The free megabytes of the disk it writes to; None while that is not known."""
        try:
            facts = os.statvfs(self._directory)
        except OSError:
            return None
        return facts.f_bavail * facts.f_frsize / MB

    # --- in the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        while (command := self._next()) is not None:
            data = self._encoded(command)
            while not self._tried(command, data):
                with self._changed:
                    if self._is_ending or self._changed.wait_for(self._has_ended, RETRY_S):
                        return
            with self._changed:
                self._waiting.popleft()
                self.backlog_bytes -= _size(command)

    def _has_ended(self) -> bool:
        return self._is_ending

    def _next(self) -> Command | None:
        """Return the oldest command that waits; None at the end. Syncs while nothing waits."""
        while True:
            with self._changed:
                if self._waiting:
                    return self._waiting[0]
                if self._is_ending:
                    return None
                self._changed.wait(SYNC_S)
            self._maybe_sync()

    def _encoded(self, command: Command) -> bytes:
        """Encode a command once for all tries."""
        match command:
            case Open(header):
                at_ns = header.started_ns
                head = r.encode_block(Kind.HEADER, r.encode(header), at_ns, at_ns, self._codec)
                return r.HEAD + head
            case Write(payload, first_ns, last_ns, flags):
                kind = Kind.RECORDS
                return r.encode_block(kind, payload, first_ns, last_ns, self._codec, flags)
            case Seal(end):
                at_ns = self._last_ns
                return r.encode_block(Kind.END, r.encode(end), at_ns, at_ns, r.Codec.NONE)
        return b""

    def _tried(self, command: Command, data: bytes) -> bool:
        try:
            match command:
                case Open(header):
                    self._open(header)
                    self._write(data)
                case Write(last_ns=last_ns):
                    self._write(data)
                    self._last_ns = last_ns
                case Seal():
                    self._write(data)
        except OSError as error:
            self._fail(error)
            return False
        is_synced = self._close() if isinstance(command, Seal) else self._maybe_sync()
        if is_synced and self._failing_since_ns is not None:
            took_s = (boot_ns() - self._failing_since_ns) / 1e9
            self._failing_since_ns, self.trouble = None, ""
            self._log.info("the recording is written, over after %.1f s condition=disk", took_s)
        return True

    def _open(self, header: r.Header) -> None:
        if self._file is not None:  # by an earlier try
            return
        day = self._directory / header.day
        day.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        at_ns = header.started_ns
        while True:
            path = day / r.segment_name(at_ns)
            try:
                self._file = os.open(path, flags, 0o600)
                break
            except FileExistsError:
                at_ns += 1_000_000
        self._path, self._offset = path, 0
        self._last_ns = header.started_ns
        self._synced_ns = boot_ns()
        _sync_directory(day)
        self._forget(header.day)

    def _write(self, data: bytes) -> None:
        """Write all of it, where it belongs: what an earlier try left there is written over."""
        if self._file is None:
            raise OSError(errno.EBADF, "no segment is open")
        done = 0
        while done < len(data):
            done += os.pwrite(self._file, data[done:], self._offset + done)
        self._offset += done
        self.written_bytes += done
        self._is_unsynced = True

    def _maybe_sync(self) -> bool:
        """Sync when it is due. False when the disk refused: what was written may be lost with the
        power."""
        if self._file is None or not self._is_unsynced:
            return True
        if boot_ns() - self._synced_ns < SYNC_S * 1e9:
            return True
        self._synced_ns = boot_ns()
        try:
            os.fdatasync(self._file)
        except OSError as error:
            self._fail(error)
            return False
        self._is_unsynced = False
        return True

    def _close(self) -> bool:
        """Sync as `_maybe_sync`; the segment is closed in any case."""
        self._synced_ns = 0
        is_synced = self._maybe_sync()
        if self._file is not None:
            os.close(self._file)
            self._on_sealed(self._path)
        self._file, self._is_unsynced = None, False
        return is_synced

    def _forget(self, today: str) -> None:
        """Remove what is too old, when a segment begins; what cannot be removed stays."""
        try:
            gone = shelf.forget(self._directory, today, self._keep_days)
        except OSError as error:
            self._log.warning("old recordings cannot be removed: %s", error)
            return
        if gone:
            self._log.info("recordings removed, older than %d days: %s",
                           self._keep_days, ", ".join(gone))  # fmt: skip

    def _fail(self, error: OSError) -> None:
        self.trouble = f"{self._path}: {error.strerror or error}"
        if self._failing_since_ns is None:
            self._failing_since_ns = boot_ns()
            self._log.error(
                "the recording cannot be written to %s (%s): make room there or correct its mode; "
                "the feed goes on, and it is tried again by itself condition=disk",
                self._path, error.strerror or error,
            )  # fmt: skip


def _size(command: Command) -> int:
    return len(command.payload) if isinstance(command, Write) else 0


def _sync_directory(path: Path) -> None:
    """Sync the directory, so that the file's name is there after a loss of power."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
