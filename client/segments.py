"""The files of a recording, as readers open them: block by block.

Not by a map: what a recorder cuts off a torn file while it is mapped would end the reader's
process, and what is mapped counts as its memory.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from kitefeed.protocol import recording as r
from kitefeed.protocol.feed import DECODE_ERRORS
from kitefeed.protocol.recording import Block, Damage, Described, Gap, Header, Kind, Type

T = TypeVar("T")
FIND_BYTES = 1_048_576  # read at once where a block is looked for


class Bytes:
    """The bytes of an open file, as far as it was written by then, for `recording.blocks`. Bytes
    that have gone since, or cannot be read, are missing from what it gives."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._size)
        try:
            return os.pread(self._descriptor, max(0, stop - start), start)
        except OSError:  # of the medium
            return b""

    def find(self, words: bytes, start: int) -> int:
        """Return where the words begin; -1 when they do not come any more."""
        while start < self._size:
            found = self[start : start + FIND_BYTES]
            at = found.find(words)
            if at >= 0:
                return start + at
            if len(found) < FIND_BYTES:
                break
            start += FIND_BYTES - len(words) + 1
        return -1


class Segment:
    """One file of a recording. Its first blocks, and its last, have been read; a file whose
    beginning is damaged has a header without instruments.

    ended: why it ended, as `End` has it; empty when it was not sealed: it is being written, or was
    torn. last_ns: of its last whole block.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ended = ""
        self.problem = ""  # why nothing of it can be read
        self.header = Header(r.VERSION, path.parent.name, 0, "")
        self.started_ns = self.last_ns = 0
        self.bytes = 0  # of it
        self.read_bytes = self.read_ns = 0  # up to where, by whoever reads its records now
        with self._opened() as data:
            self._look(data)

    @staticmethod
    def days(directory: Path) -> list[Path]:
        """The folders of days, in order."""
        try:
            found = [each for each in directory.iterdir() if r.DAY_NAME.match(each.name)]
        except OSError:
            return []
        return sorted(each for each in found if each.is_dir())

    def _look(self, data: Any) -> None:
        try:
            r.check_head(data)
            day = self.path.parent.name
            for block in r.blocks(data):
                if isinstance(block, Block):
                    self.started_ns = block.first_ns
                    if block.kind == Kind.HEADER:
                        self.header = r.decode_header(r.unpack(block))
                        if self.header.day != day:
                            raise r.BadRecording(f"it is of {self.header.day}, not of {day}")
                    break
            for block in r.blocks(data, r.last_blocks(data)):
                if isinstance(block, Block):
                    self.last_ns = max(self.last_ns, block.last_ns)
                    if block.kind == Kind.END:
                        self.ended = r.decode_end(r.unpack(block)).reason
        except (r.BadRecording, *DECODE_ERRORS) as error:
            self.problem = str(error)

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """Yield the file's bytes, as far as it has been written by now."""
        try:
            file = self.path.open("rb", buffering=0)
        except OSError as error:
            self.problem = error.strerror or str(error)
            yield b""
            return
        with file:
            data = Bytes(file.fileno())
            self.bytes = len(data)
            yield data

    def blocks(
        self, offset: int = len(r.HEAD), *, has_notes: bool = False
    ) -> Iterator[Block | Damage]:
        """Yield all blocks of the file, from `offset` on; none of a file that cannot be read. See
        `recording.blocks`."""
        with self._opened() as data:
            if not self.problem:
                yield from r.blocks(data, offset, has_notes=has_notes)

    def records(self, offset: int = len(r.HEAD), last_ns: int = 0) -> Iterator[r.Record]:
        """Yield the records that can be read, and a gap in the place of what cannot. Of a file that
        is read already up to `offset`, where the time was `last_ns`: the rest."""
        last_ns, damaged = last_ns or self.started_ns, ""
        for block in self.blocks(offset):
            if isinstance(block, Damage):
                damaged = block.why
                continue
            self.read_bytes, self.read_ns = block.end, block.last_ns
            found: list[r.Record] = []
            if block.kind == Kind.RECORDS:
                try:
                    found = list(r.records(block))
                except r.BadRecording as error:
                    damaged = str(error)
                    continue
            if damaged:
                yield _told(last_ns, block.first_ns, damaged)
                damaged = ""
            yield from found
            last_ns = block.last_ns

    def gaps(self) -> Iterator[Gap]:
        """Yield the gaps that are told in the file, and what lies damaged between two blocks."""
        last_ns, damaged = self.started_ns, ""
        for block in self.blocks():
            if isinstance(block, Damage):
                damaged = block.why
                continue
            if damaged:
                yield Gap(last_ns, block.first_ns, "damaged", detail=f"{self.path.name}: {damaged}")
                damaged = ""
            last_ns = block.last_ns
            if block.kind == Kind.RECORDS and block.flags & r.HAS_NOTES:
                yield from _decoded(block, Type.GAP, r.decode_gap)

    def instruments(self) -> list[Described]:
        """Return the instruments of the header, and those that came later."""
        found = list(self.header.instruments)
        for block in self.blocks(has_notes=True):
            if isinstance(block, Block) and block.flags & r.HAS_NOTES:
                for more in _decoded(block, Type.INSTRUMENTS, r.decode_instruments):
                    found += more
        return found

    def damage(self) -> list[str]:
        """Return what of it cannot be read. The torn tail of a file that is not sealed is no
        damage: it may be under way now, and is cut when recording begins again."""
        if self.problem:
            return [f"{self.path}: {self.problem}"]
        found = []
        for block in self.blocks():
            if isinstance(block, Damage):
                if block.why != "torn" or self.ended:
                    place = f"bytes {block.offset} to {block.end}"
                    found.append(f"{self.path}: {place}: {block.why}")
            else:
                try:
                    r.unpack(block)
                except r.BadRecording as error:
                    found.append(f"{self.path}: bytes {block.offset} to {block.end}: {error}")
        return found


def _decoded(block: Block, kind: Type, decode: Callable[[bytes], T]) -> list[T]:
    """Return the records of one type in a block; none of a block that cannot be read."""
    try:
        return [decode(record.data) for record in r.records(block) if record.type == kind]
    except (r.BadRecording, *DECODE_ERRORS):
        return []


def _told(from_ns: int, to_ns: int, why: str) -> r.Record:
    gap = Gap(from_ns, to_ns, "damaged", detail=why)
    return r.Record(Type.GAP, to_ns, r.encode(gap))


def day_segments(directory: Path, day: str) -> list[Segment]:
    """Return the segments of a day, by the time at which they began."""
    found = map(Segment, _paths(directory / day))
    return sorted(found, key=lambda s: (s.started_ns, s.path.name))


def _paths(day: Path) -> list[Path]:
    try:
        return sorted(each for each in day.iterdir() if r.SEGMENT_NAME.match(each.name))
    except OSError:
        return []


class Follower:
    """Reads the recordings of a day, and of those after it, as they are written: each call of
    `records` goes on where the last one ended."""

    def __init__(self, directory: Path, day: str) -> None:
        self._directory = directory
        self._day = day
        self._read: dict[Path, tuple[int, int]] = {}  # up to which byte, and which time
        self._sizes: dict[Path, int] = {}  # of which nothing more can be read

    def records(self) -> Iterator[r.Record]:
        """Yield the records that have come since, and a gap in place of what cannot be read."""
        for day in (each for each in Segment.days(self._directory) if each.name >= self._day):
            for path in _paths(day):
                with suppress(OSError):  # it has been removed just now
                    if path.stat().st_size != self._sizes.get(path):
                        yield from self._new_of(path)

    def _new_of(self, path: Path) -> Iterator[r.Record]:
        segment = Segment(path)
        yield from segment.records(*self._read.get(path, ()))
        # A damaged end may be written at this moment.
        if segment.read_bytes:
            self._read[path] = segment.read_bytes, segment.read_ns
        self._sizes[path] = segment.bytes
