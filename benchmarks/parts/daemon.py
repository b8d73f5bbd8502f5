"""The daemon as a whole: more instruments, doing nothing, and starting."""

import time
from itertools import chain

from benchmarks import clocks, subject
from benchmarks.clocks import cpu_ns
from benchmarks.frames import LISTED, Shape, Universe
from benchmarks.measure import Figure
from benchmarks.parts import TROUBLE, Context
from benchmarks.peers import ALL, OFFICIAL, Peer
from benchmarks.processes import Daemon, Died, Talker
from benchmarks.stage import Result
from benchmarks.table import Row, compared
from kitefeed.protocol.kite.limits import PER_SOCKET_MAX

SIZES = tuple(n for n in (10, 100, 1_000, 3_000, LISTED) if n <= subject.INSTRUMENTS_MAX)
GROWTH = Shape("full", 9, 150, 900)
GROWTH_MAX = 1.3  # times, from the fewest instruments to the most; 1 but for noise
IDLE_S = 5.0
REPS_MAX = 3
START_S_MAX = 60.0


def growth(context: Context) -> list[Row]:
    """The same frames over ever more instruments: what a tick costs must not depend on them."""
    universes = {size: _by_socket(size) for size in SIZES}
    results: dict[int, list[Result]] = {size: [] for size in SIZES}
    daemons = {}
    try:
        for size in SIZES:
            context.say(f"growth: starting a daemon with {size:,} instruments")
            daemons[size] = context.stage.daemon(f"grow{size}", Universe(size))
        for rep in range(context.reps):
            for size in SIZES:
                context.say(f"growth, {size:,} instruments ({rep + 1}/{context.reps})")
                result = context.stage.run(ALL, GROWTH, universes[size], daemons[size])
                results[size].append(result)
    except TROUBLE as error:
        context.fail("growth", None, error)
    for daemon in daemons.values():
        daemon.stop()
    return _growth_rows(context, {size: runs for size, runs in results.items() if runs})


def _by_socket(size: int) -> Universe:
    """In such an order that the packets of one frame are of one socket, as Kite's are; divided
    among several, a frame would be as many. A new daemon deals its instruments out in turn."""
    universe = Universe(size)
    sockets = -(-size // PER_SOCKET_MAX)
    dealt = [universe.tradables[number::sockets] for number in range(sockets)]
    starts = range(0, len(dealt[0]), GROWTH.packets)
    cuts = [each[start : start + GROWTH.packets] for start in starts for each in dealt]
    universe.tradables = [*chain(*cuts)]
    return universe


def _growth_rows(context: Context, results: dict[int, list[Result]]) -> list[Row]:
    spent = {size: Figure([r.cpu - r.reader for r in runs]) for size, runs in results.items()}
    rows = [
        Row(
            "growth", f"daemon's CPU, {size:,} instruments, {GROWTH.per_s} ticks/s", "us/tick", each
        )
        for size, each in spent.items()
    ]
    lost = sum(r.verdict.lost for runs in results.values() for r in runs)
    context.lose("growth", lost)
    if len(spent) > 1:
        least, most = min(spent), max(spent)
        grown = Figure([spent[most].median / spent[least].median])
        what = f"{most:,} instruments against {least:,}"
        rows.append(Row("growth", what, "times", grown, limit=GROWTH_MAX))
    rows.append(Row("growth", "lost", "ticks", Figure([float(lost)]), limit=0))
    return rows


def idle(context: Context) -> list[Row]:
    """Connected, nothing but a heartbeat and one index tick a second; and what a program holds that
    reads everything. pykiteconnect: one process with as many instruments."""
    readers: dict[Peer, Talker] = {}
    try:
        for peer in (ALL, OFFICIAL):
            readers[peer] = _ready_reader(context, peer)
        return _idle_rows(context, readers)
    except TROUBLE as error:
        context.fail("idle", None, error)
        return []
    finally:
        for reader in readers.values():
            reader.close()


def _ready_reader(context: Context, peer: Peer) -> Talker:
    stage = context.stage
    plan = stage.builder.plan(Shape("full", 1, 1), stage.universe)
    reader = stage.reader(peer)
    reader.tell(stage.spec(peer, plan, stage.universe, context.daemon if peer.is_ours else None))
    reader.hear(60)
    return reader


def _idle_rows(context: Context, readers: dict[Peer, Talker]) -> list[Row]:
    pids = {**context.daemon.pids(), OFFICIAL.key: readers[OFFICIAL].pid}
    percents: dict[str, list[float]] = {name: [] for name in pids}
    for rep in range(min(REPS_MAX, context.reps)):
        context.say(f"idle: {IDLE_S:.0f} s of nothing ({rep + 1})")
        before = {name: cpu_ns(pid) for name, pid in pids.items()}
        time.sleep(IDLE_S)
        for name, pid in pids.items():
            percents[name].append((cpu_ns(pid) - before[name]) / IDLE_S / 1e7)
    theirs = percents.pop(OFFICIAL.key)
    memory = {name: clocks.memory_mb(pid) for name, pid in pids.items()}
    theirs_mb = memory.pop(OFFICIAL.key)
    what = f"{len(context.stage.universe.all):,} instruments"
    together = [sum(each) for each in zip(*percents.values(), strict=True)]
    program_mb = clocks.memory_mb(readers[ALL].pid)
    rows = [
        Row("idle", f"CPU, {what}", "% of a core", Figure(together), Figure(theirs)),
        Row("idle", f"memory, {what}", "MB", Figure([sum(memory.values())]), Figure([theirs_mb])),
        Row("idle", f"memory of a program that reads everything, {what}", "MB",
            Figure([program_mb]), Figure([theirs_mb])),
    ]  # fmt: skip
    rows[0].note = ", ".join(f"{name} {sum(v) / len(v):.2f}" for name, v in percents.items())
    rows[1].note = ", ".join(f"{name} {mb:.0f}" for name, mb in memory.items())
    return rows


def start(context: Context) -> list[Row]:
    """From the command to the last of all values, fresh, in a program."""
    times: dict[str, list[float]] = {"first start": [], "again": [], "official": []}
    universe = context.stage.universe
    try:
        for rep in range(min(REPS_MAX, context.reps)):
            context.say(f"start ({rep + 1})")
            daemon = context.stage.new_daemon(f"start{rep}", universe)
            for name in ("first start", "again"):
                times[name].append(_started_s(daemon, len(universe.all)))
            times["official"].append(_official_s(context))
    except TROUBLE as error:
        context.fail("start", None, error)
    what = f"start to {len(universe.all):,} fresh values"
    return [
        compared("start", f"{what}, {name}", "s", times[name], times["official"])
        for name in ("first start", "again")
    ]


def _started_s(daemon: Daemon, count: int) -> float:
    start_s = time.monotonic()
    daemon.start()
    try:
        with subject.open_feed(daemon.config, []) as feed:
            while not _is_whole(feed, count):
                if time.monotonic() - start_s > START_S_MAX:
                    raise Died(f"{len(feed.values())} values after {START_S_MAX:.0f} s")
                feed.next(0.05)
            return time.monotonic() - start_s
    finally:
        daemon.stop()


def _is_whole(feed: subject.Feed, count: int) -> bool:
    values = feed.values()
    return len(values) >= count and all(tick.is_fresh for tick in values)


def _official_s(context: Context) -> float:
    start_s = time.monotonic()
    with _ready_reader(context, OFFICIAL):
        return time.monotonic() - start_s
