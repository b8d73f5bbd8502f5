"""Apps, their users, and the tokens a login gives them. Pure: the time is an argument.

A Kite app has one live access token; a new login kills the one before it. Everything is derived
from the seed, so that a run can be repeated, and looks like the real thing.
"""

import hashlib
import string
from dataclasses import dataclass, field
from enum import StrEnum

from kitefeed.kite_server.limits import HISTORICAL_PER_S, OTHERS_PER_S, QUOTES_PER_S, RateLimit
from kitefeed.protocol.kite.session import checksum as wanted_checksum
from kitefeed.protocol.kite.units import NS_PER_S

REQUEST_TOKEN_LIFE_NS = 300 * NS_PER_S  # Kite says "a few minutes"
_REQUEST_TOKENS_MAX = 100  # open logins of one app; the oldest is forgotten
_LOWER = string.digits + string.ascii_lowercase
_MIXED = string.digits + string.ascii_letters
_NAMES = ("Asha Rao", "Vikram Shah", "Meera Iyer", "Kabir Sen", "Divya Nair", "Rohan Gill")


class Refusal(StrEnum):
    """The reason why a login was refused."""

    CHECKSUM = "checksum"
    REQUEST_TOKEN = "request_token"


@dataclass(eq=False)
class App:
    """One Kite Connect app with its one user. `access_token` is None while no session lives."""

    number: int
    api_key: str
    api_secret: str = field(repr=False)
    user_id: str
    user_name: str
    access_token: str | None = field(default=None, repr=False)
    refresh_token: str = field(default="", repr=False)
    logins: int = 0
    request_tokens: dict[str, int] = field(default_factory=dict, repr=False)  # token: expiry ns
    quotes: RateLimit = field(default_factory=lambda: RateLimit(QUOTES_PER_S))
    history: RateLimit = field(default_factory=lambda: RateLimit(HISTORICAL_PER_S))
    others: RateLimit = field(default_factory=lambda: RateLimit(OTHERS_PER_S))


class Accounts:
    """The apps of this simulator, numbered from 1. Each starts with a live session."""

    def __init__(
        self, seed: int, count: int, *, is_limited: bool = True, has_refresh: bool = False
    ) -> None:
        self._seed = seed
        self._has_refresh = has_refresh
        self.apps = [self._new_app(number) for number in range(1, count + 1)]
        self._by_key = {app.api_key: app for app in self.apps}
        for app in self.apps:
            self.login(app)
            if not is_limited:
                app.quotes = app.history = app.others = RateLimit(None)

    def _new_app(self, number: int) -> App:
        letters = self._secret(2, string.ascii_uppercase, "letters", number)
        digits = self._secret(4, string.digits, "digits", number)
        return App(
            number,
            self._secret(16, _LOWER, "api_key", number),
            self._secret(32, _LOWER, "api_secret", number),
            letters + digits,
            _NAMES[(number - 1) % len(_NAMES)],
        )

    def _secret(self, length: int, alphabet: str, *parts: object) -> str:
        seed = ":".join(map(str, (self._seed, *parts)))
        digest = hashlib.shake_256(seed.encode()).digest(2 * length)
        return "".join(alphabet[byte % len(alphabet)] for byte in digest[::2])

    def by_number(self, number: int) -> App | None:
        return self.apps[number - 1] if 1 <= number <= len(self.apps) else None

    def by_key(self, api_key: str) -> App | None:
        return self._by_key.get(api_key)

    def authorise(self, api_key: str, access_token: str) -> App | None:
        """The app, when this is its one live token."""
        app = self._by_key.get(api_key)
        if app is None or app.access_token is None:
            return None
        return app if app.access_token == access_token else None

    def login(self, app: App) -> str:
        """A new access token; the one before it is dead from now on."""
        app.logins += 1
        app.access_token = self._secret(32, _MIXED, "access_token", app.number, app.logins)
        if self._has_refresh:
            app.refresh_token = self._secret(32, _MIXED, "refresh_token", app.number, app.logins)
        return app.access_token

    def renew(self, api_key: str, refresh_token: str, checksum: str) -> App | Refusal:
        """The app with its next session, or why not. A refresh token outlives its session."""
        app = self._by_key.get(api_key)
        if app is None or checksum != wanted_checksum(api_key, refresh_token, app.api_secret):
            return Refusal.CHECKSUM
        if not refresh_token or refresh_token != app.refresh_token:
            return Refusal.REQUEST_TOKEN
        self.login(app)
        return app

    def expire(self, app: App) -> None:
        app.access_token = None

    def new_request_token(self, app: App, now_ns: int) -> str:
        """Return what the login page hands to the redirect URL: good once, for five minutes."""
        token = self._secret(32, _MIXED, "request_token", app.number, app.logins, now_ns)
        app.request_tokens[token] = now_ns + REQUEST_TOKEN_LIFE_NS
        if len(app.request_tokens) > _REQUEST_TOKENS_MAX:
            del app.request_tokens[next(iter(app.request_tokens))]
        return token

    def exchange(
        self, api_key: str, request_token: str, checksum: str, now_ns: int
    ) -> App | Refusal:
        """The app with its new session, or why not. The request token is spent by success only."""
        app = self._by_key.get(api_key)
        if app is None:
            return Refusal.CHECKSUM
        if checksum != wanted_checksum(api_key, request_token, app.api_secret):
            return Refusal.CHECKSUM
        expires_ns = app.request_tokens.get(request_token)
        if expires_ns is None or now_ns >= expires_ns:
            return Refusal.REQUEST_TOKEN
        del app.request_tokens[request_token]
        self.login(app)
        return app
