"""The pair at the money by the daemon's price: a real broadcaster, and a day's list beside it."""

import datetime as dt
from collections.abc import Iterator

import pytest

from kitefeed import BadInput, TryLater, Unavailable, atm
from kitefeed.actors.runtime import instruments_db
from kitefeed.protocol.clock import utc_ns
from kitefeed.protocol.feed import FeedState
from kitefeed.protocol.kite.units import IST
from kitefeed.protocol.messages import bus as m
from tests.integration.broadcaster_kit import FakeSource, Stage, item
from tests.integration.test_broadcaster_readers import EXAMPLES, Output
from tests.support import eventually
from tests.unit.client.test_options import index, ladder

pytestmark = pytest.mark.processes

NIFTY, TODAY = "NSE:NIFTY 50", dt.datetime.fromtimestamp(utc_ns() / 1e9, IST).date()


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as made:
        listed = [
            index("NSE", "NIFTY 50"),
            *ladder("NFO", "NIFTY", TODAY + dt.timedelta(30), 24_000.0, 24_050.0, 24_100.0),
        ]
        instruments_db.write(made.state / "instruments.sqlite", listed, TODAY.isoformat())
        made.up()
        yield made


@pytest.fixture
def live(stage: Stage) -> FakeSource:
    _, source = stage.live()
    warm = stage.feed(NIFTY)

    def has_come() -> bool:
        source.send([item(NIFTY, 24_060_00)])
        return NIFTY in warm and warm[NIFTY].is_fresh

    eventually(has_come, 10)
    return source


def test_the_strike_is_by_the_current_price_which_the_daemon_is_asked_for(
    stage: Stage, live: FakeSource
) -> None:
    pair = atm("NIFTY", config=stage.config)
    assert (pair.strike, pair.price, pair.underlying) == (24_050, 24_060.0, NIFTY)
    assert pair.why_stale == ""


def test_a_price_that_is_not_the_current_one_is_never_used_in_silence(
    stage: Stage, live: FakeSource
) -> None:
    feed = stage.feed(NIFTY)
    tick = feed[NIFTY]
    assert atm("NIFTY", price=tick, config=stage.config).strike == 24_050
    stage.supervisors[0].order(
        m.Announce(FeedState("closed", "none", "valid")), m.Grant(0, 0, "none")
    )
    eventually(lambda: not feed[NIFTY].is_fresh and feed.status.feed == "closed", 10)
    for price in (None, tick):
        with pytest.raises(
            TryLater, match=rf"The price of {NIFTY} is not the current one \(.* s old"
        ):
            atm("NIFTY", price=price, timeout_s=1, config=stage.config)
        pair = atm("NIFTY", price=price, may_be_stale=True, timeout_s=1, config=stage.config)
        assert (pair.strike, pair.price) == (24_050, 24_060.0)
        assert pair.why_stale


def test_a_tick_of_something_else_is_refused(stage: Stage, live: FakeSource) -> None:
    feed = stage.feed(NIFTY, "NSE:INFY")
    eventually(lambda: live.send([item("NSE:INFY", 1_500_00)]) or "NSE:INFY" in feed, 5)  # type: ignore[func-returns-value]
    with pytest.raises(BadInput, match="is a tick of NSE:INFY, and the underlying is NSE:NIFTY 50"):
        atm("NIFTY", price=feed["NSE:INFY"], config=stage.config)


def test_an_underlying_of_which_no_value_comes_has_no_price(stage: Stage) -> None:
    stage.live()
    with pytest.raises(
        Unavailable, match=r"No price of NSE:NIFTY 50 came within 1 s \(the feed is"
    ):
        atm("NIFTY", timeout_s=1, config=stage.config)


def test_the_example_of_a_straddle_finds_its_legs_and_adds_what_they_cost(
    stage: Stage, live: FakeSource
) -> None:
    pair = atm("NIFTY", price=24_060, config=stage.config)
    output = Output(stage, str(EXAMPLES / "straddle.py"), "NIFTY")
    named = f"{NIFTY} 24060.00: {pair.call} and {pair.put}"

    def is_named() -> bool:
        live.send([item(NIFTY, 24_060_00)])
        return output.has(named)

    eventually(is_named, 10, every_s=0.1)

    def is_added() -> bool:
        live.send([item(pair.call, 150_00, 1), item(pair.put, 110_50, 2)])
        return output.has("straddle 260.50")

    eventually(is_added, 10, every_s=0.1)
