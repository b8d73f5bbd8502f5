"""A feed over NATS: the same as over ZeroMQ, through a real server and the real bridge."""

import pytest

from tests.integration.broadcaster_kit import item
from tests.integration.nats_kit import NatsServer, NatsStage
from tests.support import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]


def test_a_tick_is_read_over_nats_as_it_was_published_and_is_fresh() -> None:
    with NatsServer() as server, NatsStage(server.url) as stage:
        source = stage.live_bridge()
        source.send([item("NSE:INFY", 1_500_05)])
        feed = stage.nats_feed("NSE:INFY")
        here = stage.feed("NSE:INFY")
        tick = feed.wait_for("NSE:INFY", 10)
        assert tick is not None
        assert tick.last_price == 1500.05
        eventually(lambda: feed["NSE:INFY"].is_fresh, 10)
        source.send([item("NSE:INFY", 1_501_00)])
        eventually(lambda: feed["NSE:INFY"].last_price == 1501.0 and feed["NSE:INFY"].is_fresh, 5)
        eventually(lambda: here["NSE:INFY"].last_price == 1501.0, 5)
        far, near = feed["NSE:INFY"], here["NSE:INFY"]
        assert (far.raw, far.gen, far.seq, far.epoch) == (near.raw, near.gen, near.seq, near.epoch)
        assert feed.gaps == 0
