"""`kitefeed source`, `pause` and `retry`: what an operator may tell the supervisor."""

from typing import Literal

import click

from kitefeed.cli.control import ask
from kitefeed.protocol.messages.control import Done, Retry, SetSource


@click.command()
@click.argument("name", type=click.Choice(["auto", "websocket", "rest"]))
def source(name: Literal["auto", "websocket", "rest"]) -> None:
    """Choose where prices come from; remembered over restarts. `auto` ends a pause, too."""
    click.echo(ask(SetSource(name), Done).text)


@click.command()
def pause() -> None:
    """Stop asking Kite for anything, until `kitefeed source auto`. Last values stay readable."""
    click.echo(ask(SetSource("paused"), Done).text)


@click.command()
def retry() -> None:
    """Forget the waits and try to connect now."""
    click.echo(ask(Retry(), Done).text)
