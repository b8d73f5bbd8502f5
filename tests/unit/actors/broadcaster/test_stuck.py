"""Tests that a reader that takes nothing any more is cut, and nobody else; virtual time."""

from kitefeed.actors.broadcaster.stuck import STUCK_NS, Stuck

S = 1_000_000_000
ONE, OTHER = 20, 21


def looks(stuck: Stuck, *queued: dict[int, int], start_ns: int = 0) -> list[list[int]]:
    """One a second."""
    return [stuck.look(each, start_ns + at * S) for at, each in enumerate(queued)]


def test_one_that_takes_nothing_for_ten_seconds_is_cut_once() -> None:
    seconds = STUCK_NS // S
    assert looks(Stuck(), *[{ONE: 200_000}] * (seconds + 2)) == [[]] * seconds + [[ONE], []]


def test_one_that_takes_anything_at_all_is_left_alone() -> None:
    behind = [{ONE: 200_000 - at % 2, OTHER: 200_000} for at in range(30)]
    found = looks(Stuck(), *behind)
    assert [OTHER] in found
    assert not any(ONE in each for each in found)


def test_one_whose_buffer_was_emptied_in_between_begins_anew() -> None:
    full: dict[int, int] = {ONE: 200_000}
    assert not any(looks(Stuck(), *[full] * 9, {}, *[full] * 9))


def test_a_descriptor_that_was_cut_may_belong_to_another_one_then() -> None:
    stuck = Stuck()
    assert looks(stuck, *[{ONE: 200_000}] * 11)[-1] == [ONE]
    assert looks(stuck, *[{ONE: 200_000}] * 10, start_ns=11 * S) == [[]] * 10
