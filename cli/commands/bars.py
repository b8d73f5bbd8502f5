"""`kitefeed bars`: bars of instruments, as lines or as one JSON object each."""

import click
import msgspec

from kitefeed.cli import output
from kitefeed.client.bars import WAIT_S, Bar, seconds_of
from kitefeed.client.feed import Feed
from kitefeed.protocol.errors import BadInput

WORDS = {
    "first": "its begin was missed",
    "gap": "ticks may be missing",
    "rest": "of polled prices",
    "history": "Kite's own",
}


@click.command()
@click.argument("instruments", nargs=-1, required=True, metavar="INSTRUMENT...")
@click.option("--interval", default="1m", show_default=True, help="1s to 1d: 30s, 5m, 1h.")
@click.option(
    "--since", metavar="HH:MM", help="First those from then on, IST.  [default: 00:00, or now]"
)
@click.option("--follow", is_flag=True, help="Go on with each new one, until Ctrl-C.")
@click.option("--wait", "wait_s", type=click.FloatRange(0), default=WAIT_S, show_default=True,
              help="Seconds after its end until a bar is final.")  # fmt: skip
@click.option("--json", "is_json", is_flag=True, help="One JSON object per bar and line.")
@click.option("--count", type=click.IntRange(1), help="End after so many.")
def bars(
    instruments: tuple[str, ...],
    interval: str,
    since: str | None,
    follow: bool,
    wait_s: float,
    is_json: bool,
    count: int | None,
) -> None:
    """Print the bars of INSTRUMENTs: those of today, or with --follow each new one when it is
    final. What is said behind a bar is how far it can be trusted; nothing: it is complete.
    """
    seconds_of(interval)
    for name in instruments:
        if name.endswith("*"):
            raise BadInput(f"{name}: bars are of instruments that are named, not of a pattern")
    begin = since if since is not None or follow else "00:00"
    with Feed(*instruments, name="kitefeed bars") as feed:
        for name in instruments:
            feed.wait_for(name, 2.0)
        stream = feed.bars(interval, since=begin, wait_s=wait_s)
        shown = 0
        while count is None or shown < count:
            bar = stream.next(None if follow else 0)
            while bar is None and stream.is_asking:
                bar = stream.next(1.0)
            if bar is None:
                break
            click.echo(json_line(bar) if is_json else line(bar))
            shown += 1
        if not shown and not follow:
            click.echo("# no bar of today can be had; --follow shows those to come", err=True)


def line(bar: Bar) -> str:
    """Write begin (IST), instrument, open, high, low, close, volume, and what the bar lacks."""
    prices = (bar.open, bar.high, bar.low, bar.close)
    word = WORDS.get(bar.quality, "" if bar.quality == "complete" else bar.quality)
    note = f"corrected; {word}" if bar.is_correction else word
    volume = output.NOTHING if bar.volume is None else f"{bar.volume:,}"
    shown = " ".join(f"{output.rupees(price):>12}" for price in prices)
    return f"{bar.start:%d %b %H:%M:%S}  {bar.instrument:<24} {shown} {volume:>14}  {note}".rstrip()


def json_line(bar: Bar) -> str:
    return msgspec.json.encode(bar.to_dict()).decode()
