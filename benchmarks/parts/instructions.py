"""Instructions per packet, counted by valgrind: the one figure that does not vary. Of the codec and
of what each process does with a frame, by the compiled loops and by Python alone.

Two runs of a fresh process, with few and with many rounds; the difference is that of the rounds
alone (benchmarks/recode.py, benchmarks/steps.py).
"""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from kiteconnect import KiteTicker

from benchmarks.frames import Shape
from benchmarks.measure import Figure
from benchmarks.parts import TROUBLE, Context, decode
from benchmarks.table import Row
from kitefeed._hot import IS_COMPILED
from kitefeed.protocol.location import PURE_VARIABLE

BASE = Shape("full", 90, 1)
FEW, MANY = 20, 60  # Python adapts its bytecode in the first rounds
GOAL = 25.0
PURE = "kitefeed, pure Python"
CODEC = "decode and encode"
# Of a full packet, compiled.
LIMITS = {
    "ticker": 2_100.0, "broadcaster-all": 2_700.0, "broadcaster-each": 2_700.0,
    "reader-all": 4_100.0, "reader-each": 4_100.0,
}  # fmt: skip
# What two runs have in common. The first to find a changed module would write its bytecode, and the
# second find it: without that both compile it.
_SAME = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
_COLLECTED = re.compile(r"Collected : (\d+)")


class Run(NamedTuple):
    """One run that is counted: a module of benchmarks and what it is to do."""

    module: str
    what: str
    is_pure: bool


def measure(context: Context) -> list[Row]:
    asked = context.asked
    shape = asked.of(BASE)._replace(frames=1)
    is_base = not asked.frame and not asked.mix
    if shutil.which("valgrind") is None:
        row = Row("instructions", CODEC, "instructions/packet", note="valgrind is not installed")
        return [row]
    path = context.stage.root / "frame"
    try:
        frame = decode.frame_of(shape)
        path.write_bytes(frame)
        decode.assert_right(frame, KiteTicker("key", "token"))
        runs = [
            Run("recode", "official", is_pure=False),
            *(Run("recode", "ours", pure) for pure in (False, True)),
            *(Run("steps", step, pure) for step in LIMITS for pure in (False, True)),
        ]
        context.say(f"instructions: {2 * len(runs)} processes under valgrind")
        found = _per_frame(runs, path)
    except TROUBLE as error:
        context.fail("instructions", None, error)
        return []
    return [_row(what, shape, found, runs[0], is_base=is_base) for what in ("ours", *LIMITS)]


def _row(what: str, shape: Shape, found: dict[Run, float], official: Run, *, is_base: bool) -> Row:
    """pykiteconnect has one step, from the frame to its dicts: it stands beside each of ours."""
    name = CODEC if what == "ours" else what
    row = Row("instructions", f"{name}: {shape.mix}, frame of {shape.packets}", "instr./packet")
    module = official.module if what == "ours" else "steps"
    each = {is_pure: found[Run(module, what, is_pure)] / shape.packets for is_pure in (False, True)}
    row.ours, row.others = Figure([each[not IS_COMPILED]]), {PURE: Figure([each[True]])}
    row.official = Figure([found[official] / shape.packets])
    row.better = row.ours.times_better(row.official, is_more_better=False)
    if is_base:
        row.goal = GOAL if what == "ours" else None
        row.limit = LIMITS.get(what) if IS_COMPILED else None
    return row


def _per_frame(runs: list[Run], frame: Path) -> dict[Run, float]:
    """Counts do not mind what else runs, so these run at once."""
    jobs = [(run, rounds) for run in runs for rounds in (FEW, MANY)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counts = list(pool.map(lambda job: _counted(job[0], frame, job[1]), jobs))
    few, many = counts[::2], counts[1::2]
    return {run: (b - a) / (MANY - FEW) for run, a, b in zip(runs, few, many, strict=True)}


def _counted(run: Run, frame: Path, rounds: int) -> int:
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable,
         "-m", f"benchmarks.{run.module}", run.what, str(frame), str(rounds)],
        env={**os.environ, **_SAME, PURE_VARIABLE: str(int(run.is_pure))},
        cwd=Path(__file__).parents[2],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    found = _COLLECTED.search(done.stderr)
    if done.returncode or found is None:
        raise RuntimeError(f"valgrind failed: {done.stderr[-2000:]}")
    return int(found.group(1))
