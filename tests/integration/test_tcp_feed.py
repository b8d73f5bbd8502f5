"""The feed over tcp from a real broadcaster: whom it lets in, and what it lets out."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import zmq

from kitefeed.client.feed import Feed
from kitefeed.protocol import feed as f
from kitefeed.protocol import keys, private_files, sockets, topics
from kitefeed.protocol.errors import BadInput, ConfigError, Unavailable
from kitefeed.protocol.feed import Item, Notice, OrderUpdate
from kitefeed.protocol.keys import ClientKeys, KeyPair
from tests.integration.broadcaster_kit import Stage, item
from tests.support import eventually

pytestmark = pytest.mark.processes

INFY = "NSE:INFY"
PUBLIC = (topics.TICK, topics.HEARTBEAT, topics.STATE)
PRIVATE = (topics.ORDER, topics.NOTICE)


class TcpStage(Stage):
    """A broadcaster with a tcp feed, and the key of one client called desk."""

    def __init__(self) -> None:
        super().__init__()
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            self.port: int = unused.getsockname()[1]
        self.tcp = f"tcp://127.0.0.1:{self.port}"
        self.keys = self.state / "keys"
        (self.keys / keys.CLIENTS_NAME).mkdir(mode=0o700, parents=True)
        self.server = sockets.new_key_pair()
        text = keys.server_text(self.server)
        private_files.create(keys.server_path(self.keys), text.encode())
        self.desk = self.add_client("desk")
        self.configure()

    def configure(self, more: str = "") -> None:
        self.config.write_text(
            f'runtime_dir = "{self.run}"\nstate_dir = "{self.state}"\n'
            f'[feed]\ntcp = "{self.tcp}"\n{more}\n'
        )

    def add_client(self, name: str) -> Path:
        path = keys.client_path(self.keys, name)
        made = ClientKeys(self.server.public, sockets.new_key_pair())
        private_files.create(path, keys.client_text(made).encode())
        return path

    def remote(self, *instruments: str, timeout_s: float = 5.0) -> Feed:
        made = Feed(*instruments, endpoint=self.tcp, keys=self.desk, timeout_s=timeout_s)
        self._closers.append(made.close)
        return made

    def raw(self, client: ClientKeys | None, *subscriptions: bytes) -> "zmq.Socket[bytes]":
        made = sockets.connect_feed(self.tcp, client)
        self._closers.append(lambda: made.close(0))
        for subscription in subscriptions:
            made.setsockopt(zmq.SUBSCRIBE, subscription)
        return made


@pytest.fixture
def stage() -> Iterator[TcpStage]:
    with TcpStage() as made:
        yield made


def topics_of(socket: "zmq.Socket[bytes]") -> list[bytes]:
    found = []
    while socket.poll(0):
        found.append(f.split_frame(socket.recv())[0])
    return found


def test_ticks_replays_and_snapshots_come_over_tcp_as_they_do_here(stage: TcpStage) -> None:
    stage.start()
    _, source = stage.live()
    here = stage.feed(INFY)

    def has_value() -> bool:
        source.send([item(INFY, 1_500_05)])
        return here.get(INFY) is not None

    eventually(has_value, 5)
    there = stage.remote(INFY)
    assert there[INFY].last_price == 1500.05  # the last value was there when Feed returned
    eventually(lambda: there[INFY].is_fresh, 5)
    everything = stage.remote()
    assert set(everything.snapshot()) == {INFY}
    source.send([item(INFY, 1_600_00)])
    for feed in (here, there, everything):
        eventually(lambda feed=feed: feed[INFY].last_price == 1600.0, 3)
    assert (there.gaps, there.duplicates, there.bad_messages) == (0, 0, 0)


def private_items() -> list[Item]:
    return [
        Item(b"order/77", 0, msgspec.Raw(f.encode(OrderUpdate({"order_id": "77"})))),
        Item(b"notice/message", 0, msgspec.Raw(f.encode(Notice("message", "hello")))),
    ]


@pytest.mark.parametrize("is_allowed", [False, True])
def test_orders_and_notices_leave_over_tcp_only_when_asked_to(
    stage: TcpStage, is_allowed: bool
) -> None:
    stage.configure(f"tcp_orders = {str(is_allowed).lower()}")
    stage.start()
    _, source = stage.live()
    snapshot = topics.snapshot_request("ab", topics.ORDER)
    there = stage.raw(keys.read_client(stage.desk), *PRIVATE, topics.TICK, snapshot)
    here = stage.plain(*PRIVATE)
    got_here: list[bytes] = []
    got_there: list[bytes] = []

    def has_all() -> bool:
        source.send(private_items())
        source.send([item(INFY, 1_500_00)])
        got_here.extend(topics_of(here))
        got_there.extend(topics_of(there))
        return {b"order/77", b"notice/message"} <= set(got_here) and got_there.count(
            topics.tick_topic(INFY)
        ) > 3

    eventually(has_all, 5, every_s=0.1)
    private = {topic for topic in got_there if topic.startswith(PRIVATE)}
    assert private == ({b"order/77", b"notice/message"} if is_allowed else set())


def wrong_server(stage: TcpStage) -> ClientKeys:
    return keys.read_client(stage.desk)._replace(server=sockets.new_key_pair().public)


def unknown_client(stage: TcpStage) -> ClientKeys:
    return ClientKeys(stage.server.public, sockets.new_key_pair())


def stolen_public_key(stage: TcpStage) -> ClientKeys:
    """The public key of a client without the secret that belongs to it."""
    desk = keys.read_client(stage.desk)
    return desk._replace(own=KeyPair(desk.own.public, sockets.new_key_pair().secret))


def no_keys(_: TcpStage) -> None:
    return None


@pytest.mark.parametrize("made", [wrong_server, unknown_client, stolen_public_key, no_keys])
def test_who_has_no_right_key_hears_nothing(stage: TcpStage, made: object) -> None:
    assert callable(made)
    stage.start()
    stage.live()
    stage.remote()  # the door works
    stranger = stage.raw(made(stage), b"")
    assert not stranger.poll(1_500)  # a heartbeat comes every second


def test_a_removed_key_closes_the_door_to_new_connections_at_once(stage: TcpStage) -> None:
    stage.start()
    stage.live()
    stage.remote().close()
    late = keys.read_client(stage.add_client("late"))  # a new key opens it without a restart
    assert stage.raw(late, topics.HEARTBEAT).poll(3_000)
    stage.desk.rename(stage.directory / "desk.key")
    with pytest.raises(Unavailable, match="kitefeed keys --client"):
        Feed(endpoint=stage.tcp, keys=stage.directory / "desk.key", timeout_s=1.5)


def test_an_occupied_address_costs_programs_here_nothing_and_is_tried_again(
    stage: TcpStage,
) -> None:
    with socket.create_server(("127.0.0.1", stage.port)):
        stage.start()
        stage.live()
        stage.feed()
    stage.remote()


def test_without_keys_the_broadcaster_says_misconfigured_and_opens_nothing(
    stage: TcpStage,
) -> None:
    keys.server_path(stage.keys).unlink()
    stage.start()
    feed = stage.feed()
    eventually(lambda: feed.status.feed == "misconfigured", 3)
    assert "kitefeed keys" in feed.status.reason
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", stage.port), 1).close()


WATCHED = """
import ctypes
from kitefeed.actors.broadcaster import process, tcp_feed
as_shipped = tcp_feed.TcpFeed.__init__
def watched(*arguments):
    print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)
    as_shipped(*arguments)
    print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)
tcp_feed.TcpFeed.__init__ = watched
raise SystemExit(process.main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_broadcaster_with_a_key_lets_nobody_look_in(stage: TcpStage) -> None:
    environment = {"KITEFEED_CONFIG": str(stage.config)}
    process = stage.processes.start("-c", WATCHED, env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert [process.stdout.readline(), process.stdout.readline()] == [b"1\n", b"0\n"]


def test_an_encrypted_feed_shows_no_price_on_the_wire(stage: TcpStage) -> None:
    stage.start()
    _, source = stage.live()
    stage.remote().close()  # it is up
    with socket.create_server(("127.0.0.1", 0)) as tap:
        heard: list[bytes] = []
        threading.Thread(target=_relay, args=(tap, stage.port, heard), daemon=True).start()
        address = f"tcp://127.0.0.1:{tap.getsockname()[1]}"
        with Feed(INFY, endpoint=address, keys=stage.desk, timeout_s=5) as feed:

            def has_value() -> bool:
                source.send([item(INFY, 1_500_05)])
                return feed.get(INFY) is not None

            eventually(has_value, 5)
    wire = b"".join(heard)
    assert len(wire) > 500
    assert b"NSE:INFY" not in wire
    assert b"hb/feed" not in wire


def _relay(tap: socket.socket, port: int, heard: list[bytes]) -> None:
    client, _ = tap.accept()
    with client, socket.create_connection(("127.0.0.1", port)) as server:

        def pump(source: socket.socket, sink: socket.socket) -> None:
            try:
                while data := source.recv(65_536):
                    heard.append(data)
                    sink.sendall(data)
            except OSError:
                pass

        threading.Thread(target=pump, args=(client, server), daemon=True).start()
        pump(server, client)


def test_a_tcp_feed_without_a_key_file_is_refused_before_any_connection() -> None:
    with pytest.raises(BadInput, match="keys=FILE"):
        Feed(endpoint="tcp://127.0.0.1:1")
    with pytest.raises(ConfigError, match="does not exist"):
        Feed(endpoint="tcp://127.0.0.1:1", keys="/nowhere/desk.key")
