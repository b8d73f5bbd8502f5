"""Tests the feed in words: as the supervisor says it, and when nobody says anything any more."""

from kitefeed.client.status import status_of
from kitefeed.protocol.feed import FeedState

STATE = FeedState("live", "websocket", "valid", "auto", "streaming", epoch=4)


def test_words_are_the_supervisors_while_its_heartbeat_is_heard() -> None:
    status = status_of(STATE, None, 200_000_000, [3, 7], is_lost=False)
    assert (status.feed, status.source, status.session) == ("live", "websocket", "valid")
    assert (status.reason, status.epoch, status.heartbeat_age_s) == ("streaming", 7, 0.2)
    assert status_of(STATE, None, None, [], is_lost=False).epoch == 4


def test_nothing_is_told_as_live_once_the_daemon_is_silent() -> None:
    status = status_of(STATE, None, 9_000_000_000, [7], is_lost=True)
    assert (status.feed, status.source, status.session) == ("lost", "cache", "unknown")
    assert status.reason == "the daemon is silent"
