"""The highest rate that arrives whole.

The official client holds the server up when it is busy, so it cannot lose anything: its rate is
that at which it takes frames. kitefeed's data wires drop rather than wait. So frames are sent as
fast as the ticker takes them; if anything is lost on the way, again at four fifths of that rate,
and so on until a run is whole. The rate is that of the whole run, from the first frame sent to the
last tick decoded, so that nothing gains by lying in a queue.
"""

from benchmarks.frames import UNPACED, Shape
from benchmarks.parts import Context
from benchmarks.stage import JS, NAMES, OFFICIAL, Result
from benchmarks.table import Row, compared

PACKETS = 300  # of one frame
TICKS_MIN, TICKS_MAX = 45_000, 300_000
STEP_DOWN, STEP_UP = 0.8, 1.15
STEPS_MAX = 12
GOALS = {"each": 6.0, "all": 15.0, "eager": None}


class Search:
    """Of one reader, over all repetitions: each begins a step above what held before."""

    def __init__(self, context: Context, kind: str) -> None:
        self._context = context
        self._kind = kind
        self._per_s = UNPACED
        self._ticks = TICKS_MIN
        self.found: list[Result] = []

    def measure(self) -> None:
        """Raises RuntimeError when every rate loses ticks."""
        for _ in range(STEPS_MAX):
            result = self._run()
            if not result.verdict.lost:
                self._ticks = min(TICKS_MAX, max(TICKS_MIN, round(result.ticks_per_s)))
                if self._per_s != UNPACED:
                    self._per_s = round(self._per_s * STEP_UP)
                self.found.append(result)
                return
            tried = result.sent_per_s if self._per_s == UNPACED else self._per_s
            # No reader takes more than its core gives.
            self._per_s = round(min(tried * STEP_DOWN, 1e6 / result.reader))
        raise RuntimeError(f"{NAMES[self._kind]} loses ticks at every rate")

    def _run(self) -> Result:
        shape = Shape("full", PACKETS, self._ticks // PACKETS, self._per_s)
        daemon = self._context.daemon if self._kind not in (OFFICIAL, JS) else None
        stage = self._context.stage
        return stage.run(self._kind, shape, stage.universe, daemon)


def measure(context: Context) -> list[Row]:
    kinds = [OFFICIAL, "each", "all", "eager", *([JS] if context.has_js else [])]
    searches = {kind: Search(context, kind) for kind in kinds}
    for rep in range(context.reps):
        turn = rep % len(kinds)
        for kind in kinds[turn:] + kinds[:turn]:
            context.progress(f"maximum {rep + 1}/{context.reps}: {NAMES[kind]}")
            searches[kind].measure()
    return [row for kind, goal in GOALS.items() for row in _rows(kind, searches, goal)]


def _rows(kind: str, searches: dict[str, Search], goal: float | None) -> list[Row]:
    ours, theirs = searches[kind].found, searches[OFFICIAL].found
    js = searches[JS].found if JS in searches else []
    name = NAMES[kind].removeprefix("kitefeed, ")
    return [
        compared(
            "maximum", f"without loss, {name}", "ticks/s",
            [r.ticks_per_s for r in ours], [r.ticks_per_s for r in theirs],
            js=[r.ticks_per_s for r in js], goal=goal, is_more_better=True,
        ),
        compared(
            "maximum", f"CPU at that rate, {name}", "us/tick",
            [r.cpu for r in ours], [r.cpu for r in theirs], js=[r.cpu for r in js],
        ),
    ]  # fmt: skip
