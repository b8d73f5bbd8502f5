"""The page: its files, what it is given to begin with, and what its buttons do."""

import asyncio
import hmac
import secrets
from collections.abc import Awaitable, Callable
from html import escape
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
from aiohttp import web

from kitefeed.actors.runtime import instrument_search, kite_login
from kitefeed.actors.runtime.instrument_search import ListedInstrument
from kitefeed.protocol.errors import BadInput, ConfigError, LoginNeeded, TryLater, Unavailable
from kitefeed.protocol.instrument_list import InstrumentsDb
from kitefeed.protocol.messages.control import (
    ControlReply,
    ControlRequest,
    Done,
    Refused,
    Retry,
    SetSource,
)
from kitefeed.protocol.secret import Secret
from kitefeed.services.gateway.login import Logins

FOLDER = Path(__file__).parent / "page"
TOKEN_HEADER = "X-Kitefeed-Page"
FOUND_MAX = 12
_TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}

T = TypeVar("T")
Ask = Callable[[ControlRequest], Awaitable[ControlReply | None]]
"""One request to the supervisor; None when it does not answer."""


class _Source(msgspec.Struct, forbid_unknown_fields=True):
    source: Literal["auto", "websocket", "rest", "paused"]


class _App(msgspec.Struct, forbid_unknown_fields=True):
    """api_key: "" leaves it as it is. is_redirected_here: the redirect URL becomes the page's."""

    api_key: str = ""
    is_redirected_here: bool = False


class _Pasted(msgspec.Struct, forbid_unknown_fields=True):
    address: str


class _Login(msgspec.Struct, forbid_unknown_fields=True):
    secret: str = ""
    keep: bool = False


class Beginning(msgspec.Struct):
    """The facts that the page is given with its HTML, so that it is true from its first paint on.

    instruments: what the configuration always streams. page_token: goes with each of its POSTs.
    api_key: the app's, which is no secret: it stands in the address of Kite's login page.
    redirect_url: where Kite should send the browser; elsewhere: another address that the
    configuration names for it, from which this page would never hear; "" for none.
    """

    page_token: str
    health: object
    utc_ms: int
    instruments: list[str]
    api_key: str
    has_secret: bool
    redirect_url: str
    elsewhere: str
    version: str


class Site:
    """url: the gateway's root. is_new: nobody has logged in yet. is_guarded: whether browsers enter
    by a cookie, see `guard.py`."""

    def __init__(
        self,
        logins: Logins,
        ask: Ask,
        instruments: Path,
        url: str,
        is_new: Callable[[], bool],
        is_guarded: Callable[[], bool],
    ) -> None:
        self._logins = logins
        self._is_new = is_new
        self._redirect_url = f"{url}/login/redirect"
        self._is_guarded = is_guarded
        self._ask = ask
        self._db = InstrumentsDb(instruments)
        self._files = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.is_file()}
        self.page_token = secrets.token_urlsafe(24)
        self.beginning: Callable[[], Beginning] | None = None

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/", self.index)
        app.router.add_get("/page/{name}", self.file)
        app.router.add_get("/api/find", self.find)
        app.router.add_post("/api/retry", self.retry)
        app.router.add_post("/api/source", self.source)
        app.router.add_post("/api/app", self.set_app)
        app.router.add_post("/api/login", self.begin_login)
        app.router.add_post("/api/login/pasted", self.finish_login)
        app.router.add_get("/login", self.login)
        app.router.add_get("/login/redirect", self.redirected)

    # --- files --------------------------------------------------------------------------------

    async def index(self, _: web.Request) -> web.Response:
        given = msgspec.json.encode(self.beginning() if self.beginning else None)
        # It stands in a block of data, which no browser runs; `<` must not end it.
        page = self._files["index.html"].replace(b"{{given}}", given.replace(b"<", b"\\u003c"))
        return web.Response(body=page, content_type="text/html", charset="utf-8")

    async def file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        kind = _TYPES.get(Path(name).suffix)
        if kind is None or name not in self._files:
            raise web.HTTPNotFound
        return web.Response(body=self._files[name], content_type=kind, charset="utf-8")

    # --- instruments --------------------------------------------------------------------------

    async def find(self, request: web.Request) -> web.Response:
        """Answer `?q=nifty`: the instruments that a person who types this may mean. Where nothing
        matches, what is much like it (`is_near`)."""
        text = request.query.get("q", "")[:80]
        return _json(await asyncio.to_thread(self._found, text))

    def _found(self, text: str) -> list[dict[str, object]]:
        found = instrument_search.find(self._db, text)[:FOUND_MAX]
        if found:
            return [_shown(each) for each in found]
        keys = instrument_search.near(self._db, text)
        near = [each for key in keys for each in instrument_search.find(self._db, key)[:1]]
        return [_shown(each) | {"is_near": True} for each in near]

    # --- buttons ------------------------------------------------------------------------------

    async def retry(self, request: web.Request) -> web.Response:
        self._must_be_the_page(request)
        return await self._asked(Retry())

    async def source(self, request: web.Request) -> web.Response:
        self._must_be_the_page(request)
        return await self._asked(SetSource((await _read(request, _Source)).source))

    async def _asked(self, message: ControlRequest) -> web.Response:
        reply = await self._ask(message)
        if reply is None:
            raise Unavailable("The daemon does not answer: `kitefeed status` tells more")
        if isinstance(reply, Refused):
            raise BadInput(reply.text)
        return web.Response(text=reply.text if isinstance(reply, Done) else "done")

    def _must_be_the_page(self, request: web.Request) -> None:
        """Raises HTTPForbidden for a POST that does not come from our page: without its token, or
        without an `Origin` (that it is ours has been seen by then)."""
        token = request.headers.get(TOKEN_HEADER, "")
        if "Origin" not in request.headers or not hmac.compare_digest(token, self.page_token):
            raise web.HTTPForbidden
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType

    # --- login --------------------------------------------------------------------------------

    def app(self) -> dict[str, str]:
        """Return the part of `Beginning` that concerns the app."""
        is_here = kite_login.leads_to(self._logins.kite, self._redirect_url)
        return {
            "api_key": self._logins.api_key,
            "redirect_url": self._logins.kite.redirect_url if is_here else self._redirect_url,
            "elsewhere": "" if is_here else self._logins.kite.redirect_url,
        }

    async def set_app(self, request: web.Request) -> web.Response:
        """Write the app's key and redirect URL into the configuration."""
        self._must_be_the_page(request)
        must_be_here(request)
        if self._logins.api_key and not self._is_new():
            raise BadInput(
                "The app is known, and has been logged in to: another kite.api_key is written into "
                "the configuration by hand"
            )
        asked = await _read(request, _App)
        values = {}
        if asked.api_key.strip():
            values["kite.api_key"] = asked.api_key.strip()
        if asked.is_redirected_here:
            values["kite.redirect_url"] = self._redirect_url
        if not values:
            raise BadInput("The app's key is empty: copy it from developers.kite.trade")
        try:
            await asyncio.to_thread(self._logins.set_app, values)
        except ConfigError as error:
            raise BadInput(str(error)) from None
        return _json(self.app() | {"has_secret": self._logins.has_secret()})

    async def begin_login(self, request: web.Request) -> web.Response:
        """Answer with the address to which the browser is to go."""
        self._must_be_the_page(request)
        asked = await _read(request, _Login)
        if asked.secret:
            must_be_here(request)
        url = self._logins.begin(Secret(asked.secret) if asked.secret else None, is_kept=asked.keep)
        return _json({"url": url})

    async def finish_login(self, request: web.Request) -> web.Response:
        """Finish a login by the address that the browser ended at, where another is registered for
        the app."""
        self._must_be_the_page(request)
        asked = await _read(request, _Pasted)
        try:
            return web.Response(text=await self._logins.finish_pasted(asked.address))
        except LoginNeeded as error:
            raise BadInput(str(error)) from None

    async def login(self, _: web.Request) -> web.Response:
        """Send a browser on to Kite from a link, such as one in an alert; to the page where the
        secret is not known."""
        try:
            return _elsewhere(self._logins.begin())
        except BadInput:
            return _elsewhere("/#login")

    async def redirected(self, request: web.Request) -> web.Response:
        """Take the browser that Kite sends back. The answer repeats nothing of the address."""
        try:
            await self._logins.finish(request.query_string, request.query.get("state", ""))
        except TryLater as error:
            return _told(200, "You are logged in, and the secret was not kept", str(error))
        except (LoginNeeded, BadInput, Unavailable) as error:
            status = 502 if isinstance(error, Unavailable) else 403
            return _told(status, "The login did not work", str(error))
        if self._is_guarded():
            # The browser sends a strict cookie from a page of ours, but not on the way from Kite.
            return _told(200, "Logged in", "Prices are live within seconds.", to="/#logged-in")
        return _elsewhere("/#logged-in")


def _shown(found: ListedInstrument) -> dict[str, object]:
    return {
        "instrument": found.key,
        "name": found.name,
        "expiry": found.expiry,
        "kind": found.kind,
        "segment": found.segment,
    }


def must_be_here(request: web.Request) -> None:
    """Refuse with BadInput what would cross a network in the clear."""
    try:
        address = ip_address(request.remote or "")
    except ValueError:
        return  # no network at all
    if not (getattr(address, "ipv4_mapped", None) or address).is_loopback:
        raise BadInput(
            "The app's key and secret are entered on the host of the daemon alone: open this page "
            "there, or through `ssh -L`"
        )


def _json(body: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), content_type="application/json")


async def _read(request: web.Request, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"The request cannot be read: {error}") from None


def _elsewhere(url: str) -> web.Response:
    return web.Response(status=303, headers={"Location": url})


def _told(status: int, title: str, sentence: str, to: str = "") -> web.Response:
    """Write a page of one sentence, with the ways back; `to`: where it goes by itself."""
    onward = f'<meta http-equiv="refresh" content="0;url={to}">' if to else ""
    again = "" if to else ' <a href="/#login">Enter the secret again</a>'
    body = (
        f'<!doctype html><html lang="en"><meta charset="utf-8">{onward}'
        "<title>kitefeed: login</title>"
        '<meta name="viewport" content="width=device-width"><link rel="icon" '
        'href="/page/icon.svg"><link rel="stylesheet" '
        f'href="/page/style.css"><main class="told"><h1>{title}</h1>'
        f'<p>{escape(sentence)}</p><p class="buttons"><a class="button" href="{to or "/#told"}">'
        f"Back to kitefeed</a>{again}</p></main>"
    )
    return web.Response(status=status, text=body, content_type="text/html")
