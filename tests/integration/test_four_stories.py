"""The stories this project is for, each on the whole daemon with the official client: a session
that expires in market hours, the login after it, a session that expires overnight (which has a
file of its own, `test_overnight_story.py`), and a network that goes away. `pytest -rP` shows what
was read, asked and logged, and when.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from kitefeed import Status
from tests.integration.rig import Rig
from tests.integration.story import PROFILE, QUOTE, Story

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

SHORT = "backoff_s = [0.5, 1.0, 30, 60]"
RUNGS_S = (0.5, 1.0)
POLL_GAPS_S = (4.7, 5.5)


@pytest.fixture(scope="module")
def alone_rig() -> Iterator[Rig]:
    with Rig() as rig:
        rig.start()
        yield rig
        _assert_no_secret(rig)


@pytest.fixture(scope="module")
def standby_rig() -> Iterator[Rig]:
    with Rig(standby=True) as rig:
        rig.log_in(rig.simulator.ready["apps"][1], "--standby")
        rig.start()
        yield rig
        _assert_no_secret(rig)


@pytest.fixture(scope="module")
def short_rig() -> Iterator[Rig]:
    with Rig(settings=SHORT) as rig:
        rig.start()
        yield rig
        _assert_no_secret(rig)


@pytest.fixture
def alone(alone_rig: Rig) -> Rig:
    return _live(alone_rig)


@pytest.fixture
def standby(standby_rig: Rig) -> Rig:
    return _live(standby_rig)


@pytest.fixture
def short(short_rig: Rig) -> Rig:
    return _live(short_rig)


def _live(rig: Rig) -> Rig:
    """As it was before the first story."""
    rig.simulator.fault("clear")
    found = rig.status()
    if found["session"] != "valid":
        rig.log_in(rig.simulator.login())
    elif found["feed"] != "live":
        rig.kitefeed("retry")
    if found["feed"] != "live":
        rig.until("live", 10)
    return rig


def _assert_no_secret(rig: Rig) -> None:
    """Greps everything the run wrote, the session files apart."""
    rig.stop()
    written = [path for path in rig.root.rglob("*") if path.is_file()]
    assert any(path.name == "up.log" for path in written)
    for path in written:
        if path.name not in ("session.json", "standby.json"):
            rig.assert_no_token(path)


def _status(story: Story) -> Status:
    return story.feed.status


# --- a session expires in market hours ----------------------------------------------------------


def test_expiry_in_market_hours_is_said_once_and_every_value_keeps_its_age(alone: Rig) -> None:
    with Story(alone) as story:
        story.until(lambda: story.is_fresh("websocket"), 5)
        killed_s = story.does("the session dies", lambda: alone.simulator.fault("kill"))
        known_s = story.until(lambda: _status(story).feed == "login_required", 5)
        assert known_s - killed_s < 1.5
        story.until(story.is_cached, 1)
        # Kite's ladder, as it is shipped: validations at 0 and 5 s, the next one 15 s later.
        story.until(lambda: len(story.calls(PROFILE)) == 2, 10)
        story.reads_on(1)
        status = _status(story)
        assert (status.feed, status.source, status.session) == (
            "login_required",
            "cache",
            "refused",
        )
        assert status.retry_in_s is not None
        assert 12 < status.retry_in_s <= 15
        assert "kitefeed login" in status.reason
        assert story.is_cached()
        assert story.feed["NSE:INFY"].age_s > story.now_s - killed_s - 1.5
        first, second = story.calls(PROFILE)
        assert first - killed_s < 1.0
        assert 4.9 < second - first < 5.5
        assert len(story.calls(QUOTE)) == 1  # one poll, which was refused, and no more
        assert [story.handshakes(code) for code in (101, 403)] == [[], []]
        assert story.said() == {"login_required": 1}
        assert story.feed.gaps == 0
    assert story.truth.lies == []


def test_expiry_with_a_standby_session_goes_on_with_polled_values(standby: Rig) -> None:
    with Story(standby, slack_s=12) as story:
        story.until(lambda: story.is_fresh("websocket"), 5)
        killed_s = story.does("the session dies", lambda: standby.simulator.fault("kill"))
        known_s = story.until(lambda: _status(story).feed == "login_required", 5)
        assert known_s - killed_s < 1.5
        assert story.until(lambda: story.is_fresh("rest"), 5) - killed_s < 3
        _reads_polls(story, 1)
        assert story.is_fresh("rest")
        status = _status(story)
        assert (status.feed, status.source) == ("login_required", "rest")
        assert standby.status()["standby"] == "valid"
        assert len(story.calls(PROFILE)) == 2  # rungs at 0 and 5 s; the standby is valid already
        assert story.calls_of(1, QUOTE) == 0
        assert story.calls_of(2, QUOTE) == len(story.calls(QUOTE))
        assert [story.handshakes(code) for code in (101, 403)] == [[], []]
        assert story.said() == {"login_required": 1}
        assert story.feed.gaps == 0
    assert story.truth.lies == []


def test_a_refused_socket_with_a_good_session_is_bridged_by_a_poll_every_five_seconds(
    short: Rig,
) -> None:
    with Story(short, slack_s=12) as story:
        story.until(lambda: story.is_fresh("websocket"), 5)
        refused_s = story.does("sockets are refused", lambda: _refuse_sockets(short))
        story.until(lambda: _status(story).feed == "rest", 8)
        tries = story.handshakes(403)
        assert tries[0] - refused_s < 1
        # A wait begins when a quote has told why, and quotes are a second apart.
        gaps_s = [b - a for a, b in itertools.pairwise(tries)]
        assert all(0 <= gap_s - rung_s < 1.3 for gap_s, rung_s in zip(gaps_s, RUNGS_S, strict=True))
        _reads_polls(story, 2)
        assert story.is_fresh("rest")
        status = _status(story)
        assert (status.feed, status.source, status.session) == ("rest", "rest", "valid")
        assert status.consecutive_403 == 3
        assert status.retry_in_s is not None
        assert 30 < status.retry_in_s <= 60
        assert story.handshakes(403) == tries  # from the third on one attempt a minute
        assert len(story.calls(PROFILE)) == 3  # one before each attempt
        assert story.said() == {"socket": 1}
        _socket_comes_back(story)
        assert story.said() == story.over() == {"socket": 1}
        assert story.feed.gaps == 0
    assert story.truth.lies == []


# --- a login after it ---------------------------------------------------------------------------


def test_a_login_after_expiry_is_live_by_itself_and_one_that_is_refused_is_said_with_its_reason(
    alone: Rig,
) -> None:
    with Story(alone) as story:
        _expire(story)
        asked = len(story.calls(PROFILE))
        bad = {**alone.simulator.ready, "access_token": "0" * 32}
        story.does("a login that Kite refuses", lambda: alone.log_in(bad))
        story.until(lambda: story.said()["new_login_refused"] == 1, 3)
        line = next(line for line in story.lines() if "condition=new_login_refused" in line)
        assert "Incorrect `api_key` or `access_token`" in line
        assert "kitefeed login" in line
        assert len(story.calls(PROFILE)) == asked + 1
        assert story.is_cached()
        _log_in(story)
        assert story.said() == story.over() == {"login_required": 1, "new_login_refused": 1}
        assert story.feed.gaps == 0
    assert story.truth.lies == []


def test_a_login_with_a_standby_session_moves_from_polled_values_to_the_stream(
    standby: Rig,
) -> None:
    with Story(standby, slack_s=12) as story:
        _expire(story)
        story.until(lambda: story.is_fresh("rest"), 5)
        _log_in(story)
        polls = story.calls(QUOTE)
        story.reads_on(6)  # longer than the time between two polls
        assert story.calls(QUOTE) == polls
        assert story.is_fresh("websocket")
        assert standby.status()["standby"] == "valid"
        assert story.calls_of(1, QUOTE) == 0
        assert story.said() == story.over() == {"login_required": 1}
        assert story.feed.gaps == 0
    assert story.truth.lies == []


def test_a_login_that_is_good_for_rest_alone_is_bridged_until_the_socket_is_let_in(
    short: Rig,
) -> None:
    with Story(short, slack_s=12) as story:
        _expire(story)
        _refuse_sockets(short)
        asked, polls = len(story.calls(PROFILE)), len(story.calls(QUOTE))
        session = short.simulator.login()
        login_s = story.does("a login, good for REST alone", lambda: short.log_in(session))
        fresh_s = story.until(lambda: story.is_fresh("rest"), 10)
        assert fresh_s - login_s < 5  # two waits of this ladder, 1.5 s, and a poll
        tries = story.handshakes(403)
        assert len(tries) == 3
        _reads_polls(story, 1)
        assert (_status(story).feed, _status(story).session) == ("rest", "valid")
        assert story.handshakes(403) == tries
        assert len(story.calls(PROFILE)) - asked == 3
        assert len(story.calls(QUOTE)) - polls >= 3 + 2  # each refusal is asked about once
        assert story.said() == {"login_required": 1, "socket": 1}
        _socket_comes_back(story)
        assert story.said() == story.over()
        assert story.feed.gaps == 0
    assert story.truth.lies == []


# --- a network that goes away -------------------------------------------------------------------


def test_a_network_loss_is_one_condition_and_no_refusal_and_ends_by_itself(alone: Rig) -> None:
    with Story(alone) as story:
        story.until(lambda: story.is_fresh("websocket"), 5)
        lost_s = story.does("Kite cannot be reached", lambda: _cut(alone))
        story.until(lambda: _status(story).feed == "stale", 5)
        assert story.now_s - lost_s < 2
        story.until(lambda: len(story.handshakes(503)) == 3, 10)
        status = _status(story)
        assert (status.feed, status.session, status.consecutive_403) == ("stale", "valid", 0)
        assert not any(story.feed[key].is_fresh for key in story.feed.instruments)
        assert story.feed["NSE:INFY"].age_s > story.now_s - lost_s - 1.5
        first, second, third = story.handshakes(503)
        assert first - lost_s < 1.5
        assert second - first < third - second  # the ladder rises: 1 and 2 s, with its jitter
        assert len(story.calls(PROFILE)) == 3  # one before each attempt
        assert len(story.calls(QUOTE)) == 0
        assert story.said() == {"network": 1}
        # The next attempt is due 5 s (with its jitter, 6) after the third: nobody has to act.
        story.does("Kite can be reached", lambda: alone.simulator.fault("clear"))
        live_s = story.until(lambda: story.is_fresh("websocket"), 10)
        assert live_s - third < 6 + 1.5
        assert _status(story).feed == "live"
        assert len(story.handshakes(101)) == 1
        assert story.said() == story.over() == {"network": 1}
        assert story.feed.gaps == 0
    assert story.truth.lies == []


# --- what they have in common -------------------------------------------------------------------


def _expire(story: Story) -> None:
    story.until(lambda: story.is_fresh("websocket"), 5)
    story.does("the session dies", lambda: story.rig.simulator.fault("kill"))
    story.until(lambda: _status(story).feed == "login_required", 5)


def _log_in(story: Story) -> None:
    """A login, and live within the bound: from the login at Kite on, its command included."""
    asked = len(story.calls(PROFILE))
    session: dict[str, Any] = story.rig.simulator.login()
    login_s = story.does("a login", lambda: story.rig.log_in(session))
    live_s = story.until(lambda: story.is_fresh("websocket"), 8)
    assert live_s - login_s <= 5
    assert _status(story).feed == "live"
    assert _status(story).user_name == session["user_name"]
    opened = [at_s for at_s in story.handshakes(101) if at_s > login_s]
    assert len(opened) == 1
    assert story.handshakes(403) == []
    assert len(story.calls(PROFILE)) - asked <= 2  # before the socket, and once it is live


def _refuse_sockets(rig: Rig) -> None:
    rig.simulator.fault("refuse_ws", 403)


def _cut(rig: Rig) -> None:
    """Connections end, and neither REST nor a handshake gets through."""
    rig.simulator.fault("rest_down")
    rig.simulator.fault("refuse_ws", 503)


def _reads_polls(story: Story, count: int) -> None:
    """Reads on for `count` more polls: each brings values, at Kite's pace and ours."""
    seen = len(story.arrivals)
    story.until(lambda: len(story.arrivals) > seen + count, 6 * (count + 1))
    arrivals = story.arrivals[seen:]
    assert {source for _, source in arrivals} == {"rest"}
    gaps_s = [b - a for (a, _), (b, _) in itertools.pairwise(arrivals)]
    gaps_s += [b - a for a, b in itertools.pairwise(story.calls(QUOTE)[-count:])]
    low_s, high_s = POLL_GAPS_S
    assert all(low_s < gap_s < high_s for gap_s in gaps_s), gaps_s


def _socket_comes_back(story: Story) -> None:
    """`kitefeed retry` spares the test the rest of the minute."""
    story.rig.simulator.fault("clear")
    back_s = story.does("sockets are let in", lambda: story.rig.kitefeed("retry"))
    live_s = story.until(lambda: story.is_fresh("websocket"), 5)
    assert live_s - back_s < 3
    assert _status(story).feed == "live"
    assert len([at_s for at_s in story.handshakes(101) if at_s > back_s]) == 1
