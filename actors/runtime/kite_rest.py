"""Kite's REST API through the official `KiteConnect`, its holes closed.

The class raises its own exceptions, those of `requests`, and KeyError, TypeError or AttributeError
for envelopes it does not expect. Here each becomes one RestFailure that names its remedy. Calls
block: run them in a thread.
"""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import requests

from kitefeed.actors.runtime.kite_target import Kite
from kitefeed.actors.runtime.proxies import proxies_for
from kitefeed.actors.runtime.secrets import redact
from kitefeed.actors.runtime.session_file import Session
from kitefeed.protocol.errors import KitefeedError
from kitefeed.protocol.kite.rest import RestFault, classify, is_kites

DETAIL_CHARS_MAX = 200  # an error page of a proxy may be a book
PAGE_BYTES_MAX = 64 * 1024  # so much of it is read: more than is told, as secrets leave first
Answer = TypeVar("Answer")


class RestFailure(KitefeedError):
    """A call that failed; `fault` names its remedy. The text holds no secret."""

    def __init__(self, fault: RestFault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault
        self.detail = detail


class Profile(msgspec.Struct, frozen=True):
    user_id: str
    user_name: str


def _import_client() -> Any:
    """Import `KiteConnect` without KiteTicker. Its package imports that, too, and with it all of
    Twisted: half a second and 25 MB for each process that only calls REST. A later import of the
    package gets the whole of it."""
    if "kiteconnect" not in sys.modules:
        sys.modules["kiteconnect.ticker"] = ModuleType("kiteconnect.ticker")
        sys.modules["kiteconnect.ticker"].KiteTicker = None  # type: ignore[attr-defined]
        try:
            importlib.import_module("kiteconnect.connect")
        finally:
            del sys.modules["kiteconnect.ticker"], sys.modules["kiteconnect"]
    return importlib.import_module("kiteconnect.connect").KiteConnect


if TYPE_CHECKING:
    from kiteconnect import KiteConnect as _KiteConnect
else:
    _KiteConnect = _import_client()


class KiteHttp(requests.Session):
    """A session that takes from the environment only the proxies (`proxies`) and the authorities.
    It does not read a `~/.netrc`: a `default` line there would replace the header that holds the
    token, and send somebody's password to Kite."""

    def __init__(self) -> None:
        super().__init__()
        self.auth = lambda request: request  # with any `auth`, `requests` looks for no other

    def rebuild_auth(
        self, prepared_request: requests.PreparedRequest, response: requests.Response
    ) -> None:
        """Give the token to no other host on a redirect; nothing takes its place."""
        before, after = response.request.url or "", prepared_request.url or ""
        if self.should_strip_auth(before, after):  # type: ignore[no-untyped-call]
            prepared_request.headers.pop("Authorization", None)

    def rebuild_proxies(
        self, prepared_request: requests.PreparedRequest, proxies: Any
    ) -> dict[str, str]:
        return proxies_for(prepared_request.url or "")

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        found = super().merge_environment_settings(url, proxies, stream, verify, cert)
        return {**found, "proxies": proxies_for(url)}


class KiteConnect(_KiteConnect):  # type: ignore[misc]
    """The official client on a session of ours."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.reqsession = KiteHttp()


class _Client(KiteConnect):
    """The official client without its parsing of times. It would guess the format of each: of 1,000
    in a full answer, that is most of the work. `tick_from_quote` reads Kite's text."""

    def _format_response(self, data: Any) -> Any:
        return data


class KiteRest:
    """One session on one Kite. TLS is verified; redirects are as `requests` has them, proxies as
    the environment says. `timeout_s` bounds the connect and each wait for bytes, not the whole
    call: a caller that needs a total limit stops waiting by itself."""

    def __init__(self, kite: Kite, session: Session, timeout_s: float) -> None:
        self._client: Any = _Client(
            api_key=session.api_key,
            access_token=session.access_token.reveal(),
            root=kite.rest_url,
            debug=False,  # debug prints the token
            timeout=(timeout_s, timeout_s),
            disable_ssl=False,
        )
        self._client._routes = kite.routes(self._client._routes)
        self._answer: requests.Response | None = None  # of a call under way
        self._client.reqsession.hooks["response"].append(self._answered)

    def _answered(self, response: requests.Response, *_: object, **__: object) -> None:
        self._answer = response

    def profile(self) -> Profile:
        """Return the session's user. Raises RestFailure; its fault is TOKEN only for a dead
        session."""
        return self._guarded(lambda: _profile(self._client.profile()))

    def quote(self, tokens: Sequence[int]) -> dict[int, Mapping[str, object]]:
        """Return full quotes by token; a token that Kite does not know is absent. Raises
        RestFailure.

        Asked by number: symbols make the request line too long (KiteConnect's own 500 symbols do).
        """
        return self._guarded(lambda: _quotes(self._client.quote([str(token) for token in tokens])))

    def orders(self) -> list[Mapping[str, object]]:
        """Return all orders of the day, each in its present state. Raises RestFailure."""
        return self._guarded(lambda: [dict(order) for order in self._client.orders() or ()])

    def _guarded(self, call: Callable[[], Answer]) -> Answer:
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - whatever the official client raises, see above
            answer = self._answer
            fault = classify(error, None if answer is None else answer.status_code)
            # Without its cause: that one holds the request, whose headers hold the token.
            raise RestFailure(fault, _explained(error, answer)) from None
        finally:
            self._answer = None  # it may be a megabyte


def describe(error: BaseException) -> str:
    """Describe an exception in one line, without secrets."""
    text = " ".join(redact(str(error)).split())
    return f"{type(error).__name__}: {text}"[:DETAIL_CHARS_MAX]


def _explained(error: BaseException, answer: requests.Response | None) -> str:
    """Say what failed. If the answer is none of Kite's, say what it was, and not what the client
    stumbled over in it."""
    if answer is None or is_kites(error):
        return describe(error)
    kind = answer.headers.get("Content-Type", "of no type")
    page = answer.content[:PAGE_BYTES_MAX].decode("utf-8", "replace")
    text = " ".join(redact(page).split())
    said = f"HTTP {answer.status_code}, {kind}, is no answer of Kite's: {text or 'nothing'}"
    return said[:DETAIL_CHARS_MAX]


def _profile(data: Any) -> Profile:
    return Profile(str(data["user_id"]), str(data.get("user_name") or data["user_id"]))


def _quotes(data: Any) -> dict[int, Mapping[str, object]]:
    return {int(key): item for key, item in data.items() if isinstance(item, Mapping)}
