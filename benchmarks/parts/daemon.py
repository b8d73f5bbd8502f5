"""The daemon as a whole: more instruments, doing nothing, and starting."""

import time

from benchmarks import processes, subject
from benchmarks.frames import LISTED, Shape, Universe
from benchmarks.measure import Figure
from benchmarks.parts import INSTRUMENTS, Context
from benchmarks.processes import Daemon, Died, cpu_ns
from benchmarks.stage import OFFICIAL, Result
from benchmarks.table import Row, compared

SIZES = tuple(n for n in (10, 100, 1_000, 3_000, LISTED) if n <= subject.INSTRUMENTS_MAX)
GROWTH = Shape("full", 9, 150, 900)
IDLE_S = 10.0
START_REPS_MAX = 3
START_S_MAX = 60.0


def growth(context: Context) -> list[Row]:
    """The same frames over ever more instruments: what a tick costs must not depend on them."""
    results: dict[int, list[Result]] = {size: [] for size in SIZES}
    daemons = {}
    for size in SIZES:
        context.progress(f"growth: starting a daemon with {size:,} instruments")
        daemons[size] = context.stage.daemon(f"grow{size}", Universe(size))
    for rep in range(context.reps):
        for size in SIZES:
            context.progress(f"growth {rep + 1}/{context.reps}: {size:,} instruments")
            result = context.stage.run("all", GROWTH, Universe(size), daemons[size])
            results[size].append(result)
    for daemon in daemons.values():
        daemon.stop()
    return [_growth_row(size, results) for size in SIZES]


def _growth_row(size: int, results: dict[int, list[Result]]) -> Row:
    spent, least = (
        Figure([r.cpu - r.reader for r in results[which]]) for which in (size, SIZES[0])
    )
    what = f"daemon's CPU, {size:,} instruments, {GROWTH.per_s} ticks/s"
    note = f"{spent.median / least.median:.2f} times that of {SIZES[0]}"
    return Row("growth", what, "us/tick", spent, note=note)


def idle(context: Context) -> list[Row]:
    """Connected, nothing but heartbeats. pykiteconnect: one process with as many instruments."""
    stage, daemon = context.stage, context.daemon
    plan = stage.builder.plan(Shape("full", 1, 1), stage.universe)
    with processes.python("benchmarks.read_official", log=stage.root / "readers.log") as official:
        official.tell(stage.spec(OFFICIAL, plan, stage.universe, None))
        official.hear(60)
        context.progress(f"idle: {IDLE_S:.0f} s of nothing")
        pids = daemon.pids()
        spent = {name: -cpu_ns(pid) for name, pid in pids.items()}
        theirs = -cpu_ns(official.pid)
        time.sleep(IDLE_S)
        spent = {name: spent[name] + cpu_ns(pid) for name, pid in pids.items()}
        theirs += cpu_ns(official.pid)
        memory = {name: processes.memory_mb(pid) for name, pid in pids.items()}
        theirs_mb = processes.memory_mb(official.pid)
    percent = 100 / IDLE_S / 1e9
    what = f"{INSTRUMENTS:,} instruments"
    rows = [
        Row("idle", f"CPU, {what}", "% of a core",
            Figure([sum(spent.values()) * percent]), Figure([theirs * percent])),
        Row("idle", f"memory, {what}", "MB", Figure([sum(memory.values())]), Figure([theirs_mb])),
    ]  # fmt: skip
    rows[0].note = ", ".join(f"{name} {ns * percent:.2f}" for name, ns in spent.items())
    rows[1].note = ", ".join(f"{name} {mb:.0f}" for name, mb in memory.items())
    return rows


def start(context: Context) -> list[Row]:
    """From the command to the last of INSTRUMENTS values, fresh, in a program."""
    stage = context.stage
    times: dict[str, list[float]] = {"first start": [], "again": [], "official": []}
    for rep in range(min(START_REPS_MAX, context.reps)):
        context.progress(f"start {rep + 1}")
        daemon = stage.new_daemon(f"start{rep}", stage.universe)
        times["first start"].append(_started_s(daemon))
        times["again"].append(_started_s(daemon))
        times["official"].append(_official_s(context))
    what = f"start to {INSTRUMENTS:,} fresh values"
    return [
        compared("start", f"{what}, {name}", "s", times[name], times["official"])
        for name in ("first start", "again")
    ]


def _started_s(daemon: Daemon) -> float:
    start_s = time.monotonic()
    daemon.start()
    try:
        with subject.open_feed(daemon.config, []) as feed:
            while not _is_whole(feed):
                if time.monotonic() - start_s > START_S_MAX:
                    raise Died(f"{len(feed.values())} values after {START_S_MAX:.0f} s")
                feed.next(0.05)
            return time.monotonic() - start_s
    finally:
        daemon.stop()


def _is_whole(feed: subject.Feed) -> bool:
    values = feed.values()
    return len(values) >= INSTRUMENTS and all(tick.is_fresh for tick in values)


def _official_s(context: Context) -> float:
    stage = context.stage
    plan = stage.builder.plan(Shape("full", 1, 1), stage.universe)
    start_s = time.monotonic()
    with processes.python("benchmarks.read_official", log=stage.root / "readers.log") as official:
        official.tell(stage.spec(OFFICIAL, plan, stage.universe, None))
        official.hear(60)
        return time.monotonic() - start_s
