"""The login from the page: to Kite and back, and the session into its file."""

import asyncio
import logging
import secrets
from pathlib import Path

from kitefeed.actors.runtime import app_secret, kite_login, session_file
from kitefeed.actors.runtime.config import Settings
from kitefeed.actors.runtime.session_file import Session
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.errors import BadInput, ConfigError, LoginNeeded
from kitefeed.protocol.kite.session import request_token_from_redirect
from kitefeed.protocol.messages import StatusReport
from kitefeed.protocol.secret import Secret

STATES_MAX = 16  # logins begun and not ended
STATE_NS = 600_000_000_000  # a person types a password and a code meanwhile
log = logging.getLogger("gateway")


class NotBegun(LoginNeeded):
    """A redirect that belongs to no login that is under way here."""


class Logins:
    """Logins that are under way, each by the `state` that Kite hands back: a redirect that nobody
    here has asked for is refused.

    api_key, path: of the session that they make; by default the first one's.
    """

    def __init__(self, settings: Settings, api_key: str = "", path: Path | None = None) -> None:
        self._settings = settings
        self.api_key = api_key or settings.config.kite.api_key
        self._path = path or settings.session_path
        self._begun: dict[str, tuple[int, Secret]] = {}

    def has_secret(self) -> bool:
        try:
            return app_secret.find(self._settings, self.api_key) is not None
        except ConfigError:
            return False

    def last_utc_s(self, report: StatusReport | None) -> float | None:
        """When somebody logged in for the session that `report` says is in use, else for the
        newest; None without one, or when its file does not tell. Blocking."""
        known = report.sessions if report is not None else []
        in_use = next((each.fingerprint for each in known if each.is_in_use), None)
        try:
            session = session_file.current(self._settings, "primary", in_use)
        except LoginNeeded:
            return None
        at = session.logged_in if session is not None else None
        return at.timestamp() if at is not None else None

    def begin(self, typed: Secret | None = None, *, is_kept: bool = False) -> str:
        """The address of Kite's login page. `typed`: the app's secret, where none is kept.

        Raises ConfigError without an app key, BadInput without a secret.
        """
        if not self.api_key:
            raise ConfigError(f"{self._settings.source}: kite.api_key is empty: `kitefeed init`")
        secret = typed or app_secret.find(self._settings, self.api_key)
        if secret is None:
            raise BadInput("The app's secret is needed: it is on developers.kite.trade")
        if typed is not None and is_kept:
            app_secret.keep(self._settings, self.api_key, typed)
        state = secrets.token_urlsafe(16)
        self._forget_old()
        self._begun[state] = (boot_ns(), secret)
        return kite_login.link(self._settings.config.kite, self.api_key, state)

    async def finish(self, query: str, state: str) -> Session:
        """What Kite sent the browser back with, into the session file; returns the session.

        Raises LoginNeeded or BadInput when it is refused, Unavailable when Kite does not answer.
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
            self._settings.config.kite,
            self.api_key,
            Secret(request_token),
            begun[1],
        )
        session_file.write(self._path, session)
        log.info("a login by the page: session=%s user=%s", session.fingerprint, session.user_id)
        return session

    def _forget_old(self) -> None:
        oldest_ns = boot_ns() - STATE_NS
        kept = {state: begun for state, begun in self._begun.items() if begun[0] > oldest_ns}
        self._begun = dict(list(kept.items())[-(STATES_MAX - 1) :])
