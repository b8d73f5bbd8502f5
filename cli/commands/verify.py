"""`kitefeed verify DATE`: what a recorded day holds and lacks, and whether Kite says the same."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from kitefeed.cli import output
from kitefeed.client.bar_history import WAIT_NS, BarHistory
from kitefeed.client.bars import Bar
from kitefeed.client.coverage import Coverage, Covered
from kitefeed.client.player import Player
from kitefeed.client.recording import Recording
from kitefeed.protocol.clock import utc_ns
from kitefeed.protocol.errors import KitefeedError
from kitefeed.protocol.kite.candles import DAY_S
from kitefeed.protocol.kite.units import IST, NS_PER_S
from kitefeed.protocol.recording import Gap

CANDLES_MAX = 10  # instruments; Kite answers three such questions a second
ROWS_MAX = 50
SETTLED_NS = 60 * NS_PER_S  # what is recorded is written by then, and Kite's candle final


class Compared(NamedTuple):
    """Bars of a minute beside Kite's candles. differ: minutes whose prices or volume are others."""

    instrument: str
    same: int
    differ: list[str]
    missing: list[str]


@click.command()
@click.argument("date")
@click.argument("instruments", nargs=-1, metavar="[INSTRUMENT]...")
@click.option("--dir", "recordings", type=click.Path(path_type=Path),
              help="Where recordings are; by default record.dir of the configuration.")  # fmt: skip
@click.option("--candles/--no-candles", default=True,
              help=f"Compare {CANDLES_MAX} instruments with Kite's candles.")  # fmt: skip
@click.option("--json", "is_json", is_flag=True, help="One JSON object, for programs.")
def verify(
    date: str, instruments: tuple[str, ...], recordings: Path | None, candles: bool, is_json: bool
) -> None:
    """Say what the recording of DATE (2026-11-30) holds and lacks, instrument by instrument.

    With a session its minutes are compared with Kite's own candles.
    """
    recording = Recording(date, *instruments, dir=recordings)
    wanted, prefixes = recording.wanted
    coverage = Coverage(Player(wanted, prefixes))
    coverage.read(recording.records())
    compared, why_not = _compared(recording, coverage.last_ns) if candles else ([], "not asked for")
    if is_json:
        click.echo(_json(recording, coverage, compared, why_not))
    else:
        click.echo("\n".join(page(recording, coverage, compared, why_not)))


def _json(recording: Recording, coverage: Coverage, compared: list[Compared], why_not: str) -> str:
    found = {
        "date": recording.date,
        "first_ns": coverage.first_ns,
        "last_ns": coverage.last_ns,
        "ticks": coverage.ticks,
        "words_ns": coverage.words_ns,
        "instruments": list(coverage.instruments.values()),
        "silent": _silent(recording, coverage),
        "gaps": [msgspec.structs.asdict(gap) for gap in recording.gaps],
        "damage": recording.damage,
        "candles": [each._asdict() for each in compared],
        "candles_left_out": why_not,
    }
    return msgspec.json.encode(found).decode()


def page(
    recording: Recording, coverage: Coverage, compared: list[Compared], why_not: str
) -> Iterator[str]:
    """Yield the lines that a person reads."""
    began, ended = _time(coverage.first_ns), _time(coverage.last_ns)
    yield (
        f"{recording.date}, {began} to {ended} IST: {coverage.ticks:,} ticks of "
        f"{len(coverage.instruments):,} instruments"
    )
    words = sorted(coverage.words_ns.items(), key=lambda each: -each[1])
    told = [f"{word} {output.age(ns / 1e9)}" for word, ns in words]
    yield f"{'feed':<12}{', '.join(told) or output.NOTHING}"
    gaps = recording.gaps
    lost_s = sum(gap.to_ns - gap.from_ns for gap in gaps) / 1e9
    yield f"{'gaps':<12}{f'{len(gaps)}, {output.age(lost_s)} in all' if gaps else 'none'}"
    yield from (f"  {_gap(gap)}" for gap in gaps[:ROWS_MAX])
    yield from _more(len(gaps))
    yield f"{'damage':<12}{'' if recording.damage else 'none'}".rstrip()
    yield from (f"  {line}" for line in recording.damage)
    if silent := _silent(recording, coverage):
        yield f"{'no tick of':<12}{', '.join(silent[:ROWS_MAX])}"
    yield ""
    yield f"{'instrument':<28}{'ticks':>10}  {'first':>8}  {'last':>8}  {'pause':>8}  fresh  polled"
    rows = sorted(coverage.instruments.values(), key=lambda each: -each.ticks)
    yield from map(_row, rows[:ROWS_MAX])
    yield from _more(len(rows))
    yield ""
    yield f"{'candles':<12}{f'not compared: {why_not}' if why_not else ''}".rstrip()
    yield from map(_candles, compared)


def _row(found: Covered) -> str:
    return (
        f"{found.instrument:<28}{found.ticks:>10,}  {_time(found.first_ns):>8}  "
        f"{_time(found.last_ns):>8}  {output.age(found.longest_pause_ns / 1e9):>8}  "
        f"{found.fresh / found.ticks:>5.0%}  {found.polled / found.ticks:>6.0%}"
    )


def _gap(gap: Gap) -> str:
    state = "only ticks between are missing" if gap.healed else "values were not made good after it"
    lost = f", {gap.lost} messages" if gap.lost else ""
    detail = f" ({gap.detail})" if gap.detail else ""
    took = output.age((gap.to_ns - gap.from_ns) / 1e9)
    return f"{_time(gap.from_ns)} for {took}: {gap.reason}{detail}{lost}; {state}"


def _candles(found: Compared) -> str:
    parts = [f"{found.same} minutes as Kite has them"]
    parts += _counted(found.differ, "differs", "differ")
    parts += _counted(found.missing, "is missing", "are missing")
    return f"  {found.instrument:<26}{'; '.join(parts)}"


def _counted(minutes: list[str], one: str, several: str) -> list[str]:
    if len(minutes) > 1:
        return [f"{len(minutes)} {several}, first {minutes[0]}"]
    return [f"1 {one}: {minute}" for minute in minutes]


def _more(count: int) -> list[str]:
    return [f"  and {count - ROWS_MAX:,} more: --json"] if count > ROWS_MAX else []


def _silent(recording: Recording, coverage: Coverage) -> list[str]:
    return [each.key for each in recording.instruments if each.key not in coverage.instruments]


def _time(utc_ns: int) -> str:
    if not utc_ns:
        return output.NOTHING
    return f"{datetime.fromtimestamp(utc_ns // NS_PER_S, IST):%H:%M:%S}"


# --- Kite's candles -----------------------------------------------------------------------------


def _compared(recording: Recording, last_ns: int) -> tuple[list[Compared], str]:
    """Compare the minutes that are over and recorded up to `last_ns`, or not to come any more, with
    Kite's. Also return why not, where it could not be done."""
    history = BarHistory()
    begin = datetime.fromisoformat(recording.date).replace(tzinfo=IST)
    begin_ns = int(begin.timestamp()) * NS_PER_S
    over_ns = max(last_ns - WAIT_NS, utc_ns() - SETTLED_NS)
    day = begin_ns, min(begin_ns + DAY_S * NS_PER_S, over_ns)
    chosen = recording.instruments[:CANDLES_MAX]
    theirs: dict[str, dict[str, tuple[object, ...]]] = {}
    try:
        for each in chosen:
            bars = history.bars(each.key, each.token, "1m", *day)
            theirs[each.key] = {_time(bar.start_ns)[:5]: _numbers(bar) for bar in bars}
    except KitefeedError as error:
        return [], str(error)
    ours: dict[str, dict[str, tuple[object, ...]]] = {each.key: {} for each in chosen}
    part = Recording(recording.date, [each.key for each in chosen], dir=recording.dir)
    for bar in part.bars("1m"):
        ours[bar.instrument][_time(bar.start_ns)[:5]] = _numbers(bar)
    return [_beside(key, ours[key], theirs[key]) for key in ours], ""


def _numbers(bar: Bar) -> tuple[object, ...]:
    return bar.open, bar.high, bar.low, bar.close, bar.volume or 0


def _beside(
    key: str, ours: dict[str, tuple[object, ...]], theirs: dict[str, tuple[object, ...]]
) -> Compared:
    missing = [minute for minute in theirs if minute not in ours]
    both = [minute for minute in theirs if minute in ours]
    differ = [minute for minute in both if ours[minute] != theirs[minute]]
    return Compared(key, len(both) - len(differ), differ, missing)
