"""The highest rate that arrives whole.

The official client holds the server up when it is busy, so it cannot lose anything: its rate is
that at which it takes frames. kitefeed's data wires drop rather than wait. So frames are sent as
fast as the ticker takes them; if anything is lost on the way, again at four fifths of that rate,
and so on until a run is whole, and then between the two. The rate is that of the whole run, from
the first frame sent to the last tick decoded, so that nothing gains by lying in a queue.
"""

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

from benchmarks.frames import FRAMES_MAX, UNPACED, Shape
from benchmarks.parts import Context, interleaved
from benchmarks.peers import ALL, EACH, OFFICIAL, Peer
from benchmarks.stage import Result
from benchmarks.table import Row, compared

PART = "maximum"
BASE = Shape("full", 300, 150)
TICKS_MIN, TICKS_MAX = 45_000, 300_000
STEP_DOWN, STEP_UP = 0.8, 1.15
NARROW = 1.1  # a rate that is lost so little above one that held is near enough
STEPS_MAX = 12
GOALS = {EACH: 6.0, ALL: 15.0}


class Search:
    """Of one reader, over all repetitions: each begins a step above what held before, and narrows
    down where it lies between what held and what did not."""

    def __init__(self, context: Context, peer: Peer) -> None:
        self._context = context
        self._peer = peer
        self._per_s = UNPACED
        self._ticks = TICKS_MIN

    def next(self) -> Result:
        """Raises RuntimeError when every rate loses ticks."""
        whole: Result | None = None
        held = lost = 0.0  # rates
        for _ in range(STEPS_MAX):
            result = self._run()
            tried = result.sent_per_s if self._per_s == UNPACED else self._per_s
            if result.verdict.lost:
                # No reader takes more than its core gives.
                lost = min(tried, 1e6 / result.reader / STEP_DOWN)
            else:
                self._ticks = min(TICKS_MAX, max(TICKS_MIN, round(result.ticks_per_s)))
                if whole is None or result.ticks_per_s > whole.ticks_per_s:
                    whole, held = result, tried
            if whole and (self._per_s == UNPACED or (lost and lost < held * NARROW)):
                break
            self._per_s = _between(held, lost)
        if whole is None:
            raise RuntimeError("it loses ticks at every rate")
        if self._per_s != UNPACED:
            self._per_s = round(held * STEP_UP)
        return whole

    def _run(self) -> Result:
        asked = self._context.asked._replace(rate=None, burst=None).of(BASE)
        frames = min(FRAMES_MAX, max(2, self._ticks // asked.packets))
        return self._context.run(self._peer, asked._replace(frames=frames, per_s=self._per_s))


def _between(held: float, lost: float) -> int:
    """The next rate to try, above one that held and below one that did not; 0 for none yet."""
    if held and lost:
        return round(sqrt(held * lost))
    return round(held * STEP_UP if held else lost * STEP_DOWN)


class Case(NamedTuple):
    name: str
    peers: Sequence[Peer]


def measure(context: Context) -> list[Row]:
    searches = {peer: Search(context, peer) for peer in context.peers}
    shape = context.asked.of(BASE)
    case = Case(f"frames of {shape.packets} {shape.mix}", context.peers)
    results = interleaved(context, PART, [case], lambda _, peer: searches[peer].next())
    found = results[case.name]
    goals = {} if context.asked.is_any else GOALS
    ours = [peer for peer in found if peer.is_ours]
    return [row for peer in ours for row in _rows(case.name, peer, found, goals.get(peer))]


def _rows(case: str, peer: Peer, found: dict[Peer, list[Result]], goal: float | None) -> list[Row]:
    ours, theirs = found[peer], found.get(OFFICIAL, [])
    others = {p.title: runs for p, runs in found.items() if not p.is_ours and p != OFFICIAL}
    name = f"{case}, {peer.title.removeprefix('kitefeed, ')}"
    return [
        compared(
            PART, f"without loss, {name}", "ticks/s",
            [r.ticks_per_s for r in ours], [r.ticks_per_s for r in theirs],
            others={title: [r.ticks_per_s for r in runs] for title, runs in others.items()},
            goal=goal, is_more_better=True,
        ),
        compared(
            PART, f"CPU at that rate, {name}", "us/tick",
            [r.cpu for r in ours], [r.cpu for r in theirs],
            others={title: [r.cpu for r in runs] for title, runs in others.items()},
        ),
    ]  # fmt: skip
