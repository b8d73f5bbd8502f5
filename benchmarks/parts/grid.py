"""Mix x size of frame x rate: ours beside the official client, cell by cell, each in one run.

Single ticks at 9,000 a second are 9,000 frames a second, which two cores may not carry: then p99 is
a queue's, and what is lost is told and is no failure.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmarks.frames import Shape
from benchmarks.measure import Figure
from benchmarks.parts import Context, interleaved
from benchmarks.peers import ALL, DEFAULT, EACH, JS, KNOWN, OFFICIAL, Peer
from benchmarks.stage import Result
from benchmarks.table import Row, compared, figure, number

PART = "grid"
MIXES = ("ltp", "quote", "full", "mixed")
SIZES = (1, 10, 90)  # packets of one frame
RATES = (1_000, 9_000)
SECONDS = 1.0
FRAMES_MIN = 20
AROUND_S = 3.5  # a reader's start, and the comparison of what it got
READERS = (OFFICIAL, ALL, EACH)
METRICS: tuple[tuple[str, str, Callable[[Result], float]], ...] = (
    ("CPU", "us/tick", lambda run: run.cpu),
    ("p50", "ms", lambda run: run.p50_ms),
    ("p99", "ms", lambda run: run.p99_ms),
)


class Cell(NamedTuple):
    shape: Shape
    peers: Sequence[Peer]

    @property
    def name(self) -> str:
        shape = self.shape
        return f"{shape.mix}, {shape.packets} a frame, {shape.per_s:,}/s"


def measure(context: Context) -> list[Row]:
    cells = _cells(context)
    runs_s = [
        context.reps * len(cell.peers) * (AROUND_S + cell.shape.ticks / cell.shape.per_s)
        for cell in cells
    ]
    context.say(f"{PART}: {len(cells)} cells, about {sum(runs_s) / 60:.0f} minutes")
    rows: dict[str, list[Row]] = {}
    for done, cell in enumerate(cells, 1):
        found = interleaved(context, PART, [cell], lambda one, peer: context.run(peer, one.shape))
        of_cell = _rows(cell, found[cell.name])
        for row in of_cell:
            rows.setdefault(row.part, []).append(row)
        context.say(f"{done}/{len(cells)} {cell.name}: {_line(cell, of_cell)}")
    return [row for of_part in rows.values() for row in of_part]


def _cells(context: Context) -> list[Cell]:
    """Return the cells; an option that is given takes the place of a whole axis."""
    asked, peers = context.asked, _peers(context)
    shapes = [
        Shape(mix, size, max(FRAMES_MIN, round(per_s * (asked.seconds or SECONDS) / size)), per_s)
        for mix in ([asked.mix] if asked.mix else MIXES)
        for size in ([asked.frame] if asked.frame else SIZES)
        for per_s in ([asked.rate] if asked.rate else RATES)
    ]
    return [Cell(shape._replace(burst=asked.burst or 1), peers) for shape in shapes]


def _peers(context: Context) -> list[Peer]:
    """A few, unless some were named."""
    usual = {KNOWN[key] for key in DEFAULT} - {JS}
    if not usual <= set(context.peers):
        return list(context.peers)
    return [peer for peer in context.peers if peer in READERS or peer not in usual | {JS}]


def _rows(cell: Cell, found: dict[Peer, list[Result]]) -> list[Row]:
    official = found.get(OFFICIAL, [])
    others = {p.title: runs for p, runs in found.items() if not p.is_ours and p != OFFICIAL}
    rows = []
    for peer, runs in found.items():
        if not peer.is_ours:
            continue
        name = f"{cell.name}: {peer.title.removeprefix('kitefeed, ')}"
        rows += [
            compared(
                f"{PART}, {metric}", f"{metric}, {name}", unit,
                [*map(of, runs)], [*map(of, official)],
                others={title: [*map(of, theirs)] for title, theirs in others.items()},
            )
            for metric, unit, of in METRICS
        ]  # fmt: skip
        lost = Row(f"{PART}, lost", f"lost, {name}", f"of {cell.shape.ticks:,} ticks", _lost(runs))
        lost.official = _lost(official)
        lost.others = {title: _lost(theirs) for title, theirs in others.items()}
        rows.append(lost)
    return rows


def _lost(runs: list[Result]) -> Figure:
    return Figure([float(run.verdict.lost) for run in runs])


def _line(cell: Cell, rows: list[Row]) -> str:
    """Say how many times better each of ours is, for who waits for the table."""
    told: dict[str, list[str]] = {}
    for row in rows:
        metric = row.part.removeprefix(f"{PART}, ")
        better = figure(row.ours) if row.better is None else f"{number(row.better.median)}x"
        told.setdefault(row.what.rpartition(": ")[2], []).append(f"{metric} {better}")
    return "; ".join(f"{reader}: {', '.join(texts)}" for reader, texts in told.items())
