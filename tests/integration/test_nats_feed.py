"""A feed over NATS: the same as over ZeroMQ, through a real server and the real bridge."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest

from kitefeed import AsyncFeed, BadInput, Feed, Unavailable
from kitefeed.client import nats_store
from kitefeed.protocol.nats import Subjects
from tests.integration.broadcaster_kit import item, kill
from tests.integration.nats_kit import PATIENT_S, Market, NatsServer, NatsStage, asked, is_heard
from tests.support import eventually, slowness

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]
KEYS = ["NSE:INFY", "NSE:M&M", "NSE:NIFTY 50"]


def test_a_tick_is_read_over_nats_as_it_was_published_and_is_fresh() -> None:
    with NatsServer() as server, NatsStage(server.url) as stage:
        source = stage.live_bridge()
        source.send([item("NSE:INFY", 1_500_05)])
        feed = stage.nats_feed("NSE:INFY")
        here = stage.feed("NSE:INFY")
        tick = feed.wait_for("NSE:INFY", 10 * slowness())
        assert tick is not None
        assert tick.last_price == 1500.05
        eventually(lambda: feed["NSE:INFY"].is_fresh, 10)
        source.send([item("NSE:INFY", 1_501_00)])
        eventually(lambda: feed["NSE:INFY"].last_price == 1501.0 and feed["NSE:INFY"].is_fresh, 5)
        eventually(lambda: here["NSE:INFY"].last_price == 1501.0, 5)
        far, near = feed["NSE:INFY"], here["NSE:INFY"]
        assert (far.raw, far.gen, far.seq, far.epoch) == (near.raw, near.gen, near.seq, near.epoch)
        assert feed.gaps == 0


def is_fresh(feed: Feed) -> bool:
    values = feed.values()
    return bool(values) and all(tick.is_fresh for tick in values)


def test_a_value_that_was_there_before_is_proven_and_names_find_their_subjects() -> None:
    with NatsServer() as server, NatsStage(server.url) as stage:
        source = stage.live_bridge()
        source.send([item(key, 1_500_00 + n, n) for n, key in enumerate(KEYS)])
        first = stage.nats_feed(*KEYS)
        eventually(lambda: len(first.values()) == 3 and is_fresh(first), 10)
        pattern, all_of_it = stage.nats_feed("NSE:NIFTY*"), stage.nats_feed()
        eventually(lambda: pattern.snapshot().keys() == {"NSE:NIFTY 50"} and is_fresh(pattern), 5)
        eventually(lambda: all_of_it.snapshot().keys() == set(KEYS) and is_fresh(all_of_it), 5)
        ahead_s = first.status.clock_ahead_s
        assert ahead_s is not None
        assert abs(ahead_s) < 0.1 * slowness()  # one host, one clock


def test_clocks_that_differ_make_nothing_stale_and_the_difference_is_shown() -> None:
    behind = "import time; real = time.time_ns; time.time_ns = lambda: real() - 3_600_000_000_000"
    with NatsServer() as server, NatsStage(server.url) as stage:
        _, source = stage.live()
        stage.start(before=behind)
        stage.start_bridge(before=behind)
        feed = stage.nats_feed("NSE:INFY")
        eventually(lambda: is_heard(feed), PATIENT_S)
        source.send([item("NSE:INFY", 1_500_05)])
        eventually(lambda: is_fresh(feed) and feed["NSE:INFY"].age_s < 3, 10)
        ahead_s = feed.status.clock_ahead_s
        assert ahead_s is not None
        assert abs(ahead_s - 3_600) < slowness()
        assert feed.reconnects == feed.late == 0


def test_since_gives_what_was_published_before_and_then_what_is_live() -> None:
    with (
        NatsServer() as server,
        NatsStage(server.url) as stage,
        Market(stage.live_bridge(), KEYS, 0.01),
    ):
        stage.nats_feed(KEYS[0])
        eventually(lambda: _stored(server) > 500, 20)
        an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
        for names in (KEYS, [], ["NSE:*"]):
            # None: on a slow host what is live would be skipped once it is two seconds old.
            feed = stage.nats_feed(*names, since=an_hour_ago, max_age_s=None)
            seqs: dict[str, list[int]] = {}
            tick = feed.next(5 * slowness())
            assert tick is not None
            assert tick.why_stale == "replaced"
            live = False
            while tick is not None and not (live and len(seqs[tick.instrument]) > 300):
                seqs.setdefault(tick.instrument, []).append(tick.seq)
                live = live or tick.is_fresh
                tick = feed.next(5 * slowness())
            assert live
            assert seqs.keys() == set(KEYS)
            for found in seqs.values():
                assert found == list(range(found[0], found[-1] + 1))
            assert feed.gaps == 0


def _stored(server: NatsServer) -> int:
    subjects = Subjects()
    stream, subject = subjects.ticks_stream, f"{subjects.log}.tick.>"
    try:
        return len(asked(server.url, lambda client: nats_store.read(client, stream, subject)))
    except Unavailable:  # the bridge has not made it yet
        return 0


def test_a_restarted_bridge_publishes_nothing_twice() -> None:
    with NatsServer() as server, NatsStage(server.url) as stage:
        source = stage.live_bridge()
        source.send([item(key, 1_500_00) for key in KEYS])
        eventually(lambda: _stored(server) == 3, PATIENT_S)
        assert stage.bridge is not None
        kill(stage.bridge)
        stage.start_bridge()
        eventually(lambda: stage.bridge_log().count("publishes, as") == 2, PATIENT_S)
        feed = stage.nats_feed(*KEYS)
        eventually(lambda: len(feed.values()) == 3 and is_fresh(feed), 10)
        source.send([item(key, 1_501_00) for key in KEYS])
        eventually(lambda: _stored(server) == 6, 10)


def test_an_async_feed_reads_history_and_then_lives_on() -> None:
    async def read(url: str) -> list[int]:
        patient_s = PATIENT_S * slowness()
        async with AsyncFeed(
            KEYS[0], endpoint=url, since="00:00", timeout_s=patient_s, max_age_s=None
        ) as feed:
            seqs = []
            async for tick in feed:
                seqs.append(tick.seq)
                if tick.is_fresh and len(seqs) > 200:
                    return seqs
        raise AssertionError("it ended")

    with (
        NatsServer() as server,
        NatsStage(server.url) as stage,
        Market(stage.live_bridge(), KEYS, 0.01),
    ):
        eventually(lambda: "publishes, as" in stage.bridge_log(), PATIENT_S)
        seqs = asyncio.run(read(stage.url))
    assert seqs == list(range(seqs[0], seqs[-1] + 1))


def test_a_bridge_that_passes_on_no_heartbeat_is_told_of_with_what_to_look_at() -> None:
    with NatsServer() as server, NatsStage(server.url) as stage:
        broadcaster = stage.up()
        stage.start_bridge()
        stage.nats_feed("NSE:INFY")
        kill(broadcaster)
        with pytest.raises(Unavailable, match=r"passes on no heartbeat.*`kitefeed status`"):
            stage.nats_feed("NSE:INFY", timeout_s=2)


def test_nothing_at_the_address_is_told_and_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with pytest.raises(Unavailable, match="Nothing comes from nats://127"):
        Feed("NSE:INFY", endpoint="nats://127.0.0.1:1", timeout_s=1)
    with NatsServer() as server, pytest.raises(Unavailable, match="no bridge publishes kite"):
        Feed("NSE:INFY", endpoint=server.url, timeout_s=2)
    for wrong in ({"mode": "full"}, {"per_second": 2}, {"since": "25:00"}):
        with pytest.raises(BadInput):
            Feed("NSE:INFY", endpoint="nats://127.0.0.1:1", **wrong)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="are for NATS"):
        Feed("NSE:INFY", endpoint="ipc:///tmp/none", credentials="reader.nk")
    # Fewer, when one of an earlier test has ended meanwhile.
    eventually(lambda: threading.active_count() <= before, 5)
