"""Simulated days in the ordinary run; `make simulate-days DAYS=n SEED=s` runs as many as wanted,
and what CI runs has a hundred more."""

import pytest

from kitefeed.actors.supervisor import dial
from kitefeed.actors.supervisor.facts import DialState
from kitefeed.actors.supervisor.moves import MOVES
from kitefeed.actors.supervisor.news import News
from kitefeed.actors.supervisor.state import State
from tests.simulation.days import simulate

DAYS = 100
BLOCK = 10  # days of one test: enough of them to be spread over workers


@pytest.mark.parametrize("first", range(1, DAYS + 1, BLOCK))
def test_every_promise_is_kept_on_simulated_days(first: int) -> None:
    for seed in range(first, first + BLOCK):
        failure = simulate(seed)
        assert failure is None, f"\n{failure}\nagain: make simulate-days DAYS=1 SEED={seed}"


def test_a_seed_is_one_story() -> None:
    """The same day twice: else a failing seed could not be looked at again."""
    from tests.simulation.story import Story

    def told() -> tuple[list[str], int]:
        story = Story(7)
        story.run()
        return story.told, story.world.steps

    assert told() == told()


def test_an_attempt_goes_where_the_table_says_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen, hear = set[tuple[DialState, type[News], DialState]](), dial.hear

    def noted(s: State, news: News) -> None:
        before = s.dial.state
        hear(s, news)
        if s.dial.state is not before:
            seen.add((before, type(news), s.dial.state))

    monkeypatch.setattr(dial, "hear", noted)
    for seed in range(1, 4):
        assert simulate(seed) is None
    table = {(*pair, after) for pair, move in MOVES.items() for after in move.to}
    assert seen - table == set()
    assert len(seen) >= 10
