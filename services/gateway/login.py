"""The login from the page: the app, the way to Kite and back, and the session into its file."""

import asyncio
import logging
import secrets
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import msgspec

from kitefeed.actors.runtime import app_secret, config_file, kite_login, session_file
from kitefeed.actors.runtime.config import Settings
from kitefeed.actors.runtime.kite_target import Kite
from kitefeed.actors.runtime.session_file import Session
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.errors import BadInput, ConfigError, LoginNeeded
from kitefeed.protocol.kite.session import request_token_from_redirect, unquoted
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages.status import StatusReport
from kitefeed.protocol.secret import Secret

STATES_MAX = 16  # logins begun and not ended
STATE_NS = 600 * NS_PER_S  # a person types a password and a code meanwhile
log = logging.getLogger("gateway")


class NotBegun(LoginNeeded):
    """A redirect that belongs to no login that is under way here."""


class _Begun(NamedTuple):
    """A login that is under way: since when (boot time), and by which secret of the app."""

    at_ns: int
    secret: Secret
    is_kept: bool  # once Kite has taken it


class Logins:
    """Logins that are under way, each by the `state` that Kite hands back: a redirect that nobody
    here has asked for is refused.

    api_key, path: of the session that they make; by default the first one's.
    """

    def __init__(self, settings: Settings, api_key: str = "", path: Path | None = None) -> None:
        self._settings = settings
        self._api_key = api_key
        self._path = path or settings.session_path
        self._begun: dict[str, _Begun] = {}

    @property
    def kite(self) -> Kite:
        return self._settings.config.kite

    @property
    def api_key(self) -> str:
        return self._api_key or self.kite.api_key

    def set_app(self, values: dict[str, str]) -> None:
        """Writes `kite.api_key`, `kite.redirect_url` into the configuration, and logs in by them
        from now on. Nothing else of the daemon needs them: a session names its app. Raises
        ConfigError, and then nothing was changed."""
        if self._settings.source is None:
            raise ConfigError("There is no configuration: `kitefeed init` writes one")
        written = config_file.change(self._settings.source, values).kite
        kite = msgspec.structs.replace(
            self.kite, api_key=written.api_key, redirect_url=written.redirect_url
        )
        config = msgspec.structs.replace(self._settings.config, kite=kite)
        self._settings = msgspec.structs.replace(self._settings, config=config)
        log.info("the app is another: api_key=%s", kite.api_key)

    def has_secret(self) -> bool:
        try:
            return app_secret.find(self._settings, self.api_key) is not None
        except ConfigError:
            return False

    def last_utc_s(self, report: StatusReport | None) -> float | None:
        """Return when somebody logged in for the session that `report` says is in use, else for the
        newest, in UTC epoch seconds; None without one, or when its file does not tell. Blocking."""
        known = report.sessions if report is not None else []
        in_use = next((each.fingerprint for each in known if each.is_in_use), None)
        try:
            session = session_file.current(self._settings, "primary", in_use)
        except LoginNeeded:
            return None
        at = session.logged_in if session is not None else None
        return at.timestamp() if at is not None else None

    def begin(self, typed: Secret | None = None, *, is_kept: bool = False) -> str:
        """Begin a login; return the address of Kite's login page. `typed`: the app's secret, where
        none is kept, or another is; `is_kept`: keep it once the login has shown that it is good.

        Raises ConfigError without an app key, BadInput without a secret.
        """
        if not self.api_key:
            raise ConfigError(
                f"{self._settings.source}: kite.api_key is empty: enter the app's key"
            )
        secret = typed or app_secret.find(self._settings, self.api_key)
        if secret is None:
            raise BadInput("The app's secret is needed: it is on developers.kite.trade")
        state = secrets.token_urlsafe(16)
        self._forget_old()
        self._begun[state] = _Begun(boot_ns(), secret, typed is not None and is_kept)
        return kite_login.link(self.kite, self.api_key, state)

    async def finish(self, query: str, state: str) -> Session:
        """Put what Kite sent the browser back with into the session file; return the session.

        Raises LoginNeeded or BadInput when it is refused, Unavailable when Kite does not answer,
        TryLater when all is well but the secret could not be kept.
        """
        self._forget_old()
        begun = self._begun.pop(state, None)
        if begun is None:
            raise NotBegun(
                "This login was not begun here, or longer than ten minutes ago: log in once more"
            )
        try:
            request_token = request_token_from_redirect(query)
        except ValueError as error:
            raise BadInput(f"Nothing was changed: {error}") from None
        session = await asyncio.to_thread(
            kite_login.exchange,
            self.kite,
            self.api_key,
            Secret(request_token),
            begun.secret,
        )
        session_file.write(self._path, session)
        log.info("a login by the page: session=%s user=%s", session.fingerprint, session.user_id)
        if begun.is_kept:
            await asyncio.to_thread(app_secret.keep, self._settings, self.api_key, begun.secret)
        return session

    async def finish_pasted(self, address: str) -> str:
        """Do what `finish` does, by the address that a browser ended at. Return what is to be told
        of another redirect URL that is registered; "" when it is ours. Raises as `finish`."""
        address = unquoted(address)
        try:
            query = urlsplit(address).query
        except ValueError:
            query = ""
        trouble = kite_login.elsewhere(self.kite, address)
        await self.finish(query, "".join(parse_qs(query).get("state", [])[:1]))
        return trouble

    def _forget_old(self) -> None:
        oldest_ns = boot_ns() - STATE_NS
        kept = {state: begun for state, begun in self._begun.items() if begun.at_ns > oldest_ns}
        self._begun = dict(list(kept.items())[-(STATES_MAX - 1) :])
