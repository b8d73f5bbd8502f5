"""All of it, or the parts that BENCH names; one table at the end.

    make bench                      all, with five interleaved repetitions
    make bench BENCH="decode e2e"   these parts
    make bench REPS=3

Exit codes: 0; 1 when a reader got other ticks than were sent, or none.
"""

import argparse
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console

from benchmarks import kiteconnectjs, measure, table
from benchmarks.parts import (
    INSTRUMENTS,
    Context,
    daemon,
    decode,
    e2e,
    fanout,
    instructions,
    maximum,
)
from benchmarks.stage import Stage
from benchmarks.table import Row

OUT = Path(__file__).parents[1] / "build" / "benchmarks"
PARTS: dict[str, Callable[[Context], list[Row]]] = {
    "decode": decode.measure,
    "instructions": instructions.measure,
    "e2e": e2e.measure,
    "maximum": maximum.measure,
    "fanout": fanout.measure,
    "growth": daemon.growth,
    "idle": daemon.idle,
    "start": daemon.start,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--reps", type=int, default=5)
    options = parser.parse_args()
    unknown = sorted(set(options.parts) - set(PARTS))
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    wanted = [name for name in PARTS if name in options.parts or not options.parts]
    reason = kiteconnectjs.why_not()
    title = _title(wanted, options.reps, reason)
    _say(title)
    rows = _measure(wanted, options.reps, has_js=not reason)
    title += f"; load at the end {measure.load()}"
    table.show(rows, title, Console(width=None if sys.stdout.isatty() else 200))
    _save(rows, title)
    return 0


def _measure(wanted: list[str], reps: int, *, has_js: bool) -> list[Row]:
    rows: list[Row] = []
    with Stage(INSTRUMENTS) as stage:
        _say(f"starting the daemon with {INSTRUMENTS:,} instruments")
        main_daemon = stage.daemon("main", stage.universe)
        context = Context(stage, main_daemon, reps, has_js, _say)
        for name in wanted:
            rows += PARTS[name](context)
    return rows


def _title(wanted: list[str], reps: int, no_js: str) -> str:
    command = f'make bench BENCH="{" ".join(wanted)}" REPS={reps}'
    if len(wanted) == len(PARTS):
        command = f"make bench REPS={reps}"
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    js = f"kiteconnectjs {kiteconnectjs.VERSION}" if not no_js else f"no kiteconnectjs: {no_js}"
    return (
        f"{command}; commit {measure.commit()}; {now}; {measure.machine()}; "
        f"load {measure.load()}; {js}"
    )


def _save(rows: list[Row], title: str) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{measure.commit()}"
    (OUT / f"{name}.md").write_text(table.markdown(rows, title))
    (OUT / f"{name}.json").write_bytes(msgspec.json.encode({"title": title, "rows": rows}))
    _say(f"kept in {OUT / name}.md and .json")


_STARTED_S = time.monotonic()


def _say(text: str) -> None:
    print(f"{time.monotonic() - _STARTED_S:6.0f} s  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
