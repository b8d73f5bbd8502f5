"""All of it, or the parts that BENCH names; one table at the end, also as Markdown.

    make bench                                     all but grid, bots and nats: 20 minutes
    make bench BENCH=grid REPS=1                   mix x size of frame x rate: 5 minutes
    make bench BENCH="decode e2e" REPS=3           these parts
    make bench BENCH=e2e ARGS="--rate 20000 --frame 40 --mix full:3,ltp:5,currency:2"
    make bench BENCH=e2e ARGS="--peers pykiteconnect,all --peer mine='node mine.cjs'"

A peer that fails is named in one line and left out; the rest goes on. Exit codes: 0; 1 when
kitefeed failed, got another tick than was sent, or lost one where it had to take all; 2 for a
wrong option; 143 when it is told to stop.
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable

from rich.console import Console

from benchmarks import kiteconnectjs, measure, mixes, npm, peers, report, table
from benchmarks.asked import Asked
from benchmarks.frames import LISTED, BadShape, Builder, Universe
from benchmarks.mixes import BadMix
from benchmarks.parts import (
    TROUBLE,
    Context,
    bars,
    bots,
    daemon,
    decode,
    e2e,
    encode,
    fanout,
    grid,
    instructions,
    maximum,
    nats,
    record,
    threads,
)
from benchmarks.peers import JS, Peer
from benchmarks.stage import Stage
from benchmarks.table import Row

INSTRUMENTS = 3_000  # what Kite allows one socket
PARTS: dict[str, Callable[[Context], list[Row]]] = {
    "decode": decode.measure,
    "encode": encode.measure,
    "bars": bars.measure,
    "record": record.measure,
    "instructions": instructions.measure,
    "e2e": e2e.measure,
    "threads": threads.measure,
    "maximum": maximum.measure,
    "fanout": fanout.measure,
    "growth": daemon.growth,
    "idle": daemon.idle,
    "start": daemon.start,
    "grid": grid.measure,
    "bots": bots.measure,
    "nats": nats.measure,
}
BY_NAME = ("grid", "bots", "nats")  # minutes each: measured when they are named
WITH_JS = ("decode", "e2e", "maximum")


def main() -> int:
    # So that what was started is stopped also when this is told to stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = _parser()
    options = parser.parse_args()
    asked = Asked(
        options.rate, options.frame, options.mix, options.burst, options.seconds,
        "wss" if options.wss else "ws",
    )  # fmt: skip
    try:
        wanted = _wanted(options.parts)
        chosen = _chosen(options.peers, options.peer)
        _try_out(asked, options.instruments)
    except ValueError as error:
        parser.error(str(error))
    facts = report.facts(sys.argv[1:])
    for fact in facts:
        _say(fact)
    rows, context = _measure(wanted, chosen, asked, options)
    facts.append(f"load average at the end: {measure.load()}")
    table.show(rows, "; ".join(facts), Console(width=None if sys.stdout.isatty() else 200))
    _say(f"kept in {report.save(rows, facts, context.failures)}")
    if options.docs:
        report.insert(rows, facts)
        _say(f"written into {report.DOCS}")
    return _end(context)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks",
        description=__doc__,
        epilog=mixes.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all but {', '.join(BY_NAME)}"
    )
    add("--reps", type=_positive, default=3, help="repetitions, interleaved (3)")
    add("--rate", type=_positive, help="ticks per second")
    add("--frame", type=_positive, help="packets of one frame")
    add("--mix", help="kinds of packets by weight, see below")
    add("--burst", type=_positive, help="so many frames are due at once")
    add("--seconds", type=float, help="length of one run")
    add("--wss", action="store_true", help="Kite's socket over TLS (e2e)")
    add("--instruments", type=_positive, default=INSTRUMENTS, help="of the daemon (3000)")
    add("--peers", help=f"who takes part, of {', '.join(peers.KNOWN)}; all but each-eager")
    add(
        "--peer", action="append", default=[], metavar="NAME=COMMAND", help="one more, see peers.py"
    )
    add("--docs", action="store_true", help="also write the table into docs/PERFORMANCE.md")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def _wanted(names: list[str]) -> list[str]:
    unknown = sorted(set(names) - set(PARTS))
    if unknown:
        raise ValueError(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return [name for name in PARTS if name in names or not (names or name in BY_NAME)]


def _chosen(keys: str | None, more: list[str]) -> list[Peer]:
    names = keys.split(",") if keys else peers.DEFAULT
    unknown = sorted(set(names) - set(peers.KNOWN))
    if unknown:
        raise ValueError(f"no such peer: {', '.join(unknown)}; there are {', '.join(peers.KNOWN)}")
    return [*(peers.KNOWN[name] for name in names), *map(peers.other, more)]


def _try_out(asked: Asked, instruments: int) -> None:
    """Raises ValueError when no such frame can be made."""
    if instruments > LISTED:
        raise ValueError(f"there are {LISTED:,} instruments, not {instruments:,}")
    try:
        Builder().plan(asked.of(e2e.BASE)._replace(frames=1), Universe(instruments))
    except (BadMix, BadShape) as error:
        raise ValueError(f"{error} (--mix, --frame, --instruments)") from error


def _measure(
    wanted: list[str], chosen: list[Peer], asked: Asked, options: argparse.Namespace
) -> tuple[list[Row], Context]:
    rows: list[Row] = []
    with Stage(options.instruments) as stage:
        context = Context(stage, chosen, options.reps, asked, _say)
        if JS in chosen and set(wanted) & set(WITH_JS):
            _prepare_js(context)
        for name in wanted:
            started_s = time.monotonic()
            try:
                rows += PARTS[name](context)
            except TROUBLE as error:
                context.fail(name, None, error)
            _say(f"{name} took {time.monotonic() - started_s:.0f} s")
    return rows, context


def _prepare_js(context: Context) -> None:
    if not npm.module(kiteconnectjs.DIRECTORY, kiteconnectjs.PACKAGE).exists():
        _say(f"installing {JS.title}, once")
    reason = kiteconnectjs.why_not()
    if reason:
        context.fail(JS.title, JS, RuntimeError(reason))
        context.peers = [peer for peer in context.peers if peer != JS]


def _end(context: Context) -> int:
    """Says what went wrong, once more and last."""
    for failure in context.failures:
        _say(f"FAILED {failure.line}")
    for lost in context.lost:
        _say(f"LOST {lost}")
    return int(bool(context.lost) or any(failure.is_ours for failure in context.failures))


_STARTED_S = time.monotonic()


def _say(text: str) -> None:
    print(f"{time.monotonic() - _STARTED_S:6.0f} s  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
