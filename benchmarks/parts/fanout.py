"""What one more subscriber costs the daemon: 1, 4, 16, 64 of them, each of everything."""

from benchmarks import processes, subject
from benchmarks.frames import Shape
from benchmarks.measure import Figure
from benchmarks.parts import Context
from benchmarks.processes import Talker
from benchmarks.stage import Result
from benchmarks.table import Row

SUBSCRIBERS = (1, 4, 16, 64)
SHAPE = Shape("full", 90, 100, 9_000)
REPS_MAX = 3


def measure(context: Context) -> list[Row]:
    rows = []
    for kind, (topic, is_per_tick) in subject.FANOUT.items():
        results: dict[int, list[Result]] = {count: [] for count in SUBSCRIBERS}
        for rep in range(min(REPS_MAX, context.reps)):
            for count in SUBSCRIBERS:
                context.progress(f"fan-out {rep + 1}: {count} subscribers, {kind}")
                result, messages = _run(context, kind, topic, count)
                if is_per_tick and messages not in (None, SHAPE.ticks):
                    raise RuntimeError(f"{messages} messages for {SHAPE.ticks} ticks")
                results[count].append(result)
        rows += _rows(topic, results)
    return rows


def _run(context: Context, kind: str, topic: str, subscribers: int) -> tuple[Result, int | None]:
    """One decoding reader, and the others that only read; how many messages each of these had."""
    stage, daemon = context.stage, context.daemon
    if subscribers == 1:
        return stage.run(kind, SHAPE, stage.universe, daemon), None
    stage.hush(is_on=True)  # plain subscribers cannot tell ticks of a run from others
    with processes.python("benchmarks.read_raw", log=stage.root / "readers.log") as raw:
        endpoint = subject.feed_endpoint(daemon.run_dir)
        raw.tell({"endpoint": endpoint, "topics": [topic], "subscribers": subscribers - 1})
        raw.hear(30)
        result = stage.run(kind, SHAPE, stage.universe, daemon)
        messages = _messages(raw)
    stage.hush(is_on=False)
    return result, messages


def _messages(raw: Talker) -> int:
    """How many each plain subscriber had. Raises RuntimeError when they were not the same."""
    told = raw.hear(60)
    raw.tell({})
    if len(set(told["counts"])) != 1 or len(set(told["sums"])) != 1:
        raise RuntimeError(f"subscribers got different messages: {told['counts']}")
    return int(told["counts"][0])


def _rows(topic: str, results: dict[int, list[Result]]) -> list[Row]:
    name = topic.rstrip("\0")
    rows = []
    for count, runs in results.items():
        daemon = Figure([r.cpu - r.reader for r in runs])
        row = Row("fan-out", f"daemon's CPU, {count} subscribers of {name}", "us/tick", daemon)
        if count > 1:
            first = results[1]
            added = Figure(
                [(r.cpu - r.reader - (f.cpu - f.reader)) / (count - 1)
                 for r, f in zip(runs, first, strict=True)]
            )  # fmt: skip
            row.note = f"{added.median:.2f} for each more"
        rows.append(row)
    lost = [
        float(max(r.verdict.lost for r in runs)) for runs in zip(*results.values(), strict=True)
    ]
    rows.append(Row("fan-out", f"lost by any of {name}", "ticks", Figure(lost), limit=0))
    return rows
