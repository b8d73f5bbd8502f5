"""`kitefeed login`: from the browser's redirect to a session file."""

import sys

import click

from kitefeed.actors.runtime import config
from kitefeed.actors.runtime.kite_target import Kite
from kitefeed.actors.runtime.secrets import Secret, redact, remember
from kitefeed.actors.runtime.session_file import Session
from kitefeed.cli.session_store import (
    configured_api_key,
    force_option,
    standby_option,
    store,
    without_api_key,
)
from kitefeed.protocol.errors import BadInput, KitefeedError, LoginNeeded, Unavailable
from kitefeed.protocol.kite.session import (
    LOGIN_PAGE,
    login_url,
    request_token_from_redirect,
    unquoted,
)
from kitefeed.protocol.location import SECRET_VARIABLE, secret_from_environment

EXCHANGE_S = 7.0  # per request, as the official client; a person waits for it


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


def link(kite: Kite, api_key: str) -> str:
    """Kite's login page for this app, at the place the configuration names."""
    return login_url(api_key).replace(LOGIN_PAGE, kite.login_url, 1)


def _ask(name: str, *, is_hidden: bool) -> str:
    """A line of standard input; with a terminal it is asked for."""
    if sys.stdin.isatty():
        answer: str = click.prompt(name, hide_input=is_hidden, err=True)
        return answer
    line = sys.stdin.readline()
    if not line:
        raise BadInput(f"{name} was expected on standard input, which is at its end")
    return line


def exchange(kite: Kite, api_key: str, request_token: Secret, api_secret: Secret) -> Session:
    """A request token for a session, by the official client; the one place that does it.

    Raises LoginNeeded when Kite refuses, Unavailable when it does not answer. A request token works
    once, and for a few minutes.
    """
    # Imported here: it takes a third of a second, and only a login needs it.
    from kiteconnect import KiteConnect
    from kiteconnect.exceptions import KiteException
    from requests import RequestException

    remember(request_token)
    remember(api_secret)
    client = KiteConnect(api_key=api_key, root=kite.rest_url, timeout=EXCHANGE_S)
    client._routes = kite.routes(client._routes)
    try:
        answer = client.generate_session(request_token.reveal(), api_secret.reveal())
    except KiteException as error:
        raise _refusal(redact(str(error)), error.code) from None
    except RequestException as error:
        name = type(error).__name__
        raise Unavailable(f"Kite does not answer at {kite.rest_url} ({name}): try again") from None
    return Session(
        api_key,
        remember(Secret(answer["access_token"])),
        answer.get("user_id"),
        answer.get("user_name"),
        str(answer["login_time"]),
    )


def _refusal(text: str, code: int) -> KitefeedError:
    if code >= 500 or code == 429:
        return Unavailable(f"Kite cannot answer now ({text}): try again")
    if "checksum" in text.lower():
        return LoginNeeded(
            f"Kite refused the login ({text}): the api secret is not that of this app's api_key; "
            "copy it from developers.kite.trade, then `kitefeed login --paste` again"
        )
    return LoginNeeded(f"Kite refused the login ({text}): open the link and log in once more")
