"""Tests what programs are told, and what they may be sent."""

import pytest

from kitefeed.client.trouble import PATIENCE_NS, Policy, Trouble, may_pass

S = 1_000_000_000


def test_trouble_is_told_once_when_it_has_lasted_and_once_when_it_is_over() -> None:
    trouble = Trouble("silence")
    assert trouble.note("live", "", 0) is None
    assert trouble.note("login_required", "Kite refuses the session", S) is None
    told = trouble.note("login_required", "Kite refuses the session", S + PATIENCE_NS)
    assert told is not None
    assert "`kitefeed login`" in told
    assert trouble.note("login_required", "Kite refuses the session", 60 * S) is None
    assert trouble.note("live", "", 61 * S) == "kitefeed: prices are live again"
    assert trouble.note("live", "", 62 * S) is None


def test_a_short_interruption_is_not_worth_a_word() -> None:
    trouble = Trouble("silence")
    assert trouble.note("stale", "connecting", 0) is None
    assert trouble.note("live", "", PATIENCE_NS - 1) is None
    assert trouble.note("stale", "connecting", PATIENCE_NS) is None


@pytest.mark.parametrize("policy", ["silence", "hold", "close"])
def test_a_replay_is_said_at_once_and_is_no_trouble(policy: Policy) -> None:
    trouble = Trouble(policy)
    told = trouble.note("replay", "", 0)
    assert told is not None
    assert "played again" in told
    assert trouble.note("replay", "", 60 * S) is None
    assert trouble.sentence == told
    assert not trouble.is_on
    trouble.note("lost", "", 61 * S)
    assert trouble.note("lost", "", 64 * S) is not None
    assert trouble.is_on
    assert trouble.note("replay", "", 65 * S) == told


def test_the_close_of_the_market_is_no_trouble() -> None:
    trouble = Trouble("silence")
    trouble.note("stale", "network", 0)
    trouble.note("stale", "network", 3 * S)
    assert trouble.is_on
    assert trouble.note("closed", "the market is closed", 4 * S) is None
    assert not trouble.is_on


@pytest.mark.parametrize(
    ("policy", "source", "is_closed", "passes"),
    [
        ("silence", "websocket", False, True),
        ("silence", "rest", False, False),
        ("hold", "rest", False, True),
        ("close", "rest", False, False),
        ("silence", "cache", False, False),
        ("hold", "cache", False, False),
        ("silence", "cache", True, True),
    ],
)
def test_only_prices_of_a_source_that_feeds_are_passed(
    policy: Policy, source: str, is_closed: bool, passes: bool
) -> None:
    assert may_pass(policy, source, is_closed) is passes
