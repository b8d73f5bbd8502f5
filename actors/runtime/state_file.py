"""A file in which an actor remembers something over its restarts. Losing it costs a memory, never
the actor: a damaged file is set aside, and one that cannot be written is a condition, said once."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from kitefeed.actors.runtime.whole_file import clear_leftovers, write_atomically
from kitefeed.protocol.clock import boot_ns

T = TypeVar("T")


class StateFile:
    """Such a file. `what` names the content in log lines, in the plural: "last values". Made before
    the first write, because it clears what a killed predecessor left."""

    def __init__(self, path: Path, what: str, bytes_max: int, log: logging.Logger) -> None:
        self.path = path
        self._what = what
        self._bytes_max = bytes_max
        self._log = log
        self._failing_since_ns: int | None = None
        clear_leftovers(path)

    def read(self, decode: Callable[[bytes], T]) -> T | None:
        """Read the content; None when there is nothing, or when `decode` raised ValueError: the
        file is set aside then, so that this is said once and not at every start."""
        try:
            with self.path.open("rb") as file:
                data = file.read(self._bytes_max + 1)
            if len(data) > self._bytes_max:
                raise ValueError(f"it is larger than {self._bytes_max} bytes")
            return decode(data)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._set_aside(error)
            return None

    def _set_aside(self, error: Exception) -> None:
        aside = self.path.with_name(self.path.name + ".damaged")
        try:
            self.path.replace(aside)
            where = f"set aside as {aside}"
        except OSError as problem:
            where = f"left where it is ({problem.strerror}): remove {self.path}"
        self._log.warning("%s start empty, their file is %s: %s", self._what, where, error)

    @property
    def is_failing(self) -> bool:
        """Whether the last write failed: it is to be tried again."""
        return self._failing_since_ns is not None

    def write(self, data: bytes) -> bool:
        """Replace the file, blocking. False when that failed: the old one is there. One line tells
        when failing began and one when it is over, however often it is tried in between."""
        try:
            write_atomically(self.path, data)
        except OSError as error:
            if self._failing_since_ns is None:
                self._failing_since_ns = boot_ns()
                why = error.strerror or str(error)
                self._log.error(
                    "%s cannot be written to %s (%s): make room there or correct its mode; "
                    "it is tried again by itself condition=disk", self._what, self.path, why,
                )  # fmt: skip
            return False
        if self._failing_since_ns is not None:
            took_s = (boot_ns() - self._failing_since_ns) / 1e9
            self._failing_since_ns = None
            self._log.info("%s written, over after %.1f s condition=disk", self._what, took_s)
        return True
