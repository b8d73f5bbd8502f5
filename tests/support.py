"""Functions that tests of several folders share."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
import zmq

from kitefeed._hot import IS_COMPILED
from kitefeed.actors.runtime import locks
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.errors import Unavailable
from kitefeed.protocol.kite.repack import repack_compiled, repack_in_python
from kitefeed.protocol.kite.ticks import BadFrame, TickBody
from kitefeed.protocol.messages.control import GetStatus, Status
from kitefeed.protocol.messages.status import StatusReport
from kitefeed.protocol.sockets import request
from kitefeed.protocol.topology import CONTROL, Wire, endpoint

T = TypeVar("T")


SLOWNESS_MAX = 5.0


def slowness() -> float:
    """Return how many times as long something may take now as on a host with cores to spare: so
    many processes, or workers of this run, want each core. 1 to 5. Times that tests allow are
    multiplied by it, so that what they say is held to where nothing else runs, and nowhere else."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    per_core = max(workers, os.getloadavg()[0]) / (os.cpu_count() or 1)
    return min(max(per_core, 1.0), SLOWNESS_MAX)


def eventually(condition: Callable[[], T], within_s: float, *, every_s: float = 0.02) -> T:
    """The first true result of `condition`; AssertionError when there is none in time, which is
    `within_s` where nothing else runs (see `slowness`)."""
    start_ns = boot_ns()
    while True:
        result = condition()
        if result:
            return result
        is_over = boot_ns() - start_ns > within_s * slowness() * 1e9
        assert not is_over, f"not within {within_s} s; last result: {result!r}"
        threading.Event().wait(every_s)


async def eventually_async(
    condition: Callable[[], T], within_s: float, *, every_s: float = 0.01
) -> T:
    """As `eventually`, while the loop goes on."""
    start_ns = boot_ns()
    while not (result := condition()):
        is_over = boot_ns() - start_ns > within_s * slowness() * 1e9
        assert not is_over, f"not within {within_s} s; last result: {result!r}"
        await asyncio.sleep(every_s)
    return result


def status_of(run_dir: Path) -> StatusReport | None:
    """Return what `kitefeed status` tells, at a hundredth of its cost, for tests that ask again and
    again; None when nobody answers."""
    if not locks.live_holders(run_dir):
        return None
    try:
        reply = request(endpoint(run_dir, CONTROL), GetStatus(), timeout_s=3.0 * slowness())
    except Unavailable:
        return None
    return reply.report if isinstance(reply, Status) else None


_decode_tick = msgspec.msgpack.Decoder(TickBody).decode


def decode_frame(frame: bytes) -> tuple[list[TickBody], BadFrame | None]:
    """Return what `repack_frame` makes of a frame, as a reader decodes it; every build the same."""
    packets = repack_in_python(frame)
    assert not IS_COMPILED or repack_compiled(frame) == packets
    ticks = [_decode_tick(body) for body in packets.bodies]
    assert packets.tokens == [tick.instrument_token for tick in ticks]
    return ticks, packets.bad


def bound(socket: "zmq.Socket[bytes]", runtime_dir: Path, wire: Wire) -> "zmq.Socket[bytes]":
    """`socket` at the address of `wire`, as libzmq binds it: tests need no door."""
    try:
        socket.bind(endpoint(runtime_dir, wire))
    except zmq.ZMQError:
        socket.close(0)
        raise
    return socket


class Processes:
    """Starts Python processes and, as a context manager, kills every one that is left."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[bytes]] = []

    def start(
        self,
        *arguments: str,
        env: Mapping[str, str],
        stdout: int | None = None,
        stderr: int | None = None,
        program: str = sys.executable,
    ) -> subprocess.Popen[bytes]:
        """`python ARGUMENTS`, or another program, with `env` added to the environment."""
        process = subprocess.Popen(
            [program, *arguments],
            env={**os.environ, **env},
            stdout=stdout,
            stderr=stderr,
        )
        self._started.append(process)
        return process

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(5)
