"""A screen that is drawn anew: on the alternate screen of the terminal, until `q` is pressed."""

import os
import select
import sys
import termios
import tty
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from kitefeed.cli.waiting import pause
from kitefeed.protocol.clock import boot_ns

if TYPE_CHECKING:
    from rich.console import RenderableType

ENDING = frozenset("qQ\x04")  # and Ctrl-D
HINT = "q ends"


class Keys:
    """Reads single keys, unseen and without Enter, as long as standard input is a terminal."""

    def __enter__(self) -> Self:
        self._terminal = sys.stdin.fileno() if sys.stdin.isatty() else None
        self._before: list[Any] = []
        if self._terminal is not None:
            self._before = termios.tcgetattr(self._terminal)
            tty.setcbreak(self._terminal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._terminal is not None:
            termios.tcsetattr(self._terminal, termios.TCSADRAIN, self._before)

    def is_over(self, within_s: float) -> bool:
        """Wait so long, or until an ending key is pressed; return whether one was."""
        if self._terminal is None:
            pause(within_s)
            return False
        end_ns = boot_ns() + int(within_s * 1e9)
        while (left_ns := end_ns - boot_ns()) > 0:
            if not select.select([self._terminal], [], [], left_ns / 1e9)[0]:
                break
            typed = os.read(self._terminal, 64).decode(errors="replace")
            if not typed or ENDING.intersection(typed):  # nothing: the terminal has gone
                return True
        return False


class Screen:
    """`show`, then `is_over`, again and again; whatever ends it leaves the terminal as it was."""

    def __init__(self) -> None:
        # Imported here: only a terminal needs a renderer.
        from rich.live import Live

        self._live = Live(screen=True, auto_refresh=False)
        self._keys = Keys()

    def __enter__(self) -> Self:
        self._keys.__enter__()
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._live.stop()
        self._keys.__exit__(kind, error, _)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, as they are now."""
        found = self._live.console.size
        return found.width, found.height

    def show(self, shown: "RenderableType") -> None:
        self._live.update(shown, refresh=True)

    def is_over(self, within_s: float) -> bool:
        return self._keys.is_over(within_s)
