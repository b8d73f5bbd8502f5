"""The outcome of one question of `kitefeed doctor`."""

from collections.abc import Callable
from typing import Literal

import msgspec

from kitefeed.actors.runtime.secrets import redact
from kitefeed.protocol.errors import KitefeedError
from kitefeed.protocol.exits import Exit

State = Literal["ok", "warning", "wrong", "skipped"]


class Finding(msgspec.Struct):
    """code: what the command ends with when this is the first that is wrong."""

    name: str
    state: State
    text: str
    remedy: str = ""
    code: int = Exit.OK


Check = Callable[[], Finding]


def ok(name: str, text: str) -> Finding:
    return Finding(name, "ok", redact(text))


def skipped(name: str, text: str) -> Finding:
    return Finding(name, "skipped", redact(text))


def warning(name: str, text: str, remedy: str) -> Finding:
    return Finding(name, "warning", redact(text), remedy)


def wrong(name: str, text: str, remedy: str, code: Exit = Exit.TRY_LATER) -> Finding:
    return Finding(name, "wrong", redact(text), remedy, code)


def of_error(name: str, error: KitefeedError) -> Finding:
    """Make a finding of an error, whose sentence ends with the remedy already."""
    return Finding(name, "wrong", redact(str(error)), "", error.exit_code)
