"""`kitefeed tail`: the feed on the terminal, or as JSON lines for a program."""

from collections.abc import Mapping
from itertools import chain

import click
import msgspec

from kitefeed.cli import output
from kitefeed.cli.prices import decimals_of
from kitefeed.client.feed import Feed, Status, Tick
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.messages.instruments import Mode
from kitefeed.protocol.topics import LAST_RATES

JUDGED_S = 10.0  # a stream proves itself in a second or two, if its market is open
UNJUDGED = frozenset({"unproven", "gap", "lost"})


@click.command()
@click.argument("instruments", nargs=-1, metavar="[INSTRUMENT]...")
@click.option(
    "--mode", type=click.Choice(["ltp", "quote", "full"]), help="Default: `mode` of the settings."
)
@click.option(
    "--per-second",
    type=click.Choice([str(rate) for rate in LAST_RATES]),
    help="The latest of each instrument only, at most so often.",
)
@click.option(
    "--json", "is_json", is_flag=True, help="One JSON object per tick and line: Tick.to_dict()."
)
@click.option(
    "--count",
    type=click.IntRange(1),
    help="End after so many ticks; begin when it is known of one whether it is fresh.",
)
def tail(
    instruments: tuple[str, ...],
    mode: Mode | None,
    per_second: str | None,
    is_json: bool,
    count: int | None,
) -> None:
    """Print ticks as they come: last values first, then live ones, until Ctrl-C.

    INSTRUMENT is a name such as NSE:INFY, which streams while this runs, or a pattern such as
    'NSE:NIFTY*', which shows what streams already; without any, all of that. What happens to the
    feed is told on stderr.
    """
    teller = StatusTeller()
    rate = None if per_second is None else int(per_second)
    with Feed(
        *instruments, mode=mode, per_second=rate, name="kitefeed tail", on_status=teller.tell
    ) as feed:
        teller.tell(feed.status)
        for answer in feed.answers:
            if answer.detail:
                click.echo(f"# {answer.instrument}: {answer.detail}", err=True)
        for pattern in instruments:
            if pattern.endswith("*"):
                click.echo(f"# {pattern}: {pattern_note(pattern, feed)}", err=True)
        ticks = chain(judged(feed), feed) if count else feed
        for number, tick in enumerate(ticks, start=1):
            click.echo(json_line(tick) if is_json else line(tick))
            if number == count:
                break


def judged(feed: Feed) -> list[Tick]:
    """Return the latest values, as soon as one of them is known to be fresh or not. The first
    values of new instruments are neither: no tick has proven yet that their stream is live."""
    give_up_ns = boot_ns() + int(JUDGED_S * 1e9)
    while boot_ns() < give_up_ns and all(t.why_stale in UNJUDGED for t in feed.values()):
        feed.next(0.05)
    while feed.next(0) is not None:  # it is among the latest values
        pass
    return feed.values()


def pattern_note(pattern: str, feed: Feed) -> str:
    found = sum(key.startswith(pattern.removesuffix("*")) for key in feed.snapshot())
    return f"shows what streams already and asks for nothing; {found} have a value now"


class StatusTeller:
    """Tells each change of the feed once, and at the start only what is not as it should be."""

    def __init__(self) -> None:
        self._told = ("live", "websocket")

    def tell(self, status: Status) -> None:
        if (status.feed, status.source) != self._told:
            self._told = (status.feed, status.source)
            reason = f": {status.reason}" if status.reason else ""
            click.echo(f"# feed {status.feed}, source {status.source}{reason}", err=True)


WORDS: Mapping[str, str] = {
    "replaced": "a newer one has come",
    "lost": "the daemon is silent",
    "gap": "a newer one may have been lost; asked for",
    "cached": "its source feeds no more",
    "unproven": "its stream is not proven live yet",
    "old": "it came before its source could vouch for it",
    "closed": "its market is closed",
    "first_packet": "the last price before its market closed",
    "login_required": "a login is needed",
    "no_entitlement": "the plan has no market data",
}


def line(tick: Tick) -> str:
    """Time (IST), instrument, price, change, source, age and whether it is the current value."""
    why = WORDS.get(tick.why_stale, tick.why_stale)
    return (
        f"{output.time_of_day(tick.t_rx_ns)}  {tick.instrument:<24} "
        f"{output.rupees(tick.last_price, decimals_of(tick)):>14} {output.percent(tick.change):>8}"
        f"  {tick.source:<9} {output.age(tick.age_s):>6}  {f'stale: {why}' if why else 'fresh'}"
    )


def json_line(tick: Tick) -> str:
    return msgspec.json.encode(tick.to_dict()).decode()
