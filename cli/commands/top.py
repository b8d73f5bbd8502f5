"""`kitefeed top`: who is alive, what flows, who is slow; once a second."""

import os
import sys

import click
import msgspec

from kitefeed.cli.control import get_status
from kitefeed.cli.top_sample import Sample, Sampler
from kitefeed.cli.waiting import pause
from kitefeed.protocol.errors import Unavailable

EVERY_S = 1.0
FILE_LINES = 40  # into a file or pipe, which has no height
NOBODY = "no daemon answers; waiting for one"


@click.command()
@click.option("--json", "is_json", is_flag=True, help="One JSON object per second and line.")
@click.option("--once", "is_once", is_flag=True, help="Measure for a second, show it, and end.")
def top(is_json: bool, is_once: bool) -> None:
    """Show rates, lags and losses, live, until q is pressed: processes, sockets, programs.

    last tick, heard: since the newest price, and since Kite said anything at all. index: since an
    instrument ticked that always does; its silence is a doubt. polled: how often each is asked for
    by REST. Kite/s: messages from it, of many ticks each. full: how often the queue to some program
    was full. lost, refused, damaged: messages that never reached the broadcaster, that came from a
    source that is not to be believed any more, or that could not be read.

    Programs are those that use Feed or AsyncFeed on this host: they report themselves every 2 s,
    and count what they lost. ticks/s: read by it; lag: the most by which it was behind since its
    last report; wait: ticks it has not taken yet; gaps: lost because it was too slow; skipped:
    not given out because newer ones had come; overrun: dropped because it did not iterate.
    """
    sampler = Sampler(get_status, os.getpid())
    try:
        first = sampler.look()
        pause(EVERY_S)
        if is_once or not sys.stdout.isatty() or is_json:
            _print_all(sampler, first, is_json, is_once)
        else:
            _watch(sampler)
    finally:
        sampler.close()


def _latest(sampler: Sampler) -> Sample | None:
    """Return a sample; None while no daemon answers: a watch goes on, because daemons are
    restarted."""
    try:
        return sampler.look()
    except Unavailable:
        return None


def _print_all(sampler: Sampler, first: Sample, is_json: bool, is_once: bool) -> None:
    while True:
        sample = _latest(sampler) or (first if is_once else None)
        if is_json and sample is not None:
            click.echo(msgspec.json.encode(sample).decode())
        elif not is_json:
            _print(sample)
        if is_once:
            return
        pause(EVERY_S)


def _print(sample: Sample | None) -> None:
    from rich.console import Console

    from kitefeed.cli.top_screen import render

    console = Console()
    height = max(FILE_LINES, console.height)
    console.print(NOBODY if sample is None else render(sample, console.width, height))


def _watch(sampler: Sampler) -> None:
    # Imported here: JSON does without a table renderer.
    from rich.text import Text

    from kitefeed.cli.screen import Screen
    from kitefeed.cli.top_screen import render

    with Screen() as screen:
        is_over = False
        while not is_over:
            sample = _latest(sampler)
            screen.show(Text(NOBODY) if sample is None else render(sample, *screen.size))
            is_over = screen.is_over(EVERY_S)
