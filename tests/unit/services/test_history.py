"""The course of a day, for sparklines."""

from itertools import pairwise

from kitefeed.services.gateway.history import INSTRUMENTS_MAX, POINTS_MAX, STEP_S, History

OPEN_S = 1_764_560_700  # 09:15 IST on a day of December
SESSION_S = 870 * 60  # the longest, of commodities


def test_the_first_minute_is_a_line_and_not_a_point() -> None:
    history = History()
    for second in range(60):
        history.note("NSE:INFY", 1500 + second, OPEN_S + second)
    points = history.points("NSE:INFY")
    assert len(points) == 60 / STEP_S
    assert points[0] == (OPEN_S, 1504)
    assert points[-1] == (OPEN_S + 55, 1559)


def test_a_whole_day_keeps_its_beginning_its_end_and_few_points() -> None:
    history = History()
    for second in range(0, SESSION_S, 2):
        history.note("MCX:GOLD", second, OPEN_S + second)
    points = history.points("MCX:GOLD")
    steps = {later[0] - former[0] for former, later in pairwise(points)}
    assert POINTS_MAX / 2 <= len(points) <= POINTS_MAX
    assert len(steps) == 1
    assert points[0][0] <= OPEN_S
    assert OPEN_S + SESSION_S - points[-1][0] <= max(steps)
    assert points[-1][1] == SESSION_S - 2


def test_a_price_that_comes_late_does_not_turn_the_line_back() -> None:
    history = History()
    history.note("NSE:INFY", 1500, OPEN_S + 10)
    history.note("NSE:INFY", 1501, OPEN_S + 1)
    assert history.points("NSE:INFY") == [(OPEN_S + 10, 1501)]


def test_a_new_day_begins_a_new_line() -> None:
    history = History()
    history.note("NSE:INFY", 1500, OPEN_S)
    history.note("NSE:INFY", 1600, OPEN_S + 86_400)
    assert history.points("NSE:INFY") == [(OPEN_S + 86_400, 1600)]


def test_the_oldest_instrument_makes_room_for_a_new_one() -> None:
    history = History()
    for number in range(INSTRUMENTS_MAX + 1):
        history.note(str(number), 1.0, OPEN_S)
    assert history.points("0") == []
    assert history.points(str(INSTRUMENTS_MAX)) != []
