from hypothesis import given
from hypothesis import strategies as st

from kitefeed.actors.runtime.pulse import to_next_s


@given(st.floats(0, 1e7))
def test_it_ends_at_a_whole_second_and_lasts_hardly_more_than_one(now_s: float) -> None:
    end_s = now_s + to_next_s(now_s)
    assert abs(end_s - round(end_s)) < 1e-6
    assert 0.05 < end_s - now_s <= 1.05


def test_a_timer_that_fires_a_little_early_does_not_fire_twice() -> None:
    assert to_next_s(41.9999) > 1
    assert to_next_s(42.0) == 1
