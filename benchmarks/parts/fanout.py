"""What one more subscriber costs the daemon: 1, 4, 16, 64 of them, each of everything."""

from benchmarks import processes, subject
from benchmarks.frames import Shape
from benchmarks.measure import Figure
from benchmarks.parts import TROUBLE, Context
from benchmarks.peers import KNOWN
from benchmarks.processes import Talker
from benchmarks.stage import Result
from benchmarks.table import Row

SUBSCRIBERS = (1, 4, 16, 64)
BASE = Shape("full", 90, 100, 9_000)
REPS_MAX = 2


def measure(context: Context) -> list[Row]:
    shape = context.asked.of(BASE)
    rows = []
    for key, (topic, is_per_tick) in subject.FANOUT.items():
        results: dict[int, list[Result]] = {count: [] for count in SUBSCRIBERS}
        try:
            for rep in range(min(REPS_MAX, context.reps)):
                for count in SUBSCRIBERS:
                    context.say(f"fan-out {rep + 1}: {count} subscribers, {key}")
                    result, messages = _run(context, shape, key, count)
                    if is_per_tick and messages not in (None, shape.ticks):
                        raise RuntimeError(f"{messages} messages for {shape.ticks} ticks")
                    results[count].append(result)
        except TROUBLE as error:
            context.fail(f"fan-out, {key}", None, error)
        rows += _rows(context, topic.rstrip("\0"), results)
    return rows


def _run(context: Context, shape: Shape, key: str, subscribers: int) -> tuple[Result, int | None]:
    """One decoding reader, and the others that only read; how many messages each of these had."""
    stage, daemon, peer = context.stage, context.daemon, KNOWN[key]
    if subscribers == 1:
        return context.run(peer, shape), None
    stage.hush(is_on=True)  # plain subscribers cannot tell ticks of a run from others
    try:
        with processes.python("benchmarks.read_raw", log=stage.root / "raw.log") as raw:
            endpoint = subject.feed_endpoint(daemon.run_dir)
            raw.tell({"endpoint": endpoint, "topics": [subject.FANOUT[key][0]],
                      "subscribers": subscribers - 1})  # fmt: skip
            raw.hear(30)
            result = stage.run(peer, shape, stage.universe, daemon, lambda: _begin(raw))
            return result, _messages(raw)
    finally:
        stage.hush(is_on=False)


def _begin(raw: Talker) -> None:
    """Counts from now on."""
    raw.tell({})
    raw.hear(30)


def _messages(raw: Talker) -> int:
    """How many each plain subscriber had. Raises RuntimeError when they were not the same."""
    told = raw.hear(60)
    raw.tell({})
    if len(set(told["counts"])) != 1 or len(set(told["sums"])) != 1:
        raise RuntimeError(f"subscribers got different messages: {told['counts']}")
    return int(told["counts"][0])


def _rows(context: Context, name: str, results: dict[int, list[Result]]) -> list[Row]:
    rows = []
    firsts = results[SUBSCRIBERS[0]]
    for count, runs in results.items():
        if not runs:
            continue
        daemon = Figure([r.cpu - r.reader for r in runs])
        row = Row("fan-out", f"daemon's CPU, {count} subscribers of {name}", "us/tick", daemon)
        if count > 1:
            added = Figure(
                [(r.cpu - r.reader - (f.cpu - f.reader)) / (count - 1)
                 for r, f in zip(runs, firsts, strict=False)]
            )  # fmt: skip
            row.note = f"{added.median:.2f} for each more"
        rows.append(row)
    lost = [
        float(max(r.verdict.lost for r in runs)) for runs in zip(*results.values(), strict=False)
    ]
    context.lose(f"fan-out, {name}", int(sum(lost)))
    rows.append(
        Row("fan-out", f"lost by any of {name}", "ticks", Figure(lost) if lost else None, limit=0)
    )
    return rows
