"""End to end: from a frame sent to a tick decoded in a program, both over real sockets."""

from typing import NamedTuple

from benchmarks.frames import Shape
from benchmarks.measure import Figure
from benchmarks.parts import Context
from benchmarks.stage import JS, NAMES, OFFICIAL, Result
from benchmarks.table import Row, compared


class Case(NamedTuple):
    """`cpu_goal` and `p99_goal`: how many times better `each` has to be."""

    name: str
    shape: Shape
    kinds: tuple[str, ...]
    cpu_goal: float | None = None
    p99_goal: float | None = None


_ALL = (OFFICIAL, "each", "all", "eager")
CASES = (
    Case("1,000/s", Shape("full", 10, 120, 1_000), _ALL),
    Case("9,000/s", Shape("full", 90, 150, 9_000), (*_ALL, JS), cpu_goal=3, p99_goal=2),
    Case("30,000/s", Shape("full", 300, 100, 30_000), _ALL, p99_goal=10),
    # Five times 3,000 instruments at once, 0.4 s apart: what Kite sends after a reconnect.
    Case("snapshot", Shape("full", 200, 75, 7_500, burst=15), (*_ALL, JS), p99_goal=10),
    *(
        Case(f"9,000/s {kind}", Shape(kind, 90, 70, 9_000), (OFFICIAL, "each", "all"))
        for kind in ("quote", "ltp", "index", "mixed")
    ),
)


def measure(context: Context) -> list[Row]:
    rows: list[Row] = []
    results: dict[str, dict[str, list[Result]]] = {case.name: {} for case in CASES}
    for rep in range(context.reps):
        for case in CASES:
            kinds = [kind for kind in case.kinds if context.has_js or kind != JS]
            turn = rep % len(kinds)  # nobody is always the first
            for kind in kinds[turn:] + kinds[:turn]:
                context.progress(f"end to end {rep + 1}/{context.reps}: {case.name}, {NAMES[kind]}")
                daemon = context.daemon if kind not in (OFFICIAL, JS) else None
                result = context.stage.run(kind, case.shape, context.stage.universe, daemon)
                results[case.name].setdefault(kind, []).append(result)
    for case in CASES:
        rows += _rows(case, results[case.name])
    return rows


def _rows(case: Case, results: dict[str, list[Result]]) -> list[Row]:
    rows = []
    theirs, js = results[OFFICIAL], results.get(JS, [])
    for kind in ("each", "all", "eager"):
        if kind not in results:
            continue
        ours = results[kind]
        name = f"{case.name}: {NAMES[kind].removeprefix('kitefeed, ')}"
        has_goal = kind != "eager"
        cpu = compared(
            "end to end", f"CPU, {name}", "us/tick",
            [r.cpu for r in ours], [r.cpu for r in theirs], js=[r.cpu for r in js],
            goal=case.cpu_goal if has_goal else None,
        )  # fmt: skip
        reader, others = _mean([r.reader for r in ours]), _mean([r.others for r in ours])
        cpu.note = f"{reader:.1f} of it in the reader; not in it: {others:.1f} in other processes"
        p99 = compared(
            "end to end", f"p99 frame in to decoded, {name}", "ms",
            [r.p99_ms for r in ours], [r.p99_ms for r in theirs], js=[r.p99_ms for r in js],
            goal=case.p99_goal if has_goal else None,
        )  # fmt: skip
        p99.note = f"p50 {_mean([r.p50_ms for r in ours]):.2f}"
        rows += [cpu, p99]
    return [*rows, _lost(case, results)]


def _lost(case: Case, results: dict[str, list[Result]]) -> Row:
    """The worst of our readers, repetition by repetition."""
    ours = [results[kind] for kind in results if kind not in (OFFICIAL, JS)]
    worst = [float(max(r.verdict.lost for r in runs)) for runs in zip(*ours, strict=True)]
    theirs = Figure([float(r.verdict.lost) for r in results[OFFICIAL]])
    what = f"lost of {case.shape.ticks:,}, {case.name}: any reader"
    return Row("end to end", what, "ticks", Figure(worst), theirs, limit=0)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
