"""Reads what processes and their threads have spent: CPU time, wake-ups, memory."""

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from kitefeed.protocol.kite.units import NS_PER_S

JIFFY_NS = NS_PER_S // os.sysconf("SC_CLK_TCK")
# What the kernel calls a thread (libzmq names its own) -> what the table calls it.
_THREADS = {"ZMQbg/IO/0": "libzmq", "ZMQbg/Reaper": "libzmq's reaper"}


def cpu_ns(pid: int) -> int:
    """CPU time of a process so far, all its threads, those that ended included.

    Its CPU clock, by the number that clock_getcpuclockid(3) gives on Linux: /proc/PID/stat counts
    the same in steps of 10 ms, a tenth of what a slow run takes and all that one at rest does.
    """
    return time.clock_gettime_ns((~pid << 3) | 2)


def memory_mb(pid: int) -> float:
    """Its share of memory (PSS) where the kernel tells it, else what is resident."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if "Pss:" in line) / 1024
    except (OSError, StopIteration):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def tree(pid: int) -> list[int]:
    """A process and all below it: a peer may be several."""
    found = [pid]
    for each in found:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


class Spent(msgspec.Struct):
    """By one thread: `cpu_us` exactly; `user_us` and `system_us` by the kernel's sampling, so only
    their proportion in a long run means something. `wakes`: how often it had waited."""

    cpu_us: float = 0.0
    user_us: float = 0.0
    system_us: float = 0.0
    wakes: int = 0

    def plus(self, other: "Spent", sign: int = 1) -> "Spent":
        return Spent(
            self.cpu_us + sign * other.cpu_us,
            self.user_us + sign * other.user_us,
            self.system_us + sign * other.system_us,
            self.wakes + sign * other.wakes,
        )


def _threads(pid: int) -> dict[str, Spent]:
    """By name; threads of one name together."""
    found: dict[str, Spent] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            name, spent = _thread(task, is_main=task.name == str(pid))
        except FileNotFoundError:
            continue  # it has ended
        found[name] = found.get(name, Spent()).plus(spent)
    return found


def _thread(task: Path, *, is_main: bool) -> tuple[str, Spent]:
    comm = (task / "comm").read_text().strip()
    name = "main" if is_main else _THREADS.get(comm, "thread")
    fields = (task / "stat").read_text().rpartition(")")[2].split()
    user_us, system_us = (int(fields[n]) * JIFFY_NS / 1e3 for n in (11, 12))
    try:
        cpu_us = int((task / "schedstat").read_text().split()[0]) / 1e3
    except FileNotFoundError:  # a kernel without scheduler statistics
        cpu_us = user_us + system_us
    status = (task / "status").read_text()
    wakes = int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return name, Spent(cpu_us, user_us, system_us, wakes)


class Bill(NamedTuple):
    """CPU in us. `others`: processes of the daemon that carry no ticks. `threads`: those of
    processes that carry ticks, as "ticker, main"."""

    hot_us: float
    reader_us: float
    others_us: float
    threads: dict[str, Spent]


class Clocks:
    """CPU clocks of the reader (and all that it started), and of the daemon, from now on. The
    server that sends the frames is on nobody's bill."""

    def __init__(self, reader: int, hot: dict[str, int], others: Iterable[int]) -> None:
        self._reader = tree(reader)
        self._hot = hot
        self._others = list(others)
        named = {
            "reader": reader,
            **{f"child {n}": pid for n, pid in enumerate(self._reader[1:], 1)},
        }
        self._named = {**hot, **named}
        self._threads = self._read_threads()
        self._start = self._read()

    def bill(self) -> Bill:
        now, threads = self._read(), self._read_threads()
        hot, reader, others = (
            (after - before) / 1e3 for after, before in zip(now, self._start, strict=True)
        )
        spent = {
            name: spent.plus(self._threads.get(name, Spent()), -1)
            for name, spent in threads.items()
        }
        return Bill(hot, reader, others, spent)

    def _read(self) -> list[int]:
        groups = (self._hot.values(), self._reader, self._others)
        return [sum(cpu_ns(pid) for pid in group) for group in groups]

    def _read_threads(self) -> dict[str, Spent]:
        return {
            f"{process}, {thread}": spent
            for process, pid in self._named.items()
            for thread, spent in _threads(pid).items()
        }
