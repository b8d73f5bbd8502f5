"""The frame server, the daemon, and one reader at a time on it: one run is one measurement."""

import shutil
import tempfile
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec

from benchmarks import frames, handed_over, processes, subject
from benchmarks.check import Verdict
from benchmarks.clocks import Bill, Clocks, Spent
from benchmarks.frames import Builder, Scheme, Shape, Universe
from benchmarks.measure import percentile
from benchmarks.peers import NAMED, Peer
from benchmarks.processes import Daemon, Died, Talker
from benchmarks.reading import Found
from tests.integration.tls import Authority

READY_S, RUN_S, CHECK_S = 60.0, 90.0, 120.0


class WrongTick(RuntimeError):
    """A reader did not get what was sent: no figure of that run means anything."""


class Result(msgspec.Struct):
    """One run. CPU in us per tick: `cpu` of all that carries ticks (for kitefeed ticker,
    broadcaster and reader), `reader` its part, `others` the rest of the daemon, not in `cpu`.
    `sent_per_s`: the rate at which the first socket took them. `threads`: of the whole run."""

    verdict: Verdict
    cpu: float
    reader: float
    others: float
    p50_ms: float
    p99_ms: float
    ticks_per_s: float
    sent_per_s: float
    threads: dict[str, Spent]


class Way(NamedTuple):
    """The way a daemon runs: with the loops in Python, and over which scheme from Kite."""

    is_pure: bool = False
    scheme: Scheme = "ws"


PLAIN = Way()


class Stage:
    """`instruments`: of the one daemon that is started when it is first needed; more by
    `new_daemon`."""

    def __init__(self, instruments: int) -> None:
        self.root = Path(tempfile.mkdtemp(dir="/tmp", prefix="kb-"))
        self.files = Files(self.root)
        self.universe = Universe(instruments)
        self.builder = Builder()
        self.server: Talker | None = None
        self.daemons: list[Daemon] = []
        self.port = self._tls_port = 0
        self._authority = Authority(self.root)

    def __enter__(self) -> Self:
        log = self.root / "server.log"
        certificate = str(self._authority.certificate("127.0.0.1"))
        self.server = processes.python("benchmarks.server", certificate, log=log)
        ports = self.server.hear(30)
        self.port, self._tls_port = ports["port"], ports["tls_port"]
        return self

    def __exit__(self, *_: object) -> None:
        for daemon in self.daemons:
            daemon.stop()
        if self.server is not None:
            self.server.close()
        shutil.rmtree(self.root, ignore_errors=True)

    def daemon(self, name: str, universe: Universe, way: Way = PLAIN) -> Daemon:
        """A live daemon with these instruments; stopped at the end at the latest."""
        daemon = self.new_daemon(name, universe, way=way)
        daemon.start()
        try:
            daemon.wait_until_live()
        except Died:
            daemon.stop()
            raise
        return daemon

    def new_daemon(self, name: str, universe: Universe, more: str = "", way: Way = PLAIN) -> Daemon:
        """One that is not started yet. `more`: at the end of its configuration."""
        daemon = Daemon(
            self.root / name,
            f"http://127.0.0.1:{self.port}",
            f"{way.scheme}://{self._address(way.scheme)}",
            f"bench{name}",
            universe.keys,
            more,
            self._environment(way.is_pure),
        )
        self.daemons.append(daemon)
        return daemon

    def hush(self, *, is_on: bool) -> None:
        """No ticks between runs: for readers that cannot tell them apart."""
        self.command({"do": "hush", "is_on": is_on}, 10)

    def run(
        self,
        peer: Peer,
        shape: Shape,
        universe: Universe,
        daemon: Daemon | None = None,
        when_ready: Callable[[], None] = lambda: None,
        address: str = "",
        scheme: Scheme = "ws",
    ) -> Result:
        """One run: a fresh reader, one plan, its comparison. `when_ready` is called when the reader
        is, before the first frame. `address`: where it reads, if not at the server;
        `scheme`: how, where it is no program of ours. Raises WrongTick when a tick that came was
        not what was sent; lost ones are told in the verdict. Raises Died."""
        plan = self.builder.plan(shape, universe)
        plan.save(self.files.plan)
        spec = self.spec(peer, plan, universe, daemon) | {"scheme": scheme}
        spec["address"] = address or self._address(scheme)
        found, bill = self._streamed(peer, plan, spec, daemon, when_ready)
        result = _result(found, bill, shape, frames.read_stamps(self.files.stamps))
        if not result.verdict.is_right:
            raise WrongTick(f"{peer.title}, {shape.text}: {result.verdict}")
        return result

    def _streamed(
        self,
        peer: Peer,
        plan: frames.Plan,
        spec: dict[str, object],
        daemon: Daemon | None,
        when_ready: Callable[[], None],
    ) -> tuple[Found, Bill]:
        files = self.files
        processes.warm_memory()
        with self.reader(peer) as reader:
            reader.tell(spec)
            reader.hear(READY_S)
            when_ready()
            clocks = _clocks(reader.pid, daemon)
            with self.running([daemon.key if daemon else peer.key], [reader]):
                reader.hear(RUN_S)
                bill = clocks.bill()
            reader.tell(files.for_reader())
            told = reader.hear(CHECK_S)
        if peer.hands_over:
            return handed_over.found(plan, files.stamps, files.ticks), bill
        return files.found(told), bill

    @contextmanager
    def running(self, keys: list[str], readers: list[Talker]) -> Iterator[None]:
        """The server streams to the programs of these keys meanwhile, and has ended when this has,
        however it ends: else the next run would hear of this one."""
        self._server().tell({"do": "run", "keys": keys, **self.files.for_server()})
        try:
            yield
        except BaseException:
            for reader in readers:
                reader.close()  # or it would hold up the server for ever
            self._server().hear(RUN_S)
            raise
        else:
            self._obeyed(RUN_S)
        finally:
            self.command({"do": "end"}, 10)

    def command(self, message: dict[str, object], within_s: float) -> None:
        self._server().tell(message)
        self._obeyed(within_s)

    def _obeyed(self, within_s: float) -> None:
        trouble = self._server().hear(within_s).get("trouble")
        if trouble:
            raise Died(f"the frames could not be sent: {trouble}")

    def _server(self) -> Talker:
        if self.server is None:
            raise RuntimeError("the stage is not entered")
        return self.server

    def reader(self, peer: Peer, name: str = "reader") -> Talker:
        log = self.root / f"{name}.log"
        return Talker(list(peer.command), log, self._environment(peer.is_pure))

    def _environment(self, is_pure: bool) -> dict[str, str]:
        """Of every process that reads: whom to trust over wss, and which loops to take."""
        authority = str(self._authority.path)
        trust = {"SSL_CERT_FILE": authority, "NODE_EXTRA_CA_CERTS": authority}
        return {**trust, subject.PURE_VARIABLE: "1"} if is_pure else trust

    def _address(self, scheme: Scheme) -> str:
        return f"127.0.0.1:{self.port if scheme == 'ws' else self._tls_port}"

    def spec(
        self, peer: Peer, plan: frames.Plan, universe: Universe, daemon: Daemon | None = None
    ) -> dict[str, object]:
        """Return what a reader is told (benchmarks/reading.py)."""
        return {
            "key": peer.key,
            "plan": str(self.files.plan),
            "first_price": plan.first_price,
            "ticks": plan.ticks,
            "config": str(daemon.config) if daemon else "",
            "address": self._address("ws"),
            "keys": _asked(peer, universe),
            "tokens": [token for token, _ in universe.all],
        }


class Files:
    """The files in which one run leaves its plan, its stamps and its latencies."""

    def __init__(self, root: Path) -> None:
        self.plan = root / "plan"
        self.stamps = root / "stamps"
        self.latencies = root / "latencies"
        self.ticks = root / "ticks"  # of a peer that hands over what it decoded

    def for_server(self) -> dict[str, object]:
        return {"plan": str(self.plan), "stamps": str(self.stamps)}

    def for_reader(self) -> dict[str, object]:
        paths = {"stamps": self.stamps, "latencies": self.latencies, "ticks": self.ticks}
        return {name: str(path) for name, path in paths.items()}

    def found(self, told: dict[str, Any]) -> Found:
        latencies_ns = array("q")
        latencies_ns.frombytes(self.latencies.read_bytes())
        return Found(msgspec.convert(told["verdict"], Verdict), latencies_ns, told["took_s"])


def _asked(peer: Peer, universe: Universe) -> list[str]:
    """Return what a Feed is told to read; nothing for everything. Patterns, because of many names
    it would pick the ticks out of the messages that hold all."""
    if peer.key.startswith("each"):
        return sorted({f"{key.partition(':')[0]}:*" for key in universe.keys})
    return universe.keys if peer.key == NAMED.key else []


def _clocks(reader: int, daemon: Daemon | None) -> Clocks:
    pids = daemon.pids() if daemon else {}
    hot = {role: pids.pop(role) for role in map(str, subject.HOT) if role in pids}
    return Clocks(reader, hot, pids.values())


def _result(found: Found, bill: Bill, shape: Shape, stamps: "array[int]") -> Result:
    count = max(1, found.verdict.received)
    sending_s = max(1e-9, (stamps[-1] - stamps[0]) / 1e9)
    return Result(
        verdict=found.verdict,
        cpu=(bill.hot_us + bill.reader_us) / count,
        reader=bill.reader_us / count,
        others=bill.others_us / count,
        p50_ms=percentile(found.latencies_ns, 50) / 1e6,
        p99_ms=percentile(found.latencies_ns, 99) / 1e6,
        ticks_per_s=found.verdict.received / found.took_s if found.took_s else 0.0,
        sent_per_s=shape.packets * (shape.frames - 1) / sending_s,
        threads=bill.threads,
    )
