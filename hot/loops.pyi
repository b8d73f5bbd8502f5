"""The extension, see hot/module.c. What it is given may have any content, and raises nothing but
TypeError for what is of another type than here, and MemoryError."""

from collections.abc import Mapping
from typing import TypeVar

REVISION: int

_V = TypeVar("_V")
_O = TypeVar("_O")

def repack(frame: bytes, /) -> tuple[list[int], list[bytes], str | None, int]:
    """Tokens and bodies of every readable packet, the name of the first damage and its offset."""

class Value:
    """See `kitefeed.actors.broadcaster.store.PythonValue`."""

    head: bytes
    seq: int
    origin: object
    flags: int
    body: bytes
    def __init__(
        self, head: bytes, seq: int, origin: object, flags: int, body: bytes, /
    ) -> None: ...

def keep(
    values: list[_V],
    topics: list[bytes],
    bodies: list[bytes],
    flags: list[int],
    origin: _O,
    before: bytes,
    after: bytes,
    after_flags: bytes,
    wanted: Mapping[bytes, int] | None,
    prefixes: tuple[bytes, ...],
    chunk_head: bytes | None,
    /,
) -> list[bytes]:
    """See `kitefeed.actors.broadcaster.ticks.keep_in_python`. The values are `Value`s of here, and
    `wanted` is a dict."""
