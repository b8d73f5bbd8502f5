"""The one table: what was measured, beside whom, by how much better, and the goal."""

from collections.abc import Iterable
from itertools import groupby

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.measure import Figure


class Row(msgspec.Struct):
    """`better`: how many times better than the official client, repetition by repetition; `goal`:
    what its median has to reach; `limit`: what none of our repetitions may exceed. `note` says what
    the figures cannot."""

    part: str
    what: str
    unit: str
    ours: Figure | None = None
    official: Figure | None = None
    better: Figure | None = None
    js: Figure | None = None
    goal: float | None = None
    limit: float | None = None
    note: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is; None where there is none, or nothing to compare."""
        if self.limit is not None and self.ours is not None:
            return max(self.ours.values) <= self.limit
        if self.goal is None or self.better is None:
            return None
        return self.better.median >= self.goal


def compared(
    part: str,
    what: str,
    unit: str,
    ours: list[float],
    official: list[float],
    *,
    js: list[float] | None = None,
    goal: float | None = None,
    is_more_better: bool = False,
) -> Row:
    """A row whose repetitions were interleaved with the official client's."""
    own, theirs = Figure(ours), Figure(official)
    better = own.times_better(theirs, is_more_better=is_more_better)
    return Row(part, what, unit, own, theirs, better, Figure(js) if js else None, goal)


def number(value: float) -> str:
    if value >= 1_000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def figure(found: Figure | None) -> str:
    """Median, and the range when there are several."""
    if found is None or not found.values:
        return ""
    low, high = min(found.values), max(found.values)
    if low == high:
        return number(found.median)
    return f"{number(found.median)} [{number(low)}-{number(high)}]"


def goal(row: Row) -> str:
    if row.goal is None and row.limit is None:
        return ""
    word = {True: "met", False: "MISSED", None: "not measured"}[row.is_met]
    sign = f">= {row.goal:g}" if row.limit is None else f"<= {row.limit:g}"
    return f"{sign}: {word}"


CAPTION = "median [lowest-highest] of the repetitions"
HEADS = ("what", "unit", "kitefeed", "pykiteconnect", "times better", "kiteconnectjs", "goal")


def cells(row: Row) -> tuple[str, ...]:
    return (
        f"{row.what} ({row.note})" if row.note else row.what,
        row.unit,
        figure(row.ours),
        figure(row.official),
        figure(row.better),
        figure(row.js),
        goal(row),
    )


def show(rows: Iterable[Row], title: str, console: Console) -> None:
    table = Table(title=title, title_justify="left", caption=CAPTION)
    for head in HEADS:
        table.add_column(head, overflow="fold")
    for _, group in groupby(rows, key=lambda row: row.part):
        table.add_section()
        for row in group:
            table.add_row(*cells(row))
    console.print(table)


def markdown(rows: Iterable[Row], title: str) -> str:
    lines = [title, "", f"| {' | '.join(HEADS)} |", f"|{'---|' * len(HEADS)}"]
    lines += [f"| {' | '.join(cells(row))} |" for row in rows]
    return "\n".join(lines) + "\n"
