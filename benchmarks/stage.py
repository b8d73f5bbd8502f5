"""The frame server, the daemon, and one reader at a time on it: one run is one measurement."""

import shutil
import tempfile
from array import array
from pathlib import Path
from typing import Any, Self

import msgspec

from benchmarks import frames, kiteconnectjs, processes, subject
from benchmarks.check import Verdict
from benchmarks.frames import Builder, Shape, Universe
from benchmarks.measure import percentile
from benchmarks.processes import Daemon, Talker, cpu_ns
from benchmarks.reading import Found

READY_S, RUN_S, CHECK_S = 60.0, 90.0, 120.0
OURS = ("each", "all", "eager")
OFFICIAL, JS = "pykiteconnect", "kiteconnectjs"
# What users' programs call it.
NAMES = {
    "each": "kitefeed, a message for each tick",
    "all": "kitefeed, everything",
    "eager": "kitefeed, everything, every field read",
    OFFICIAL: "pykiteconnect",
    JS: "kiteconnectjs",
}


class WrongTick(RuntimeError):
    """A reader did not get what was sent: no figure of that run means anything."""


class Result(msgspec.Struct):
    """One run. CPU in us per tick: `cpu` of all that carries ticks (for kitefeed ticker,
    broadcaster and reader), `reader` its part, `others` the rest of the daemon, not in `cpu`.
    `sent_per_s`: the rate at which the first socket took them."""

    verdict: Verdict
    cpu: float
    reader: float
    others: float
    p50_ms: float
    p99_ms: float
    ticks_per_s: float
    sent_per_s: float


class Stage:
    """`instruments`: of the one daemon that is started; more by `daemon`."""

    def __init__(self, instruments: int) -> None:
        self.root = Path(tempfile.mkdtemp(dir="/tmp", prefix="kb-"))
        self.files = Files(self.root)
        self.universe = Universe(instruments)
        self.builder = Builder()
        self.server: Talker | None = None
        self.daemons: list[Daemon] = []
        self.port = 0

    def __enter__(self) -> Self:
        log = self.root / "server.log"
        self.server = processes.python("benchmarks.server", log=log)
        self.port = self.server.hear(30)["port"]
        return self

    def __exit__(self, *_: object) -> None:
        for daemon in self.daemons:
            daemon.stop()
        if self.server is not None:
            self.server.close()
        shutil.rmtree(self.root, ignore_errors=True)

    def daemon(self, name: str, universe: Universe) -> Daemon:
        """A live daemon with these instruments; stopped at the end at the latest."""
        daemon = self.new_daemon(name, universe)
        daemon.start()
        daemon.wait_until_live()
        return daemon

    def new_daemon(self, name: str, universe: Universe) -> Daemon:
        """One that is not started yet."""
        daemon = Daemon(self.root / name, self.port, f"bench{name}", universe.keys)
        self.daemons.append(daemon)
        return daemon

    def hush(self, *, is_on: bool) -> None:
        """No ticks between runs: for readers that cannot tell them apart."""
        self.command({"do": "hush", "is_on": is_on}, 10)

    def run(
        self, kind: str, shape: Shape, universe: Universe, daemon: Daemon | None = None
    ) -> Result:
        """One run: a fresh reader, one plan, its comparison. Raises WrongTick when a tick that
        came was not what was sent; lost ones are told in the verdict."""
        files = self.files
        plan = self.builder.plan(shape, universe)
        plan.save(files.plan)
        key = daemon.key if daemon else kind
        with self._reader(kind) as reader:
            reader.tell(self.spec(kind, plan, universe, daemon))
            reader.hear(READY_S)
            clocks = Clocks(reader.pid, daemon)
            self._server().tell({"do": "run", "key": key, **files.for_server()})
            reader.hear(RUN_S)
            spent = clocks.spent_us()
            self._server().hear(RUN_S)
            reader.tell(files.for_reader())
            told = reader.hear(CHECK_S)
        is_js = kind == JS  # it only hands over what it has decoded
        found = kiteconnectjs.found(plan, files.stamps, files.ticks) if is_js else files.found(told)
        result = _result(found, spent, shape, frames.read_stamps(files.stamps))
        if not result.verdict.is_right:
            raise WrongTick(f"{NAMES[kind]}, {shape.text}: {result.verdict}")
        return result

    def command(self, message: dict[str, object], within_s: float) -> None:
        server = self._server()
        server.tell(message)
        server.hear(within_s)

    def _server(self) -> Talker:
        if self.server is None:
            raise RuntimeError("the stage is not entered")
        return self.server

    def _reader(self, kind: str) -> Talker:
        log = self.root / "readers.log"
        if kind == JS:
            return Talker(kiteconnectjs.command("read"), log)
        module = "read_official" if kind == OFFICIAL else "read_feed"
        return processes.python(f"benchmarks.{module}", log=log)

    def spec(
        self, kind: str, plan: frames.Plan, universe: Universe, daemon: Daemon | None
    ) -> dict[str, object]:
        """What a reader is told (benchmarks/reading.py)."""
        return {
            "kind": kind,
            "plan": str(self.files.plan),
            "first_price": plan.first_price,
            "ticks": plan.ticks,
            "config": str(daemon.config) if daemon else "",
            "address": f"127.0.0.1:{self.port}",
            "keys": universe.keys if kind == "each" else [],
            "tokens": [token for token, _ in universe.all],
        }


class Files:
    """Where one run leaves its plan, its stamps and its latencies."""

    def __init__(self, root: Path) -> None:
        self.plan = root / "plan"
        self.stamps = root / "stamps"
        self.latencies = root / "latencies"
        self.ticks = root / "ticks"  # of kiteconnectjs

    def for_server(self) -> dict[str, object]:
        return {"plan": str(self.plan), "stamps": str(self.stamps)}

    def for_reader(self) -> dict[str, object]:
        paths = {"stamps": self.stamps, "latencies": self.latencies, "ticks": self.ticks}
        return {name: str(path) for name, path in paths.items()}

    def found(self, told: dict[str, Any]) -> Found:
        latencies_ns = array("q")
        latencies_ns.frombytes(self.latencies.read_bytes())
        return Found(msgspec.convert(told["verdict"], Verdict), latencies_ns, told["took_s"])


class Clocks:
    """CPU clocks of the reader and of the daemon, from now on."""

    def __init__(self, reader: int, daemon: Daemon | None) -> None:
        pids = daemon.pids() if daemon else {}
        self._hot = [pids[role] for role in subject.HOT if role in pids]
        self._others = [pid for role, pid in pids.items() if role not in subject.HOT]
        self._reader = [reader]
        self._start = self._read()

    def spent_us(self) -> tuple[float, float, float]:
        """Ticker and broadcaster, reader, other processes of the daemon."""
        now = self._read()
        hot, reader, others = (
            (after - before) / 1e3 for after, before in zip(now, self._start, strict=True)
        )
        return hot, reader, others

    def _read(self) -> list[int]:
        groups = (self._hot, self._reader, self._others)
        return [sum(cpu_ns(pid) for pid in group) for group in groups]


def _result(
    found: Found, spent_us: tuple[float, float, float], shape: Shape, stamps: "array[int]"
) -> Result:
    hot, reader, others = spent_us
    count = max(1, found.verdict.received)
    sending_s = max(1e-9, (stamps[-1] - stamps[0]) / 1e9)
    return Result(
        verdict=found.verdict,
        cpu=(hot + reader) / count,
        reader=reader / count,
        others=others / count,
        p50_ms=percentile(found.latencies_ns, 50) / 1e6,
        p99_ms=percentile(found.latencies_ns, 99) / 1e6,
        ticks_per_s=found.verdict.received / found.took_s if found.took_s else 0.0,
        sent_per_s=shape.packets * (shape.frames - 1) / sending_s,
    )
