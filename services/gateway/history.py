"""The course of a price while the gateway read it, for a sparkline. Pure."""

POINTS_MAX = 300
STEP_S = 5  # between points, at first: a line in its first minutes is one, too
INSTRUMENTS_MAX = 2_000

Point = tuple[int, float]
"""When a step began (UTC epoch seconds), and the last price in it."""


class History:
    """The courses of a day; an instrument's old course ends when its first price of a new day
    comes."""

    def __init__(self) -> None:
        self._courses: dict[str, _Course] = {}

    def note(self, instrument: str, price: float, utc_s: float) -> None:
        course = self._courses.get(instrument)
        if course is None or course.day != _day(utc_s):
            if course is None and len(self._courses) >= INSTRUMENTS_MAX:
                del self._courses[next(iter(self._courses))]
            course = self._courses[instrument] = _Course(_day(utc_s))
        course.note(price, utc_s)

    def points(self, instrument: str) -> list[Point]:
        course = self._courses.get(instrument)
        return course.points if course else []


class _Course:
    """Points a step apart. When there are too many the step is doubled, so that they always cover
    the whole day."""

    def __init__(self, day: int) -> None:
        self.day = day
        self.points: list[Point] = []
        self._step_s = STEP_S

    def note(self, price: float, utc_s: float) -> None:
        point = (int(utc_s) // self._step_s * self._step_s, price)
        if self.points and self.points[-1][0] >= point[0]:
            self.points[-1] = (self.points[-1][0], price)
            return
        self.points.append(point)
        if len(self.points) > POINTS_MAX:
            self._step_s *= 2
            last_of_each = {at // self._step_s * self._step_s: price for at, price in self.points}
            self.points = list(last_of_each.items())


def _day(utc_s: float) -> int:
    """Return the day in India, which is 5:30 ahead."""
    return (int(utc_s) + 19_800) // 86_400
