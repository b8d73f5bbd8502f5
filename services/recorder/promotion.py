"""Makes Parquet of the hours that are sealed: one after the other, each in a process of its own
that the host runs when it has nothing else to do.

    python -m kitefeed.services.recorder.promotion SEGMENT DIRECTORY        is that process
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections import deque
from importlib.util import find_spec
from pathlib import Path

from kitefeed.protocol.errors import TryLater
from kitefeed.services.recorder import shelf

NICE = 19
LOOK_S = 1.0
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

    def add(self, segment: Path) -> None:
        self._waiting.append(segment)

    async def work(self) -> None:
        """For ever; begins with what was sealed while nobody was here to see it."""
        for path in await asyncio.to_thread(self._left):
            self.add(path)
        while True:
            while self._waiting:
                await self._promote(self._waiting.popleft())
            await asyncio.sleep(LOOK_S)

    def _left(self) -> list[Path]:
        found = [path for path in shelf.segments(self._directory) if not self._is_done(path)]
        return [path for path in found if shelf.is_sealed(path)]

    def _is_done(self, segment: Path) -> bool:
        """The file of its gaps is moved there after the rest."""
        day = f"date={segment.parent.name}"
        return (self._target / "gaps" / day / f"{segment.stem}.parquet").exists()

    async def _promote(self, segment: Path) -> None:
        words = (sys.executable, "-m", __spec__.name, str(segment), str(self._target))
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
        if child.returncode and not self._has_failed:
            self._has_failed = True
            why = said.decode(errors="replace").strip().rpartition("\n")[2]
            self._log.warning(
                "no Parquet was made of %s (%s): `kitefeed export` makes it; tried again when the "
                "recorder starts", segment, why or f"exit {child.returncode}",
            )  # fmt: skip


def main() -> int:
    # Imported here: the service itself does without.
    from kitefeed.client.export import to_parquet
    from kitefeed.client.recording import Recording

    segment, directory = map(Path, sys.argv[1:])
    os.umask(0o077)
    os.nice(NICE)
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    recording = Recording.of_segment(segment)
    # Another one makes it where a former recorder was killed: its child goes on.
    with contextlib.suppress(TryLater):
        to_parquet(recording, directory, stem=segment.stem, replace=True, threads=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
