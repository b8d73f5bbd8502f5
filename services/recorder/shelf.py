"""The files of recordings: which are ours, what is torn, what is too old. Blocking.

Nothing is touched whose name is not exactly that of a segment in the folder of a day.
"""

import contextlib
import mmap
import os
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

from kitefeed.protocol import recording as r
from kitefeed.protocol.feed import DECODE_ERRORS
from kitefeed.protocol.recording import Block, End, Kind
from kitefeed.services.recorder.machine import Previous

_TAIL_BYTES = 4_096  # an End is far smaller


def segments(directory: Path) -> Iterator[Path]:
    """Return all segments, oldest first."""
    for day in days(directory):
        yield from _in(day)


def days(directory: Path) -> list[Path]:
    """Return the folders of days, oldest first."""
    found = [each for each in _listed(directory) if r.DAY_NAME.match(each.name)]
    return sorted(each for each in found if each.is_dir() and not each.is_symlink())


def _in(day: Path) -> list[Path]:
    return sorted(file for file in _listed(day) if r.SEGMENT_NAME.match(file.name))


def _listed(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []


def recover(directory: Path) -> Previous | None:
    """Cut the torn tail off every segment that was not sealed, and seal it. Return how the newest
    one ended; None when there is none. Raises OSError."""
    previous = None
    for path in segments(directory):
        found = _sealed_end(path) or _recovered(path)
        if found is not None and (previous is None or found.last_ns >= previous.last_ns):
            previous = found
    return previous


def is_sealed(path: Path) -> bool:
    try:
        return _sealed_end(path) is not None
    except (OSError, r.BadRecording, *DECODE_ERRORS):
        return False


def _sealed_end(path: Path) -> Previous | None:
    """Return the end of a segment that was sealed; None for one that was not."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read()
    at = tail.rfind(r.MARK)
    if at < 0:
        return None
    for block in r.blocks(tail, at):
        if isinstance(block, Block) and block.kind == Kind.END and block.end == len(tail):
            return Previous(block.last_ns, r.decode_end(r.unpack(block)).reason)
    return None


def _recovered(path: Path) -> Previous | None:
    """Seal a torn segment; None when nothing in it was whole: then it is removed."""
    with path.open("r+b") as file:
        last_ns, end = _whole_part(file.fileno())
        if last_ns is None:
            path.unlink()
            return None
        os.ftruncate(file.fileno(), end)
        file.seek(end)
        seal = r.encode(End("killed"))
        file.write(r.encode_block(Kind.END, seal, last_ns, last_ns, r.Codec.NONE))
        file.flush()
        os.fsync(file.fileno())
    return Previous(last_ns, "killed")


def _whole_part(descriptor: int) -> tuple[int | None, int]:
    """Return the time of the last whole block, and where it ends; None when there is none."""
    last_ns, end = None, 0
    size = os.fstat(descriptor).st_size
    if not size:
        return None, 0
    with mmap.mmap(descriptor, size, access=mmap.ACCESS_READ) as data:
        try:
            r.check_head(data)
        except r.BadRecording:
            return None, 0
        for block in r.blocks(data, r.last_blocks(data)):
            if isinstance(block, Block):
                last_ns, end = block.last_ns, block.end
    return last_ns, end


def forget(directory: Path, today: str, keep_days: int) -> list[str]:
    """Remove the segments of days before the last `keep_days`, and folders that are empty then; 0
    keeps all. Return the days that went. Raises OSError."""
    if not keep_days:
        return []
    oldest = (date.fromisoformat(today) - timedelta(days=keep_days - 1)).isoformat()
    gone = []
    for day in [each for each in days(directory) if each.name < oldest]:
        for path in (found := _in(day)):
            path.unlink(missing_ok=True)
        gone += [day.name] if found else []
        with contextlib.suppress(OSError):  # somebody else's file is in it
            day.rmdir()
    return gone
