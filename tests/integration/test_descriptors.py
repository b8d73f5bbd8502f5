"""Many programs and few descriptors: real daemons that may open 256 files, and one that may open
as many as this host lets it."""

import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import pytest
import zmq

from kitefeed.client.feed import Feed
from kitefeed.protocol.exits import Exit
from kitefeed.protocol.keys import client_path
from kitefeed.protocol.topology import FEED, WIRES, Role, Wire, endpoint, socket_path
from tests.integration.rig import Rig
from tests.support import eventually, slowness

pytestmark = [pytest.mark.processes, pytest.mark.timeout(150)]

INFY = "NSE:INFY"
FEW = 256
READERS = 5_000
LIMITED = (
    "import os, resource, sys; n = int(sys.argv[1]); "
    "resource.setrlimit(resource.RLIMIT_NOFILE, (n, n)); os.execv(sys.argv[2], sys.argv[2:])"
)


def limited_to(descriptors: int) -> tuple[str, ...]:
    return (sys.executable, "-c", LIMITED, str(descriptors))


class Doorstep(Rig):
    """A daemon whose feed is open over tcp as well, and whose processes may open 256 files."""

    def __init__(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            self.port: int = unused.getsockname()[1]
        self.tcp = f"tcp://127.0.0.1:{self.port}"
        super().__init__(settings=f'[feed]\ntcp = "{self.tcp}"', wrapper=limited_to(FEW))
        assert self.kitefeed("keys", "--client", "desk").returncode == 0
        self.desk = client_path(self.root / "state" / "keys", "desk")

    def pids(self) -> dict[Role, int]:
        return {role: self.pid_of(role) for role in Role}


class Crowd:
    """Connects from a thread, again and again until `wanted` connections stand or it is closed,
    and says nothing on any of them."""

    def __init__(self, family: int, address: object, wanted: int) -> None:
        self._family = family
        self._address = address
        self._wanted = wanted
        self._stopped = threading.Event()
        self._standing: list[socket.socket] = []
        self.tried = 0
        self._thread = threading.Thread(target=self._come, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join()
        for each in self._standing:
            each.close()

    def _come(self) -> None:
        while len(self._standing) < self._wanted and not self._stopped.is_set():
            self.tried += 1
            made = socket.socket(self._family)
            made.settimeout(0.02)
            try:
                made.connect(self._address)
            except OSError:  # the kernel has no room for it just now
                made.close()
            else:
                self._standing.append(made)


@pytest.fixture(scope="module")
def doorstep() -> Iterator[Doorstep]:
    with Doorstep() as rig:
        rig.start()
        yield rig


BEGINS, ENDS = "no room for more connections", "there is room for connections again"


@pytest.fixture
def steady(doorstep: Doorstep) -> Iterator[Doorstep]:
    """The same processes are alive after the test, a program that was there before never noticed,
    and another comes in."""
    before = doorstep.pids()
    with doorstep.feed(INFY) as feed:
        eventually(lambda: is_fresh(feed), 5)
        yield doorstep
        eventually(lambda: is_fresh(feed), 5)  # nobody read it meanwhile: it may connect anew
        assert feed.gaps == 0
    assert doorstep.pids() == before
    with doorstep.feed(INFY) as feed:
        eventually(lambda: is_fresh(feed), 10)


def is_fresh(feed: Feed) -> bool:
    tick = feed.get(INFY)
    return tick is not None and tick.is_fresh


def is_said(doorstep: Doorstep, times: int, sentence: str) -> None:
    # Room may come and go while a crowd comes and goes: then it is said again, and was true.
    eventually(lambda: doorstep.output().count(sentence) >= times, 60)


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_no_number_of_silent_connections_ends_a_process(steady: Doorstep, wire: Wire) -> None:
    times = steady.output().count(BEGINS) + 1
    with Crowd(socket.AF_UNIX, str(socket_path(steady.run_dir, wire)), 600) as crowd:
        eventually(lambda: crowd.tried > 400, 30)
        is_said(steady, times, BEGINS)
    is_said(steady, times, ENDS)


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_no_number_of_idle_programs_ends_a_process(steady: Doorstep, wire: Wire) -> None:
    """They shake hands and stay."""
    times = steady.output().count(BEGINS) + 1
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    made = []
    try:
        for _ in range(400):
            each = context.socket(getattr(zmq, wire.peer_type))
            made.append(each)
            each.linger = 0
            each.connect(endpoint(steady.run_dir, wire))
        is_said(steady, times, BEGINS)
    finally:
        for each in made:
            each.close(0)
        context.term()
    is_said(steady, times, ENDS)


def test_connections_without_a_key_neither_end_the_broadcaster_nor_shut_programs_out(
    steady: Doorstep,
) -> None:
    with (
        Crowd(socket.AF_INET, ("127.0.0.1", steady.port), 1_150),
        Crowd(socket.AF_INET, ("127.0.0.1", steady.port), 1_150) as crowd,
    ):
        eventually(lambda: crowd.tried > 500, 30)
        with steady.feed(INFY) as here:
            eventually(lambda: is_fresh(here), 10)
    with Feed(INFY, endpoint=steady.tcp, keys=steady.desk, timeout_s=10) as there:
        eventually(lambda: is_fresh(there), 10)


def test_every_process_may_open_as_many_files_as_the_hard_limit_lets_it(
    doorstep: Doorstep,
) -> None:
    for role, pid in doorstep.pids().items():
        assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (FEW, FEW), role


def test_a_hard_limit_that_is_too_low_is_a_sentence() -> None:
    with Rig(wrapper=limited_to(100)) as rig:
        rig.launch()
        assert rig.daemon is not None
        assert rig.daemon.wait(20 * slowness()) == Exit.CONFIG
        assert "A process may open 100 files here, and this one needs 200" in rig.output()
        command = (sys.executable, "-m", "kitefeed.cli", "actor", "broadcaster")
        done = subprocess.run(
            [*limited_to(100), *command], env=rig.env, capture_output=True, text=True, timeout=30
        )
        assert done.returncode == Exit.CONFIG
        assert "A process may open 100 files here" in done.stdout + done.stderr


MANY = """
import sys, zmq
context = zmq.Context()
context.set(zmq.MAX_SOCKETS, 60_000)
readers = []
for _ in range(int(sys.argv[2])):
    made = context.socket(zmq.SUB)
    made.linger = 0
    made.setsockopt(zmq.SUBSCRIBE, b"hb/feed\\0")
    made.connect(sys.argv[1])
    readers.append(made)
for made in readers:
    assert made.poll(60_000)
    made.recv()
print("all", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 3 * READERS, reason="this host allows fewer"
)
def test_five_thousand_idle_readers_are_served_and_one_that_reads_prices_never_notices() -> None:
    soft = min(1_024, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    usual = f"import os, resource, sys; resource.setrlimit(7, ({soft}, {hard})); " + (
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    with Rig(wrapper=(sys.executable, "-c", usual)) as rig:
        rig.start()
        pids = {role: rig.pid_of(role) for role in Role}
        with rig.feed(INFY) as feed:
            address = endpoint(rig.run_dir, FEED)
            crowd = subprocess.Popen(
                [sys.executable, "-c", MANY, address, str(READERS)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
            try:
                assert crowd.stdout is not None
                assert crowd.stdout.readline() == b"all\n"
                connected = len(os.listdir(f"/proc/{pids[Role.BROADCASTER]}/fd"))
                assert connected >= READERS
                eventually(lambda: is_fresh(feed), 5)
                assert feed.gaps == 0
            finally:
                crowd.kill()
                crowd.communicate()
        assert {role: rig.pid_of(role) for role in Role} == pids
        assert BEGINS not in rig.output()
