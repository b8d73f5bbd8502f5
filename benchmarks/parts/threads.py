"""Measures where a frame's time goes: CPU of every thread of ticker, broadcaster and reader, per
frame."""

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.clocks import Spent
from benchmarks.frames import Shape
from benchmarks.measure import Figure
from benchmarks.parts import Context, interleaved
from benchmarks.peers import ALL, BARE, EACH, OFFICIAL, Peer
from benchmarks.stage import Result
from benchmarks.table import Row, compared

PART = "threads"
BASE = Shape("full", 90, 300, 9_000)
LEAST_US = 1.0  # per frame: a thread below it is left out


class Case(NamedTuple):
    name: str
    peers: Sequence[Peer]


def measure(context: Context) -> list[Row]:
    shape = context.asked.of(BASE)
    case = Case(shape.text, [peer for peer in context.peers if peer in (ALL, EACH, OFFICIAL, BARE)])
    results = interleaved(context, PART, [case], lambda _, peer: context.run(peer, shape))
    found = results[case.name]
    theirs = _together(found.get(OFFICIAL, []), shape)
    bare = {BARE.title: _together(found.get(BARE, []), shape)}
    rows = []
    for peer, runs in found.items():
        rows += _rows(peer, shape, runs)
        if peer.is_ours:
            what = f"{peer.title}: together, {shape.text}"
            rows.append(
                compared(PART, what, "us/frame", _together(runs, shape), theirs, others=bare)
            )
            lost = sum(run.verdict.lost for run in runs)
            context.lose(f"{PART}, {peer.title}", lost)
            rows.append(Row(PART, f"lost, {peer.title}", "ticks", Figure([float(lost)]), limit=0))
    return rows


def _rows(peer: Peer, shape: Shape, runs: list[Result]) -> list[Row]:
    """One for each thread."""
    names = dict.fromkeys(name for run in runs for name in run.threads)
    rows = []
    for name in names:
        spent = [run.threads.get(name, Spent()) for run in runs]
        each = Figure([thread.cpu_us / shape.frames for thread in spent])
        if each.median >= LEAST_US:
            rows.append(_row(peer, name, each, _note(spent, shape)))
    return rows


def _together(runs: list[Result], shape: Shape) -> list[float]:
    return [run.cpu * run.verdict.received / shape.frames for run in runs]


def _row(peer: Peer, name: str, each: Figure, note: str) -> Row:
    row = Row(PART, f"{peer.title}: {name}", "us/frame", note=note)
    if peer.is_ours:
        row.ours = each
    elif peer == OFFICIAL:
        row.official = each
    else:
        row.others = {peer.title: each}
    return row


def _note(spent: list[Spent], shape: Shape) -> str:
    """The kernel samples what is user's and what is system's; so all repetitions together."""
    total = Spent()
    for each in spent:
        total = total.plus(each)
    frames = shape.frames * len(spent)
    share = total.system_us / max(1.0, total.user_us + total.system_us)
    system = share * total.cpu_us / frames
    user = total.cpu_us / frames - system
    return f"user {user:.0f}, system {system:.0f}; wakes {total.wakes / frames:.1f} times"
