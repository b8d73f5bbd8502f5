"""A table of prices on a terminal. A price that is not current is marked by a word, and not by
colour alone."""

from typing import TYPE_CHECKING

from kitefeed.cli import output
from kitefeed.cli.prices import Row

if TYPE_CHECKING:
    from rich.table import Table


def price_table(rows: list[Row], *, is_closed: bool = False) -> "Table":
    """`is_closed`: no market is open, and a last value is what there should be."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("instrument", no_wrap=True)
    for name in ("last price", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("source", no_wrap=True)
    table.add_column("age", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in rows:
        table.add_row(
            row.symbol,
            output.rupees(row.last_price, row.decimals),
            _change(row),
            row.source,
            output.age(row.age_s),
            _state(row, is_closed),
            style="" if row.is_fresh else "dim",
        )
    return table


def _change(row: Row) -> str:
    text = output.percent(row.change_percent)
    if not row.is_fresh or not row.change_percent:
        return text
    return f"[{'green' if row.change_percent > 0 else 'red'}]{text}[/]"


def _state(row: Row, is_closed: bool) -> str:
    """Say what a value is; of a current one nothing has to be said."""
    if row.is_fresh:
        return ""
    if row.last_price is None:
        return "no value yet"
    return "last value" if is_closed else "[bold red]NOT CURRENT[/]"
