"""Quotes that programs ask for: they get what polling leaves over of the one request a second.
Pure.

All questions that wait go out as one request, as far as it holds them, whoever asked. One that is
not sent within `PATIENCE_NS` is answered "rate", as Kite answers too many requests: nothing queues
up.
"""

from collections.abc import Mapping

import msgspec

from kitefeed.protocol.kite.rest import split_by_url
from kitefeed.protocol.messages import bus as m

PATIENCE_NS = 2_500_000_000  # two requests, and a little
WAITING_MAX = 16
BUSY = "no request to Kite is left over now: polling and other programs use them"

Quotes = Mapping[int, Mapping[str, object]]


class _Waiting(msgspec.Struct, frozen=True):
    question: m.FetchQuotes
    until_ns: int


class Together(msgspec.Struct, frozen=True):
    """The questions that go out as one request."""

    questions: tuple[m.FetchQuotes, ...]
    fingerprint: str
    tokens: tuple[int, ...]


class Questions:
    """The questions that wait."""

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def until_ns(self) -> int | None:
        """The boot time at which the first of them has waited for too long."""
        return min((each.until_ns for each in self._waiting), default=None)

    def add(self, question: m.FetchQuotes, now_ns: int) -> list[m.Quoted]:
        if len(self._waiting) >= WAITING_MAX:
            return [m.Quoted(question.request_id, "rate", BUSY)]
        self._waiting.append(_Waiting(question, now_ns + PATIENCE_NS))
        return []

    def give_up(self, now_ns: int) -> list[m.Quoted]:
        late = [each for each in self._waiting if each.until_ns <= now_ns]
        self._waiting = [each for each in self._waiting if each.until_ns > now_ns]
        return [m.Quoted(each.question.request_id, "rate", BUSY) for each in late]

    def take(self) -> Together:
        """Take the oldest, and all of its session that fit beside it."""
        fingerprint = self._waiting[0].question.fingerprint
        tokens: dict[int, None] = {}
        taken: list[m.FetchQuotes] = []
        left: list[_Waiting] = []
        for each in self._waiting:
            both = {**tokens, **dict.fromkeys(each.question.tokens)}
            is_fitting = not taken or len(split_by_url(list(both))) == 1
            if each.question.fingerprint == fingerprint and is_fitting:
                taken.append(each.question)
                tokens = both
            else:
                left.append(each)
        self._waiting = left
        return Together(tuple(taken), fingerprint, tuple(tokens))


def quoted(
    together: Together, outcome: m.RestOutcome, detail: str, quotes: Quotes
) -> list[m.Quoted]:
    """Answer each question with the quotes that it asked for."""
    return [
        m.Quoted(
            question.request_id,
            outcome,
            detail,
            msgspec.json.encode(
                {str(token): quotes[token] for token in question.tokens if token in quotes}
            ),
        )
        for question in together.questions
    ]
