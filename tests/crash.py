"""Kills a process at every single step of what it does.

The step is one event of the interpreter's profiler: every call of a function, C functions included,
and every return from one. So between any two system calls of the code under test there is a kill,
whatever calls it makes; nothing of it is replaced.
"""

import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator

STEPS_MAX = 2_000  # a loop that never ends is a bug of the test


def killed_at_every_step(action: Callable[[], object]) -> Iterator[int]:
    """Runs `action` in a child that dies by `kill -9` at step 1, 2, 3 and so on; yields the step
    after each death. Ends with the first child that came through."""
    for step in range(1, STEPS_MAX):
        if not _is_killed(lambda step=step: _run_until(step, action)):  # type: ignore[misc]
            return
        yield step
    raise AssertionError(f"more than {STEPS_MAX} steps")


def killed_at_every_byte(action: Callable[[], object], stride: int = 1) -> Iterator[int]:
    """The same, but the kernel kills the child when a file of it would grow beyond 0, 1, 2 and so
    on bytes (times `stride`): the write before came through in part."""
    for size in range(0, STEPS_MAX * stride, stride):
        if not _is_killed(lambda size=size: _run_up_to(size, action)):  # type: ignore[misc]
            return
        yield size
    raise AssertionError(f"more than {STEPS_MAX * stride} bytes")


def _run_until(step: int, action: Callable[[], object]) -> None:
    left = step

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    action()
    sys.setprofile(None)


def _run_up_to(size: int, action: Callable[[], object]) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    action()


def _is_killed(run: Callable[[], None]) -> bool:
    """Whether a child that runs this was killed; its other ends are errors."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            run()
            code = 0
        finally:
            os._exit(code)  # never back into the test runner
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the action raised"
    return os.WIFSIGNALED(status)
