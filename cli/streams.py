"""Standard input, output and error as the caller of the command left them: closed, full, or in an
encoding that lacks some characters. A command says so in a sentence, or does without."""

import io
import os
import sys
from typing import Any, TextIO

from kitefeed.protocol.exits import Exit

_NAMES = ("stdin", "stdout", "stderr")  # by descriptor


class _Output(io.FileIO):
    """A descriptor that is written to, which remembers what became of it."""

    trouble: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.trouble = error
            raise


def prepare() -> None:
    """Open closed streams as /dev/null, because the next file or socket would take their number;
    print `?` for a character that the terminal's encoding lacks; and notice what cannot be written
    (`after`)."""
    for number, name in enumerate(_NAMES):
        stream: TextIO = getattr(sys, name) or _nothing(number)
        setattr(sys, name, _watched(stream, number) if number else stream)
    sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]


def _nothing(number: int) -> TextIO:
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)
    os.set_inheritable(number, True)
    return open(number, "w" if number else "r", encoding="utf-8", closefd=False)


def _watched(stream: TextIO, number: int) -> TextIO:
    stream.flush()
    buffer = io.BufferedWriter(_Output(number, "w", closefd=False))
    return io.TextIOWrapper(
        buffer, stream.encoding, "replace", line_buffering=number == 2 or stream.isatty()
    )


def complain(sentence: str) -> None:
    """Write one line on standard error; nothing where that cannot be written either."""
    try:
        print(sentence, file=sys.stderr, flush=True)
    except OSError:
        redirect_to_null(2)


def flush() -> int:
    """Print what is still to be printed, at the end of a command. Returns an exit code."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return after(error)
    return Exit.OK


def after(error: OSError) -> int:
    """Return the exit code of a command that `error` ended. Raises it when the streams are not to
    blame.

    `kitefeed tail | head`: the reader has seen enough, and that is no error.
    """
    broken = _broken(error)
    if broken is None:
        raise error
    if isinstance(broken, BrokenPipeError):
        return Exit.OK
    complain(
        f"kitefeed: standard output cannot be written ({broken.strerror}): make room where it "
        "goes, or send it elsewhere"
    )
    return Exit.OUTPUT


def _broken(error: OSError) -> OSError | None:
    """Return the error of a stream of ours that cannot be written, None without one. The stream is
    given up: the flush at the interpreter's end would meet the same."""
    found: OSError | None = error if isinstance(error, BrokenPipeError) else None
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        trouble = getattr(getattr(getattr(stream, "buffer", None), "raw", None), "trouble", None)
        if trouble is not None:
            found = found or trouble
            redirect_to_null(number)
    return found


def redirect_to_null(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
