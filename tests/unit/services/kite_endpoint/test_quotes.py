"""Questions to Kite: one at a time, shared by all who ask."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from kitefeed.kite_server.answers import RestError
from kitefeed.protocol.messages.control import QUOTES_MAX
from kitefeed.services.kite_endpoint import quotes as module
from kitefeed.services.kite_endpoint.quotes import Item, QuoteDesk


class Kite:
    """Answers when it is let; knows no odd tokens."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.let = asyncio.Event()
        self.let.set()
        self.error: RestError | None = None

    async def ask(self, tokens: Sequence[int]) -> Mapping[int, Item]:
        self.asked.append(list(tokens))
        await self.let.wait()
        if self.error is not None:
            raise self.error
        return {
            token: {
                "instrument_token": token,
                "lower_circuit_limit": 9.5,
                "upper_circuit_limit": 11,
            }
            for token in tokens
            if token % 2 == 0
        }


def test_who_asks_for_the_same_within_a_second_shares_one_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [10_000_000_000]
    monkeypatch.setattr(module, "boot_ns", lambda: now[0])

    async def story() -> None:
        kite = Kite()
        quotes = QuoteDesk(kite.ask)
        first, second = await asyncio.gather(quotes.of([2, 4, 5]), quotes.of([2, 4, 5]))
        assert kite.asked == [[2, 4, 5]]
        assert first.keys() == second.keys() == {2, 4}
        now[0] += 900_000_000
        assert (await quotes.of([2]))[2].age_s == 0.9
        assert len(kite.asked) == 1
        now[0] += 200_000_000
        assert (await quotes.of([2]))[2].age_s == 0
        assert kite.asked[1:] == [[2]]

    asyncio.run(story())


def test_those_who_come_while_one_is_under_way_share_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        kite = Kite()
        quotes = QuoteDesk(kite.ask)
        kite.let.clear()
        first = asyncio.ensure_future(quotes.of([2]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        others = [asyncio.ensure_future(quotes.of(tokens)) for tokens in ([4], [4, 6])]
        await asyncio.sleep(0)
        kite.let.set()
        await asyncio.gather(first, *others)
        assert kite.asked == [[2], [4, 6]]

    asyncio.run(story())


def test_more_than_one_question_holds_is_answered_429() -> None:
    async def story() -> None:
        kite = Kite()
        quotes = QuoteDesk(kite.ask)
        kite.let.clear()
        waiting = [asyncio.ensure_future(quotes.of([0]))]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.append(asyncio.ensure_future(quotes.of(range(1, QUOTES_MAX + 1))))
        await asyncio.sleep(0)
        with pytest.raises(RestError) as caught:
            await quotes.of([QUOTES_MAX + 7])
        assert caught.value.status == 429
        kite.let.set()
        await asyncio.gather(*waiting)

    asyncio.run(story())


def test_twice_as_many_as_one_question_holds_are_two_questions() -> None:
    async def story() -> None:
        kite = Kite()
        found = await QuoteDesk(kite.ask).of(range(2 * QUOTES_MAX))
        assert [len(asked) for asked in kite.asked] == [QUOTES_MAX, QUOTES_MAX]
        assert len(found) == QUOTES_MAX

    asyncio.run(story())


def test_a_refusal_is_everybodys_and_the_next_question_is_new() -> None:
    async def story() -> None:
        kite = Kite()
        quotes = QuoteDesk(kite.ask)
        kite.error = RestError(429)
        answers = await asyncio.gather(quotes.of([2]), quotes.of([4]), return_exceptions=True)
        assert [type(each) for each in answers] == [RestError, RestError]
        kite.error = None
        assert (await quotes.of([2])).keys() == {2}

    asyncio.run(story())


def test_circuit_limits_are_asked_for_once_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10_000_000_000]
    utc = [1_790_000_000_000_000_000]
    monkeypatch.setattr(module, "boot_ns", lambda: now[0])
    monkeypatch.setattr(module, "utc_ns", lambda: utc[0])

    async def story() -> None:
        kite = Kite()
        quotes = QuoteDesk(kite.ask)
        assert (await quotes.limits_of([2]))[2][:2] == (9.5, 11)
        now[0] += 60_000_000_000
        assert (await quotes.limits_of([2, 4])).keys() == {2, 4}
        assert kite.asked == [[2], [4]]
        assert await quotes.limits_of([]) == {}
        now[0] += 86_400_000_000_000
        utc[0] += 86_400_000_000_000
        assert (await quotes.limits_of([2])).keys() == {2}
        assert kite.asked == [[2], [4], [2]]

    asyncio.run(story())
