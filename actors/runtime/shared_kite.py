"""Kite's REST API for programs on this host, with the session that they share with the daemon."""

import importlib
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from kitefeed.actors.runtime import config, session_file
from kitefeed.actors.runtime.kite_rest import KiteConnect
from kitefeed.protocol.errors import BadInput, LoginNeeded

if TYPE_CHECKING:
    from kiteconnect.exceptions import TokenException
else:  # after `kite_rest`, which has loaded it without Twisted
    TokenException = importlib.import_module("kiteconnect.exceptions").TokenException

LOG_IN = "log in with `kitefeed login --paste`"


class NoSession(LoginNeeded, TokenException):  # type: ignore[misc]
    """There is no session, or Kite refuses it. It is also the official client's exception for that:
    programs written for that client catch it."""


class SharedKite(KiteConnect):
    """`KiteConnect` of the official client. Before each request it reads the session files that
    the configuration names, the newest first, so that it follows every login.

    Raises ConfigError without a configuration; NoSession for a request while there is no session,
    or Kite refuses them all.
    """

    def __init__(self, named: str | Path | None = None, **options: Any) -> None:
        self._settings = config.load(named)
        kite = self._settings.config.kite
        super().__init__(kite.api_key, root=kite.rest_url, **options)
        self._routes: dict[str, str] = kite.routes(KiteConnect._routes)

    def generate_session(self, *_: object, **__: object) -> NoReturn:
        """Refuse: a login of a program's own would end the session that all share."""
        raise BadInput(f"kite() shares the daemon's session: {LOG_IN}")

    def _request(self, *arguments: Any, **options: Any) -> Any:
        why = "there is no session"
        for session in self._sessions():
            self.api_key, self.access_token = session.api_key, session.access_token.reveal()
            # A copy: another thread may meet another session meanwhile.
            once = copy(self)
            once.session_expiry_hook = None
            try:
                return KiteConnect._request(once, *arguments, **options)
            except TokenException as error:  # Kite says so before it does anything
                why = f"Kite refuses the session ({error})"
        if self.session_expiry_hook:
            self.session_expiry_hook()
        raise NoSession(f"{why}: {LOG_IN}; the next call uses the new session")

    def _sessions(self) -> list[session_file.Session]:
        try:
            return session_file.available(self._settings, "primary")
        except LoginNeeded as error:
            raise NoSession(str(error)) from None
