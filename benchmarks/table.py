"""The one table: what was measured, beside whom, by how much better, and the goal."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.measure import Figure


class Row(msgspec.Struct):
    """`better`: how many times better than the official client, repetition by repetition; `goal`:
    what its median has to reach; `limit`: what none of our repetitions may exceed. `others`: more
    peers, by their title. `note` says what the figures cannot."""

    part: str
    what: str
    unit: str
    ours: Figure | None = None
    official: Figure | None = None
    better: Figure | None = None
    others: dict[str, Figure] = {}
    goal: float | None = None
    limit: float | None = None
    note: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is; None where there is none, or nothing to compare."""
        if self.limit is not None and self.ours is not None and self.ours.values:
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
    others: Mapping[str, list[float]] | None = None,
    goal: float | None = None,
    is_more_better: bool = False,
) -> Row:
    """A row whose repetitions were interleaved with the official client's."""
    row = Row(part, what, unit, _figure(ours), _figure(official), goal=goal)
    row.others = {title: Figure(values) for title, values in (others or {}).items() if values}
    if row.ours is not None and row.official is not None:
        row.better = row.ours.times_better(row.official, is_more_better=is_more_better)
    return row


def _figure(values: list[float]) -> Figure | None:
    return Figure(values) if values else None


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


CAPTION = "median of the repetitions, and the lowest and highest where they differ"
OURS, OFFICIAL = "kitefeed", "pykiteconnect"


def peers_of(rows: Iterable[Row]) -> list[str]:
    """The titles of all other peers, in the order of their first row."""
    return list(dict.fromkeys(title for row in rows for title in row.others))


def heads(peers: Sequence[str]) -> tuple[str, ...]:
    return ("what", "unit", OURS, OFFICIAL, "times better", *peers, "goal")


def cells(row: Row, peers: Sequence[str]) -> tuple[str, ...]:
    return (
        f"{row.what} ({row.note})" if row.note else row.what,
        row.unit,
        figure(row.ours),
        figure(row.official),
        figure(row.better),
        *(figure(row.others.get(title)) for title in peers),
        goal(row),
    )


def show(rows: Sequence[Row], title: str, console: Console) -> None:
    peers = peers_of(rows)
    table = Table(title=title, title_justify="left", caption=CAPTION)
    for head in heads(peers):
        table.add_column(head, overflow="fold")
    for _, group in groupby(rows, key=lambda row: row.part):
        table.add_section()
        for row in group:
            table.add_row(*cells(row, peers))
    console.print(table)


def markdown(rows: Sequence[Row], facts: Iterable[str]) -> str:
    """As docs/PERFORMANCE.md has it: the facts of the run, then a table for each part."""
    lines = [f"- {fact}" for fact in facts]
    lines += ["", f"Each figure is the {CAPTION}."]
    for part, group in groupby(rows, key=lambda row: row.part):
        of_part = list(group)
        peers = peers_of(of_part)
        lines += ["", f"### {part.capitalize()}", ""]
        lines += [f"| {' | '.join(heads(peers))} |", "|---" * len(heads(peers)) + "|"]
        lines += [f"| {' | '.join(cells(row, peers))} |" for row in of_part]
    return "\n".join(lines) + "\n"
