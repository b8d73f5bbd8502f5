"""Begins `kitefeed`. It imports nothing at first, so that Ctrl-C is quiet from the start: importing
what the commands need takes a fifth of a second."""

import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

INTERRUPTED = 130  # what shells report for a program that Ctrl-C ended


def main() -> int:
    """Runs the command that was typed, and returns its exit code."""
    try:
        from kitefeed.cli import streams

        streams.prepare()
        code = _run()
        return code or streams.flush()
    except KeyboardInterrupt:
        return INTERRUPTED


def _run() -> int:
    """Run the command. An installation for programs alone lacks the packages that commands need."""
    try:
        code: int = imported("kitefeed.cli.main").main()
        return code
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "kitefeed":
            raise
        from kitefeed.cli import streams
        from kitefeed.protocol.exits import Exit

        streams.complain(
            f"kitefeed: the commands need a package that is not installed, {error.name}: "
            "pip install 'kitefeed[daemon]'"
        )
        return Exit.UNAVAILABLE


def imported(module: str) -> "ModuleType":
    """Import the module without collecting garbage in between: what modules make stays, and looking
    through it again and again is a sixth of what a start costs."""
    from importlib import import_module

    gc.disable()
    try:
        return import_module(module)
    finally:
        gc.enable()
