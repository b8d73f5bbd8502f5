"""The requests of commands and programs to the supervisor on the wire `control`, and its
answers."""

from typing import Annotated, Literal

import msgspec

from kitefeed.protocol.messages.envelope import ID_CHARS_MAX, Message, open_envelope
from kitefeed.protocol.messages.instruments import LIST_MAX, Keys, Mode
from kitefeed.protocol.messages.status import StatusReport

QUOTES_MAX = 500  # instruments in one request of Kite's
NAME_CHARS_MAX = 64
PROBLEM_CHARS_MAX = 200


class GetStatus(Message, frozen=True):
    """-> Status"""


class WantInstruments(Message, frozen=True):
    """-> Answers, when every instrument is confirmed, refused, or `wait_s` is over.

    `is_kept`: the operator's `subscribe`, remembered over restarts. Without it, a program asks
    whether these can be had; its feed subscription is what keeps them wanted. mode None: as
    configured. The answer's detail says so when others want a higher one.
    """

    instruments: Keys
    mode: Mode | None = None
    is_kept: bool = True
    wait_s: float = 5.0


class DropInstruments(Message, frozen=True):
    """-> Answers"""

    instruments: Keys


class NameTokens(Message, frozen=True):
    """-> Named | Refused: the names of these tokens in today's instrument list. Kite's programs
    know instruments by their tokens; the feed knows them by name, because tokens are used again."""

    tokens: Annotated[tuple[int, ...], msgspec.Meta(max_length=LIST_MAX)]


class AskQuotes(Message, frozen=True):
    """-> Quotes | Refused: Kite's full quotes of these now, by a request that polling leaves over.
    Refused as "busy" when it leaves none: the answer to a program is Kite's own, 429."""

    tokens: Annotated[tuple[int, ...], msgspec.Meta(min_length=1, max_length=QUOTES_MAX)]


class SetSource(Message, frozen=True):
    """-> Done | Refused. "paused" is `kitefeed pause`."""

    source: Literal["auto", "websocket", "rest", "paused"]


class Retry(Message, frozen=True):
    """-> Done | Refused. Forget the waits and try now."""


class FetchList(Message, frozen=True):
    """-> Done | Refused: the poller fetches the day's instrument list anew. The status tells the
    outcome, and its `fetches` has risen then. is_believed: the list is taken, whatever it lost."""

    is_believed: bool = False


class ReaderReport(Message, frozen=True):
    """A program's report about its own feed, now and then; not answered.

    reader: names one Feed of one process. instruments: 0 for all or patterns. ticks_per_s: since
    the last report. lag_ms: the most by which it was behind since then. problem: what keeps it from
    its work, empty when nothing does. The rest: see `View`.
    """

    reader: Annotated[str, msgspec.Meta(max_length=ID_CHARS_MAX)]
    name: Annotated[str, msgspec.Meta(max_length=NAME_CHARS_MAX)]
    instruments: int = 0
    ticks_per_s: float = 0.0
    lag_ms: float = 0.0
    waiting: int = 0
    gaps: int = 0
    late: int = 0
    skipped: int = 0
    overrun: int = 0
    reconnects: int = 0
    problem: Annotated[str, msgspec.Meta(max_length=PROBLEM_CHARS_MAX)] = ""


class Answer(msgspec.Struct, frozen=True):
    """The outcome for one instrument: confirmed (a packet came), accepted (will stream; `detail`
    says what it waits for), refused (`detail` says why and what to do), dropped."""

    instrument: str
    outcome: Literal["confirmed", "accepted", "refused", "dropped"]
    detail: str = ""


class Answers(Message, frozen=True):
    answers: tuple[Answer, ...]


class Quotes(Message, frozen=True):
    """The answer to `AskQuotes`; see `Quoted`."""

    quotes: bytes


class Named(Message, frozen=True):
    """The names by token, of the tokens that exist."""

    names: dict[int, str]


class Done(Message, frozen=True):
    text: str


class Refused(Message, frozen=True):
    """code: bad_request, unknown_type, version, conflict, not_ready, forbidden, busy."""

    code: str
    text: str


class Status(Message, frozen=True):
    report: StatusReport


ControlRequest = (
    GetStatus
    | WantInstruments
    | DropInstruments
    | SetSource
    | Retry
    | ReaderReport
    | FetchList
    | NameTokens
    | AskQuotes
)
ControlReply = Status | Answers | Done | Refused | Named | Quotes

_request_decoder: msgspec.msgpack.Decoder[ControlRequest] = msgspec.msgpack.Decoder(ControlRequest)
_reply_decoder: msgspec.msgpack.Decoder[ControlReply] = msgspec.msgpack.Decoder(ControlReply)


def open_request(frame: bytes) -> tuple[str, ControlRequest]:
    """Return id and body of a control request. Raises one of `feed.DECODE_ERRORS`."""
    envelope = open_envelope(frame)
    return envelope.id, _request_decoder.decode(envelope.body)


def open_reply(frame: bytes) -> tuple[str | None, ControlReply]:
    """Return the id of the request that it answers, and the reply. Raises one of
    `feed.DECODE_ERRORS`."""
    envelope = open_envelope(frame)
    return envelope.re, _reply_decoder.decode(envelope.body)
