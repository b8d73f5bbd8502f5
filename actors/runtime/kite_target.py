"""The Kite that is meant: the real one, its sandbox, a simulator on this machine, or something
else.

Kite's sandbox (kite.trade/docs/connect/v3/sandbox) has roots of its own, keeps all routes but the
instrument dump below a prefix, and wants one more parameter in the WebSocket's address.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import urlencode, urlsplit

import msgspec
from msgspec import Meta

from kitefeed.protocol.kite.limits import PER_SOCKET_MAX, SOCKETS_MAX
from kitefeed.protocol.messages.status import Target

ApiKey = Annotated[str, Meta(pattern=r"^[A-Za-z0-9]{0,64}\Z")]
DUMP_ROUTES = frozenset({"market.instruments.all", "market.instruments"})  # below no prefix
QUERY_MAX = 10  # parameters
Kind = Literal["kite", "sandbox", "simulator", "other"]
_QUERY_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_OWN_QUERY = ("api_key", "access_token")
_HOSTS: dict[tuple[str | None, ...], Kind] = {
    ("api.kite.trade", "ws.kite.trade"): "kite",
    ("sandbox.kite.trade", "ws-sandbox.kite.trade"): "sandbox",
}
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


class Kite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The addresses of Kite, the app that we are, and how much of its sockets may be used.

    rest_prefix: put before every REST route but the instrument dump. ws_query: parameters put
    behind those of the WebSocket's address.
    """

    api_key: ApiKey = ""
    rest_url: Annotated[str, Meta(pattern=r"^https?://")] = "https://api.kite.trade"
    rest_prefix: Annotated[str, Meta(pattern=r"^(/[A-Za-z0-9._~-]+)*\Z", max_length=200)] = ""
    ws_url: Annotated[str, Meta(pattern=r"^wss?://")] = "wss://ws.kite.trade"
    ws_query: dict[str, Annotated[str, Meta(min_length=1, max_length=200)]] = {}
    login_url: Annotated[str, Meta(pattern=r"^https?://")] = (
        "https://kite.zerodha.com/connect/login"
    )
    redirect_url: Annotated[str, Meta(pattern=r"^https?://[^\s/]")] = (
        "http://127.0.0.1:8787/login/redirect"
    )
    sockets_max: Annotated[int, Meta(ge=1, le=SOCKETS_MAX)] = SOCKETS_MAX
    instruments_per_socket: Annotated[int, Meta(ge=1, le=PER_SOCKET_MAX)] = PER_SOCKET_MAX

    def target(self) -> Target:
        """Tell which Kite this is, judged by both hosts."""
        hosts = (_host(self.rest_url), _host(self.ws_url))
        elsewhere: Kind = "simulator" if set(hosts) <= set(_THIS_MACHINE) else "other"
        return Target(_HOSTS.get(hosts, elsewhere), self.rest_url, self.ws_url)

    def routes(self, shipped: Mapping[str, str]) -> dict[str, str]:
        """Return the official client's table of routes, moved below the prefix."""
        return {
            name: path if name in DUMP_ROUTES else self.rest_prefix + path
            for name, path in shipped.items()
        }

    def ws_query_text(self) -> str:
        """Return the text to put behind the official client's own query; "" for nothing."""
        return f"&{urlencode(self.ws_query)}" if self.ws_query else ""

    def problem(self) -> str:
        """Say which setting cannot be used, as `kite.SETTING: why; remedy`; "" when all can."""
        for name in ("rest_url", "ws_url", "login_url"):
            if not _is_private(getattr(self, name)):
                return (
                    f"kite.{name}: would send your session over the network unencrypted; "
                    "write https:// or wss:// (a simulator on this machine needs neither)"
                )
        rest, ws = urlsplit(self.rest_url), urlsplit(self.ws_url)
        if rest.path.strip("/") or rest.query or rest.fragment:
            return (
                "kite.rest_url: more than scheme, host and port would be left out by the official "
                "client; write a path into kite.rest_prefix, such as /oms"
            )
        if ws.query or ws.fragment:
            return "kite.ws_url: has a query; write its parameters into the table kite.ws_query"
        return self._problem_of_query()

    def _problem_of_query(self) -> str:
        if len(self.ws_query) > QUERY_MAX:
            return f"kite.ws_query: has more than {QUERY_MAX} parameters; write fewer"
        for name in self.ws_query:
            if name in _OWN_QUERY:
                return f"kite.ws_query.{name}: is sent by kitefeed itself; remove it"
            if not _QUERY_NAME.fullmatch(name):
                return f"kite.ws_query: {name!r} is no name of a parameter, such as user_id"
        return ""


def _host(url: str) -> str | None:
    return urlsplit(url).hostname


def _is_private(url: str) -> bool:
    """Whether nobody on the network can read along: it is encrypted, or does not leave this
    machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return parts.scheme in ("https", "wss") or host in _THIS_MACHINE
