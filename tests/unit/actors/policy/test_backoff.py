from kitefeed.actors.policy.backoff import Ladder

S = 1_000_000_000


def test_each_wait_is_the_next_rung_and_the_last_one_repeats() -> None:
    ladder = Ladder([5, 15, 60])
    assert [ladder.next_ns() for _ in range(5)] == [5 * S, 15 * S, 60 * S, 60 * S, 60 * S]
    assert ladder.taken == 5


def test_a_rung_may_be_a_part_of_a_second() -> None:
    assert Ladder([0.25]).next_ns() == S // 4


def test_after_a_reset_the_first_rung_comes_first() -> None:
    ladder = Ladder([5, 15])
    ladder.next_ns()
    ladder.reset()
    assert (ladder.taken, ladder.next_ns()) == (0, 5 * S)


def test_later_changes_of_the_rungs_that_were_given_do_not_count() -> None:
    rungs = [5.0, 15.0]
    ladder = Ladder(rungs)
    rungs.clear()
    assert ladder.next_ns() == 5 * S
