"""Protects a process's memory, which holds the token: it goes into no file, and to no other
program."""

import resource
import sys

_PR_SET_DUMPABLE = 4  # linux/prctl.h


def forbid_core_dumps() -> None:
    """Set soft and hard limit to 0, so that no child can raise it again."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def close_to_others() -> None:
    """Keep other programs of the same user from attaching to this process or reading its memory
    (prctl(2), PR_SET_DUMPABLE); root still can. It also covers core dumps that are piped to a
    program, which no size limit stops. Linux only: elsewhere nothing is done."""
    if sys.platform == "linux":
        # Imported here: the commands do not need it, and start sooner without.
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
