"""The news that the supervisor's regions tell each other.

The dial hears most of it, and looks it up in its table of moves (`moves.py`). The rest waits in
`State` until the region that it is for has its turn.
"""

import msgspec

from kitefeed.actors.supervisor.facts import ProbeKind
from kitefeed.protocol.messages import bus as m


class SessionJudged(msgspec.Struct, frozen=True):
    """Kite has said what the primary session is worth, or cannot be asked: session -> dial."""

    verdict: m.Verdict


class QuoteAnswered(msgspec.Struct, frozen=True):
    """A quote, asked for because of `kind`, was answered, or could not be had: probe -> doubt."""

    kind: ProbeKind
    outcome: m.ProbeOutcome


Waiting = SessionJudged | QuoteAnswered


class Free(msgspec.Struct, frozen=True):
    """The way is free: no attempt is under way, and nothing forbids one."""


class Due(msgspec.Struct, frozen=True):
    """The time of the state is over."""


class Forbidden(msgspec.Struct, frozen=True):
    """No socket may be open: paused, REST only, logged out, or there is no ticker."""


class Judged(msgspec.Struct, frozen=True):
    """A `SessionJudged`, and whether sockets may open with this session (`is_good`)."""

    verdict: m.Verdict
    is_good: bool


class Opened(msgspec.Struct, frozen=True):
    """The ticker has opened the attempt's socket."""


class Refused(msgspec.Struct, frozen=True):
    """Kite answered the attempt with this HTTP status."""

    status: int


class Failed(msgspec.Struct, frozen=True):
    """The attempt came to nothing, but not by an answer of Kite's."""

    reason: str


class Outdated(msgspec.Struct, frozen=True):
    """REST took a newer epoch for this shard: the fence would refuse an older one's socket."""

    shard: int


class Unneeded(msgspec.Struct, frozen=True):
    """The open socket that the attempt was to replace has ended."""


class Adopted(msgspec.Struct, frozen=True):
    """The ticker holds a socket of this shard already."""

    shard: int


class TickerEnded(msgspec.Struct, frozen=True):
    """The ticker process has gone, and the attempt with it."""


class Proven(msgspec.Struct, frozen=True):
    """A socket has become live."""


class Lost(msgspec.Struct, frozen=True):
    """An open socket has ended."""

    reason: str


class Classified(msgspec.Struct, frozen=True):
    """A quote told what a 403 means; it did not find the session dead."""

    outcome: m.ProbeOutcome


class NoPlan(msgspec.Struct, frozen=True):
    """A poll found that the plan has no market data, and a shard has no socket."""


class SessionDied(msgspec.Struct, frozen=True):
    """A quote met a dead session. `is_doubted`: it was asked about a stream in doubt."""

    is_doubted: bool


class Retry(msgspec.Struct, frozen=True):
    """Try now, whatever the attempt waits for."""


class NewSession(msgspec.Struct, frozen=True):
    """Another primary session is in force: an attempt under way used the one before."""


News = (
    Free | Due | Forbidden | Judged | Opened | Refused | Failed | Outdated | Unneeded | Adopted
    | TickerEnded | Proven | Lost | Classified | NoPlan | SessionDied | Retry | NewSession
)  # fmt: skip
