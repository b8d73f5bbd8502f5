"""Asks the kernel about processes of this host: CPU time and memory."""

import os
from pathlib import Path
from typing import NamedTuple

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Usage(NamedTuple):
    """`cpu_s`: used since the process began. `rss_mb`: in memory now, shared pages included."""

    cpu_s: float
    rss_mb: float


def usage_of(pid: int | None) -> Usage | None:
    """Return what a process uses; None for one that has gone, and where there is no /proc."""
    if pid is None:
        return None
    directory = Path("/proc") / str(pid)
    try:
        # The name, in parentheses, may hold spaces; utime and stime are the 12th and 13th after it.
        fields = (directory / "stat").read_text().rpartition(")")[2].split()
        pages = int((directory / "statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return Usage(
        (int(fields[11]) + int(fields[12])) / _TICKS_PER_S, pages * _PAGE_BYTES / 1_000_000
    )
