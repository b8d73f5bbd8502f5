"""`kitefeed login`: from the browser to a session file, and how long recovery took."""

import asyncio
import ssl
import sys
import urllib.request
from pathlib import Path

import click

from kitefeed.actors.runtime import app_secret, config, session_file
from kitefeed.actors.runtime.config import Settings
from kitefeed.actors.runtime.kite_login import elsewhere, exchange, leads_to, link, set_redirect
from kitefeed.actors.runtime.locks import live_holder
from kitefeed.actors.runtime.secrets import remember
from kitefeed.actors.runtime.session_file import Session
from kitefeed.cli import browser, recovery
from kitefeed.cli.session_store import (
    configured_api_key,
    force_option,
    path_of,
    standby_option,
    store,
    without_api_key,
)
from kitefeed.cli.waiting import wait_until
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.errors import BadInput, LoginNeeded, TryLater
from kitefeed.protocol.kite.session import request_token_from_redirect, unquoted
from kitefeed.protocol.location import SECRET_VARIABLE, secret_from_environment
from kitefeed.protocol.secret import Secret

LOGIN_S = 600.0  # for a person at Kite's page; a state lives as long
HINT_S = 60.0  # by then most are back: what may have gone wrong
ANSWER_S = 2.0


@click.command()
@click.option("--paste", "is_paste", is_flag=True, help="Paste the redirected URL here.")
@click.option(
    "--remember-secret", "is_remembered", is_flag=True,
    help="Keep the app's secret: in the keyring, or in a file only you can read.",
)  # fmt: skip
@click.option("--no-browser", "is_quiet", is_flag=True, help="Only print the link.")
@standby_option
@force_option
def login(
    is_paste: bool, is_remembered: bool, is_quiet: bool, is_standby: bool, is_forced: bool
) -> None:
    """Log in to Kite and store the session.

    Opens Kite's page in your browser, waits for you to come back, and tells when prices are live
    again. With --paste you open the link, log in, and paste the address your browser was sent to:
    for a browser on another host. The app's secret is the one that was kept, that in
    $KITEFEED_API_SECRET, or asked for.
    """
    settings = config.load()
    api_key = configured_api_key(settings, is_standby)
    if not api_key:
        raise without_api_key(settings, is_standby)
    one = _Login(settings, api_key, is_standby, is_remembered, is_quiet)
    if is_paste:
        found = one.by_paste(is_forced)
    elif not is_standby and _has_gateway(settings):
        found = one.by_gateway()
    else:
        found = one.by_own_redirect()
    if not is_standby:
        click.echo(recovery.wait(settings, found.fingerprint, boot_ns()))


class _Login:
    """One login, by one of three ways. Each way returns the session, which is in its file then."""

    def __init__(
        self,
        settings: Settings,
        api_key: str,
        is_standby: bool,
        is_remembered: bool,
        is_quiet: bool,
    ) -> None:
        self._settings = settings
        self._kite = settings.config.kite
        self._api_key = api_key
        self._is_standby = is_standby
        self._is_remembered = is_remembered
        self._is_quiet = is_quiet

    def by_paste(self, is_forced: bool) -> Session:
        click.echo(self._instruction(link(self._kite, self._api_key), "; the page may fail to "
                   "load. Paste that address."), err=True)  # fmt: skip
        redirected = _ask("Redirected URL", is_hidden=False)
        if trouble := elsewhere(self._kite, unquoted(redirected)):
            click.echo(trouble, err=True)
        try:
            request_token = request_token_from_redirect(redirected)
        except ValueError as error:
            raise BadInput(f"Nothing was changed: {error}") from None
        secret = self._secret()
        found = exchange(self._kite, self._api_key, Secret(request_token), secret)
        told = store(self._settings, found, is_standby=self._is_standby, is_forced=is_forced)
        self._keep(secret)
        click.echo(told)
        return found

    def by_gateway(self) -> Session:
        """Log in by the gateway: it takes the redirect, and writes the session."""
        if self._is_remembered:
            self._keep(self._secret())
        before = _stamps(self._settings)
        url = f"{self._settings.config.gateway.url}/login"
        self._open(url)
        came = [False]

        def has_come() -> bool:
            came[0] = _stamps(self._settings) != before and _current(self._settings) is not None
            return came[0]

        if not wait_until(has_come, HINT_S):
            self._hint()
            wait_until(has_come, LOGIN_S - HINT_S)
        found = _current(self._settings) if came[0] else None
        return self._logged_in(found)

    def by_own_redirect(self) -> Session:
        """Take the redirect in this command, at the address that is registered for it."""
        # Imported here: a web server, which nothing else of the commands needs.
        from kitefeed.cli.login_redirect import place_of, receive
        from kitefeed.services.gateway.login import Logins

        place = place_of(self._kite)
        secret = self._secret()
        logins = Logins(self._settings, self._api_key, path_of(self._settings, self._is_standby))
        url = logins.begin(secret)
        waits = ((HINT_S, lambda: self._open(url)), (LOGIN_S - HINT_S, self._hint))
        found = self._logged_in(asyncio.run(receive(logins, place, waits)))
        self._keep(secret)
        return found

    def _logged_in(self, found: Session | None) -> Session:
        if found is None:
            raise TryLater(
                f"No login came within {LOGIN_S / 60:g} minutes, and nothing was changed: begin it "
                f"again. {self._elsewhere()}"
            )
        path = path_of(self._settings, self._is_standby)
        who = found.user_name or found.user_id or found.api_key
        click.echo(f"session {found.fingerprint} of {who} is in {path}")
        return found

    def _open(self, url: str) -> None:
        click.echo(self._instruction(url, ", which is awaited here; Ctrl-C ends it."), err=True)
        if not self._is_quiet:
            browser.show(url)

    def _instruction(self, url: str, then: str) -> str:
        is_same_app = self._is_standby and self._api_key == self._kite.api_key
        other = " as another user, or the first session ends" * is_same_app
        return (
            f"Log in here{other}:\n\n  {url}\n\n"
            f"Kite then sends the browser to {self._kite.redirect_url}?...{then}"
        )

    def _hint(self) -> None:
        click.echo(f"Still waiting. {self._elsewhere()}", err=True)

    def _elsewhere(self) -> str:
        return (
            "Should the browser have ended at another address, another redirect URL is registered "
            f"for the app: {set_redirect(self._kite)}, or `kitefeed login --paste` takes the "
            "address"
        )

    # --- the app's secret ---------------------------------------------------------------------

    def _secret(self) -> Secret:
        """Return the app's secret. With --remember-secret it is asked for anew, so that a wrong one
        can be replaced."""
        given = secret_from_environment(SECRET_VARIABLE)
        if given is None and not self._is_remembered:
            kept = app_secret.find(self._settings, self._api_key)
            given = kept.reveal() if kept else None
        if given is None:
            given = _ask("API secret", is_hidden=True)
        secret = unquoted(given)
        if not secret:
            raise BadInput("The app's secret is empty: it is on developers.kite.trade")
        return remember(Secret(secret))

    def _keep(self, secret: Secret) -> None:
        if self._is_remembered:
            where = app_secret.keep(self._settings, self._api_key, secret)
            click.echo(f"the app's secret is kept in {where}", err=True)


def _has_gateway(settings: Settings) -> bool:
    """Whether a gateway of this daemon is there, at the address to which Kite sends the browser."""
    root = settings.config.gateway.url
    if not root or not leads_to(settings.config.kite, f"{root}/login/redirect"):
        return False
    if live_holder(settings.runtime_dir, "gateway") is None:
        return False
    try:
        # Only its presence is asked for: the certificate may be the owner's own.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        direct = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with direct.open(f"{root}/livez", timeout=ANSWER_S) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _stamps(settings: Settings) -> list[tuple[int, int]]:
    """Return the marks by which a replaced session file is known, also when the session is the
    same."""
    found = []
    for path, _ in session_file.candidates(settings, "primary"):
        try:
            stat = Path(path).stat()
        except OSError:
            continue
        found.append((stat.st_ino, stat.st_mtime_ns))
    return sorted(found)


def _current(settings: Settings) -> Session | None:
    try:
        return session_file.current(settings, "primary")
    except LoginNeeded:
        return None


def _ask(name: str, *, is_hidden: bool) -> str:
    """Read a line of standard input; with a terminal, ask for it."""
    if sys.stdin.isatty():
        answer: str = click.prompt(name, hide_input=is_hidden, err=True)
        return answer
    line = sys.stdin.readline()
    if not line:
        raise BadInput(f"{name} was expected on standard input, which is at its end")
    return line
