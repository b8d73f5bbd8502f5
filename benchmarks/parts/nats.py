"""The feed over NATS, over tcp, and as JSON by a naive program: 1, 10 and 100 readers of
everything, one of which decodes, compares and is timed; the others take what comes."""

import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import processes
from benchmarks.clocks import cpu_ns
from benchmarks.frames import Shape
from benchmarks.measure import Figure
from benchmarks.parts import TROUBLE, Context
from benchmarks.peers import JSON, NATS, TCP, Peer
from benchmarks.processes import Daemon, Died
from benchmarks.stage import Result
from benchmarks.subject import pid_of
from benchmarks.table import Row

PART = "NATS"
READERS = (1, 10, 100)
BASE = Shape("full", 10, 300, 1_000)
FULL = Shape("full", 60, 150, 3_000)  # the bridge alone, with one reader
REPS_MAX = 2
SERVER = Path(sysconfig.get_path("scripts")) / "nats-server"


class House(NamedTuple):
    port: int
    server: int  # its pid
    daemon: Daemon

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"


class Run(NamedTuple):
    """CPU in us per tick of what is between the broadcaster and the readers, and of the server."""

    result: Result
    carrier_us: float
    server_us: float


def measure(context: Context) -> list[Row]:
    rows: list[Row] = []
    with _house(context) as house:
        for shape, readers in ((FULL, 1), *((BASE, n) for n in READERS)):
            runs: dict[Peer, list[Run]] = {peer: [] for peer in (NATS, TCP, JSON)}
            for rep in range(min(REPS_MAX, context.reps)):
                for peer, found in runs.items():
                    context.say(f"{PART}, {peer.title}, {readers} readers ({rep + 1})")
                    try:
                        found.append(_run(context, house, peer, shape, readers))
                    except TROUBLE as error:
                        context.fail(f"{PART}, {readers} readers, {peer.title}", peer, error)
            rows += _rows(context, shape, readers, runs)
    return rows


@contextmanager
def _house(context: Context) -> Iterator[House]:
    stage = context.stage
    ports = [_free_port(), _free_port()]
    config = stage.root / "nats.conf"
    config.write_text(
        f'listen: "127.0.0.1:{ports[0]}"\njetstream {{ store_dir: "{stage.root}/js" }}\n'
    )
    daemon = stage.new_daemon(
        "nats", stage.universe,
        f'[feed]\ntcp = "tcp://127.0.0.1:{ports[1]}"\n'
        f'[nats]\nservers = ["nats://127.0.0.1:{ports[0]}"]\n',
    )  # fmt: skip
    command = [sys.executable, "-m", "kitefeed.cli", "--config", str(daemon.config)]
    subprocess.run([*command, "keys", "--client", "bench"], check=True, capture_output=True)
    with (stage.root / "nats.log").open("wb") as log:
        server = subprocess.Popen([SERVER, "-c", config], stdout=log, stderr=log)
    try:
        daemon.start()
        daemon.wait_until_live()
        yield House(ports[0], server.pid, daemon)
    finally:
        daemon.stop()
        server.terminate()
        server.wait(10)


def _run(context: Context, house: House, peer: Peer, shape: Shape, readers: int) -> Run:
    stage, daemon = context.stage, house.daemon
    with ExitStack() as stack:
        carrier = pid_of(daemon.run_dir, "broadcaster" if peer is TCP else "nats_bridge")
        if peer is JSON:
            publisher = processes.python("benchmarks.publish_json", log=stage.root / "json.log")
            stack.enter_context(publisher)
            publisher.tell({"config": str(daemon.config), "url": house.url})
            publisher.hear(60)
            carrier = publisher.pid
        if readers > 1:
            drain = stack.enter_context(
                processes.python("benchmarks.drain", log=stage.root / "drain.log")
            )
            subject = "json.>" if peer is JSON else "kite.tick.>"
            drain.tell({
                "kind": "tcp" if peer is TCP else "nats", "port": house.port, "subject": subject,
                "config": str(daemon.config), "readers": readers - 1,
            })  # fmt: skip
            drain.hear(60)
        before: list[int] = []

        def begin() -> None:
            before[:] = cpu_ns(carrier), cpu_ns(house.server)

        result = stage.run(peer, shape, stage.universe, daemon, begin, house.url)
        count = max(1, result.verdict.received)
        after = cpu_ns(carrier), cpu_ns(house.server)
        spent = [(now - then) / 1e3 / count for now, then in zip(after, before, strict=True)]
        if not result.verdict.received:
            raise Died("nothing came")
        return Run(result, *spent)


def _rows(
    context: Context, shape: Shape, readers: int, runs: dict[Peer, list[Run]]
) -> Iterator[Row]:
    what = f"{readers} readers, {shape.per_s:,} ticks/s"
    picks: tuple[tuple[str, str, Callable[[Run], float]], ...] = (
        ("latency, median", "ms", lambda run: run.result.p50_ms),
        ("latency, p99", "ms", lambda run: run.result.p99_ms),
        ("CPU of bridge, broadcaster or publisher", "us/tick", lambda run: run.carrier_us),
        ("CPU of the NATS server", "us/tick", lambda run: run.server_us),
        ("CPU of a reader", "us/tick", lambda run: run.result.reader),
    )
    for name, unit, pick in picks:
        figures = {
            peer.title: Figure([pick(run) for run in found])
            for peer, found in runs.items() if found
        }  # fmt: skip
        ours = figures.pop(NATS.title, None)
        yield Row(PART, f"{name}, {what}", unit, ours, others=figures)
    lost = [float(run.result.verdict.lost) for run in runs[NATS]]
    context.lose(f"{PART}, {what}", int(sum(lost)))
    yield Row(PART, f"lost over NATS, {what}", "ticks", Figure(lost) if lost else None, limit=0)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as made:
        return int(made.getsockname()[1])
