"""Asks Kite itself for what does not stream: one question at a time, by what the daemon's own
polling leaves of the one request a second.

A program that asks while a question is under way shares the next one, and an answer serves
everybody for a second. Circuit limits, which ticks lack, are kept for the day.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import NamedTuple

import msgspec

from kitefeed.kite_server.answers import InputError, RestError
from kitefeed.protocol.clock import boot_ns, utc_ns
from kitefeed.protocol.errors import Unavailable
from kitefeed.protocol.feed import DECODE_ERRORS
from kitefeed.protocol.kite.units import IST, NS_PER_S
from kitefeed.protocol.messages.control import QUOTES_MAX, AskQuotes, Quotes, Refused
from kitefeed.protocol.sockets import request

SHARED_NS = NS_PER_S
WAIT_S = 6.5  # the official clients wait for 7
LOWER, UPPER = "lower_circuit_limit", "upper_circuit_limit"

Item = Mapping[str, object]
Ask = Callable[[Sequence[int]], Awaitable[Mapping[int, Item]]]


class Quote(NamedTuple):
    """Kite's own item, and when it came."""

    item: Item
    at_ns: int

    @property
    def age_s(self) -> float:
        return (boot_ns() - self.at_ns) / 1e9


class Limits(NamedTuple):
    """Rupees, as Kite gives them; of the day."""

    lower: object
    upper: object
    day: date


class QuoteDesk:
    """`ask`: one question of at most `QUOTES_MAX` tokens; raises RestError."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._known: dict[int, Quote] = {}
        self._limits: dict[int, Limits] = {}
        self._next: dict[int, None] = {}  # tokens of the question that waits
        self._asking: asyncio.Task[None] | None = None  # that question
        self._turn = asyncio.Lock()

    async def of(self, tokens: Iterable[int]) -> dict[int, Quote]:
        """Return the quotes of those that Kite knows. Raises RestError: 429 when no request is left
        over."""
        wanted = list(dict.fromkeys(tokens))
        found = {
            token: quote
            for token in wanted
            if (quote := self._known.get(token)) and boot_ns() - quote.at_ns <= SHARED_NS
        }
        missing = [token for token in wanted if token not in found]
        for start in range(0, len(missing), QUOTES_MAX):
            batch = missing[start : start + QUOTES_MAX]
            try:
                await asyncio.wait_for(asyncio.shield(self._asked(batch)), WAIT_S)
            except TimeoutError:
                raise RestError(503, "NetworkException", "kitefeed: Kite does not answer") from None
            found |= {token: self._known[token] for token in batch if token in self._known}
        return found

    async def limits_of(self, tokens: Iterable[int]) -> dict[int, Limits]:
        """Return the circuit limits of these, asked for once a day."""
        today = _today()
        wanted = list(tokens)
        await self.of(token for token in wanted if not self._is_of(today, token))
        return {token: self._limits[token] for token in wanted if self._is_of(today, token)}

    def _is_of(self, day: date, token: int) -> bool:
        known = self._limits.get(token)
        return known is not None and known.day == day

    def _asked(self, tokens: Iterable[int]) -> "asyncio.Task[None]":
        """Return the question that has these tokens; raises RestError when it has no room for
        them."""
        both = {**self._next, **dict.fromkeys(tokens)}
        if len(both) > QUOTES_MAX:
            raise RestError(429)
        self._next = both
        if self._asking is None:
            self._asking = asyncio.ensure_future(self._put())
            self._asking.add_done_callback(_look_at)
        return self._asking

    async def _put(self) -> None:
        async with self._turn:
            tokens, self._next, self._asking = [*self._next], {}, None
            items = await self._ask(tokens)
        now_ns, today = boot_ns(), _today()
        self._known = {t: q for t, q in self._known.items() if now_ns - q.at_ns <= SHARED_NS}
        for token, item in items.items():
            self._known[token] = Quote(item, now_ns)
            self._limits[token] = Limits(item.get(LOWER), item.get(UPPER), today)


def _look_at(task: "asyncio.Task[None]") -> None:
    """Look at the task's error: the program that asked may have gone, and nobody else looks."""
    if not task.cancelled():
        task.exception()


def _today() -> date:
    return datetime.fromtimestamp(utc_ns() / 1e9, UTC).astimezone(IST).date()


def asking(control: str) -> Ask:
    """Return a function that asks the daemon at this address."""

    def put(tokens: Sequence[int]) -> Mapping[int, Item]:
        try:
            reply = request(control, AskQuotes(tuple(tokens)), timeout_s=WAIT_S, tries=1)
        except (Unavailable, *DECODE_ERRORS) as error:
            raise RestError(503, "NetworkException", f"kitefeed: {error}") from None
        if isinstance(reply, Quotes):
            return msgspec.json.decode(reply.quotes, type=dict[int, dict[str, object]])
        text = reply.text if isinstance(reply, Refused) else "an answer of another kind"
        code = reply.code if isinstance(reply, Refused) else ""
        if code == "busy":
            raise RestError(429)
        if code == "bad_request":
            raise InputError(f"kitefeed: {text}")
        raise RestError(503, "NetworkException", f"kitefeed: {text}")

    async def ask(tokens: Sequence[int]) -> Mapping[int, Item]:
        return await asyncio.to_thread(put, tokens)

    return ask
