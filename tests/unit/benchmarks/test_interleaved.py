"""Tests who runs when, and what is left when somebody fails."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from benchmarks.asked import Asked
from benchmarks.parts import FAILURES_MAX, Context, interleaved
from benchmarks.peers import ALL, EACH, OFFICIAL, Peer, other
from benchmarks.processes import Died
from benchmarks.stage import WrongTick

FOURTH = other("fourth=true")
PEERS = (OFFICIAL, EACH, ALL, FOURTH)


class Case(NamedTuple):
    name: str
    peers: Sequence[Peer] = PEERS


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def context(said: list[str]) -> Context:
    nowhere: Any = None
    return Context(nowhere, PEERS, 3, Asked(), said.append)


def test_everybody_runs_once_before_anybody_runs_again_and_nobody_is_always_first(
    context: Context,
) -> None:
    ran: list[Peer] = []

    def run(_: Case, peer: Peer) -> int:
        ran.append(peer)
        return len(ran)

    found = interleaved(context, "part", [Case("a")], run)["a"]
    assert all(set(ran[start : start + 4]) == set(PEERS) for start in (0, 4, 8))
    assert [ran[start] for start in (0, 4, 8)] == [OFFICIAL, EACH, ALL]
    assert all(len(values) == 3 for values in found.values())


def failing(who: Peer, error: Exception, *, at: int) -> Any:
    """Fails at the n-th run of `who`; every other result is the number of the peer's run."""
    runs = dict.fromkeys(PEERS, 0)

    def run(_: Case, peer: Peer) -> int:
        runs[peer] += 1
        if peer == who and runs[peer] == at:
            raise error
        return runs[peer]

    return run


def test_who_fails_keeps_its_earlier_figures_and_the_others_all_of_theirs(
    context: Context, said: list[str]
) -> None:
    error = Died("fourth ended with 1: Error: no more\nits whole log")
    found = interleaved(context, "part", [Case("a")], failing(FOURTH, error, at=2))["a"]
    assert found == {OFFICIAL: [1, 2, 3], EACH: [1, 2, 3], ALL: [1, 2, 3], FOURTH: [1]}
    lines = [line for line in said if line.startswith("FAILED")]
    assert lines == ["FAILED part, a, fourth: fourth ended with 1: Error: no more"]
    assert not context.failures[0].is_ours


def test_a_wrong_tick_of_ours_is_a_failure_of_ours(context: Context) -> None:
    found = interleaved(context, "part", [Case("a")], failing(ALL, WrongTick("altered=1"), at=1))
    assert ALL not in found["a"]
    assert [failure.is_ours for failure in context.failures] == [True]


def test_a_peer_that_always_fails_is_not_tried_for_ever(context: Context) -> None:
    def run(_: Case, peer: Peer) -> int:
        if peer == FOURTH:
            raise FileNotFoundError("no such program")
        return 0

    interleaved(context, "part", [Case(name) for name in "abcd"], run)
    assert len(context.failures) == FAILURES_MAX


def test_a_mistake_of_the_benchmark_itself_is_no_failure_of_a_peer(context: Context) -> None:
    with pytest.raises(KeyError):
        interleaved(context, "part", [Case("a")], failing(FOURTH, KeyError("x"), at=1))
