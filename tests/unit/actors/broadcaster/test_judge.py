"""From when on the values of a shard are fresh, as a heartbeat tells it."""

import pytest

from kitefeed.actors.broadcaster.fence import Fence
from kitefeed.actors.broadcaster.judge import judge
from kitefeed.protocol.feed import (
    HEARTBEAT_HOLDS_NS,
    FeedState,
    IngestBatch,
    SegmentHealth,
    ShardHealth,
    Source,
)

S = 1_000_000_000
NOW = 1_000 * S
UTC = 1_790_000_000 * S
LIVE = FeedState("live", "websocket", fresh_shards=[0])


def fence(source: Source = Source.WEBSOCKET, period_ns: int = 0, lost_ago_ns: int = 0) -> Fence:
    """With a source that has just been heard, in shard 0."""
    made = Fence()
    made.grant(0, 7, "rest" if source == Source.REST else "websocket")
    last = 9 if lost_ago_ns else 2
    for seq, at_ns in (1, NOW - lost_ago_ns), (last, NOW - lost_ago_ns), (last + 1, NOW):
        topics, bodies = [b"tick/A:B"], [b""]
        batch = IngestBatch(1, 0, 7, source, seq, at_ns, at_ns, 0, period_ns, [], topics, bodies)
        made.admit(batch, at_ns)
    return made


def judged(of: Fence, words: FeedState = LIVE) -> ShardHealth:
    (health,) = judge(of, words, NOW, UTC)
    return health


def test_all_that_a_stream_gave_is_fresh_while_it_is_alive() -> None:
    assert (judged(fence()).fresh_since_ns, judged(fence()).segments) == (1, [])
    (silent,) = judge(fence(), LIVE, NOW + 2 * S, UTC + 2 * S)
    assert (silent.is_alive, silent.fresh_since_ns) == (False, 0)


def test_of_a_stream_that_lost_something_only_what_came_after() -> None:
    health = judged(fence(lost_ago_ns=3 * S))
    assert health.fresh_since_ns == UTC - 3 * S
    assert health.loss_age_ns == 3 * S


@pytest.mark.parametrize("lost_ago_ns", [0, 30 * S])
def test_a_polled_value_ends_while_the_heartbeat_may_hold(lost_ago_ns: int) -> None:
    health = judged(fence(Source.REST, 5 * S, lost_ago_ns))
    assert health.fresh_since_ns == UTC + HEARTBEAT_HOLDS_NS - 10 * S


def test_a_polled_value_from_before_a_loss_is_not_fresh() -> None:
    health = judged(fence(Source.REST, 5 * S, lost_ago_ns=3 * S))
    assert health.fresh_since_ns == UTC - 3 * S


@pytest.mark.parametrize(
    ("words", "is_fresh"),
    [
        (FeedState("live", "websocket", fresh_shards=[0]), True),
        (FeedState("stale", "websocket", fresh_shards=[0, 2]), True),
        (FeedState("login_required", "rest", fresh_shards=[0]), True),
        (FeedState("live", "websocket", fresh_shards=[1]), False),
        (FeedState("live", "websocket"), True),
        (FeedState("stale", "websocket"), False),
        (FeedState("live", "cache", fresh_shards=[0]), False),
        (FeedState("closed", "websocket", fresh_shards=[0]), False),
        (FeedState("paused", "websocket", fresh_shards=[0]), False),
        (FeedState("misconfigured", "websocket", fresh_shards=[0]), False),
        (FeedState("no_entitlement", "websocket", fresh_shards=[0]), False),
    ],
)
def test_the_headline_may_deny_it(words: FeedState, is_fresh: bool) -> None:
    health = judged(fence(), words)
    assert (health.is_alive, bool(health.fresh_since_ns)) == (True, is_fresh)


def test_values_of_a_closed_segment_are_fresh_for_a_minute_at_most() -> None:
    words = FeedState("live", "websocket", closed_segments=[1, 9], fresh_shards=[0])
    since_ns = UTC + HEARTBEAT_HOLDS_NS - 60 * S
    assert judged(fence(), words).segments == [
        SegmentHealth(1, since_ns),
        SegmentHealth(9, since_ns),
    ]
    lately = judged(fence(lost_ago_ns=3 * S), words)
    assert [each.fresh_since_ns for each in lately.segments] == [UTC - 3 * S] * 2


def test_nothing_is_told_of_the_segments_of_a_shard_that_has_no_fresh_values() -> None:
    words = FeedState("closed", "websocket", closed_segments=[1, 9], fresh_shards=[0])
    assert judged(fence(), words).segments == []


@pytest.mark.parametrize("closed", [[], [9]])
def test_of_a_segment_that_is_held_nothing_is_fresh(closed: list[int]) -> None:
    words = FeedState("live", "websocket", fresh_shards=[0], closed_segments=closed)
    made = fence()
    made.holdings[0].held_segments = [9]
    assert judged(made, words).segments == [SegmentHealth(9, 0)]
    assert judged(made, words).fresh_since_ns == 1
