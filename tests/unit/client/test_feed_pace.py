"""Tests how often the clock is looked at while a program takes ticks."""

import pytest

from kitefeed.client import feed as feed_module
from kitefeed.client.feed import QUICK_NS, UNLOOKED_MAX, Feed
from kitefeed.client.reader import LOOK_NS


class Clock:
    """`looks`: how often it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns, self.looks = 10**12, 0
        monkeypatch.setattr(feed_module, "boot_ns", self.look)

    def look(self) -> int:
        self.looks += 1
        return self.now_ns


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def feed(clock: Clock) -> Feed:
    made = Feed.__new__(Feed)  # no daemon is needed to ask whether a tick may be taken
    made._look_due_ns = clock.now_ns + LOOK_NS
    return made


def taken(feed: Feed, clock: Clock, each_ns: int, most: int = 1_000) -> int:
    """Return how many ticks a program is given, which needs so long for each, before what came is
    looked at."""
    for count in range(most):
        if not feed._may_take():
            return count
        clock.now_ns += each_ns
    return most


def test_a_quick_program_looks_at_the_clock_for_every_eighth_tick(feed: Feed, clock: Clock) -> None:
    assert taken(feed, clock, 1_000, 801) == 801
    assert clock.looks <= 801 / (UNLOOKED_MAX + 1) + 2


def test_a_slow_program_looks_at_the_clock_for_each_tick(feed: Feed, clock: Clock) -> None:
    assert taken(feed, clock, 2 * QUICK_NS) == LOOK_NS / (2 * QUICK_NS)


def test_a_program_that_turns_slow_is_given_seven_ticks_more_at_most(
    feed: Feed, clock: Clock
) -> None:
    taken(feed, clock, 1_000, 20)
    assert taken(feed, clock, LOOK_NS) <= UNLOOKED_MAX + 1
    assert not feed._may_take()


def test_news_goes_before_the_next_tick_however_quick_the_program_is(
    feed: Feed, clock: Clock
) -> None:
    assert taken(feed, clock, 1_000, 3) == 3
    feed._look_due_ns = 0
    assert not feed._may_take()
