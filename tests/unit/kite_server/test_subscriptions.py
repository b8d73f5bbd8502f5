import datetime as dt
import json
from collections.abc import Sequence

import pytest

from kitefeed.kite_server.subscriptions import TOKENS_MAX, Packet, Reply, Subscriptions
from kitefeed.protocol.kite.ticks import FULL, LTP, QUOTE
from kitefeed.simulator.listings import list_instruments
from kitefeed.simulator.market import Market

NS = 1_000_000_000
START_NS = 1_795_400_000 * NS
NIFTY, INFY = 256265, 408065


@pytest.fixture
def market() -> Market:
    return Market(list_instruments(100, dt.date(2026, 11, 23)), seed=1)


@pytest.fixture
def subscriptions(market: Market) -> Subscriptions:
    return Subscriptions(market)


def ask(subscriptions: Subscriptions, action: str, value: object) -> Reply:
    return subscriptions.handle(json.dumps({"a": action, "v": value}).encode(), START_NS)


def sent(packets: Sequence[Packet]) -> list[tuple[int, int]]:
    return [(due.body.instrument_token, due.body.mode) for due in packets]


def test_a_bare_subscription_is_answered_at_once_in_mode_quote(
    subscriptions: Subscriptions,
) -> None:
    reply = ask(subscriptions, "subscribe", [INFY, NIFTY, INFY])
    assert sent(reply.packets) == [(INFY, QUOTE), (NIFTY, QUOTE)]
    assert reply.error is None


def test_afterwards_only_changes_are_sent(market: Market, subscriptions: Subscriptions) -> None:
    ask(subscriptions, "subscribe", [INFY, NIFTY])
    assert subscriptions.changed() == []
    market.advance([NIFTY], START_NS + 2 * NS)
    assert sent(subscriptions.changed()) == [(NIFTY, QUOTE)]
    assert subscriptions.changed() == []


def test_mode_ltp_is_sent_only_when_the_price_moved(
    market: Market, subscriptions: Subscriptions
) -> None:
    ask(subscriptions, "subscribe", [INFY])
    ask(subscriptions, "mode", ["ltp", [INFY]])
    security = market.seen(INFY)
    assert security is not None
    security.revision += 1  # the book alone
    assert subscriptions.changed() == []
    security.price_revision += 1
    assert sent(subscriptions.changed()) == [(INFY, LTP)]


def test_a_new_mode_is_answered_at_once(subscriptions: Subscriptions) -> None:
    ask(subscriptions, "subscribe", [INFY, NIFTY])
    assert sent(ask(subscriptions, "mode", ["full", [NIFTY]]).packets) == [(NIFTY, FULL)]
    assert subscriptions.modes == {INFY: QUOTE, NIFTY: FULL}


def test_a_mode_without_a_subscription_does_nothing(subscriptions: Subscriptions) -> None:
    assert ask(subscriptions, "mode", ["full", [INFY]]) == Reply([])
    assert subscriptions.modes == {}


def test_an_unsubscribed_token_is_quiet(market: Market, subscriptions: Subscriptions) -> None:
    ask(subscriptions, "subscribe", [INFY, NIFTY])
    ask(subscriptions, "unsubscribe", [NIFTY])
    market.advance([INFY, NIFTY], START_NS + 5 * NS)
    assert sent(subscriptions.changed()) == [(INFY, QUOTE)]


@pytest.mark.parametrize("tokens", [["408065"], ["INFY", None, 1.5, True], [999]])
def test_strings_and_unlisted_tokens_are_passed_over_in_silence(
    subscriptions: Subscriptions, tokens: list[object]
) -> None:
    assert ask(subscriptions, "subscribe", tokens) == Reply([])


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b'{"a":"subscribe"}', b'{"a":1,"v":[1]}'])
def test_rubbish_is_passed_over(subscriptions: Subscriptions, payload: bytes) -> None:
    assert subscriptions.handle(payload, START_NS) == Reply([])


def test_the_first_3000_tokens_are_taken_and_the_rest_is_an_error() -> None:
    market = Market(list_instruments(4000, dt.date(2026, 11, 23)), seed=1)
    tokens = list(market.by_token)
    subscriptions = Subscriptions(market)
    assert ask(subscriptions, "subscribe", tokens[:TOKENS_MAX]).error is None
    assert ask(subscriptions, "subscribe", tokens[:5]).error is None
    reply = ask(subscriptions, "subscribe", tokens[TOKENS_MAX - 1 : TOKENS_MAX + 1])
    assert reply.error == "Can't subscribe to more than 3000 instruments."
    assert list(subscriptions.modes) == tokens[:TOKENS_MAX]
    ask(subscriptions, "unsubscribe", tokens[:1])
    assert ask(subscriptions, "subscribe", tokens[-1:]).error is None


def test_what_changed_while_nothing_was_sent_is_sent_later(
    market: Market, subscriptions: Subscriptions
) -> None:
    ask(subscriptions, "subscribe", [INFY])
    for second in range(2, 20, 2):
        market.advance([INFY], START_NS + second * NS)
    assert sent(subscriptions.changed()) == [(INFY, QUOTE)]
