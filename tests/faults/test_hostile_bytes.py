"""A million hostile messages on the daemon's sockets: none passes, nothing dies or grows."""

import os
import random
from collections.abc import Callable, Iterator

import pytest
import zmq

from kitefeed.protocol import feed as f
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.control import GetStatus, WantInstruments
from kitefeed.protocol.messages.envelope import seal
from kitefeed.protocol.messages.membership import Beat
from kitefeed.protocol.topology import BUS, CONTROL, INGEST, Role, Wire, endpoint
from tests.faults.probe import Ledger, Probe
from tests.faults.test_process_faults import until_fresh
from tests.integration.rig import Rig
from tests.support import eventually

pytestmark = [pytest.mark.faults, pytest.mark.timeout(480)]

SEED = 20_261_125
BURST = 250  # below every high-water mark
GROWTH_MB_MAX = 20.0
Mutate = Callable[[random.Random, bytes], bytes]


def noise(source: random.Random, good: bytes) -> bytes:
    return source.randbytes(source.randrange(0, 200))


def cut(source: random.Random, good: bytes) -> bytes:
    return good[: source.randrange(len(good))]


def flipped(source: random.Random, good: bytes) -> bytes:
    """One to four bytes changed: mostly well-formed, and wrong."""
    changed = bytearray(good)
    for _ in range(source.randrange(1, 5)):
        changed[source.randrange(len(changed))] = source.randrange(256)
    return bytes(changed)


def spliced(source: random.Random, good: bytes) -> bytes:
    at = source.randrange(len(good))
    return good[:at] + good[source.randrange(len(good)) :]


MUTATIONS: tuple[Mutate, ...] = (noise, cut, flipped, spliced)


def requests() -> list[bytes]:
    """Nothing that changes anything when only its id is damaged."""
    wanted = WantInstruments(("NSE:NOBODY",), None, is_kept=False, wait_s=0.0)
    return [seal(GetStatus()), seal(wanted)]


def reports() -> list[bytes]:
    """Of one who never said hello."""
    beat = Beat(1, 1, counters={"fenced": 1})
    return [seal(message) for message in (m.Granted(9, 1, "websocket"), beat, m.Polled(9, 1, "ok"))]


def batches() -> list[bytes]:
    """Of an epoch that was never granted; a damaged one may carry any."""
    now_ns = boot_ns()
    columns = [b"tick/NSE:INFY"], [f.encode(tuple(range(19)))], [0]
    batch = f.IngestBatch(f.VERSION, 9, 1, 1, 1, now_ns, now_ns, 0, 0, [], *columns)
    return [f.encode(batch)]


@pytest.fixture
def sender(rig: Rig) -> Iterator[Callable[[Wire, int], "zmq.Socket[bytes]"]]:
    made: list[zmq.Socket[bytes]] = []

    def connect(wire: Wire, kind: int) -> "zmq.Socket[bytes]":
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(kind)
        socket.linger = 0
        socket.sndhwm = 2 * BURST
        socket.rcvhwm = 2 * BURST
        if kind == zmq.XPUB:
            socket.setsockopt(zmq.XPUB_NODROP, 1)
        socket.connect(endpoint(rig.run_dir, wire))
        made.append(socket)
        if kind == zmq.XPUB:
            socket.recv()  # the broadcaster has subscribed
        return socket

    yield connect
    for socket in made:
        socket.close(0)


def rss_mb(pid: int) -> float:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def refusals(rig: Rig, role: Role) -> int:
    rows = {row["role"]: row["counters"] for row in rig.status().get("actors", [])}
    counters = rows.get(role, {})
    return sum(counters.get(name, 0) for name in ("bad_batches", "bad_messages", "bad_items"))


def storm(
    socket: "zmq.Socket[bytes]", seeds: list[bytes], count: int, source: random.Random
) -> None:
    """Sends as fast as they are taken; answers are read and forgotten."""
    for sent in range(count):
        socket.send(source.choice(MUTATIONS)(source, source.choice(seeds)))
        if sent % BURST == 0:
            while socket.type == zmq.DEALER and socket.poll(0):
                socket.recv_multipart()


@pytest.mark.parametrize(
    ("wire", "kind", "seeds", "role", "count"),
    [
        (INGEST, zmq.XPUB, batches, Role.BROADCASTER, 600_000),
        (CONTROL, zmq.DEALER, requests, Role.SUPERVISOR, 200_000),
        (BUS, zmq.DEALER, reports, Role.SUPERVISOR, 200_000),
    ],
    ids=lambda value: value.name if isinstance(value, Wire) else "",
)
def test_19_a_million_hostile_messages_change_nothing(
    rig: Rig,
    probe: Probe,
    sender: Callable[[Wire, int], "zmq.Socket[bytes]"],
    wire: Wire,
    kind: int,
    seeds: Callable[[], list[bytes]],
    role: Role,
    count: int,
) -> None:
    until_fresh(rig, 5)
    ledger = Ledger(rig, probe)
    pids = {each: rig.pid_of(each) for each in Role}
    socket, source, good = sender(wire, kind), random.Random(SEED), seeds()
    storm(socket, good, count // 10, source)
    before_mb, counted = rss_mb(pids[role]), refusals(rig, role)
    storm(socket, good, count - count // 10, source)
    eventually(lambda: refusals(rig, role) > counted + count // 4, 60, every_s=0.5)
    ledger.assert_none_lost()
    assert rss_mb(pids[role]) - before_mb < GROWTH_MB_MAX
    assert {each: rig.pid_of(each) for each in Role} == pids
    assert eventually(lambda: rig.status().get("feed") == "live", 10, every_s=0.2)
    assert rig.errors() == []
