"""Tests what the daemon's state after a login means to who logged in."""

import pytest

from kitefeed.cli import recovery
from kitefeed.protocol.errors import LoginNeeded, TryLater
from kitefeed.protocol.messages.status import SessionStatus, StatusReport
from tests.unit.cli.test_check import report

MINE = "0123456789ab"


def found(feed: str, word: str, reason: str = "why") -> StatusReport:
    it = report()
    it.feed, it.reason = feed, reason
    it.sessions = [SessionStatus(MINE, word, True), SessionStatus("other", "refused", False)]
    return it


def test_live_with_the_new_session_tells_how_long_it_took() -> None:
    assert recovery.told(found("live", "valid"), MINE, 1.52) == "live 1.5 s after the login"


def test_a_closed_market_is_told_as_the_reason_why_nothing_is_live() -> None:
    text = recovery.told(found("closed", "valid", "the market is closed"), MINE, 1)
    assert text == "Kite accepts it; the market is closed"


def test_live_with_the_session_before_is_not_live_with_this_one() -> None:
    with pytest.raises(TryLater, match="unknown"):
        recovery.told(found("live", "unknown"), MINE, 30)
    with pytest.raises(TryLater, match="not seen yet"):
        recovery.told(found("live", "valid"), "another", 30)


def test_a_session_that_kite_refuses_is_a_login_to_be_done_again() -> None:
    with pytest.raises(LoginNeeded, match="once more"):
        recovery.told(found("live", "refused"), MINE, 3)


def test_what_is_not_fresh_in_time_is_said_with_its_reason() -> None:
    with pytest.raises(TryLater, match="the feed is stale: no ticks"):
        recovery.told(found("stale", "valid", "no ticks"), MINE, 30)
    assert "by REST: refused" in recovery.told(found("rest", "valid", "refused"), MINE, 30)
