"""One real daemon with every door it has, and what stands before each: modes, the kernel's word
for who is calling, keys, limits."""

import os
import random
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from kitefeed.actors.runtime import locks
from kitefeed.client.feed import Feed
from kitefeed.protocol.keys import client_path
from kitefeed.protocol.location import SECRET_VARIABLE
from kitefeed.protocol.loop_socket import FRAMES_MAX
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.control import GetStatus, Refused, open_reply
from kitefeed.protocol.messages.envelope import seal
from kitefeed.protocol.messages.membership import Hello, Leave
from kitefeed.protocol.topology import (
    BUS,
    CONTROL,
    FEED,
    INGEST,
    WIRES,
    Role,
    Wire,
    endpoint,
    socket_path,
)
from tests.integration.rig import Rig
from tests.support import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

INFY = "NSE:INFY"
NOBODY = 65_534
API_SECRET = "apiSecretApiSecret0123456789"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="acts as another user")


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


class Doors(Rig):
    """A daemon whose feed is open over tcp as well."""

    def __init__(self) -> None:
        self.port = free_port()
        self.tcp = f"tcp://127.0.0.1:{self.port}"
        super().__init__(settings=f'[feed]\ntcp = "{self.tcp}"')
        self.env[SECRET_VARIABLE] = API_SECRET  # as a user has it who logs in from the same shell

    def client_keys(self, name: str) -> Path:
        done = self.kitefeed("keys", "--client", name)
        assert done.returncode == 0, done.stderr
        return client_path(self.root / "state" / "keys", name)

    def pids(self) -> dict[Role, int]:
        return {role: self.pid_of(role) for role in Role}

    def counters(self, role: Role) -> dict[str, int]:
        rows = {row["role"]: row["counters"] for row in self.status()["actors"]}
        found: dict[str, int] = rows[role]
        return found


@pytest.fixture(scope="module")
def doors() -> Iterator[Doors]:
    with Doors() as rig:
        rig.client_keys("desk")
        rig.start()
        yield rig


@pytest.fixture
def steady(doors: Doors) -> Iterator[Doors]:
    """The same processes are alive after the test, and the feed is fresh."""
    before = doors.pids()
    yield doors
    assert doors.pids() == before
    with doors.feed(INFY) as feed:
        eventually(lambda: (tick := feed.get(INFY)) is not None and tick.is_fresh, 5)


# --- modes ----------------------------------------------------------------------------------------


def test_nothing_the_daemon_made_is_open_to_others(doors: Doors) -> None:
    made = [path for name in ("run", "state") for path in (doors.root / name).rglob("*")]
    for wire in WIRES:
        assert doors.run_dir / f"{wire.name}.sock" in made
    loose = {
        str(path.relative_to(doors.root)): oct(path.lstat().st_mode)
        for path in (doors.run_dir, doors.root / "state", *made)
        if path.lstat().st_mode & 0o077 and not stat.S_ISLNK(path.lstat().st_mode)
    }
    assert loose == {}


def test_no_process_may_leave_a_core_dump(doors: Doors) -> None:
    for role, pid in doors.pids().items():
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        (core,) = [line.split() for line in limits if line.startswith("Max core file size")]
        assert core[4:6] == ["0", "0"], role


def test_the_apps_secret_is_not_passed_on_to_any_process(doors: Doors) -> None:
    holder = locks.live_holder(doors.run_dir, Role.SUPERVISOR)
    assert holder is not None
    for pid in (holder.parent_pid, *doors.pids().values()):
        try:
            assert API_SECRET.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
        except PermissionError:  # it holds a token, and we are not root
            assert os.geteuid() != 0


# --- who is calling -------------------------------------------------------------------------------


@pytest.fixture
def opened_up(steady: Doors) -> Iterator[Doors]:
    """The mistake that the kernel's word has to make good: modes that let everybody connect."""
    paths = [steady.root, steady.run_dir]
    before = [path.stat().st_mode for path in paths]
    for path in paths:
        path.chmod(0o755)
    yield steady
    for path, mode in zip(paths, before, strict=True):
        path.chmod(stat.S_IMODE(mode))


AS_NOBODY = """
import os, sys, zmq
from kitefeed.protocol.messages.control import GetStatus, SetSource
from kitefeed.protocol.messages.envelope import seal
from kitefeed.protocol.messages.membership import Hello
os.setgroups([])
os.setgid({id})
os.setuid({id})
socket = zmq.Context.instance().socket(zmq.DEALER)
socket.linger = 0
socket.connect(sys.argv[1])
socket.send(seal({message}, id="mine"))
if not socket.poll(3000):
    sys.exit("no answer")
print(socket.recv().hex())
"""


def say_as_nobody(doors: Doors, wire: Wire, message: str) -> bytes:
    path = socket_path(doors.run_dir, wire)
    path.chmod(0o777)  # until the next program has come: each finds a new file, of mode 0600
    address = endpoint(doors.run_dir, wire)
    code = AS_NOBODY.format(id=NOBODY, message=message)
    done = subprocess.run(
        [sys.executable, "-c", code, address], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return bytes.fromhex(done.stdout)


@needs_root
def test_another_users_command_is_refused_and_named_once(opened_up: Doors) -> None:
    for message in ("SetSource('paused')", "GetStatus()"):
        answered, reply = open_reply(say_as_nobody(opened_up, CONTROL, message))
        assert answered == "mine"
        assert isinstance(reply, Refused)
        assert reply.code == "forbidden"
        assert str(NOBODY) in reply.text
    status = opened_up.status()
    assert status["override"] == "auto"
    line = f"wire=control uid={NOBODY}"
    eventually(lambda: line in opened_up.output(), 3)
    assert opened_up.output().count(line) == 1


@needs_root
def test_another_users_actor_is_sent_away_from_the_bus(opened_up: Doors) -> None:
    hello = "Hello('ticker', 'b', 1, 1, 'v')"
    reply = m.open_bus(say_as_nobody(opened_up, BUS, hello))
    assert isinstance(reply, Leave)
    assert str(NOBODY) in reply.reason
    assert opened_up.counters(Role.SUPERVISOR)["strangers"] > 0


def test_who_says_hello_as_another_process_is_not_heard(steady: Doors) -> None:
    """The supervisor kills by the pid of a hello: it must be that of who says it."""
    victim = steady.pid_of(Role.BROADCASTER)
    before = steady.counters(Role.SUPERVISOR)["bad_messages"]
    with zmq.Context() as context, context.socket(zmq.DEALER) as bus:
        bus.linger = 0
        bus.connect(endpoint(steady.run_dir, BUS))
        bus.send(seal(Hello(Role.TICKER, "boot", victim, 1, "1")))
        eventually(lambda: steady.counters(Role.SUPERVISOR)["bad_messages"] > before, 10)
        assert not bus.poll(0)


def test_a_command_that_changes_something_is_logged_with_who_asked(steady: Doors) -> None:
    assert steady.kitefeed("source", "auto").returncode == 0
    line = f"request=SetSource uid={os.geteuid()} pid="
    eventually(lambda: line in steady.output(), 3)
    assert "request=GetStatus" not in steady.output()


# --- tcp ------------------------------------------------------------------------------------------


def test_nothing_listens_on_tcp_but_the_feed(doors: Doors) -> None:
    listening = {}
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                listening[f"socket:[{fields[9]}]"] = int(fields[1].rpartition(":")[2], 16)
    assert doors.port in listening.values()
    found = set()
    for pid in doors.pids().values():
        try:
            links = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
        except PermissionError:  # it holds a token, and we are not root
            continue
        found |= {listening[link] for link in links if link in listening}
    assert found <= {doors.port}


def test_a_program_with_a_key_reads_over_tcp_what_others_read_here(steady: Doors) -> None:
    with Feed(INFY, endpoint=steady.tcp, keys=steady.client_keys("other-host")) as feed:
        eventually(lambda: (tick := feed.get(INFY)) is not None and tick.is_fresh, 5)
        assert feed.status.feed == "live"
        assert feed.bad_messages == 0


# --- hostile bytes --------------------------------------------------------------------------------

DEEP = b"\x91" * 100_000 + b"\xc0"
SEED = 20_261_123


def rubbish() -> list[list[bytes]]:
    """Messages that no decoder of ours knows."""
    source = random.Random(SEED)
    noise = [[source.randbytes(source.randrange(0, 300))] for _ in range(100)]
    sealed = seal(GetStatus())
    almost = [[sealed[:cut]] for cut in range(1, len(sealed))]
    return [*noise, *almost, [DEEP], [b""], [b"", b""], [b"x"] * (FRAMES_MAX + 5)]


def hostile_socket(doors: Doors, wire: Wire, kind: int) -> "zmq.Socket[bytes]":
    made: zmq.Socket[bytes] = zmq.Context.instance().socket(kind)
    made.linger = 0
    made.sndhwm = 0
    made.connect(endpoint(doors.run_dir, wire))
    return made


@pytest.mark.parametrize("wire", [BUS, CONTROL], ids=lambda wire: wire.name)
def test_rubbish_on_a_control_wire_is_counted_and_changes_nothing(
    steady: Doors, wire: Wire
) -> None:
    before = steady.counters(Role.SUPERVISOR)
    sender = hostile_socket(steady, wire, zmq.DEALER)
    try:
        for frames in rubbish():
            sender.send_multipart(frames)

        def is_counted() -> bool:
            now = steady.counters(Role.SUPERVISOR)
            return (
                now["bad_messages"] >= before["bad_messages"] + 100
                and now["too_many_frames"] > before["too_many_frames"]
            )

        eventually(is_counted, 10, every_s=0.2)
        sender.send(bytes(wire.message_bytes_max + 1))  # libzmq cuts the connection
    finally:
        sender.close(0)


def test_rubbish_on_ingest_is_counted_and_changes_nothing(steady: Doors) -> None:
    before = steady.counters(Role.BROADCASTER)
    sender = hostile_socket(steady, INGEST, zmq.PUB)
    try:

        def is_counted() -> bool:
            for frames in rubbish():
                sender.send_multipart(frames)
            now = steady.counters(Role.BROADCASTER)
            return (
                now["bad_batches"] >= before["bad_batches"] + 100
                and now["too_many_frames"] > before["too_many_frames"]
            )

        eventually(is_counted, 10, every_s=0.5)
        sender.send(bytes(INGEST.message_bytes_max + 1))
    finally:
        sender.close(0)


def test_a_flood_of_subscriptions_is_bounded_and_the_others_are_served(steady: Doors) -> None:
    before = steady.counters(Role.BROADCASTER)["subscriptions_ignored"]
    flooder = hostile_socket(steady, FEED, zmq.SUB)
    try:
        for number in range(20_000):
            flooder.setsockopt(zmq.SUBSCRIBE, b"flood/%d" % number)
        for number in range(300):
            flooder.setsockopt(zmq.SUBSCRIBE, b"long/" + b"x" * 300 + b"%d" % number)
        for number in range(2_000):
            flooder.setsockopt(zmq.SUBSCRIBE, b"~snap!%x!tick/" % number)
        eventually(
            lambda: steady.counters(Role.BROADCASTER)["subscriptions_ignored"] > before,
            15,
            every_s=0.2,
        )
    finally:
        flooder.close(0)


def test_a_subscription_beyond_the_limit_cuts_its_sender_off(steady: Doors) -> None:
    monster = hostile_socket(steady, FEED, zmq.SUB)
    try:
        monster.setsockopt(zmq.SUBSCRIBE, b"hb/feed\0")
        assert monster.poll(3_000)
        monster.setsockopt(zmq.SUBSCRIBE, b"x" * (FEED.message_bytes_max + 1))

        def is_cut() -> bool:
            while monster.poll(0):
                monster.recv()
            return not monster.poll(1_500)

        eventually(is_cut, 10)
    finally:
        monster.close(0)


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_bytes_that_are_no_zeromq_at_all_change_nothing(steady: Doors, wire: Wire) -> None:
    source = random.Random(SEED)
    path = str(steady.run_dir / f"{wire.name}.sock")
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(path)
            try:
                raw.sendall(source.randbytes(source.randrange(1, 2_000)))
            except BrokenPipeError:
                pass


def test_bytes_that_are_no_handshake_on_tcp_change_nothing(steady: Doors) -> None:
    source = random.Random(SEED)
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL".ljust(25, b"\0") + bytes(32)
    for _ in range(20):
        for opening in (b"GET / HTTP/1.1\r\n\r\n", greeting, b""):
            with socket.create_connection(("127.0.0.1", steady.port)) as raw:
                try:
                    raw.sendall(opening + source.randbytes(source.randrange(1, 2_000)))
                except OSError:
                    pass
