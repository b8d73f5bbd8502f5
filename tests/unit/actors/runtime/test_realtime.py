"""Tests who may have the realtime scheduler, why not, and under which budget; and what it does to
the threads and children of a process, in processes of their own."""

import os
import resource
import subprocess
import sys

import pytest

from kitefeed.actors.runtime import realtime
from kitefeed.protocol.topology import Role

SECOND = 1_000_000
INFINITE = resource.RLIM_INFINITY
NOT_PERMITTED = "Operation not permitted"
allowed = pytest.mark.skipif(bool(realtime.refusal()), reason="this host does not allow SCHED_FIFO")


def test_the_supervisor_stands_above_the_processes_that_it_kills() -> None:
    others = [realtime.PRIORITIES[role] for role in realtime.PRIORITIES if role != Role.SUPERVISOR]
    assert others
    assert realtime.PRIORITIES[Role.SUPERVISOR] > max(others)


@pytest.mark.parametrize(
    ("given", "budget"),
    [
        ((INFINITE, INFINITE), (1 * SECOND, 3 * SECOND)),
        ((INFINITE, 2 * SECOND), (1 * SECOND, 2 * SECOND)),
        ((200_000, INFINITE), (200_000, 3 * SECOND)),
        ((200_000, 400_000), (200_000, 400_000)),
        ((400_000, 400_000), (400_000, 400_000)),
        ((9 * SECOND, 9 * SECOND), (1 * SECOND, 3 * SECOND)),
    ],
)
def test_the_budget_never_loosens_what_is_tighter(
    given: tuple[int, int], budget: tuple[int, int]
) -> None:
    assert realtime.budget_us(*given) == budget


def after(seconds: int, cores: float) -> list[tuple[float, float]]:
    """Return what one look a second has found, the last ones of so many."""
    every = [(100.0 + second, 7.0 + second * cores) for second in range(seconds + 1)]
    return every[-realtime.WINDOW_S - 1 :]


@pytest.mark.parametrize(
    ("seconds", "cores", "is_greedy"),
    [(0, 0, False), (5, 2.0, False), (10, 0.79, False), (10, 0.81, True), (900, 0.79, False),
     (900, 1.5, True)],
)  # fmt: skip
def test_who_takes_most_of_a_core_is_greedy_once_it_has_lasted(
    seconds: int, cores: float, is_greedy: bool
) -> None:
    assert realtime.is_greedy(after(seconds, cores)) is is_greedy


def test_a_burst_is_forgotten_when_its_window_is_over() -> None:
    burst = [(second, min(second, 5) * 1.0) for second in range(realtime.WINDOW_S + 1)]
    assert not realtime.is_greedy(burst)


@pytest.mark.parametrize("runtime_us", [500_000, 950_000, 999_999])
def test_a_kernel_that_keeps_a_share_for_the_others_is_no_problem(runtime_us: int) -> None:
    assert realtime.share_problem(runtime_us, SECOND) == ""


@pytest.mark.parametrize(
    ("runtime_us", "what"),
    [(-1, "leaves the other processes nothing"), (SECOND, "leaves the other processes nothing"),
     (0, "too little"), (10_000, "too little")],
)  # fmt: skip
def test_a_kernel_without_a_share_for_one_of_both_is_named_with_the_remedy(
    runtime_us: int, what: str
) -> None:
    sentence = realtime.share_problem(runtime_us, SECOND)
    assert what in sentence
    assert "`sysctl -w kernel.sched_rt_runtime_us=950000`" in sentence


@pytest.mark.parametrize("limit", [0, 10])
def test_a_limit_that_is_too_low_is_named_with_every_way_to_raise_it(limit: int) -> None:
    sentence = realtime.explained(limit, is_privileged=False, reason=NOT_PERMITTED)
    assert f"priority {limit} of the 11" in sentence
    assert "LimitRTPRIO=11" in sentence
    assert "rtprio 11" in sentence


@pytest.mark.parametrize(
    ("limit", "is_privileged"), [(0, True), (11, False), (99, False), (INFINITE, False)]
)
def test_who_would_be_allowed_is_told_what_else_forbids_it(limit: int, is_privileged: bool) -> None:
    sentence = realtime.explained(limit, is_privileged, NOT_PERMITTED)
    assert "control group or container" in sentence
    assert NOT_PERMITTED in sentence
    assert "limits.conf" not in sentence


def test_where_there_is_no_such_scheduler_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realtime, "_HAS_IT", False)
    assert "this system has no SCHED_FIFO" in realtime.refusal()
    assert realtime.runs_without(1)


# Waits for threads by their number: libzmq's are in no list of Python.
IN_IT = """
import logging, os, pathlib, subprocess, sys, threading
import zmq
from kitefeed.actors.runtime.realtime import Realtime

TASKS = pathlib.Path("/proc/self/task")

def policies():
    found = set()
    for each in os.listdir("/proc/self/task"):
        try:
            found.add(os.sched_getscheduler(int(each)) & ~os.SCHED_RESET_ON_FORK)
        except ProcessLookupError:  # the thread of the trial is joined before the kernel drops it
            pass
    return sorted(found)

ASK = "import os; print(os.sched_getscheduler(0))"
context = zmq.Context()
socket = context.socket(zmq.PUB)
never = threading.Event()
threading.Thread(target=never.wait, daemon=True).start()
realtime = Realtime(10, logging.getLogger())
realtime.look()
print(policies())
while sum("ZMQbg" in (each / "comm").read_text() for each in TASKS.iterdir()) < 2:
    pass  # they have begun when they have their names
realtime.look()
print(policies(), len(os.listdir("/proc/self/task")) > 3)
threading.Thread(target=never.wait, daemon=True).start()
realtime.look()
realtime.look()
print(policies())
print(subprocess.run([sys.executable, "-c", ASK], stdout=subprocess.PIPE, text=True).stdout)
"""


@allowed
@pytest.mark.processes
def test_every_thread_has_it_those_of_libzmq_too_and_no_child() -> None:
    done = subprocess.run([sys.executable, "-c", IN_IT], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:4] == ["[0]", "[1] True", "[1]", "0"]


# It was allowed when it began, and is no more: `exec` keeps a policy, and not the capability.
NO_MORE = ("chrt", "--reset-on-fork", "--fifo", "10",
           "setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice")  # fmt: skip
LOSES_IT = """
import logging, os
from kitefeed.actors.runtime.realtime import Realtime

realtime = Realtime(10, logging.getLogger())
before = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK
realtime.lose(0, None)
print(before, os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK)
"""


@allowed
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a capability to lose")
@pytest.mark.processes
def test_it_is_lost_without_any_privilege() -> None:
    command = [*NO_MORE, sys.executable, "-c", LOSES_IT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "0"]
