"""Measures what one more subscriber costs the daemon: 1, 4, 16, 64 of them, each of everything. A
further program costs that, and its own process. A further official client is a whole one."""

from benchmarks import processes, subject
from benchmarks.frames import Shape
from benchmarks.measure import Figure
from benchmarks.parts import TROUBLE, Context
from benchmarks.peers import ALL, BARE, EACH, EAGER, OFFICIAL, PURE, Peer
from benchmarks.processes import Talker
from benchmarks.stage import Result, Way
from benchmarks.table import Row, compared

PART = "fan-out"
SUBSCRIBERS, SUBSCRIBERS_OF_PURE = (1, 4, 16, 64), (1, 4, 16)
BASE = Shape("full", 90, 100, 9_000)
REPS_MAX = 2
BY_ADDED = 16  # subscribers, by whom it is told what one more costs
# Who decodes -> who else does so among as many subscribers of the same topic.
LIKE = {ALL: EAGER, PURE[ALL]: PURE[EAGER]}


def measure(context: Context) -> list[Row]:
    """Everybody in turn, so that the n-th results of all belong together."""
    shape = context.asked.of(BASE)
    kinds = [EACH, ALL, *(peer for peer in (PURE[EACH], PURE[ALL]) if context.has(peer))]
    results: dict[Peer, dict[int, list[Result]]] = {kind: {} for kind in kinds}
    alone: dict[Peer, list[Result]] = {
        peer: []
        for peer in context.peers
        if peer in LIKE.values() or not (peer.is_ours or peer == BARE)
    }
    for rep in range(min(REPS_MAX, context.reps)):
        for kind, found in results.items():
            for count in SUBSCRIBERS_OF_PURE if kind.is_pure else SUBSCRIBERS:
                where = f"{PART}, {count} subscribers, {kind.title}"
                if len(found.setdefault(count, [])) < rep:
                    continue
                context.say(f"{where} ({rep + 1})")
                try:
                    found[count].append(_run(context, shape, kind, count))
                except TROUBLE as error:
                    context.fail(where, None, error)
        for peer, runs in alone.items():
            if context.has(peer) and len(runs) == rep:
                context.say(f"{PART}, {peer.title} ({rep + 1})")
                try:
                    runs.append(context.run(peer, shape))
                except TROUBLE as error:
                    context.fail(f"{PART}, {peer.title}", peer, error)
    rows = [row for kind, found in results.items() for row in _rows(context, kind, found)]
    return rows + [row for kind, found in results.items() for row in _further(kind, found, alone)]


def _run(context: Context, shape: Shape, peer: Peer, subscribers: int) -> Result:
    """One decoding reader, and the others that only read. Raises RuntimeError when one of these had
    not as many messages as there were."""
    stage, daemon = context.stage, context.daemon_of(Way(peer.is_pure))
    if subscribers == 1:
        return context.run(peer, shape)
    topic, is_per_tick = subject.FANOUT[peer.key.removesuffix("-pure")]
    stage.hush(is_on=True)  # plain subscribers cannot tell ticks of a run from others
    try:
        with processes.python("benchmarks.read_raw", log=stage.root / "raw.log") as raw:
            endpoint = subject.feed_endpoint(daemon.run_dir)
            raw.tell({"endpoint": endpoint, "topics": [topic], "subscribers": subscribers - 1})
            raw.hear(30)
            result = stage.run(peer, shape, stage.universe, daemon, lambda: _begin(raw))
            messages = _messages(raw)
    finally:
        stage.hush(is_on=False)
    if is_per_tick and messages != shape.ticks:
        raise RuntimeError(f"{messages} messages for {shape.ticks} ticks")
    return result


def _begin(raw: Talker) -> None:
    """Counts from now on."""
    raw.tell({})
    raw.hear(30)


def _messages(raw: Talker) -> int:
    """Return how many messages each plain subscriber had. Raises RuntimeError when they were not
    the same."""
    told = raw.hear(60)
    raw.tell({})
    if len(set(told["counts"])) != 1 or len(set(told["sums"])) != 1:
        raise RuntimeError(f"subscribers got different messages: {told['counts']}")
    return int(told["counts"][0])


def _rows(context: Context, kind: Peer, results: dict[int, list[Result]]) -> list[Row]:
    name = kind.title.removeprefix("kitefeed, ")
    rows = []
    for count, runs in results.items():
        if not runs:
            continue
        daemon = Figure([run.cpu - run.reader for run in runs])
        what = f"daemon's CPU, {count} subscribers of {name}"
        row = Row(PART, what, "us/tick", daemon)
        if count > 1:
            row.note = f"{Figure(_added(results, count)).median:.2f} for each more"
        rows.append(row)
    lost = [
        float(max(run.verdict.lost for run in runs))
        for runs in zip(*results.values(), strict=False)
    ]
    context.lose(f"{PART}, {kind.title}", int(sum(lost)))
    figure = Figure(lost) if lost else None
    return [*rows, Row(PART, f"lost by any of {name}", "ticks", figure, limit=0)]


def _added(results: dict[int, list[Result]], count: int) -> list[float]:
    """To the daemon by each subscriber but the first, repetition by repetition, in us per tick."""
    return [
        (run.cpu - run.reader - (first.cpu - first.reader)) / (count - 1)
        for run, first in zip(results[count], results[1], strict=False)
    ]


def _further(
    kind: Peer, results: dict[int, list[Result]], alone: dict[Peer, list[Result]]
) -> list[Row]:
    """Say what a program more costs in all, beside an official client, which shares nothing."""
    if not (results.get(1) and results.get(BY_ADDED)):
        return []
    added = _added(results, BY_ADDED)
    rows = []
    for peer, runs in ((kind, results[1]), (LIKE.get(kind), alone.get(LIKE.get(kind, kind), []))):
        if peer is None or not runs:
            continue
        row = compared(
            PART, f"a further program, {peer.title.removeprefix('kitefeed, ')}", "us/tick",
            [run.reader + more for run, more in zip(runs, added, strict=False)],
            [run.cpu for run in alone.get(OFFICIAL, [])],
            others={
                other.title: [run.cpu for run in runs]
                for other, runs in alone.items() if not other.is_ours and other != OFFICIAL
            },
        )  # fmt: skip
        row.note = f"{Figure(added).median:.2f} of it in the daemon"
        rows.append(row)
    return rows
