"""Tests what `/health` says of the feed's words and heartbeats."""

import msgspec
import pytest

from kitefeed.client.status import Status
from kitefeed.protocol.feed import Heartbeat, SegmentHealth, ShardHealth
from kitefeed.services.gateway import health

LIVE = Status(feed="live", source="websocket", session="valid", reason="streaming",
              since_utc_ns=1_700_000_000_000_000_000, heartbeat_age_s=0.4)  # fmt: skip


def heartbeat(*alive: bool) -> Heartbeat:
    shards = [ShardHealth(n, 1, 7, is_alive, 0, 0, 0) for n, is_alive in enumerate(alive)]
    return Heartbeat(1, "live", "websocket", "valid", "", shards, 0, 0, 0, 0, 0, 0, 0)


def test_a_feed_whose_every_source_is_alive_is_healthy() -> None:
    assert health.judge(LIVE, heartbeat(True, True)).is_healthy


def test_one_source_without_data_is_enough_to_be_unhealthy() -> None:
    assert not health.judge(LIVE, heartbeat(True, False)).is_healthy


def test_a_held_segment_is_unhealthy_while_it_is_open() -> None:
    beat = heartbeat(True)
    beat.shards[0].segments = [SegmentHealth(9, 0), SegmentHealth(1, 5)]
    assert not health.judge(LIVE, beat).is_healthy
    beat.closed_segments = [9]
    assert health.judge(LIVE, beat).is_healthy


@pytest.mark.parametrize(
    ("feed", "is_healthy"),
    [("live", True), ("rest", True), ("closed", True), ("stale", False), ("login_required", False),
     ("no_entitlement", False), ("paused", False), ("misconfigured", False), ("lost", False)],
)  # fmt: skip
def test_only_fresh_values_or_a_closed_market_are_healthy(feed: str, is_healthy: bool) -> None:
    status = msgspec.structs.replace(LIVE, feed=feed)
    assert health.judge(status, heartbeat(True)).is_healthy is is_healthy


def test_the_websocket_is_told_in_the_words_of_monitors() -> None:
    status = msgspec.structs.replace(
        LIVE, feed="rest", source="rest", consecutive_403=3, retry_in_s=41.0
    )
    told = health.of_websocket(health.judge(status, heartbeat(True)))
    assert told == health.WebsocketHealth("fallback", "rest_api", 3, 41.0)
