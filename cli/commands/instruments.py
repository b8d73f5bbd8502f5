"""`kitefeed instruments`: names of what can be subscribed to, from the day's dump."""

from typing import TYPE_CHECKING

import click
import msgspec

from kitefeed.actors.policy.names import did_you_mean
from kitefeed.actors.runtime import config
from kitefeed.actors.runtime.locks import live_holders
from kitefeed.cli import output
from kitefeed.cli.control import ask, get_status, runtime_dir
from kitefeed.cli.waiting import wait_until
from kitefeed.protocol.errors import BadInput, KitefeedError, TryLater, Unavailable
from kitefeed.protocol.messages.control import Done, FetchList
from kitefeed.protocol.messages.status import ListStatus

if TYPE_CHECKING:
    from kitefeed.actors.runtime.instrument_search import ListedInstrument
    from kitefeed.protocol.instrument_list import InstrumentsDb

LIMIT_DEFAULT = 20
LIMIT_MAX = 1_000
FETCH_WITHIN_S = 150.0  # the daemon itself gives up after two minutes
LOOK_S = 0.5


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

    A word may be part of a symbol or name, a strike, CE, PE or FUT, a month (DEC), or the start of
    an expiry (2026-12). Kite's token (408065) and what the market calls an index (BANKNIFTY) are
    known, too. Indices come first, then whole words and near months.
    """
    # Imported here: the other commands do without SQLite.
    from kitefeed.actors.runtime import instrument_search

    db, words = _list(), " ".join(text)
    found = instrument_search.find(db, words)
    if not found:
        near = instrument_search.near(db, words)
        hint = f"; {did_you_mean(near)}" if near else ": try fewer or shorter words"
        raise BadInput(f"No instrument matches {words!r}{hint}")
    for row in found[:limit]:
        click.echo(msgspec.json.encode(row).decode() if is_json else _line(row))
    more = len(found) - limit
    if more > 0:
        all_of_them = f", or `--limit {len(found)}`" if len(found) <= LIMIT_MAX else ""
        click.echo(f"and {more:,} more: give another word{all_of_them}", err=is_json)


@instruments.command()
@click.option("--believe", is_flag=True, help="Take what comes, whatever it lacks.")
def fetch(believe: bool) -> None:
    """Fetch the day's list from Kite now, and say what came of it.

    The daemon does so by itself every morning, and does not believe a list that lacks a large part
    of the last one, an exchange, or anything that is in use.
    """
    before = get_status().instrument_list.fetches
    ask(FetchList(believe), Done)
    known = ListStatus()

    def has_ended() -> bool:
        nonlocal known
        known = get_status().instrument_list
        return known.fetches != before

    if not wait_until(has_ended, FETCH_WITHIN_S, look_s=LOOK_S):
        raise TryLater("Kite has not answered yet: `kitefeed status` shows what comes of it")
    if known.outcome == "doubted":
        raise TryLater(
            f"The new list is not believed, that of {known.day_ist} stays in use: {known.detail}; "
            "`kitefeed instruments fetch --believe` takes it"
        )
    if known.outcome == "failed":
        raise TryLater(f"The list cannot be had: {known.detail}; the daemon tries again by itself")
    left_out = (
        f"; {known.left_out:,} rows that name nothing were left out" if known.left_out else ""
    )
    click.echo(f"{known.rows:,} instruments of {known.day_ist} are in use{left_out}")


def _list() -> "InstrumentsDb":
    """Open the list in use. Where there is none or a damaged one, it raises what can be done about
    it."""
    from kitefeed.protocol.instrument_list import InstrumentsDb, ListDamaged

    path = config.load().instruments_path
    db, problem = InstrumentsDb(path), f"There is no instrument list yet ({path})"
    try:
        if db.facts() is not None:
            return db
    except ListDamaged as error:
        problem = str(error)
    raise _without_list(problem)


def _without_list(problem: str) -> KitefeedError:
    if not live_holders(runtime_dir()):
        return Unavailable(f"{problem}, and no daemon runs that would fetch it: `kitefeed up`")
    known = get_status().instrument_list
    if known.outcome == "failed":
        return TryLater(
            f"{problem}: the daemon could not fetch it ({known.detail}) and tries again by itself, "
            "at once with `kitefeed instruments fetch`"
        )
    return TryLater(f"{problem}: the daemon is about to fetch it, try again in a moment")


def _line(row: "ListedInstrument") -> str:
    kind = f"{row.kind} {row.expiry}".strip()
    strike = output.rupees(row.strike) if row.strike else ""
    return f"{row.key:<28} {kind:<14} {strike:<12} {row.name}".rstrip()
