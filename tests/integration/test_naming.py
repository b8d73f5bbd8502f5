"""Instruments named by tokens and lists; and what a feed over tcp says of those that never come."""

import asyncio
import logging
from collections.abc import Iterator

import pytest

from kitefeed import AsyncFeed, BadInput, Feed, Unavailable
from kitefeed.client import choosing
from kitefeed.protocol.topology import CONTROL, endpoint
from tests.integration.broadcaster_kit import Stage, item
from tests.support import eventually

pytestmark = pytest.mark.processes

INFY, TCS = "NSE:INFY", "NSE:TCS"


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as made:
        yield made


def test_a_token_is_the_instrument_that_the_days_list_names_so(stage: Stage) -> None:
    stage.up()
    supervisor, source = stage.live()
    supervisor.names[408065] = INFY
    feed = stage.asking_feed([TCS, 408065], INFY)
    assert feed.instruments == (TCS, INFY)
    eventually(lambda: source.send([item(INFY, 1_500_00)]) or feed.get(INFY), 10)
    assert feed.missing == (TCS,)
    with pytest.raises(BadInput, match="1 is no token of today's instrument list"):
        stage.asking_feed(408065, 1)


def test_an_async_feed_takes_tokens_too(stage: Stage) -> None:
    stage.up()
    supervisor, _ = stage.live()
    supervisor.names[408065] = INFY

    async def main() -> None:
        control = endpoint(stage.run, CONTROL)
        async with AsyncFeed(408065, endpoint=stage.feed_endpoint, control=control) as feed:
            assert feed.instruments == (INFY,)

    asyncio.run(main())


def test_without_the_daemon_a_token_is_refused_with_the_remedy(stage: Stage) -> None:
    with pytest.raises(BadInput, match="only the daemon's own host can look it up"):
        Feed(408065, endpoint=stage.feed_endpoint)
    with pytest.raises(Unavailable, match="kitefeed up"):
        Feed(
            408065,
            endpoint=stage.feed_endpoint,
            control=endpoint(stage.run, CONTROL),
            timeout_s=0.3,
        )


def test_a_feed_that_nobody_answers_says_once_of_which_instruments_nothing_came(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(choosing, "MISSING_NS", 300_000_000)
    stage.up()
    _, source = stage.live()
    feed = stage.feed(INFY, "NSE:INFI")
    feed._is_remote = True
    feed._begun()
    eventually(lambda: source.send([item(INFY, 1_500_00)]) or feed.get(INFY), 10)
    with caplog.at_level(logging.WARNING):
        eventually(lambda: (feed.next(0.1), caplog.records)[1], 5)
        while feed.next(0.5):
            pass
    (said,) = [record.getMessage() for record in caplog.records if record.name == "kitefeed"]
    assert "of NSE:INFI: over a network nobody says whether" in said
    assert feed.missing == ("NSE:INFI",)
