"""Instructions per full packet, counted by valgrind: the one figure that does not vary.

Two runs of a fresh process, with few and with many rounds; the difference is that of the rounds
alone (benchmarks/recode.py).
"""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kiteconnect import KiteTicker

from benchmarks.frames import Shape
from benchmarks.measure import Figure
from benchmarks.parts import TROUBLE, Context, decode
from benchmarks.table import Row

BASE = Shape("full", 90, 1)
FEW, MANY = 2, 12
GOAL = 25.0
_COLLECTED = re.compile(r"Collected : (\d+)")


def measure(context: Context) -> list[Row]:
    asked = context.asked
    shape = asked.of(BASE)._replace(frames=1)
    what = f"decode and encode: {shape.mix}, frame of {shape.packets}"
    goal = None if asked.frame or asked.mix else GOAL
    row = Row("instructions", what, "instructions/packet", goal=goal)
    if shutil.which("valgrind") is None:
        row.note = "valgrind is not installed"
        return [row]
    path = context.stage.root / "frame"
    try:
        frame = decode.frame_of(shape)
        path.write_bytes(frame)
        decode.assert_right(frame, KiteTicker("key", "token"))
        context.say("instructions: four processes under valgrind")
        row.ours, row.official = (Figure([each / shape.packets]) for each in _per_frame(path))
    except TROUBLE as error:
        context.fail("instructions", None, error)
        return []
    row.better = row.ours.times_better(row.official, is_more_better=False)
    return [row]


def _per_frame(frame: Path) -> list[float]:
    """Ours, the official client's. Counts do not mind what else runs, so these run at once."""
    runs = [(who, rounds) for who in ("ours", "official") for rounds in (FEW, MANY)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counts = list(pool.map(lambda run: _counted(run[0], frame, run[1]), runs))
    return [(counts[n + 1] - counts[n]) / (MANY - FEW) for n in (0, 2)]


def _counted(who: str, frame: Path, rounds: int) -> int:
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable,
         "-m", "benchmarks.recode", who, str(frame), str(rounds)],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        cwd=Path(__file__).parents[2],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    found = _COLLECTED.search(done.stderr)
    if done.returncode or found is None:
        raise RuntimeError(f"valgrind failed: {done.stderr[-2000:]}")
    return int(found.group(1))
