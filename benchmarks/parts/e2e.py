"""End to end: from a frame sent to a tick decoded in a program, both over real sockets."""

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.frames import Scheme, Shape
from benchmarks.measure import Figure
from benchmarks.parts import Context, interleaved
from benchmarks.peers import ALL, BARE, EACH, JS, KITE_TICKER, OFFICIAL, PURE, Peer
from benchmarks.stage import Result
from benchmarks.table import Row, compared

PART = "end to end"


class Case(NamedTuple):
    """`cpu_goal` and `p99_goal`: how many times better both ways to read have to be that do not
    read every field."""

    name: str
    shape: Shape
    peers: Sequence[Peer] = ()
    cpu_goal: float | None = None
    p99_goal: float | None = None
    scheme: Scheme = "ws"


CASES = (
    Case("1,000/s", Shape("full", 10, 120, 1_000)),
    Case("1,000/s, single ticks", Shape("full", 1, 1_200, 1_000)),
    Case("9,000/s", Shape("full", 90, 600, 9_000), cpu_goal=3, p99_goal=2),
    Case("30,000/s", Shape("full", 300, 100, 30_000), p99_goal=10),
    Case("9,000/s over wss", Shape("full", 90, 150, 9_000), scheme="wss"),
    # Five times 3,000 instruments at once, 0.4 s apart: what Kite sends after a reconnect.
    Case("snapshot", Shape("full", 200, 75, 7_500, burst=15), p99_goal=10),
    *(
        Case(f"9,000/s {kind}", Shape(kind, 90, 70, 9_000))
        for kind in ("ltp", "quote", "index", "currency", "mixed")
    ),
)
BASE = Shape("full", 90, 150, 9_000)  # what the options change
# By themselves; they take part in all that is asked.
ONLY_IN = {
    KITE_TICKER: ("9,000/s",),
    JS: ("9,000/s", "snapshot", "9,000/s mixed"),
    BARE: ("1,000/s, single ticks", "9,000/s", "9,000/s over wss", "30,000/s", "snapshot"),
    **dict.fromkeys(
        PURE.values(), ("1,000/s, single ticks", "9,000/s", "snapshot", "9,000/s mixed")
    ),
}


def measure(context: Context) -> list[Row]:
    cases = _cases(context)
    results = interleaved(
        context, PART, cases, lambda case, peer: context.run(peer, case.shape, case.scheme)
    )  # fmt: skip
    return [row for case in cases for row in _rows(context, case, results[case.name])]


def _cases(context: Context) -> list[Case]:
    if context.asked.is_any:
        shape = context.asked.of(BASE)
        scheme = context.asked.scheme
        name = shape.text if scheme == "ws" else f"{shape.text} over {scheme}"
        return [Case(name, shape, context.peers, scheme=scheme)]
    return [
        case._replace(peers=[p for p in context.peers if case.name in ONLY_IN.get(p, (case.name,))])
        for case in CASES
    ]


def _rows(context: Context, case: Case, results: dict[Peer, list[Result]]) -> list[Row]:
    rows = []
    official = results.get(OFFICIAL, [])
    others = {p.title: runs for p, runs in results.items() if not p.is_ours and p != OFFICIAL}
    for peer, ours in results.items():
        if not peer.is_ours:
            continue
        name = f"{case.name}: {peer.title.removeprefix('kitefeed, ')}"
        has_goal = peer in (EACH, ALL)
        cpu = compared(
            PART, f"CPU, {name}", "us/tick", [r.cpu for r in ours], [r.cpu for r in official],
            others={title: [r.cpu for r in runs] for title, runs in others.items()},
            goal=case.cpu_goal if has_goal or peer == KITE_TICKER else None,
        )  # fmt: skip
        reader, beside = _mean([r.reader for r in ours]), _mean([r.others for r in ours])
        cpu.note = f"{reader:.1f} of it in the reader; not in it: {beside:.1f} in other processes"
        p99 = compared(
            PART, f"p99 frame in to decoded, {name}", "ms",
            [r.p99_ms for r in ours], [r.p99_ms for r in official],
            others={title: [r.p99_ms for r in runs] for title, runs in others.items()},
            goal=case.p99_goal if has_goal else None,
        )  # fmt: skip
        p99.note = f"p50 {_mean([r.p50_ms for r in ours]):.2f}"
        rows += [cpu, p99]
    return [*rows, _lost(context, case, results)]


def _lost(context: Context, case: Case, results: dict[Peer, list[Result]]) -> Row:
    """The worst of our readers, repetition by repetition."""
    ours = {peer: _losses(runs) for peer, runs in results.items() if peer.is_ours}
    for peer, losses in ours.items():
        context.lose(f"{PART}, {case.name}, {peer.title}", int(sum(losses)))
    worst = [max(losses) for losses in zip(*ours.values(), strict=False)]
    what = f"lost of {case.shape.ticks:,}, {case.name}: any reader"
    row = Row(PART, what, "ticks", Figure(worst) if worst else None, limit=0)
    if OFFICIAL in results:
        row.official = Figure(_losses(results[OFFICIAL]))
    row.others = {
        peer.title: Figure(_losses(runs))
        for peer, runs in results.items()
        if not peer.is_ours and peer != OFFICIAL
    }
    return row


def _losses(runs: list[Result]) -> list[float]:
    return [float(run.verdict.lost) for run in runs]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
