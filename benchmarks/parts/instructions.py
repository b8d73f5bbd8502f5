"""Instructions per full packet, counted by valgrind: the one figure that does not vary.

Two runs of a fresh process, with few and with many rounds; the difference is that of the rounds
alone. As a program: `python -m benchmarks.parts.instructions ours|official FRAME ROUNDS`.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.frames import Builder, Shape, Universe
from benchmarks.measure import Figure
from benchmarks.parts import Context
from benchmarks.table import Row

PACKETS = 90
FEW, MANY = 2, 12
GOAL = 25.0
_COLLECTED = re.compile(r"Collected : (\d+)")


def measure(context: Context) -> list[Row]:
    what = f"decode and encode: full, frame of {PACKETS}"
    row = Row("instructions", what, "instructions/packet", goal=GOAL)
    if shutil.which("valgrind") is None:
        row.note = "valgrind is not installed"
        return [row]
    frame = context.stage.root / "frame"
    frame.write_bytes(Builder().plan(Shape("full", PACKETS, 1), Universe(3_000)).frames[0])
    row.ours, row.official = (
        Figure([_per_packet(context, who, frame)]) for who in ("ours", "official")
    )
    row.better = row.ours.times_better(row.official, is_more_better=False)
    return [row]


def _per_packet(context: Context, who: str, frame: Path) -> float:
    context.progress(f"instructions: {who}, under valgrind")
    few, many = (_counted(who, frame, rounds) for rounds in (FEW, MANY))
    return (many - few) / (MANY - FEW) / PACKETS


def _counted(who: str, frame: Path, rounds: int) -> int:
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable,
         "-m", "benchmarks.parts.instructions", who, str(frame), str(rounds)],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        cwd=Path(__file__).parents[2],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    found = _COLLECTED.search(done.stderr)
    if done.returncode or found is None:
        raise RuntimeError(f"valgrind failed: {done.stderr[-2000:]}")
    return int(found.group(1))


def run(who: str, path: str, rounds: int) -> None:
    frame = Path(path).read_bytes()
    if who == "ours":
        from benchmarks import subject

        for _ in range(rounds):
            subject.recode(frame)
        return
    from kiteconnect import KiteTicker

    official = KiteTicker("key", "token")
    for _ in range(rounds):
        official._parse_binary(frame)


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], int(sys.argv[3]))
