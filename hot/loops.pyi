"""The extension, see hot/module.c. Its functions take any content, and raise nothing but
MemoryError, and TypeError for an argument of another type than here."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

REVISION: int

_V = TypeVar("_V")
_O = TypeVar("_O")

def repack(frame: bytes, /) -> tuple[list[int], list[bytes], str | None, int]:
    """Return tokens and bodies of every readable packet, the name of the first damage and its
    offset."""

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

class Topic:
    """See `kitefeed.client.values.PythonTopic`."""

    key: str
    is_wanted: bool
    seq: int
    arrival: Any
    value_seq: int
    flags: int
    body: bytes
    def __init__(self, key: str, is_wanted: bool, /) -> None: ...

class Intake:
    """Takes in a message of ticks if it is ordinary: each of its ticks is the next of a topic that
    is known, and its body certainly decodes.

    topics: by name; any that is no `Topic` of this module is left to Python. `tick` makes a tick of
    key, body, number, flags and arrival, which goes to the end of `arrived`; a body that is not
    plain is given to it as `raw` makes it. `admit` is called with view, gen, shard, epoch, source,
    t_rx_ns, t_pub_ns, now_ns and utc_ns of a message. It returns the message's arrival, and whether
    messages that say the same and are read at the same time may share it.
    """

    def __init__(
        self,
        topics: dict[bytes, Any],
        arrived: deque[Any],
        tick: Callable[..., Any],
        raw: Callable[[bytes], Any],
        admit: Callable[..., tuple[Any, bool]],
        /,
    ) -> None: ...
    def take(
        self, view: object, frame: bytes, now_ns: int, utc_ns: int, gen: int, losses: int, /
    ) -> int:
        """Return how many ticks the message brought; -1 when it is left to Python, and nothing was
        changed. An error of `admit`, and MemoryError, leave everything as it was, too."""
