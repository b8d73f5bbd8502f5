"""The stories this project is for, each on the whole daemon with the official client: a session
that expires in market hours, the login after it, a session that expires overnight (which has a
file of its own, `test_overnight_story.py`), and a network that goes away. `pytest -rP` shows what
was read, asked and logged, and when.

What is judged holds on a host of any speed: who waits never comes too early, nothing is asked more
often than its steps allow in the time that really passed, and one thing comes before another. How
fast it all is, is judged by the rows in `tests/faults`.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from kitefeed import Status
from tests.integration.rig import Rig
from tests.integration.story import PROFILE, QUOTE, Story

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

LADDER_S = (5, 15, 30, 60, 60)  # as it is shipped
SHORT_S = (0.5, 1, 30, 60, 60)
SHORT = f"backoff_s = {list(SHORT_S[:4])}"
SOCKET_S = (*SHORT_S[:2], 60, 60)  # from the third refusal on an attempt a minute
NETWORK_S = (0.8, 1.6, 4, 8, 24)  # 1, 2, 5, 10, 30 s, and up to a fifth less by the jitter
GOOD_FOR_S = 5  # a validation that is older lets no socket in: it is made again
STAMPS_S = 0.05  # Kite stamps by the wall clock, waits are by another
# Between Kite's stamps of two polls that are 5 s apart, where one of them is late.
POLL_GAPS_S = (3, 9)


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
        rig.until("live", 20)
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
        killed_s, known_s = _expire(story)
        story.until(story.is_cached, 5)
        # Validations at 0 and 5 s, the next one 15 s later.
        story.until(lambda: len(story.calls(PROFILE, killed_s)) >= 2, 15)
        story.reads_on(1)
        status = _status(story)
        assert (status.feed, status.source, status.session) == (
            "login_required",
            "cache",
            "refused",
        )
        first, second, *_ = calls = story.calls(PROFILE, killed_s)
        assert _has_waited(calls, LADDER_S)
        assert first < known_s < second < first + LADDER_S[1]
        assert _is_next(story, status, second + LADDER_S[1])
        assert "kitefeed login" in status.reason
        assert story.is_cached()
        assert story.feed["NSE:INFY"].age_s > story.now_s - killed_s - 1.5
        assert len(story.calls(QUOTE)) == 1  # one poll, which was refused, and no more
        assert [story.handshakes(code) for code in (101, 403)] == [[], []]
        assert story.has_said({"login_required": 1})
        assert story.feed.gaps == 0
    assert story.truth.lies == []


def test_expiry_with_a_standby_session_goes_on_with_polled_values(standby: Rig) -> None:
    with Story(standby, slack_s=12) as story:
        killed_s, _ = _expire(story)
        story.until(lambda: story.is_fresh("rest"), 10)
        _reads_polls(story, 1)
        story.until(lambda: story.is_fresh("rest"), 5)
        status = _status(story)
        assert (status.feed, status.source) == ("login_required", "rest")
        assert standby.status()["standby"] == "valid"
        # The standby is known to be valid, and that it still is, is asked every five minutes.
        asked = story.calls(PROFILE, killed_s)
        assert 1 <= len(asked) <= _due(LADDER_S, story.now_s - killed_s) + _looks_at_standby(story)
        assert story.calls_of(1, QUOTE) == 0
        assert story.calls_of(2, QUOTE) == len(story.calls(QUOTE))
        assert [story.handshakes(code) for code in (101, 403)] == [[], []]
        assert story.has_said({"login_required": 1})
        assert story.feed.gaps == 0
    assert story.truth.lies == []


def test_a_refused_socket_with_a_good_session_is_bridged_by_a_poll_every_five_seconds(
    short: Rig,
) -> None:
    with Story(short, slack_s=12) as story:
        story.until(lambda: story.is_fresh("websocket"), 10)
        refused_s = story.does("sockets are refused", lambda: _refuse_sockets(short))
        story.until(lambda: _status(story).feed == "rest", 20)
        assert len(story.handshakes(403)) == 3
        _reads_polls(story, 2)
        story.until(lambda: story.is_fresh("rest"), 5)
        status = _status(story)
        assert (status.feed, status.source, status.session) == ("rest", "rest", "valid")
        assert status.consecutive_403 == 3
        tries = story.handshakes(403)
        assert _is_next(story, status, tries[-1] + SOCKET_S[2])
        assert _has_waited(tries, SOCKET_S)
        assert _is_one_before_each(story.calls(PROFILE, refused_s), [refused_s, *tries])
        assert story.has_said({"socket": 1})
        _socket_comes_back(story)
        assert story.has_said({"socket": 1}, is_over=True)
        assert story.feed.gaps == 0
    assert story.truth.lies == []


# --- a login after it ---------------------------------------------------------------------------


def test_a_login_after_expiry_is_live_by_itself_and_one_that_is_refused_is_said_with_its_reason(
    alone: Rig,
) -> None:
    with Story(alone) as story:
        killed_s, _ = _expire(story)
        bad = {**alone.simulator.ready, "access_token": "0" * 32}
        bad_s = story.does("a login that Kite refuses", lambda: alone.log_in(bad))
        story.until(lambda: story.said()["new_login_refused"] == 1, 10)
        line = next(line for line in story.lines() if "condition=new_login_refused" in line)
        assert "Incorrect `api_key` or `access_token`" in line
        assert "kitefeed login" in line
        assert story.is_cached()
        _log_in(story, killed_s, bad_s)
        assert story.has_said({"login_required": 1, "new_login_refused": 1}, is_over=True)
        assert story.feed.gaps == 0
    assert story.truth.lies == []


def test_a_login_with_a_standby_session_moves_from_polled_values_to_the_stream(
    standby: Rig,
) -> None:
    with Story(standby, slack_s=12) as story:
        killed_s, _ = _expire(story)
        story.until(lambda: story.is_fresh("rest"), 10)
        _log_in(story, killed_s)
        polls = story.calls(QUOTE)
        story.reads_on(6)  # longer than the time between two polls
        assert story.calls(QUOTE) == polls
        story.until(lambda: story.is_fresh("websocket"), 5)
        assert standby.status()["standby"] == "valid"
        assert story.calls_of(1, QUOTE) <= 1  # from the validation until the socket is open
        assert story.has_said({"login_required": 1}, is_over=True)
        assert story.feed.gaps == 0
    assert story.truth.lies == []


def test_a_login_that_is_good_for_rest_alone_is_bridged_until_the_socket_is_let_in(
    short: Rig,
) -> None:
    with Story(short, slack_s=12) as story:
        killed_s, _ = _expire(story)
        _refuse_sockets(short)
        polls = len(story.calls(QUOTE))
        session = short.simulator.login()
        login_s = story.does("a login, good for REST alone", lambda: short.log_in(session))
        story.until(lambda: story.is_fresh("rest"), 20)
        assert len(story.handshakes(403)) == 3
        _reads_polls(story, 1)
        assert (_status(story).feed, _status(story).session) == ("rest", "valid")
        tries = story.handshakes(403)
        assert _has_waited(tries, SOCKET_S)
        assert _is_one_before_each(story.calls(PROFILE, tries[0]), tries)
        asked = [at_s for at_s in story.calls(PROFILE, killed_s) if at_s < tries[0]]
        assert len(asked) <= _due(SHORT_S, tries[0] - killed_s) + _in_time(tries[0] - login_s)
        assert len(story.calls(QUOTE)) - polls >= 3 + 2  # each refusal is asked about once
        assert story.has_said({"login_required": 1, "socket": 1})
        _socket_comes_back(story)
        assert story.has_said({"login_required": 1, "socket": 1}, is_over=True)
        assert story.feed.gaps == 0
    assert story.truth.lies == []


# --- a network that goes away -------------------------------------------------------------------


def test_a_network_loss_is_one_condition_and_no_refusal_and_ends_by_itself(alone: Rig) -> None:
    with Story(alone) as story:
        story.until(lambda: story.is_fresh("websocket"), 10)
        lost_s = story.does("Kite cannot be reached", lambda: _cut(alone))
        story.until(lambda: _status(story).feed == "stale", 10)
        story.until(lambda: len(story.handshakes(503)) >= 3, 15)
        status = _status(story)
        assert (status.feed, status.session, status.consecutive_403) == ("stale", "valid", 0)
        assert not any(story.feed[key].is_fresh for key in story.feed.instruments)
        assert story.feed["NSE:INFY"].age_s > story.now_s - lost_s - 1.5
        tries = story.handshakes(503)
        assert _has_waited(tries, NETWORK_S)
        assert _is_one_before_each(story.calls(PROFILE, lost_s), [lost_s, *tries])
        assert not any(at_s < lost_s + 15 for at_s in story.calls(QUOTE))  # then REST may bridge
        assert story.has_said({"network": 1})
        # The next attempt is due 5 s (with its jitter, 6) after the third: nobody has to act.
        story.does("Kite can be reached", lambda: alone.simulator.fault("clear"))
        story.until(lambda: story.is_fresh("websocket"), 20)
        assert _status(story).feed == "live"
        (opened,) = story.handshakes(101)
        assert _has_waited([*story.handshakes(503), opened], NETWORK_S)
        assert story.has_said({"network": 1}, is_over=True)
        assert story.feed.gaps == 0
    assert story.truth.lies == []


# --- what they have in common -------------------------------------------------------------------


def _expire(story: Story) -> tuple[float, float]:
    """Let the session die; return when it died, and when that was known."""
    story.until(lambda: story.is_fresh("websocket"), 10)
    killed_s = story.does("the session dies", lambda: story.rig.simulator.fault("kill"))
    return killed_s, story.until(lambda: _status(story).feed == "login_required", 10)


def _log_in(story: Story, *refused_s: float) -> None:
    """A login. refused_s: when a session was last seen refused, each by a ladder of its own."""
    session: dict[str, Any] = story.rig.simulator.login()
    login_s = story.does("a login", lambda: story.rig.log_in(session))
    story.until(lambda: story.is_fresh("websocket"), 20)
    assert _status(story).feed == "live"
    assert _status(story).user_name == session["user_name"]
    opened = [at_s for at_s in story.handshakes(101) if at_s > login_s]
    assert len(opened) == 1
    assert story.handshakes(403) == []
    asked = len(story.calls(PROFILE, refused_s[0]))
    due = sum(_due(LADDER_S, story.now_s - at_s) for at_s in refused_s)
    due += _in_time(opened[0] - login_s) + 1  # before the socket, and once it is live
    assert asked <= due + _looks_at_standby(story)


# --- what is due, in the time that really passed ------------------------------------------------


def _has_waited(tries: list[float], ladder_s: Sequence[float]) -> bool:
    """Whether none came before its wait was over."""
    gaps_s = [b - a for a, b in itertools.pairwise(tries)]
    return all(gap_s > rung_s - STAMPS_S for gap_s, rung_s in zip(gaps_s, ladder_s, strict=False))


def _due(ladder_s: Sequence[float], within_s: float) -> int:
    """Return how many validations a ladder makes within so long of its first, that one included."""
    return 1 + sum(due_s <= within_s for due_s in itertools.accumulate(ladder_s))


def _in_time(within_s: float) -> int:
    """Return how many validations an attempt that takes so long may need."""
    return 1 + int(within_s / GOOD_FOR_S)


def _is_one_before_each(asked: list[float], tries: list[float]) -> bool:
    """Whether the session was validated once between two of `tries`: before each but the first."""
    return all(
        1 <= sum(a < at_s <= b for at_s in asked) <= _in_time(b - a)
        for a, b in itertools.pairwise(tries)
    )


def _looks_at_standby(story: Story) -> int:
    """Return how often a standby session was validated; once in five minutes is due."""
    return story.calls_of(2, PROFILE)


def _is_next(story: Story, status: Status, due_s: float) -> bool:
    """Whether the next attempt that the status tells is not before `due_s`."""
    retry_in_s = status.retry_in_s  # in tenths
    return retry_in_s is not None and story.now_s + retry_in_s > due_s - 0.1 - STAMPS_S


def _refuse_sockets(rig: Rig) -> None:
    rig.simulator.fault("refuse_ws", 403)


def _cut(rig: Rig) -> None:
    """Connections end, and neither REST nor a handshake gets through."""
    rig.simulator.fault("rest_down")
    rig.simulator.fault("refuse_ws", 503)


def _reads_polls(story: Story, count: int) -> None:
    """Reads on for `count` more polls: each brings values, at Kite's pace and ours."""
    seen = len(story.arrivals)
    story.until(lambda: len(story.arrivals) > seen + count, 10 * (count + 1))
    assert {source for _, source in story.arrivals[seen:]} == {"rest"}
    gaps_s = [b - a for a, b in itertools.pairwise(story.calls(QUOTE)[-count - 1 :])]
    low_s, high_s = POLL_GAPS_S
    assert all(low_s < gap_s < high_s for gap_s in gaps_s), gaps_s


def _socket_comes_back(story: Story) -> None:
    """`kitefeed retry` spares the test the rest of the minute."""
    story.rig.simulator.fault("clear")
    back_s = story.does("sockets are let in", lambda: story.rig.kitefeed("retry"))
    story.until(lambda: story.is_fresh("websocket"), 10)
    assert _status(story).feed == "live"
    assert len([at_s for at_s in story.handshakes(101) if at_s > back_s]) == 1
