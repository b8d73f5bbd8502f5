import datetime as dt
import random
from itertools import pairwise

import pytest

from kitefeed.protocol.kite.ticks import FULL, LTP, QUOTE, encode_packet, is_index, unpack_depth
from kitefeed.simulator.listings import list_instruments, monthly_expiry
from kitefeed.simulator.market import Market

NS = 1_000_000_000
TODAY = dt.date(2026, 11, 23)
START_NS = 1_795_400_000 * NS
LISTINGS = list_instruments(100, TODAY)
NIFTY, INFY, USDINR = 256265, 408065, 301059
LIQUID = [listing.token for listing in LISTINGS if not listing.is_quiet]


def new_market(seed: int = 7, **options: object) -> Market:
    return Market(LISTINGS, seed, **options)


def walk(market: Market, tokens: list[int], seconds: int) -> dict[int, list[int]]:
    """The instants, in ns after the start, at which each token's revision moved."""
    for token in tokens:
        market.read(token, START_NS)
    seen = {token: market.read(token, START_NS).revision for token in tokens}
    moved: dict[int, list[int]] = {token: [] for token in tokens}
    for pulse in range(1, seconds * 4 + 1):
        after_ns = pulse * NS // 4
        market.advance(tokens, START_NS + after_ns)
        for token in tokens:
            revision = market.seen(token).revision
            if revision != seen[token]:
                assert revision == seen[token] + 1, "at most one step per pulse"
                seen[token] = revision
                moved[token].append(after_ns)
    return moved


def test_the_same_seed_makes_the_same_prices() -> None:
    def prices(seed: int) -> list[int]:
        market = new_market(seed)
        walk(market, LIQUID, 10)
        return [price.last_price for price in market.prices(0).values()]

    assert prices(7) == prices(7)
    assert prices(7) != prices(8)


def test_a_liquid_instrument_moves_at_most_twice_in_any_second_and_at_least_once_in_two() -> None:
    moved = walk(new_market(), LIQUID, 30)
    for token in LIQUID:
        times = moved[token]
        gaps = [b - a for a, b in pairwise(times)]
        assert min(gaps) >= NS // 2
        assert max(gaps) <= 2 * NS


def test_an_index_has_a_new_price_every_second() -> None:
    market = new_market()
    prices = set()
    times = walk(market, [NIFTY], 30)[NIFTY]
    assert {b - a for a, b in pairwise(times)} == {NS}
    for second in range(31, 41):
        before = market.seen(NIFTY).price
        market.advance([NIFTY], START_NS + second * NS)
        assert market.seen(NIFTY).price != before
        prices.add(market.seen(NIFTY).price)
    assert len(prices) > 3


def test_the_fields_of_every_tick_agree_with_one_another_for_an_hour() -> None:
    market = new_market()
    volumes: dict[int, int] = {}
    for second in range(3600):
        now_ns = START_NS + second * NS
        for token in random.Random(second).sample(LIQUID, 3):
            security = market.read(token, now_ns)
            assert security is not None
            body = security.body(FULL)
            assert body.low <= body.last_price <= body.high
            assert body.low <= body.open <= body.high
            assert abs(body.last_price / security.home - 1) < 0.2
            assert (body.exchange_timestamp or 0) <= now_ns // NS
            if is_index(token):
                assert body.depth is None
                continue
            assert body.volume_traded >= volumes.get(token, 0)
            volumes[token] = body.volume_traded or 0
            assert body.low <= body.average_traded_price <= body.high
            assert body.oi_day_low <= body.oi <= body.oi_day_high
            assert body.last_trade_time <= body.exchange_timestamp
            buy, sell = unpack_depth(body.depth or b"")
            assert [level.price for level in buy] == sorted({level.price for level in buy})[::-1]
            assert [level.price for level in sell] == sorted({level.price for level in sell})
            assert buy[0].price < sell[0].price
            assert sum(level.quantity for level in buy) <= (body.total_buy_quantity or 0)


def test_every_listed_instrument_has_a_packet_in_every_mode() -> None:
    market = new_market()
    for listing in LISTINGS:
        security = market.read(listing.token, START_NS)
        assert security is not None
        lengths = [len(encode_packet(security.body(mode))) for mode in (LTP, QUOTE, FULL)]
        assert lengths == ([8, 28, 32] if is_index(listing.token) else [8, 44, 184])


def test_a_closed_market_stands_still_with_an_empty_book_and_the_time_of_its_close() -> None:
    market = new_market(is_open=False)
    assert not any(walk(market, LIQUID, 5).values())
    body = market.read(INFY, START_NS).body(FULL)
    assert body.depth == bytes(120)
    assert body.total_buy_quantity == body.total_sell_quantity == 0
    close = dt.datetime.fromtimestamp(body.exchange_timestamp or 0, dt.UTC)
    assert (close.hour, close.minute) == (10, 0)  # 15:30 IST
    assert close.timestamp() * NS <= START_NS


def test_instruments_are_found_by_name_and_by_the_digits_of_their_token() -> None:
    market = new_market()
    for key in ("NSE:INFY", "408065"):
        assert market.find(key, START_NS).listing.token == INFY
    for key in ("NSE:NOPE", "408066", "-408065", "", "٤", "4" * 9000):
        assert market.find(key, START_NS) is None


@pytest.mark.parametrize("count", [1, 100, 12_000])
def test_the_list_grows_to_the_size_asked_for_without_a_token_or_name_twice(count: int) -> None:
    listings = list_instruments(count, TODAY)
    assert len(listings) == max(count, len(list_instruments(0, TODAY)))
    assert len({listing.token for listing in listings}) == len(listings)
    assert len({listing.key for listing in listings}) == len(listings)
    assert {"NSE:NIFTY 50", "NSE:INFY", "BSE:INFY", "NFO:NIFTY26NOV24000CE"} <= {
        listing.key for listing in listings
    }


def test_the_segment_of_a_token_is_that_of_its_exchange() -> None:
    segments = {"NSE": 1, "NFO": 2, "CDS": 3, "BSE": 4, "BFO": 5, "BCD": 6, "MCX": 7, "NCO": 12}
    for listing in list_instruments(1000, TODAY):
        index = listing.segment == "INDICES"
        assert listing.token & 0xFF == (9 if index else segments[listing.exchange])
    divisors = {listing.exchange: listing.divisor for listing in LISTINGS}
    assert (divisors["CDS"], divisors["BCD"], divisors["NCO"]) == (10_000_000, 10_000, 10_000)


@pytest.mark.parametrize(
    ("today", "expiry"),
    [
        (dt.date(2026, 11, 23), dt.date(2026, 11, 24)),
        (dt.date(2026, 11, 24), dt.date(2026, 11, 24)),
        (dt.date(2026, 11, 25), dt.date(2026, 12, 29)),
        (dt.date(2026, 12, 30), dt.date(2027, 1, 26)),
    ],
)
def test_contracts_expire_on_the_last_tuesday(today: dt.date, expiry: dt.date) -> None:
    assert monthly_expiry(today) == expiry


@pytest.mark.parametrize("month", range(1, 13))
def test_every_day_of_the_year_has_a_list(month: int) -> None:
    for day in (1, 28):
        assert list_instruments(800, dt.date(2026, month, day))
