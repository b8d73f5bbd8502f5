"""Several programs that read the same instruments at the same time, each a process of its own."""

import socket
from array import array
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from benchmarks import processes, subject
from benchmarks.clocks import cpu_ns
from benchmarks.frames import Shape, Universe, read_stamps
from benchmarks.measure import percentile
from benchmarks.peers import Peer
from benchmarks.processes import Daemon, Talker
from benchmarks.stage import CHECK_S, READY_S, RUN_S, Files, Stage, WrongTick

ENDPOINT = "kite_endpoint"


class Member(NamedTuple):
    """One program. `key`: by which the server knows its socket, or its daemon's; `address`: of the
    server, or of the endpoint, as `127.0.0.1:8788`."""

    peer: Peer
    key: str
    address: str


class CrowdResult(NamedTuple):
    """Over all programs. CPU of them and of `shared` processes, in us per tick and program, and in
    percent of a core while it lasted; `left_out`: part of the ticks that somebody was not given."""

    cpu: float
    shared: Mapping[str, float]
    percent: float
    p99_ms: float
    left_out: float


def with_endpoint(stage: Stage, name: str, universe: Universe) -> tuple[Daemon, str]:
    """A daemon, live, and where its endpoint listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    more = f'[kite_endpoint]\nlisten = "{address}"\npassword = "any"\n'
    daemon = stage.new_daemon(name, universe, more)
    daemon.start()
    daemon.wait_until_live()
    return daemon, address


def run(
    stage: Stage,
    members: Sequence[Member],
    shape: Shape,
    universe: Universe,
    daemon: Daemon,
    shared: Sequence[str],
) -> CrowdResult:
    """`shared`: roles of the daemon that are on the bill. Raises WrongTick, Died."""
    plan = stage.builder.plan(shape, universe)
    plan.save(stage.files.plan)
    pids = {role: subject.pid_of(daemon.run_dir, role) for role in shared}
    processes.warm_memory()
    with ExitStack() as stack:
        readers = [
            stack.enter_context(stage.reader(each.peer, f"reader{number}"))
            for number, each in enumerate(members)
        ]
        for reader, each in zip(readers, members, strict=True):
            spec = stage.spec(each.peer, plan, universe, daemon)
            reader.tell({**spec, "key": each.key, "address": each.address})
        for reader in readers:
            reader.hear(READY_S)
        clocks = {**pids, **{str(number): reader.pid for number, reader in enumerate(readers)}}
        before = {name: cpu_ns(pid) for name, pid in clocks.items()}
        keys = list(dict.fromkeys(each.key for each in members))
        with stage.running(keys, readers):
            for reader in readers:
                reader.hear(RUN_S)
            spent_us = {name: (cpu_ns(pid) - before[name]) / 1e3 for name, pid in clocks.items()}
        return _result(stage, readers, shape, spent_us, pids)


def _result(
    stage: Stage,
    readers: list[Talker],
    shape: Shape,
    spent_us: Mapping[str, float],
    shared: Mapping[str, int],
) -> CrowdResult:
    latencies_ns, received = array("q"), 0
    for number, reader in enumerate(readers):
        root = stage.root / f"of-reader{number}"
        root.mkdir(exist_ok=True)
        files = Files(root)
        reader.tell({**files.for_reader(), "stamps": str(stage.files.stamps)})
        found = files.found(reader.hear(CHECK_S))
        if not found.verdict.is_right:
            raise WrongTick(f"reader {number}, {shape.text}: {found.verdict}")
        latencies_ns.extend(found.latencies_ns)
        received += found.verdict.received
    stamps = read_stamps(stage.files.stamps)
    took_us = max(1.0, (stamps[-1] - stamps[0]) / 1e3)
    total_us, ticks = sum(spent_us.values()), shape.ticks * len(readers)
    return CrowdResult(
        cpu=total_us / ticks,
        shared={role: spent_us[role] / ticks for role in shared},
        percent=100 * total_us / took_us,
        p99_ms=percentile(latencies_ns, 99) / 1e6,
        left_out=1 - received / ticks,
    )
