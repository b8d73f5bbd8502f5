"""NATS killed, silent, filled or far away; the bridge killed; two daemons under one prefix.

In every row a program iterates and another one judges: nothing reads fresh that was replaced for
longer than a heartbeat holds, nothing comes twice, and what did not come is told.
"""

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from kitefeed.client import nats_store
from kitefeed.client.feed import Feed
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.nats import Subjects, decode_gap
from tests.integration.broadcaster_kit import kill
from tests.integration.nats_kit import Market, NatsServer, NatsStage, Proxy, Watcher, asked
from tests.support import eventually

pytestmark = [pytest.mark.processes, pytest.mark.faults, pytest.mark.timeout(180)]
KEYS = [*(f"NSE:S{n}" for n in range(8)), "NSE:M&M", "NSE:NIFTY 50"]
STALE_S = 3.0
SLACK_S = 3.0  # a heartbeat holds 2.5 s; the rest is a loaded host's


class House(NamedTuple):
    """A server, a way to it for the bridge and one for the reader, and what is read."""

    server: NatsServer
    bridges: Proxy
    readers: Proxy
    stage: NatsStage
    market: Market
    feed: Feed
    watcher: Watcher

    def is_fresh(self) -> bool:
        values = self.feed.values()
        return len(values) == len(KEYS) and all(tick.is_fresh for tick in values)

    def is_stale(self) -> bool:
        return not any(tick.is_fresh for tick in self.feed.values())

    def is_level(self) -> bool:
        """Whether the reader has the last price of everything."""
        return all(self.feed[key].raw.last_price == self.market.prices[key] for key in KEYS)

    def stored_gaps(self) -> int:
        """Ticks that the bridge says it left out, in TICKS."""
        subjects = Subjects()
        found = asked(
            self.server.url,
            lambda client: nats_store.read(client, subjects.ticks_stream, subjects.gap),
        )
        return sum(decode_gap(stored.data).ticks for stored in found)


@contextlib.contextmanager
def house(jetstream: str = "", nats: str = "") -> Iterator[House]:
    with (
        NatsServer(jetstream=jetstream) as server,
        Proxy(server.port) as bridges,
        Proxy(server.port) as readers,
        NatsStage(bridges.url, nats) as stage,
    ):
        with Market(stage.live_bridge(), KEYS) as market:
            feed = stage.nats_feed(*KEYS, url=readers.url)
            with Watcher(feed, market, SLACK_S) as watcher:
                made = House(server, bridges, readers, stage, market, feed, watcher)
                eventually(made.is_fresh, 15)
                yield made
                eventually(made.is_fresh, 30)
                eventually(lambda: watcher.judged > 500, 10)
                market.stop()
                eventually(made.is_level, 10)
        assert watcher.lies == []
        assert watcher.twice == 0
        if len({gen for gen, _ in watcher.seqs}) == 1:  # another daemon numbers anew
            assert watcher.missing <= feed.gaps + feed.skipped


def within(condition: Callable[[], bool], limit_s: float) -> None:
    began_ns = boot_ns()
    eventually(condition, 30)
    assert (boot_ns() - began_ns) / 1e9 < limit_s


def test_a_killed_nats_server_is_known_at_once_and_missed_by_nobody_when_it_is_back() -> None:
    with house() as at:
        at.server.kill()
        within(at.is_stale, STALE_S)
        assert at.feed.status.source == "none"
        at.server.start()
        within(at.is_fresh, 10)
        assert at.stage.bridge_log().count("condition=nats\n") == 2  # its beginning, and its end


def test_a_nats_server_that_is_restarted_in_a_moment_costs_a_gap_and_no_truth() -> None:
    with house() as at:
        at.server.kill()
        at.server.start()
        eventually(lambda: at.feed.gaps > 0, 10)
        within(at.is_fresh, 10)


def test_a_frozen_nats_server_makes_all_stale_and_loses_no_history() -> None:
    with house() as at:
        at.server.signal(signal.SIGSTOP)
        within(at.is_stale, STALE_S)
        eventually(lambda: "condition=nats" in at.stage.bridge_log(), 10)
        at.server.signal(signal.SIGCONT)
        within(at.is_fresh, 10)
        assert at.stored_gaps() == 0


def test_a_bridge_cut_off_from_nats_makes_all_stale_and_publishes_the_newest_when_back() -> None:
    with house() as at:
        at.bridges.stall()
        within(at.is_stale, STALE_S)
        eventually(lambda: "condition=nats" in at.stage.bridge_log(), 10)
        at.bridges.go_on()
        within(at.is_fresh, 10)


def test_a_reader_cut_off_from_nats_reads_stale_and_is_told_of_the_gap() -> None:
    with house() as at:
        at.readers.stall()
        within(at.is_stale, STALE_S)
        eventually(lambda: "NATS" in at.feed.status.reason, 10)
        at.readers.go_on()
        eventually(lambda: at.feed.gaps > 0, 10)
        within(at.is_fresh, 10)


def test_a_reader_whose_connection_ends_reads_stale_before_it_has_another() -> None:
    with house() as at:
        for _ in range(3):
            at.readers.cut()
            within(at.is_stale, 1)
            within(at.is_fresh, 5)


def test_a_bridge_whose_connection_ends_loses_nothing() -> None:
    with house() as at:
        missing = at.watcher.missing
        for _ in range(3):
            at.bridges.cut()
            eventually(lambda: at.stage.bridge_log().endswith("over condition=nats\n"), 10)
        assert at.watcher.missing == missing
        assert at.stored_gaps() == 0


def test_a_killed_bridge_begins_where_it_ended_and_says_what_is_missing() -> None:
    with house() as at:
        assert at.stage.bridge is not None
        kill(at.stage.bridge)
        within(at.is_stale, STALE_S)
        at.stage.start_bridge()
        within(at.is_fresh, 15)
        eventually(lambda: at.stored_gaps() > 0, 10)


def test_a_server_without_room_for_history_still_carries_last_values() -> None:
    with house(jetstream="max_file: 1MB") as at:
        eventually(lambda: "condition=nats_history" in at.stage.bridge_log(), 10)
        within(at.is_fresh, 10)


def test_a_server_without_room_for_last_values_carries_live_ones_and_proves_no_others() -> None:
    """A value that may not be the newest reads cached, until a tick of it comes."""
    with house(jetstream="max_mem: 2KB") as at:
        eventually(lambda: "condition=nats_storage" in at.stage.bridge_log(), 10)
        within(at.is_fresh, 10)
        late = at.stage.nats_feed("NSE:M&M", url=at.readers.url)
        seen = {tick.why_stale for tick in late.values()}
        assert seen <= {"cached", ""}


def test_two_daemons_under_one_prefix_are_read_as_one_that_survives_its_machine() -> None:
    with house() as at, NatsStage(at.server.url) as other:
        at.market.feed_too(other.live_bridge())
        eventually(lambda: "stands by" in other.bridge_log(), 15)
        first, bridge = at.feed.gen, at.stage.bridge
        assert bridge is not None
        bridge.send_signal(signal.SIGSTOP)
        within(lambda: at.feed.gen != first and at.is_fresh(), 5)
        bridge.send_signal(signal.SIGCONT)  # awakes, and believes that it leads
        judged = at.watcher.judged
        eventually(lambda: at.watcher.judged > judged + 1_000, 20)
        assert at.feed.gen != first
        assert other.bridge is not None
        kill(other.bridge)
        within(lambda: at.feed.gen == first and at.is_fresh(), 6)
        at.market.stop()  # before the other daemon's end of it is closed
