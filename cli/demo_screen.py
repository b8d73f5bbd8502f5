"""Shows the demo: a live table on a terminal, plain lines anywhere else."""

import sys
from typing import TYPE_CHECKING, Protocol

import click

from kitefeed.cli import output
from kitefeed.cli.demo_story import Scene
from kitefeed.cli.price_table import price_table
from kitefeed.cli.prices import Row
from kitefeed.protocol.messages.status import StatusReport

if TYPE_CHECKING:
    from rich.console import Group

SHOWN_IN_LINE = 4  # instruments; more would wrap
PRICES_EVERY = 8  # updates of half a second: a line of prices each 4 s


class DemoScreen(Protocol):
    def say(self, sentence: str) -> None:
        """Show the narration, until the next."""

    def show(self, scene: Scene) -> None:
        """Show the newest values; called twice a second."""

    def close(self) -> None: ...


def open_screen(page: str) -> DemoScreen:
    """Open a screen. `page`: the address of the gateway's page, which shows the same in a
    browser."""
    return TableScreen(page) if sys.stdout.isatty() else LineScreen(page)


def headline(report: StatusReport) -> str:
    """Feed, source, session, user, retry and subscribers in one line."""
    retry = "" if report.retry_in_s is None else f"  next attempt in {report.retry_in_s:.0f} s"
    user = report.user_name or output.NOTHING
    return (
        f"feed {report.feed}  source {report.source}  session {report.session}  user {user}"
        f"  subscribers {report.subscribers}{retry}"
    )


class LineScreen:
    """Prints state changes at once, prices every few seconds."""

    def __init__(self, page: str) -> None:
        click.echo(f"The same in a browser: {page}")
        self._state: tuple[str, ...] = ()
        self._shown = 0

    def say(self, sentence: str) -> None:
        click.echo(f"\n{sentence}")
        self._shown = 0

    def show(self, scene: Scene) -> None:
        report = scene.report
        state = (report.feed, report.source, report.session)
        if state != self._state:
            self._state = state
            self._shown = 0
            click.echo(f"  {headline(report)}  ({report.reason})")
        if self._shown % PRICES_EVERY == 0 and any(row.last_price for row in scene.rows):
            prices = "  ".join(
                f"{row.symbol} {_price(row)} ({row.source}, {output.age(row.age_s)})"
                for row in scene.rows[:SHOWN_IN_LINE]
            )
            click.echo(f"  {prices}")
        self._shown += 1

    def close(self) -> None:
        """Leave the lines as they are."""


class TableScreen:
    """A table that is rewritten in place."""

    def __init__(self, page: str) -> None:
        # Imported here: only a terminal needs a renderer.
        from rich.console import Group
        from rich.live import Live

        self._page = page
        self._scene = Group()  # nothing was seen yet
        self._sentence = ""
        self._live = Live(auto_refresh=False)
        self._live.start()

    def say(self, sentence: str) -> None:
        self._sentence = sentence
        self._draw()

    def show(self, scene: Scene) -> None:
        from rich.console import Group
        from rich.text import Text

        head = Text(headline(scene.report), style=f"bold {output.colour_of(scene.report.feed)}")
        reason = Text(scene.report.reason, style="dim")
        self._scene = Group(head, reason, price_table(scene.rows))
        self._draw()

    def drawn(self) -> "Group":
        from rich.console import Group
        from rich.text import Text

        page = Text.assemble("in a browser: ", (self._page, f"underline link {self._page}"))
        return Group(self._scene, page, Text(f"\n{self._sentence}", style="bold"))

    def _draw(self) -> None:
        self._live.update(self.drawn(), refresh=True)

    def close(self) -> None:
        self._live.stop()


def _price(row: Row) -> str:
    return output.rupees(row.last_price, row.decimals)
