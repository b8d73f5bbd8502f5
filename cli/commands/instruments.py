"""`kitefeed instruments`: names of what can be subscribed to, from the day's dump."""

from typing import TYPE_CHECKING

import click
import msgspec

from kitefeed.actors.policy.names import did_you_mean
from kitefeed.actors.runtime import config
from kitefeed.cli import output
from kitefeed.protocol.errors import BadInput, Unavailable

if TYPE_CHECKING:
    from kitefeed.actors.runtime.instruments_db import Found

LIMIT_DEFAULT = 20
LIMIT_MAX = 1_000


@click.group()
def instruments() -> None:
    """Look up instruments."""


@instruments.command()
@click.argument("text", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(1, LIMIT_MAX), default=LIMIT_DEFAULT,
              show_default=True, help="How many at most.")  # fmt: skip
@click.option("--json", "is_json", is_flag=True, help="One JSON object per line.")
def find(text: tuple[str, ...], limit: int, is_json: bool) -> None:
    """Find instruments by words of their name: `NIFTY 24000 CE`, `infosys`, `NSE:SBIN`.

    A word may be part of a symbol or name, a strike, CE, PE or FUT, or the start of an expiry
    (2026-12).
    """
    # Imported here: the other commands do without SQLite.
    from kitefeed.actors.runtime.instruments_db import InstrumentsDb

    path = config.load().instruments_path
    db = InstrumentsDb(path)
    if db.facts() is None:
        raise Unavailable(
            f"There is no instrument list yet ({path}): the daemon fetches it once a day, "
            "start it with `kitefeed up`"
        )
    words = " ".join(text)
    found = db.find(words, limit)
    if not found:
        raise BadInput(f"No instrument matches {words!r}{_hint(db.near(words))}")
    for row in found:
        click.echo(msgspec.json.encode(row).decode() if is_json else _line(row))


def _hint(near: list[str]) -> str:
    return f"; {did_you_mean(near)}" if near else ": try fewer or shorter words"


def _line(row: "Found") -> str:
    kind = f"{row.kind} {row.expiry}".strip()
    strike = output.rupees(row.strike) if row.strike else ""
    return f"{row.key:<28} {kind:<14} {strike:<12} {row.name}".rstrip()
