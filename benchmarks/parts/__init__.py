"""The parts of the benchmark: each measures, checks what it measured, and returns rows."""

from collections.abc import Callable

import msgspec

from benchmarks.processes import Daemon
from benchmarks.stage import Stage

INSTRUMENTS = 3_000


class Context(msgspec.Struct):
    """What every part is given. `daemon`: the one with INSTRUMENTS instruments."""

    stage: Stage
    daemon: Daemon
    reps: int
    has_js: bool
    progress: Callable[[str], None]
