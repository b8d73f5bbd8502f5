"""The third of the stories: a session dies while the market is closed, somebody logs in next
morning, the market opens. A calendar of our own makes the night short: its session begins with a
whole minute soon.
"""

from datetime import datetime, time, timedelta
from pathlib import Path

import pytest

from kitefeed.actors.policy.market import to_ist, to_utc_ns
from kitefeed.protocol.clock import utc_ns
from kitefeed.protocol.kite.units import IST
from tests.integration.rig import Rig
from tests.integration.story import PROFILE, QUOTE, Story
from tests.support import slowness

pytestmark = [pytest.mark.processes, pytest.mark.timeout(240)]

LAST = time(23, 59)  # the latest end of a session, which never crosses midnight


def test_a_session_that_died_overnight_is_replaced_in_the_morning_and_live_at_the_open(
    tmp_path: Path,
) -> None:
    _overnight(tmp_path, is_noticed=False)


@pytest.mark.faults
def test_a_session_that_died_overnight_is_noticed_within_a_minute_and_said_once(
    tmp_path: Path,
) -> None:
    _overnight(tmp_path, is_noticed=True)


def _overnight(directory: Path, *, is_noticed: bool) -> None:
    opening = _next_minute(at_least_s=85 if is_noticed else 25)
    market = f'hours = "calendar"\ncalendar = "{_calendar(directory, opening)}"'
    with Rig(market=market, simulator_options=("--market", "closed")) as rig:
        rig.start(until="closed")
        with Story(rig) as story:
            _sleeps_badly(story, is_noticed=is_noticed)
            _logs_in(story)
            _opens(story, opening)
            conditions = {"login_required": 1} if is_noticed else {}
            assert story.has_said(conditions, is_over=True)
            assert story.feed.gaps == 0
        assert story.truth.lies == []


def _sleeps_badly(story: Story, *, is_noticed: bool) -> None:
    """Nothing is stormed at night: no socket, no poll, one validation after a minute."""
    story.until(lambda: story.rig.simulator.stats()["sockets"]["open"] == 1, 10)
    story.until(lambda: story.feed["NSE:INFY"].source == "websocket", 5)  # sent on subscribing
    # The order book is read once after a start; were it refused, the death would be known at once.
    story.until(lambda: "GET /orders" in story.rig.simulator.stats()["requests"]["recent_ns"], 10)
    asked = len(story.calls(PROFILE))
    died_s = story.does("the session dies", lambda: story.rig.simulator.fault("kill"))
    story.until(story.is_cached, 3)
    assert story.feed.status.feed == "closed"
    story.reads_on(5)
    assert len(story.calls(PROFILE)) == asked
    if is_noticed:
        story.until(lambda: story.feed.status.session == "refused", 65)
        assert 59 < story.calls(PROFILE)[-1] - died_s < 59 + 4 * slowness()
        assert len(story.calls(PROFILE)) == asked + 1
        assert story.has_said({"login_required": 1})
    assert story.feed.status.feed == "closed"
    assert story.is_cached()
    # A packet that was on its way may have come a moment after.
    assert story.feed["NSE:INFY"].age_s > story.now_s - died_s - 0.5
    assert (story.calls(QUOTE), story.handshakes(403)) == ([], [])


def _logs_in(story: Story) -> None:
    """Before the open: connected at once, though the market is closed; nothing reads fresh."""
    asked, opened = len(story.calls(PROFILE)), len(story.handshakes(101))
    session = story.rig.simulator.login()
    login_s = story.does("a login, before the open", lambda: story.rig.log_in(session))
    story.until(lambda: len(story.handshakes(101)) > opened, 5)
    assert story.handshakes(101)[-1] - login_s < 5 * slowness()
    story.until(lambda: story.feed.status.session == "valid", 1)
    story.reads_on(1)
    assert len(story.calls(PROFILE)) == asked + 1
    assert story.feed.status.feed == "closed"
    assert not any(story.feed[key].is_fresh for key in story.feed.instruments)


def _opens(story: Story, opening: datetime) -> None:
    story.until(lambda: utc_ns() >= to_utc_ns(opening), 240)
    sockets = story.handshakes(101)
    open_s = story.does("the market opens", lambda: story.rig.simulator.fault("market", "open"))
    live_s = story.until(lambda: story.is_fresh("websocket"), 10)
    assert live_s - open_s < 5 * slowness()
    story.until(lambda: story.feed.status.feed == "live", 2)
    assert story.handshakes(101) == sockets
    assert len(story.calls(QUOTE)) <= 1  # whether a socket that was quiet until now is alive


def _next_minute(*, at_least_s: float) -> datetime:
    """IST."""
    earliest = to_ist(utc_ns()) + timedelta(seconds=at_least_s)
    minute = earliest.replace(second=0, microsecond=0) + timedelta(minutes=1)
    return minute if minute.time() < LAST else minute + timedelta(minutes=1)


def _calendar(directory: Path, opening: datetime) -> Path:
    """Closed until `opening`, for what the rig wants; then open for half an hour at most."""
    closing = min(opening + timedelta(minutes=30), datetime.combine(opening, LAST, IST))
    hours = f'[{{ open = "{opening:%H:%M}-{closing:%H:%M}" }}]'
    yesterday = opening.date() - timedelta(days=1)
    path = directory / "calendar.toml"
    path.write_text(
        f'[[day]]\ndate = {yesterday}\nsegments = ["equity"]\n'
        f'[[day]]\ndate = {opening.date()}\nsegments = ["equity"]\nsessions = {hours}\n'
    )
    return path
