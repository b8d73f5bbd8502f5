"""The realtime scheduler for the processes that every tick passes (`realtime = true`): under
SCHED_FIFO they run as soon as they have something to do, whatever else wants the processor.

A process under it could keep the host from everything else. So each has a budget: a thread that ran
for BUDGET_S without waiting for anything costs its process the realtime scheduler for the rest of
its life. The kernel keeps that account (RLIMIT_RTTIME). By SIGKILL it ends a process that goes on
for KILLED_S because its Python cannot act, and it keeps a share of every second for the others. A
process that waits now and then, and has taken most of a core for a while all the same, loses it as
well.
"""

import logging
import os
import re
import resource
import sys
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType

from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.topology import Role

DATA, ABOVE = 10, 11  # below the kernel's own threads, which handle interrupts at 50
# The supervisor kills the two others when they hang; so they must not keep it from that.
PRIORITIES: dict[str, int] = {Role.TICKER: DATA, Role.BROADCASTER: DATA, Role.SUPERVISOR: ABOVE}
BUDGET_S, KILLED_S = 1, 3
CORES_MAX, WINDOW_S = 0.8, 10  # so much of a core for so many s is too much; 9,000 ticks/s take 0.1
SHARE_MIN = 0.5  # of the processor, by the kernel's settings; with less, ticks would wait for it
_SHARE = tuple(Path(f"/proc/sys/kernel/sched_rt_{name}_us") for name in ("runtime", "period"))
_THREADS, _STATUS = Path("/proc/self/task"), Path("/proc/self/status")
_CAP_SYS_NICE = 23  # linux/capability.h
_HAS_IT = sys.platform == "linux"


class Realtime:
    """One process under the realtime scheduler, or a line that says why not. `look` takes its
    threads in, new ones as well: threads and child processes of one that has it begin without
    (SCHED_RESET_ON_FORK). `lose` has to handle SIGXCPU before that.

    A thread is taken in by the second look that meets it. A thread of libzmq's that has just begun
    reads its policy, sets it again, and aborts the process when it was changed in between.
    """

    def __init__(self, priority: int, log: logging.Logger) -> None:
        self._priority = priority
        self._log = log
        self._is_lost = self._is_said = False
        self._met: set[int] = set()  # threads, by the last look
        self._spent: deque[tuple[float, float]] = deque(maxlen=WINDOW_S + 1)
        why = refusal()
        self._is_on = not why
        if why:
            if priority == ABOVE:  # the supervisor says it for all
                log.warning("%s condition=realtime", why)
            return
        limit = resource.RLIMIT_RTTIME
        resource.setrlimit(limit, budget_us(*resource.getrlimit(limit)))

    def look(self) -> None:
        """Call this once a second, in the main thread."""
        if not self._is_on:
            return
        why = "ran for too long without waiting for anything"
        self._spent.append(_spent())
        if not self._is_lost and is_greedy(self._spent):
            why = f"took {CORES_MAX:.0%} of a core or more for {WINDOW_S} s"
            self._is_lost = True
        if self._is_lost and not self._is_said:
            self._is_said = True
            self._log.warning(
                "this process %s, and has lost the realtime scheduler: it goes on as all others "
                "do, until it is started again condition=realtime", why,
            )  # fmt: skip
        threads = _threads()
        if not self._is_lost:
            _schedule(self._met & threads, os.SCHED_FIFO, self._priority)
        self._met = threads
        if self._is_lost:  # the signal may have come in the middle of that
            _schedule(threads, os.SCHED_OTHER, 0)

    def lose(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGXCPU, the budget's end. It says nothing yet: the signal may have come in the
        middle of a line of the log."""
        self._is_lost = True
        _schedule(_threads(), os.SCHED_OTHER, 0)


def refusal() -> str:
    """Say why a process may not have it here, and the remedy: one sentence, or "". Raises the soft
    RLIMIT_RTPRIO where this user may. The trial runs in a thread that ends with it."""
    if not _HAS_IT:
        return (
            "realtime is set, and this system has no SCHED_FIFO: the processes run as all others "
            "do; take the setting out"
        )
    try:
        runtime_us, period_us = (int(path.read_text()) for path in _SHARE)
    except (OSError, ValueError):  # hidden from a container; the budget holds there, too
        pass
    else:
        if why := share_problem(runtime_us, period_us):
            return why
    _raise_limit()
    errors: list[OSError] = []

    def attempt() -> None:
        try:
            os.sched_setscheduler(0, *_of(os.SCHED_FIFO, ABOVE))
        except OSError as error:
            errors.append(error)

    trial = threading.Thread(target=attempt)
    trial.start()
    trial.join()
    if not errors:
        return ""
    limit = resource.getrlimit(resource.RLIMIT_RTPRIO)[1]
    return explained(limit, _is_privileged(), errors[0].strerror or str(errors[0]))


def explained(limit: int, is_privileged: bool, reason: str) -> str:
    """Return the sentence for the highest priority that may be used."""
    if is_privileged or limit == resource.RLIM_INFINITY or limit >= ABOVE:
        return (
            f"realtime is set, and refused although priority {ABOVE} is allowed ({reason}): the "
            "processes run as all others do; let the control group or container have it "
            "(cpu.rt_runtime_us, `docker run --cap-add SYS_NICE`), or take the setting out"
        )
    return (
        f"realtime is set, and this user may use priority {limit} of the {ABOVE} that it takes "
        f"(`ulimit -Hr`): the processes run as all others do; raise it (LimitRTPRIO={ABOVE} in a "
        f"systemd unit, `rtprio {ABOVE}` in /etc/security/limits.conf, `docker run --ulimit "
        f"rtprio={ABOVE}`), or take the setting out"
    )


def share_problem(runtime_us: int, period_us: int) -> str:
    """Say why the kernel gives realtime processes too much or too little of each period; "" when
    neither."""
    if period_us > 0 and SHARE_MIN <= runtime_us / period_us < 1:
        return ""
    what = "leaves the other processes nothing" if runtime_us < 0 or runtime_us >= period_us else (
        "gives realtime processes too little"
    )  # fmt: skip
    return (
        f"realtime is set, and kernel.sched_rt_runtime_us, {runtime_us} of {period_us}, {what}: "
        "the processes run as all others do; `sysctl -w kernel.sched_rt_runtime_us="
        f"{max(period_us, 0) * 95 // 100}`, or take the setting out"
    )


def budget_us(soft_us: int, hard_us: int) -> tuple[int, int]:
    """Return RLIMIT_RTTIME, soft and hard; a limit that is tighter already stays."""
    infinity = resource.RLIM_INFINITY
    given = ((soft_us, BUDGET_S), (hard_us, KILLED_S))
    soft, hard = (
        own_s * 1_000_000 if limit == infinity else min(limit, own_s * 1_000_000)
        for limit, own_s in given
    )
    return min(soft, hard), hard


def is_greedy(spent: Sequence[tuple[float, float]]) -> bool:
    """Whether the process took too much. `spent`: time and CPU spent until then, in seconds, one a
    second."""
    (began_s, before_s), (now_s, spent_s) = spent[0], spent[-1]
    took_s = now_s - began_s
    return took_s >= WINDOW_S * 0.9 and spent_s - before_s >= CORES_MAX * took_s


def runs_without(pid: int) -> bool:
    """Whether this process runs, but not under the realtime scheduler."""
    try:
        return not _HAS_IT or _policy(pid) != os.SCHED_FIFO
    except ProcessLookupError:
        return False


def _is_privileged() -> bool:
    """Whether this process has CAP_SYS_NICE, whoever it runs as."""
    try:
        found = re.search(r"^CapEff:\s*(\w+)$", _STATUS.read_text(), re.M)
    except OSError:
        return False
    return found is not None and bool(int(found[1], 16) >> _CAP_SYS_NICE & 1)


def _spent() -> tuple[float, float]:
    """Return the boot time, and the CPU time of all threads of this process, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return boot_ns() / 1e9, usage.ru_utime + usage.ru_stime


def _raise_limit() -> None:
    """Raise the soft limit, which is 0 where limits.conf raises only the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_RTPRIO)
    if soft != resource.RLIM_INFINITY and soft < ABOVE:
        wanted = ABOVE if hard == resource.RLIM_INFINITY else min(hard, ABOVE)
        resource.setrlimit(resource.RLIMIT_RTPRIO, (wanted, hard))


def _threads() -> set[int]:
    """Return every thread of this process, libzmq's as well."""
    return {int(name) for name in os.listdir(_THREADS)}


def _schedule(threads: Iterable[int], policy: int, priority: int) -> None:
    for thread in threads:
        try:
            if _policy(thread) != policy:
                os.sched_setscheduler(thread, *_of(policy, priority))
        except OSError:  # it has ended meanwhile, or the limit was lowered: it goes on as it is
            continue


def _of(policy: int, priority: int) -> tuple[int, os.sched_param]:
    # The flag stands with either policy: only root may take it away again.
    return policy | os.SCHED_RESET_ON_FORK, os.sched_param(priority)


def _policy(thread: int) -> int:
    return os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK
