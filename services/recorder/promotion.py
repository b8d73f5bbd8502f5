"""Makes Parquet of the hours that are sealed: one after the other, each in a process of its own
that the host runs when it has nothing else to do.

    python -m kitefeed.services.recorder.promotion SEGMENT DIRECTORY RECORDER

is that process. It ends with its recorder, whose pid is RECORDER, however that ended: the next one
makes it.
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections import deque
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from kitefeed.protocol.errors import TryLater
from kitefeed.protocol.exits import Exit
from kitefeed.services.recorder import shelf

NICE = 19
LOOK_S = 1.0
BUSY_S = 5.0  # between two looks whether another process has ended
WORDS = (sys.executable, "-m", __spec__.name)
PARQUET = "parquet"  # the directory, beside the days


def is_possible() -> bool:
    """Whether the packages are there."""
    return all(find_spec(name) is not None for name in ("duckdb", "numpy"))


class Promotion:
    """directory: of recordings. `add` may be called in any thread."""

    def __init__(self, directory: Path, log: logging.Logger) -> None:
        self._directory = directory
        self._target = directory / PARQUET
        self._log = log
        self._waiting: deque[Path] = deque()
        self._has_failed = False
        self._is_told_busy = False

    def add(self, segment: Path) -> None:
        self._waiting.append(segment)

    async def work(self) -> None:
        """Work for ever; begin with segments that were sealed while this process did not run."""
        for path in await asyncio.to_thread(self._left):
            self.add(path)
        while True:
            busy = [path for path in self._taken() if not await self._promote(path)]
            self._waiting.extend(busy)
            await asyncio.sleep(BUSY_S if busy else LOOK_S)

    def _taken(self) -> Iterator[Path]:
        while self._waiting:
            yield self._waiting.popleft()

    def _left(self) -> list[Path]:
        found = [path for path in shelf.segments(self._directory) if not self._is_done(path)]
        return [path for path in found if shelf.is_sealed(path)]

    def _is_done(self, segment: Path) -> bool:
        """Whether the file of its gaps is in its place: it is moved there after the rest."""
        day = f"date={segment.parent.name}"
        return (self._target / "gaps" / day / f"{segment.stem}.parquet").exists()

    async def _promote(self, segment: Path) -> bool:
        """Promote a segment. False when another process has it under way: the child of a recorder
        that was killed just now, or that of another daemon which records to the same place."""
        if await asyncio.to_thread(self._is_done, segment):
            return True
        words = (*WORDS, str(segment), str(self._target), str(os.getpid()))
        child = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        try:
            _, said = await child.communicate()
        finally:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                await child.wait()
        if child.returncode == Exit.TRY_LATER:
            if not self._is_told_busy:
                self._is_told_busy = True
                self._log.info("Parquet of %s is being made by another process: awaited", segment)
            return False
        if child.returncode and not self._has_failed:
            self._has_failed = True
            why = said.decode(errors="replace").strip().rpartition("\n")[2]
            self._log.warning(
                "no Parquet was made of %s (%s): `kitefeed export` makes it; tried again when the "
                "recorder starts", segment, why or f"exit {child.returncode}",
            )  # fmt: skip
        return True


def main() -> int:
    # Imported here: the service itself does without.
    from kitefeed.client.export import to_parquet
    from kitefeed.client.recording import Recording

    segment, directory, recorder = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    os.umask(0o077)
    os.nice(NICE)
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))

    def look(part: float, ticks: int) -> None:
        if os.getppid() != recorder:
            raise TryLater("the recorder has gone: the next one makes it")

    recording = Recording.of_segment(segment)
    try:
        to_parquet(recording, directory, stem=segment.stem, replace=True, threads=1, progress=look)
    except TryLater as error:
        print(error, file=sys.stderr)
        return Exit.TRY_LATER
    return Exit.OK


if __name__ == "__main__":
    sys.exit(main())
