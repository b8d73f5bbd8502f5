"""The realtime scheduler on real processes: a whole daemon that has it, one that may not, and a
process of the two kinds of busy loop."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kitefeed.actors.runtime import realtime
from kitefeed.protocol.topology import Role
from tests.integration.rig import INSTRUMENTS, Rig
from tests.support import Processes, eventually, slowness

pytestmark = [pytest.mark.processes, pytest.mark.timeout(150)]
allowed = pytest.mark.skipif(bool(realtime.refusal()), reason="this host does not allow SCHED_FIFO")

# A daemon that may not, whoever runs the tests: without the capability, and without the limit.
MAY_NOT = ("prlimit", "--rtprio=0")
if os.geteuid() == 0:
    MAY_NOT += ("setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice")
OTHER, FIFO = getattr(os, "SCHED_OTHER", 0), getattr(os, "SCHED_FIFO", 1)


def policies(pid: int) -> set[tuple[int, int]]:
    """Policy and priority of its threads."""
    found = set()
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            policy = os.sched_getscheduler(int(thread)) & ~os.SCHED_RESET_ON_FORK
            found.add((policy, os.sched_getparam(int(thread)).sched_priority))
        except ProcessLookupError:  # it has ended meanwhile
            continue
    return found


def said(rig: Rig) -> list[str]:
    return re.findall(r"^.* condition=realtime$", rig.output(), re.M)


@allowed
def test_a_daemon_whose_data_processes_have_it_keeps_the_supervisor_above_them() -> None:
    with Rig(settings="realtime = true") as rig:
        rig.start()
        expected = {Role.TICKER: {(FIFO, 10)}, Role.BROADCASTER: {(FIFO, 10)},
                    Role.SUPERVISOR: {(FIFO, 11)}}  # fmt: skip
        for role in Role:
            of_role = expected.get(role, {(OTHER, 0)})
            eventually(lambda role=role, it=of_role: policies(rig.pid_of(role)) == it, 5)  # type: ignore[misc]
        assert rig.daemon is not None
        assert policies(rig.daemon.pid) == {(OTHER, 0)}
        assert "✓ scheduler     realtime: " in rig.kitefeed("doctor").stdout

        ticker = rig.pid_of(Role.TICKER)
        os.kill(ticker, signal.SIGXCPU)  # as the kernel does when the budget is spent
        eventually(lambda: policies(ticker) == {(OTHER, 0)}, 5)
        eventually(lambda: len(said(rig)) == 1, 5)
        assert "has lost the realtime scheduler" in said(rig)[0]
        assert "realtime is set, and ticker run" in rig.kitefeed("doctor").stdout
        with rig.feed(*INSTRUMENTS) as feed:  # it goes on, and the others keep it
            assert eventually(lambda: (tick := feed.next(1)) is not None and tick.is_fresh, 10)
        assert rig.pid_of(Role.TICKER) == ticker
        assert policies(rig.pid_of(Role.BROADCASTER)) == {(FIFO, 10)}
        os.kill(ticker, signal.SIGKILL)  # another life, another budget
        eventually(lambda: rig.pid_of(Role.TICKER) not in (0, ticker), 10)
        eventually(lambda: policies(rig.pid_of(Role.TICKER)) == {(FIFO, 10)}, 10)
        assert len(said(rig)) == 1


def test_a_daemon_that_may_not_says_so_before_and_once_and_is_live_without() -> None:
    with Rig(settings="realtime = true", wrapper=MAY_NOT) as rig:
        before = subprocess.run(
            [*MAY_NOT, sys.executable, "-m", "kitefeed.cli", "doctor"],
            env=rig.env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "! scheduler     realtime is set, and this user may use priority 0" in before.stdout
        assert "LimitRTPRIO=11" in before.stdout
        rig.start()
        at_start = [line for line in rig.output().splitlines() if "realtime is set" in line]
        assert [line.startswith("kitefeed: ") for line in at_start] == [True, False]
        assert len(said(rig)) == 1
        for role in Role:
            assert policies(rig.pid_of(role)) == {(OTHER, 0)}
        assert "run without" in rig.kitefeed("doctor").stdout


# An actor that, told so in the middle of its work, never comes back: in Python, or inside of C.
BUSY = """
import asyncio, signal, sys
from kitefeed.actors.runtime import process
from kitefeed.protocol.topology import Role

def python():
    while True:
        pass

def c():
    sum(range(10**15))

def pausing():
    sum(range(10**6))
    asyncio.get_running_loop().call_later(0.0005, pausing)

async def main(runtime):
    loop = {"c": c, "python": python, "pausing": pausing}[sys.argv[1]]
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, loop)
    await runtime.stopped.wait()

sys.exit(process.run(Role.TICKER, main))
"""


@pytest.fixture
def processes() -> Iterator[Processes]:
    with Processes() as found:
        yield found


def busy(directory: Path, processes: Processes, loop: str) -> "subprocess.Popen[bytes]":
    """A process that has it, and goes round for ever now."""
    config = directory / "kitefeed.toml"
    config.write_text('realtime = true\nruntime_dir = "run"\nstate_dir = "state"\n')
    child = processes.start("-c", BUSY, loop, env={"KITEFEED_CONFIG": str(config)})
    eventually(lambda: policies(child.pid) == {(FIFO, 10)}, 10)
    child.send_signal(signal.SIGUSR1)
    return child


@allowed
def test_a_loop_without_an_end_loses_realtime_and_keeps_nothing_from_the_host(
    tmp_path: Path, processes: Processes
) -> None:
    child = busy(tmp_path, processes, "python")
    eventually(lambda: policies(child.pid) == {(OTHER, 0)}, realtime.BUDGET_S + 1)
    assert child.poll() is None


@allowed
def test_a_loop_that_python_cannot_interrupt_is_ended_by_the_kernel(
    tmp_path: Path, processes: Processes
) -> None:
    child = busy(tmp_path, processes, "c")
    assert child.wait((realtime.KILLED_S + 1) * slowness()) == -signal.SIGKILL


@allowed
def test_who_pauses_and_takes_nearly_all_of_a_core_loses_it_as_well(
    tmp_path: Path, processes: Processes
) -> None:
    child = busy(tmp_path, processes, "pausing")
    eventually(lambda: policies(child.pid) == {(OTHER, 0)}, realtime.WINDOW_S + 5)
    assert child.poll() is None
