"""Ten programs with the same 500 instruments in mode full: on sockets of their own, and on one."""

from typing import NamedTuple

from benchmarks import crowd
from benchmarks.crowd import ENDPOINT, CrowdResult, Member
from benchmarks.frames import Shape, Universe
from benchmarks.measure import Figure
from benchmarks.parts import TROUBLE, Context
from benchmarks.peers import KITE_TICKER, NAMED, OFFICIAL, ON_ENDPOINT, Peer
from benchmarks.processes import Daemon
from benchmarks.subject import HOT
from benchmarks.table import Row, compared

PART = "ten programs"
PROGRAMS, INSTRUMENTS = 10, 500
BASE = Shape("full", 90, 300, 9_000)
RATES = (9_000, 4_500, 2_250)
FITS_MS = 500.0  # p99; programs that cannot keep up are seconds behind by the end of a run
REPS_MAX = 2


class Kind(NamedTuple):
    peer: Peer
    title: str
    shared: tuple[str, ...]


OWN = Kind(OFFICIAL, "official clients, a socket each", ())
KINDS = (
    OWN,
    Kind(ON_ENDPOINT, "official clients on kite_endpoint", (*HOT, ENDPOINT)),
    Kind(KITE_TICKER, "KiteTickers", HOT),
    Kind(NAMED, "Feeds", HOT),
)


def measure(context: Context) -> list[Row]:
    """From the highest rate down, until all keep up."""
    universe = Universe(INSTRUMENTS)
    daemon, endpoint = crowd.with_endpoint(context.stage, "bots", universe)
    rows = []
    try:
        for per_s in [context.asked.rate] if context.asked.rate else RATES:
            shape = context.asked.of(BASE)._replace(per_s=per_s)
            shape = shape._replace(frames=max(2, round(BASE.frames * per_s / BASE.per_s)))
            results: dict[Kind, list[CrowdResult]] = {kind: [] for kind in KINDS}
            for rep in range(min(REPS_MAX, context.reps)):
                for kind in KINDS:
                    context.say(f"{PART}, {per_s:,}/s each, {kind.title} ({rep + 1})")
                    try:
                        result = _run(context, kind, shape, universe, daemon, endpoint)
                    except TROUBLE as error:
                        context.fail(f"{PART}, {kind.title}", kind.peer, error)
                    else:
                        context.say(f"{result.cpu:.1f} us/tick, p99 {result.p99_ms:.0f} ms")
                        results[kind].append(result)
            rows += _rows(per_s, results)
            if all(_fits(runs) for runs in results.values()):
                break
    finally:
        daemon.stop()
    return rows


def _run(
    context: Context, kind: Kind, shape: Shape, universe: Universe, daemon: Daemon, endpoint: str
) -> CrowdResult:
    server = f"127.0.0.1:{context.stage.port}"
    members = [
        Member(
            kind.peer,
            daemon.key if kind.shared else f"bot{number}",
            endpoint if ENDPOINT in kind.shared else server,
        )
        for number in range(PROGRAMS)
    ]
    return crowd.run(context.stage, members, shape, universe, daemon, kind.shared)


def _fits(runs: list[CrowdResult]) -> bool:
    return bool(runs) and max(run.p99_ms for run in runs) <= FITS_MS


def _rows(per_s: int, results: dict[Kind, list[CrowdResult]]) -> list[Row]:
    rows = []
    own = results[OWN]
    for kind, runs in results.items():
        if kind == OWN or not runs:
            continue
        name = f"{per_s:,}/s to each of {PROGRAMS} {kind.title}"
        cpu = compared(
            PART, f"CPU, {name}", "us/tick and program",
            [run.cpu for run in runs], [run.cpu for run in own],
        )  # fmt: skip
        cpu.note = ", ".join(
            f"{role} {sum(run.shared[role] for run in runs) / len(runs):.2f}"
            for role in kind.shared
        )
        percent = compared(
            PART, f"CPU, {name}", "% of a core",
            [run.percent for run in runs], [run.percent for run in own],
        )  # fmt: skip
        p99 = compared(
            PART, f"p99 frame in to decoded, {name}", "ms",
            [run.p99_ms for run in runs], [run.p99_ms for run in own],
        )  # fmt: skip
        p99.note = "keeps up" if _fits(runs) else "does not keep up"
        p99.note += "" if _fits(own) else "; the official clients do not"
        left_out = Row(PART, f"left out, newer ones had come, {name}", "% of ticks",
                       Figure([100 * run.left_out for run in runs]))  # fmt: skip
        left_out.official = Figure([100 * run.left_out for run in own]) if own else None
        rows += [cpu, percent, p99, left_out]
    return rows
