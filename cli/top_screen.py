"""`kitefeed top` on a terminal: as many rows as fit, what matters most first."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kitefeed.cli import output
from kitefeed.cli.top_sample import ActorRow, Broadcast, InstrumentRow, Sample, SourceRow
from kitefeed.protocol.messages.status import ReaderStatus

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

READERS_MIN = 3  # rows that each part gets on the smallest screen
INSTRUMENTS_MIN = 3
HEADS = 8  # lines that are not rows: headline, reason, five heads, and the feed's one row
WIDTH_MAX = 100  # wider, one loses the line
SILENT_S = 5.0  # two reports missed: it hangs, or does not look at its feed


def render(sample: Sample, width: int, height: int) -> "RenderableType":
    """Draw all of it, in at most `height` lines where that is possible."""
    from rich.console import Group
    from rich.constrain import Constrain
    from rich.text import Text

    left = height - HEADS - len(sample.actors) - max(1, len(sample.sources))
    readers, instruments = _shares(left, len(sample.readers))
    head = Text(
        f"feed {sample.feed}  source {sample.source}  session {sample.session}  (q ends)",
        style=f"bold {output.colour_of(sample.feed)}",
        no_wrap=True,
    )
    shown = Group(
        head,
        Text(sample.reason or " ", style="dim", no_wrap=True, overflow="ellipsis"),
        _actors(sample.actors),
        _sources(sample.sources),
        _broadcast(sample.broadcast),
        _readers(sample.readers, readers),
        _instruments(sample.busiest[:instruments], sample.stalest[:instruments]),
    )
    return Constrain(shown, min(width, WIDTH_MAX))


def _shares(left: int, readers: int) -> tuple[int, int]:
    """Return how many rows readers and instruments get: readers first, they are what goes wrong."""
    for_readers = max(READERS_MIN, min(readers or 1, left - INSTRUMENTS_MIN))
    return for_readers, max(INSTRUMENTS_MIN, left - max(1, min(readers, for_readers)))


def _actors(actors: list[ActorRow]) -> "Table":
    table = _table("PROCESS", "state", "pid>", "cpu>", "memory>", "lag>", "heard>")
    for actor in actors:
        table.add_row(
            actor.role,
            actor.state,
            str(actor.pid or output.NOTHING),
            _unit(actor.cpu_percent, "%", 1),
            _unit(actor.rss_mb, " MB"),
            _lag(actor.lag_ms),
            output.age(actor.heard_age_s),
            style="" if actor.state == "up" else "bold red",
        )
    return table


def _sources(sources: list[SourceRow]) -> "Table":
    table = _table(
        "SOCKET", "source", "alive", "instr.>", "ticks/s>", "last tick>", "heard>", "index>",
        "polled>",
    )  # fmt: skip
    for row in sources:
        table.add_row(
            str(row.shard),
            row.source,
            "yes" if row.is_alive else "no",
            _count(row.instruments),
            _rate(row.ticks_per_s),
            output.age(row.last_tick_age_s),
            output.age(row.frame_age_s),
            output.age(row.canary_age_s),
            output.age(row.period_s),
            style="" if row.is_alive else "bold red",
        )
    if not sources:
        table.add_row("-", "none")
    return table


def _broadcast(told: Broadcast | None) -> "Table":
    table = _table(
        "FEED",
        "Kite/s>",
        "ticks/s>",
        "latest/s>",
        "readers>",
        "full>",
        "lost>",
        "refused>",
        "damaged>",
    )
    if told is None:
        table.add_row("no heartbeat", style="bold red")
        return table
    table.add_row(
        f"{_count(told.values)} values",
        _rate(told.frames_per_s),
        _rate(told.published_per_s),
        _rate(told.conflated_per_s),
        _count(told.subscribers),
        _count(told.full_queues),
        _count(told.lost_batches),
        _count(told.fenced),
        _count(told.bad_batches),
    )
    return table


def _readers(readers: list[ReaderStatus], rows: int) -> "Table":
    table = _table(
        "PROGRAM", "pid>", "ticks/s>", "lag>", "wait>", "gaps>", "skipped>", "overrun>", "heard>"
    )
    shown = readers if len(readers) <= rows else sorted(readers, key=_trouble)[: rows - 1]
    for row in shown:
        table.add_row(
            row.name,
            str(row.pid or output.NOTHING),
            _rate(row.ticks_per_s),
            _lag(row.lag_ms),
            _count(row.waiting),
            _count(row.gaps),
            _count(row.skipped),
            _count(row.overrun),
            output.age(row.heard_age_s),
            style=_reader_style(row),
        )
    if len(shown) < len(readers):
        table.add_row(f"and {len(readers) - len(shown)} more")
    if not readers:
        table.add_row("none reports itself")
    return table


def _trouble(row: ReaderStatus) -> tuple[bool, float]:
    """Sorts what goes wrong before what does not."""
    return (row.heard_age_s <= SILENT_S, -row.lag_ms)


def _reader_style(row: ReaderStatus) -> str:
    if row.heard_age_s > SILENT_S:
        return "bold red"
    return "yellow" if row.gaps or row.skipped or row.overrun else ""


def _instruments(busiest: Sequence[InstrumentRow], stalest: Sequence[InstrumentRow]) -> "Table":
    table = _table("BUSIEST", "ticks/s>", "STALEST", "age>")
    for number in range(max(len(busiest), len(stalest))):
        busy = busiest[number] if number < len(busiest) else None
        stale = stalest[number] if number < len(stalest) else None
        table.add_row(
            busy.instrument if busy else "",
            _rate(busy.ticks_per_s) if busy else "",
            stale.instrument if stale else "",
            output.age(stale.age_s) if stale else "",
        )
    return table


def _table(*columns: str) -> "Table":
    """`>` after a name: to the right. The first column takes what is left."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0), expand=True, pad_edge=False, header_style="bold")
    for number, name in enumerate(columns):
        table.add_column(
            name.removesuffix(">"),
            justify="right" if name.endswith(">") else "left",
            no_wrap=True,
            overflow="ellipsis",
            ratio=1 if number == 0 else None,
        )
    return table


def _rate(per_s: float | None) -> str:
    if per_s is None:
        return output.NOTHING
    return f"{per_s:,.1f}" if per_s < 100 else f"{per_s:,.0f}"


def _lag(ms: float | None) -> str:
    return output.age(ms / 1e3) if ms is not None and ms >= 1_000 else _unit(ms, " ms")


def _count(number: int) -> str:
    return f"{number:,}"


def _unit(value: float | None, unit: str, decimals: int = 0) -> str:
    return output.NOTHING if value is None else f"{value:,.{decimals}f}{unit}"
