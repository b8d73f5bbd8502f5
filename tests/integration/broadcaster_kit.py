"""A real broadcaster process in a directory of its own, with a fake source and supervisor."""

import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import zmq

from kitefeed.client.feed import Feed
from kitefeed.client.wants import Asked
from kitefeed.protocol import feed as f
from kitefeed.protocol import sockets
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.feed import FeedState, IngestBatch, Item, Source
from kitefeed.protocol.kite.ticks import FULL, TickBody
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.control import (
    Answer,
    Answers,
    Named,
    NameTokens,
    ReaderReport,
    WantInstruments,
    open_request,
)
from kitefeed.protocol.messages.envelope import Message, seal
from kitefeed.protocol.messages.membership import Beat, BeatAck, Hello, Welcome
from kitefeed.protocol.topics import TICK, tick_topic
from kitefeed.protocol.topology import BUS, CONTROL, FEED, endpoint
from tests.support import Processes, bound, eventually, slowness

MAIN = "from kitefeed.actors.broadcaster.process import main; raise SystemExit(main())"
BEAT_S = 0.2
LIVE = FeedState(feed="live", source="websocket", session="valid", reason="", user_name="Asha")


def item(key: str, price: int, token: int = 408065) -> Item:
    body = TickBody(token, FULL, 100, price, close=100_00, depth=bytes(120))
    return Item(tick_topic(key), 0, msgspec.Raw(f.encode(body)))


class FakeSource:
    """Connects to ingest as a ticker does, and beats from a thread until it is stopped."""

    def __init__(self, runtime_dir: Path, epoch: int, source: Source = Source.WEBSOCKET) -> None:
        self._socket = sockets.connect_ingest(runtime_dir)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._epoch = epoch
        self._source = source
        self._seq = 0
        self._thread = threading.Thread(target=self._beat_forever, daemon=True)
        self._thread.start()

    def send(self, items: Sequence[Item] = ()) -> None:
        """One batch: of ticks, in columns, or of other items."""
        now_ns = boot_ns()
        batch = IngestBatch(f.VERSION, 0, self._epoch, self._source, 0, now_ns, now_ns, 0, 0, [])
        if items and items[0].topic.startswith(TICK):
            batch.topics = [item.topic for item in items]
            batch.bodies = [bytes(item.body) for item in items]
            batch.flags = [item.flags for item in items]
        else:
            batch.items = list(items)
        with self._lock:
            self._seq += 1
            batch.batch_seq = self._seq
            self._socket.send(f.encode(batch))

    def lose(self) -> None:
        """A batch that never arrives."""
        with self._lock:
            self._seq += 1

    def send_raw(self, frame: bytes) -> None:
        with self._lock:
            self._socket.send(frame)

    def _beat_forever(self) -> None:
        while not self._stopped.wait(BEAT_S):
            self.send()

    def stop(self) -> None:
        if not self._stopped.is_set():
            self._stopped.set()
            self._thread.join()
            self._socket.close(0)


class FakeSupervisor:
    """Welcomes the broadcaster, orders what the test says, and keeps what it was told."""

    def __init__(self, runtime_dir: Path) -> None:
        self._bus = bound(sockets.bus_socket(), runtime_dir, BUS)
        self._control = bound(sockets.control_socket(), runtime_dir, CONTROL)
        self._orders: list[Message] = []
        self._stopped = threading.Event()
        self.heard: list[m.BusMessage] = []
        self.reports: list[ReaderReport] = []
        self.refused: dict[str, str] = {}
        self.names: dict[int, str] = {}
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def order(self, *messages: Message) -> None:
        """Said after every Hello, and to the one that is connected now."""
        self._orders.extend(messages)

    def stop_ordering(self) -> None:
        """The next broadcaster gets no grant."""
        self._orders.clear()

    def last(self, kind: type[Message]) -> Message | None:
        return next((h for h in reversed(self.heard) if isinstance(h, kind)), None)

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        self._bus.close(0)
        self._control.close(0)

    def _serve(self) -> None:
        said = 0
        peer = b""
        while not self._stopped.is_set():
            if self._bus.poll(20):
                peer, frame = self._bus.recv_multipart()
                message = m.open_bus(frame)
                self.heard.append(message)
                if isinstance(message, Hello):
                    said = 0
                    self._say(peer, Welcome("supervisor"))
                elif isinstance(message, Beat):
                    self._say(peer, BeatAck())
            while peer and said < len(self._orders):
                self._say(peer, self._orders[said])
                said += 1
            if self._control.poll(0):
                self._answer(*self._control.recv_multipart())

    def _say(self, peer: bytes, message: Message) -> None:
        try:
            self._bus.send_multipart([peer, seal(message)])
        except zmq.ZMQError:  # it was killed
            pass

    def _answer(self, peer: bytes, frame: bytes) -> None:
        request_id, body = open_request(frame)
        if isinstance(body, ReaderReport):
            self.reports.append(body)
            return
        if isinstance(body, NameTokens):
            named = {token: self.names[token] for token in body.tokens if token in self.names}
            self._control.send_multipart([peer, seal(Named(named), re=request_id)])
            return
        assert isinstance(body, WantInstruments)
        answers = tuple(
            Answer(name, "refused", self.refused[name])
            if name in self.refused
            else Answer(name, "accepted")
            for name in body.instruments
        )
        self._control.send_multipart([peer, seal(Answers(answers), re=request_id)])


class Stage:
    """One runtime directory with everything in it; all of it is gone at the end."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="kf", dir="/tmp"))  # a socket path is short
        self.run = self.directory / "run"
        self.run.mkdir(mode=0o700)
        self.state = self.directory / "state"
        self.config = self.directory / "kitefeed.toml"
        self.config.write_text(f'runtime_dir = "{self.run}"\nstate_dir = "{self.state}"\n')
        self.processes = Processes()
        self.supervisors: list[FakeSupervisor] = []
        self._closers: list[Callable[[], None]] = []

    def start(self, before: str = "", main: str = MAIN) -> subprocess.Popen[bytes]:
        """A broadcaster, or another `main`; `before` is code that it runs first."""
        env = {"KITEFEED_CONFIG": str(self.config)}
        return self.processes.start("-c", f"{before}\n{main}", env=env)

    def up(self) -> subprocess.Popen[bytes]:
        """A broadcaster that is heard: a reader's own time then counts from here. One that is still
        starting costs it that, and up to a second of ZeroMQ's pause between two attempts."""
        process = self.start()
        Feed(endpoint=self.feed_endpoint, timeout_s=15 * slowness()).close()
        return process

    def source(self, epoch: int, source: Source = Source.WEBSOCKET) -> FakeSource:
        made = FakeSource(self.run, epoch, source)
        self._closers.append(made.stop)
        return made

    def supervisor(self, *orders: Message) -> FakeSupervisor:
        made = FakeSupervisor(self.run)
        self.supervisors.append(made)
        self._closers.append(made.stop)
        made.order(*orders)
        return made

    def live(self, epoch: int = 7) -> tuple[FakeSupervisor, FakeSource]:
        """A supervisor that grants `epoch` to a streaming source."""
        grant = m.Grant(0, epoch, "websocket")
        return self.supervisor(grant, m.Announce(LIVE)), self.source(epoch)

    @property
    def feed_endpoint(self) -> str:
        return endpoint(self.run, FEED)

    def feed(self, *instruments: str, timeout_s: float = 5.0, **options: Any) -> Feed:
        """A client that does not ask upstream."""
        timeout_s *= slowness()
        made = Feed(*instruments, endpoint=self.feed_endpoint, timeout_s=timeout_s, **options)
        self._closers.append(made.close)
        return made

    def asking_feed(self, *instruments: Asked) -> Feed:
        made = Feed(
            *instruments,
            endpoint=self.feed_endpoint,
            control=endpoint(self.run, CONTROL),
            timeout_s=5.0 * slowness(),
        )
        self._closers.append(made.close)
        return made

    def plain(self, *subscriptions: bytes) -> zmq.Socket[bytes]:
        """A subscriber as any language has it."""
        made = sockets.connect_feed(self.feed_endpoint)
        self._closers.append(lambda: made.close(0))
        for subscription in subscriptions:
            made.setsockopt(zmq.SUBSCRIBE, subscription)
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for close in reversed(self._closers):
            close()
        self.processes.__exit__(kind, error, trace)
        shutil.rmtree(self.directory)


def settle(feed: Feed, source: FakeSource, prices: Mapping[str, int]) -> None:
    """Until `feed` has these values, and nothing else is on its way: what is sent again until it is
    read may come once more, and so these prices are sent behind it, once."""
    eventually(
        lambda: source.send([item(key, 0) for key in prices]) or all(key in feed for key in prices),
        10,
    )
    source.send([item(key, price) for key, price in prices.items()])
    eventually(lambda: all(feed[key].raw.last_price == price for key, price in prices.items()), 10)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(5 * slowness())
