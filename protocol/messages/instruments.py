"""The names of instruments on the control path, and the ways in which the fetch of their list
ends."""

from typing import Annotated, Literal

import msgspec

from kitefeed.protocol.topics import SUBSCRIPTION_BYTES_MAX

LIST_MAX = 9_000  # three sockets of 3,000 instruments: the most that any list can mean
Keys = Annotated[
    tuple[Annotated[str, msgspec.Meta(max_length=SUBSCRIPTION_BYTES_MAX)], ...],
    msgspec.Meta(max_length=LIST_MAX),
]
Mode = Literal["ltp", "quote", "full"]
FetchOutcome = Literal["taken", "doubted", "failed"]


class Instrument(msgspec.Struct, frozen=True, array_like=True):
    """One instrument as the sources need it: Kite's token, our key (`NSE:INFY`), its mode."""

    token: int
    key: str
    mode: Mode
    is_canary: bool = False  # always active, and trading now: its silence is a doubt
    is_closed: bool = False  # its market is closed now: its quote proves nothing of a stream
    has_listeners: bool = False  # a program reads it now, or did within the grace
    is_guard: bool = False  # another socket carries it: here only its silence counts
