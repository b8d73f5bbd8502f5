"""Every pair of a state of the attempt and a news that it may hear, in all kinds of situations."""

from copy import deepcopy
from itertools import product
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kitefeed.actors.supervisor import dial, news, session
from kitefeed.actors.supervisor.facts import Cause, Dial, DialState, Instruments
from kitefeed.actors.supervisor.moves import MOVES
from kitefeed.actors.supervisor.shards import Capacity
from kitefeed.actors.supervisor.state import State
from kitefeed.protocol.messages import bus as m
from tests.unit.actors.supervisor.bench import INFY, NIFTY, Bench, S

PAIRS = list(product(DialState, get_args(news.News)))
NEWS: dict[type[news.News], st.SearchStrategy[news.News]] = {
    news.Judged: st.sampled_from(
        [
            news.Judged("valid", is_good=True),
            news.Judged("refused", is_good=False),
            news.Judged("unverified", is_good=True),
            news.Judged("unverified", is_good=False),
        ]
    ),
    news.Refused: st.sampled_from([403, 429, 500]).map(news.Refused),
    news.Failed: st.just(news.Failed("reset by peer")),
    news.Lost: st.just(news.Lost("reset by peer")),
    news.Outdated: st.sampled_from([0, 1]).map(news.Outdated),
    news.Adopted: st.sampled_from([0, 1]).map(news.Adopted),
    news.Classified: st.sampled_from(["same", "permission", "network"]).map(news.Classified),
    news.SessionDied: st.booleans().map(news.SessionDied),
}


def told(kind: type[news.News]) -> st.SearchStrategy[news.News]:
    return NEWS.get(kind, st.builds(kind))


@st.composite
def situations(draw: st.DrawFn, state: DialState) -> State:
    """Its first socket is open or not, an attempt is for the first or the second one; any wait, and
    any number of refusals before."""
    bench = Bench(capacity=Capacity(2, 1))
    if draw(st.booleans()):
        bench.live()
    else:
        bench.up()
        bench.login()
        bench.validate("valid")
    if draw(st.booleans()):
        bench.feed(Instruments((NIFTY,) if draw(st.booleans()) else (NIFTY, INFY)))
    s = bench.machine.state
    shard = draw(st.sampled_from([0, 1]))
    has_epoch = state in (DialState.CONNECTING, DialState.CLASSIFYING)
    cause: Cause = draw(st.sampled_from(["session", "socket", "network", "limit", "entitlement"]))
    s.dial = Dial(
        state,
        shard=shard,
        epoch=s.persisted.epoch + 1 if has_epoch else 0,
        is_move=s.shards[shard].is_open and state in (DialState.PREFLIGHT, DialState.CONNECTING),
        until_ns=s.now_ns + S if state in (DialState.CONNECTING, DialState.WAITING) else 0,
        cause=cause if state is DialState.WAITING else "",
        good_ns=draw(st.sampled_from([0, s.now_ns])),
    )
    s.consecutive_403 = draw(st.integers(0, 4))
    s.has_no_entitlement = cause == "entitlement" or draw(st.booleans())
    if draw(st.booleans()):
        s.shards[shard].limited_until_ns = s.now_ns + 30 * S
    if state is DialState.PREFLIGHT:
        session.request(s, s.session)
    s.begin(s.now_ns)
    return s


@pytest.mark.parametrize(("state", "kind"), PAIRS, ids=lambda each: getattr(each, "__name__", each))
@settings(max_examples=10)
@given(data=st.data())
def test_an_attempt_goes_where_the_table_says(
    state: DialState, kind: type[news.News], data: st.DataObject
) -> None:
    s = data.draw(situations(state))
    before = deepcopy(s.dial)
    dial.hear(s, data.draw(told(kind)))
    move = MOVES.get((state, kind))
    if move is None:
        assert s.dial == before
        assert s.commands == []
    else:
        assert s.dial.state in move.to
        assert_consistent(s, before)


def assert_consistent(s: State, before: Dial) -> None:
    """Whatever was heard: each state that waits has an end, and an epoch is tried in one only."""
    attempt = s.dial
    opened = [c.message for c in s.commands if isinstance(getattr(c, "message", None), m.OpenLink)]
    closed = [c.message for c in s.commands if isinstance(getattr(c, "message", None), m.CloseLink)]
    match attempt.state:
        case DialState.IDLE:
            assert attempt.until_ns == 0
        case DialState.WAITING:
            assert attempt.until_ns >= s.now_ns or attempt.cause == "entitlement"
        case DialState.PREFLIGHT:
            assert attempt.until_ns == 0
            assert s.session.request_until_ns > s.now_ns
        case DialState.CONNECTING:
            assert attempt.until_ns > s.now_ns
            assert attempt.epoch in (before.epoch, *(order.epoch for order in opened))
        case DialState.CLASSIFYING:
            assert attempt.until_ns == 0
    assert (attempt.epoch > 0) == (attempt.state in (DialState.CONNECTING, DialState.CLASSIFYING))
    assert not attempt.is_move or attempt.state in (DialState.PREFLIGHT, DialState.CONNECTING)
    assert bool(opened) == (
        attempt.state is DialState.CONNECTING and before.state is not attempt.state
    )
    given_up = [order for order in closed if order.epoch == before.epoch and before.epoch]
    assert len(given_up) <= 1


def test_every_move_of_the_table_is_one_of_these_pairs() -> None:
    assert MOVES.keys() <= {*PAIRS}
    assert all(move.to for move in MOVES.values())
