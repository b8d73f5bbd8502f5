"""`kitefeed watch`: prices in a table, live."""

import sys
from typing import TYPE_CHECKING

import click

from kitefeed.cli import output
from kitefeed.cli.control import get_status
from kitefeed.cli.prices import Row, row_of
from kitefeed.client.feed import Feed, Status, Tick

if TYPE_CHECKING:
    from rich.console import Group

EVERY_S = 0.5
FIRST_S = 2.0  # for values, before a table that is printed only once
HEADS = 6  # lines that are no rows
FILE_ROWS = 1_000


@click.command()
@click.argument("instruments", nargs=-1, metavar="[INSTRUMENT]...")
@click.option("--once", "is_once", is_flag=True, help="Print the table once, and end.")
def watch(instruments: tuple[str, ...], is_once: bool) -> None:
    """Show prices in a table, live, until q is pressed.

    INSTRUMENT is a name such as NSE:INFY, which streams while this runs, or a pattern such as
    'NSE:NIFTY*', which shows what streams already; without any, those of the configuration, or all
    that streams. A price that is not the current one is dim and says so.
    """
    names = instruments or _configured()
    with Feed(*names, per_second=2, name="kitefeed watch") as feed:
        if is_once or not sys.stdout.isatty():
            _print(feed, names)
        else:
            _watch(feed, names)


def _configured() -> tuple[str, ...]:
    """Return the configured instruments, less those that the daemon says it cannot have."""
    refused = get_status().subscriptions.refused
    # Imported here: who names instruments does without.
    from kitefeed.actors.runtime import config

    return tuple(key for key in config.load().config.instruments if key not in refused)


def rows(names: tuple[str, ...], ticks: dict[str, Tick]) -> list[Row]:
    """Return a row for each name, in the order given, and for each that a pattern stands for."""
    found: dict[str, Row] = {}
    for name in names or ("*",):
        keys = [name]
        if name.endswith("*"):
            keys = sorted(key for key in ticks if key.startswith(name[:-1]))
        found |= {key: _row(key, ticks.get(key)) for key in keys}
    return list(found.values())


def _row(key: str, tick: Tick | None) -> Row:
    return Row(key) if tick is None else row_of(tick)._replace(symbol=key)


def _print(feed: Feed, names: tuple[str, ...]) -> None:
    from rich.console import Console

    from kitefeed.cli.waiting import wait_until

    wait_until(lambda: all(row.last_price for row in rows(names, feed.snapshot())), FIRST_S)
    console = Console()
    console.print(render(feed.status, rows(names, feed.snapshot()), FILE_ROWS))


def _watch(feed: Feed, names: tuple[str, ...]) -> None:
    from kitefeed.cli.screen import HINT, Screen

    with Screen() as screen:
        is_over = False
        while not is_over:
            shown = rows(names, feed.snapshot())
            screen.show(render(feed.status, shown, screen.size[1] - HEADS, HINT))
            is_over = screen.is_over(EVERY_S)


def render(status: Status, shown: list[Row], rows_max: int, hint: str = "") -> "Group":
    """Draw the headline, as many rows as there is room for, and how many there are beside."""
    from rich.console import Group
    from rich.text import Text

    from kitefeed.cli.price_table import price_table

    head = Text(headline(status), style=f"bold {output.colour_of(status.feed)}")
    left = len(shown) - max(1, rows_max)
    notes = [f"{left} more: make the window higher, or name some"] * (left > 0)
    notes += ["nothing streams yet: name some instruments"] * (not shown)
    foot = Text("  ".join([*notes, hint]), style="dim")
    table = price_table(shown[: max(1, rows_max)], is_closed=status.feed == "closed")
    return Group(head, Text(status.reason or " ", style="dim"), table, foot)


def headline(status: Status) -> str:
    """Write `LIVE source websocket`, and when the next attempt is, if one is due."""
    retry = status.retry_in_s
    parts = [status.feed.upper().replace("_", " "), f"source {status.source}"]
    parts += [] if retry is None else [f"next attempt in {retry:.0f} s"]
    return "  ".join(parts)
