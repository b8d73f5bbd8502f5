"""`kitefeed login`: from the browser's redirect to a session file."""

import sys

import click

from kitefeed.actors.runtime import config
from kitefeed.actors.runtime.kite_login import exchange, link
from kitefeed.actors.runtime.kite_target import Kite
from kitefeed.cli.session_store import (
    configured_api_key,
    force_option,
    standby_option,
    store,
    without_api_key,
)
from kitefeed.protocol.errors import BadInput
from kitefeed.protocol.kite.session import request_token_from_redirect, unquoted
from kitefeed.protocol.location import SECRET_VARIABLE, secret_from_environment
from kitefeed.protocol.secret import Secret


@click.command()
@click.option("--paste", "is_paste", is_flag=True, help="Paste the redirected URL here.")
@standby_option
@force_option
def login(is_paste: bool, is_standby: bool, is_forced: bool) -> None:
    """Log in to Kite and store the session.

    Open the printed link, log in, and paste the address your browser was sent to. The app's secret
    is taken from $KITEFEED_API_SECRET, or asked for.
    """
    if not is_paste:
        raise BadInput("`kitefeed login --paste` is the way to log in: it takes the redirected URL")
    settings = config.load()
    api_key = configured_api_key(settings, is_standby)
    if not api_key:
        raise without_api_key(settings, is_standby)
    kite = settings.config.kite
    click.echo(_instruction(kite, api_key, is_standby), err=True)
    try:
        request_token = request_token_from_redirect(_ask("Redirected URL", is_hidden=False))
    except ValueError as error:
        raise BadInput(f"Nothing was changed: {error}") from None
    secret = secret_from_environment(SECRET_VARIABLE) or _ask("API secret", is_hidden=True)
    found = exchange(kite, api_key, Secret(request_token), Secret(unquoted(secret)))
    click.echo(store(settings, found, is_standby=is_standby, is_forced=is_forced))


def _instruction(kite: Kite, api_key: str, is_standby: bool) -> str:
    other = " as another user, or the first session ends" * (is_standby and api_key == kite.api_key)
    return (
        f"Log in here{other}:\n\n  {link(kite, api_key)}\n\n"
        f"Kite then sends the browser to {kite.redirect_url}?...; the page may fail to load. "
        "Paste that address."
    )


def _ask(name: str, *, is_hidden: bool) -> str:
    """A line of standard input; with a terminal it is asked for."""
    if sys.stdin.isatty():
        answer: str = click.prompt(name, hide_input=is_hidden, err=True)
        return answer
    line = sys.stdin.readline()
    if not line:
        raise BadInput(f"{name} was expected on standard input, which is at its end")
    return line
