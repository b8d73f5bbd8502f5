"""A real NATS server on loopback, and the bridge of a real broadcaster in front of it."""

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from nats.aio.client import Client

from kitefeed.client import nats_wire
from kitefeed.client.feed import Feed
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.topology import FEED, endpoint
from tests.integration.broadcaster_kit import MAIN, FakeSource, Stage, item
from tests.support import Processes, eventually, slowness

SERVER = Path(sysconfig.get_path("scripts")) / "nats-server"
BRIDGE = "from kitefeed.services.nats_bridge.process import main; raise SystemExit(main())"
T = TypeVar("T")
ANYBODY = nats_wire.Login()
PATIENT_S = 15.0  # on a loaded host the bridge needs seconds to start


def asked(
    url: str,
    question: Callable[[Client], AsyncIterator[T]],
    login: nats_wire.Login = ANYBODY,
    on_trouble: Callable[[str], object] = print,
) -> list[T]:
    """The answers to a question to a server."""

    async def ask() -> list[T]:
        client = await nats_wire.connect(url, login, "test", print, on_trouble)
        try:
            return [one async for one in question(client)]
        finally:
            await client.close()

    return asyncio.run(ask())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as made:
        return int(made.getsockname()[1])


class NatsServer:
    """nats-server with JetStream, in a directory of its own; started again it finds its files."""

    def __init__(self, more: str = "", jetstream: str = "") -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="nats", dir="/tmp"))
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self.config = self.directory / "nats.conf"
        self.config.write_text(
            f'listen: "127.0.0.1:{self.port}"\n'
            f'jetstream {{ store_dir: "{self.directory}/store"\n{jetstream} }}\n{more}\n'
        )
        self._processes = Processes()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        with (self.directory / "log").open("ab") as log:
            self.process = self._processes.start(
                "-c", str(self.config), env={}, stdout=log.fileno(), stderr=log.fileno(),
                program=str(SERVER),
            )  # fmt: skip
        eventually(self._answers, 15)
        return self

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 0.2).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(5 * slowness())

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def log_text(self) -> str:
        return (self.directory / "log").read_text()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._processes.__exit__()
        shutil.rmtree(self.directory, ignore_errors=True)


class Proxy:
    """A way to a server that can be made to stall, without a word to either side, or to end."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"nats://127.0.0.1:{self._listener.getsockname()[1]}"
        self._flows = threading.Event()
        self._flows.set()
        self._is_closed = False
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def stall(self) -> None:
        self._flows.clear()

    def go_on(self) -> None:
        self._flows.set()

    def cut(self) -> None:
        """Ends what is connected; the next may connect."""
        sockets, self._sockets = self._sockets, []
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._to))
                except OSError:
                    near.close()
                    continue
                self._sockets += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    def _copy(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError), one, other:
            while data := one.recv(65_536):
                self._flows.wait()
                if self._is_closed:
                    return
                other.sendall(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closed = True
        self._flows.set()
        self._listener.close()
        self.cut()


class Market:
    """Sends a tick of each instrument every `every_s`, at another price each time, and knows what
    is true at any time."""

    def __init__(self, source: FakeSource, keys: Sequence[str], every_s: float = 0.02) -> None:
        self._sources = [source]
        self._keys = keys
        self._every_s = every_s
        self._stopped = threading.Event()
        self.prices: dict[str, int] = dict.fromkeys(keys, 0)  # as sent last
        self.replaced_ns: dict[tuple[str, int], int] = {}  # when a price was sent no more
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        price = 100_00
        while not self._stopped.wait(self._every_s):
            price += 5
            now_ns = boot_ns()
            for key in self._keys:
                self.replaced_ns[key, self.prices[key]] = now_ns
                self.prices[key] = price
            for source in list(self._sources):
                source.send([item(key, price, n) for n, key in enumerate(self._keys, 1)])

    def feed_too(self, source: FakeSource) -> None:
        """Another daemon sees the same market."""
        self._sources.append(source)

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Watcher:
    """Reads a feed as a strategy does, from a thread of its own, and keeps all that it was given:
    `lies`: values that read fresh and had been replaced for longer than `slack_s`."""

    def __init__(self, feed: Feed, market: Market, slack_s: float) -> None:
        self._feed = feed
        self._market = market
        self._slack_ns = int(slack_s * 1e9)
        self._stopped = threading.Event()
        self.seqs: dict[tuple[int, str], list[int]] = {}  # as given out, by gen and instrument
        self.lies: list[str] = []
        self.judged = 0
        self._threads = [
            threading.Thread(target=each, daemon=True) for each in (self._iterate, self._judge)
        ]

    def _iterate(self) -> None:
        while not self._stopped.is_set():
            tick = self._feed.next(0.2)
            if tick is not None:
                self.seqs.setdefault((tick.gen, tick.instrument), []).append(tick.seq)

    def _judge(self) -> None:
        while not self._stopped.wait(0.02):
            asked_ns = boot_ns()
            for key, tick in self._feed.snapshot().items():
                if not tick.is_fresh:
                    continue
                self.judged += 1
                since_ns = self._market.replaced_ns.get((key, tick.raw.last_price), asked_ns)
                if asked_ns - since_ns > self._slack_ns:
                    self.lies.append(f"{tick} was {(asked_ns - since_ns) / 1e9:.2f} s behind")

    @property
    def missing(self) -> int:
        """Ticks between those that it was given."""
        return sum(
            seqs[-1] - seqs[0] + 1 - len(set(seqs)) for (_, _), seqs in self.seqs.items() if seqs
        )

    @property
    def twice(self) -> int:
        return sum(len(seqs) - len(set(seqs)) for seqs in self.seqs.values())

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()


class NatsStage(Stage):
    """A broadcaster with its bridge. `url`: where the bridge publishes; `nats`: more lines of its
    table."""

    def __init__(self, url: str, nats: str = "") -> None:
        super().__init__()
        self.url = url
        with self.config.open("a") as config:
            config.write(f'[nats]\nservers = ["{url}"]\n{nats}\n')
        self.bridge: subprocess.Popen[bytes] | None = None
        self._log = self.directory / "bridge.log"
        self._feeds: list[Feed] = []

    def start_bridge(self, before: str = "") -> subprocess.Popen[bytes]:
        env = {"KITEFEED_CONFIG": str(self.config)}
        with self._log.open("ab") as log:
            self.bridge = self.processes.start(
                "-c", f"{before}\n{BRIDGE}", env=env, stdout=log.fileno(), stderr=log.fileno()
            )
        return self.bridge

    def live_bridge(self) -> FakeSource:
        """All of it, up to the bridge."""
        _, source = self.live()
        self.up()
        with Feed(
            "NSE:NONE", endpoint=endpoint(self.run, FEED), timeout_s=PATIENT_S * slowness()
        ) as here:
            eventually(lambda: (here.next(0.02), is_heard(here))[1], PATIENT_S)
        self.start_bridge()
        return source

    def bridge_log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def nats_feed(self, *instruments: str | Sequence[str], url: str = "", **options: Any) -> Feed:
        options.setdefault("timeout_s", PATIENT_S * slowness())
        made = Feed(*instruments, endpoint=url or self.url, **options)
        self._closers.append(made.close)
        self._feeds.append(made)
        return made

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What a failure cannot tell; of a fixture nobody says whether there was one.
        print(self.bridge_log())
        for feed in self._feeds:
            print(repr(feed.status), {tick.instrument: tick.why_stale for tick in feed.values()})
        super().__exit__(kind, error, trace)


def is_heard(feed: Feed) -> bool:
    """Whether the source has the grant and is connected: what it sends before that comes never."""
    heard = feed.heartbeat
    return heard is not None and any(each.is_alive for each in heard.shards)


class LeafStage(NatsStage):
    """A stage whose feed is read over NATS, whoever asks for it: for tests of the feed itself."""

    @property
    def feed_endpoint(self) -> str:
        return self.url

    def start(self, before: str = "", main: str = MAIN) -> subprocess.Popen[bytes]:
        if self.bridge is None:
            self.start_bridge()
        return super().start(before, main)
