"""The page: its files, what it is given to begin with, and what its buttons do."""

import asyncio
import hmac
import secrets
from collections.abc import Awaitable, Callable
from html import escape
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
from aiohttp import web

from kitefeed.actors.runtime import instrument_search
from kitefeed.actors.runtime.instrument_search import Found
from kitefeed.protocol import messages as m
from kitefeed.protocol.errors import BadInput, LoginNeeded, Unavailable
from kitefeed.protocol.instrument_list import InstrumentsDb
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
Ask = Callable[[m.ControlRequest], Awaitable[m.ControlReply | None]]
"""One request to the supervisor; None when it does not answer."""


class _Source(msgspec.Struct, forbid_unknown_fields=True):
    source: Literal["auto", "websocket", "rest", "paused"]


class _Login(msgspec.Struct, forbid_unknown_fields=True):
    secret: str = ""
    keep: bool = False


class Beginning(msgspec.Struct):
    """What the page is given with its HTML, so that it is true from its first paint on.

    instruments: what the configuration always streams. page_token: goes with each of its POSTs.
    """

    page_token: str
    health: object
    instruments: list[str]
    has_api_key: bool
    has_secret: bool
    redirect_url: str
    version: str


class Site:
    """is_guarded: whether browsers enter by a cookie, see `guard.py`."""

    def __init__(
        self, logins: Logins, ask: Ask, instruments: Path, is_guarded: Callable[[], bool]
    ) -> None:
        self._logins = logins
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
        app.router.add_post("/api/login", self.begin_login)
        app.router.add_get("/login", self.login)
        app.router.add_get("/login/redirect", self.redirected)

    # --- files --------------------------------------------------------------------------------

    async def index(self, _: web.Request) -> web.Response:
        given = msgspec.json.encode(self.beginning() if self.beginning else None)
        # In a block of data, which no browser runs; `<` must not end it.
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
        """`?q=nifty`: what somebody may mean who types this."""
        text = request.query.get("q", "")[:80]
        found = await asyncio.to_thread(instrument_search.find, self._db, text)
        return web.Response(
            body=msgspec.json.encode([_shown(each) for each in found[:FOUND_MAX]]),
            content_type="application/json",
        )

    # --- buttons ------------------------------------------------------------------------------

    async def retry(self, request: web.Request) -> web.Response:
        self._must_be_the_page(request)
        return await self._asked(m.Retry())

    async def source(self, request: web.Request) -> web.Response:
        self._must_be_the_page(request)
        return await self._asked(m.SetSource((await _read(request, _Source)).source))

    async def _asked(self, message: m.ControlRequest) -> web.Response:
        reply = await self._ask(message)
        if reply is None:
            raise Unavailable("The daemon does not answer: `kitefeed status` tells more")
        if isinstance(reply, m.Refused):
            raise BadInput(reply.text)
        return web.Response(text=reply.text if isinstance(reply, m.Done) else "done")

    def _must_be_the_page(self, request: web.Request) -> None:
        """Raises HTTPForbidden for a POST that does not come from our page: without its token, or
        without an `Origin` (that it is ours has been seen by then)."""
        token = request.headers.get(TOKEN_HEADER, "")
        if "Origin" not in request.headers or not hmac.compare_digest(token, self.page_token):
            raise web.HTTPForbidden
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType

    # --- login --------------------------------------------------------------------------------

    async def begin_login(self, request: web.Request) -> web.Response:
        """Where the browser is to go."""
        self._must_be_the_page(request)
        asked = await _read(request, _Login)
        url = self._logins.begin(Secret(asked.secret) if asked.secret else None, is_kept=asked.keep)
        return web.Response(body=msgspec.json.encode({"url": url}), content_type="application/json")

    async def login(self, _: web.Request) -> web.Response:
        """The way from a link, such as one in an alert; the page where the secret is not known."""
        try:
            return _elsewhere(self._logins.begin())
        except BadInput:
            return _elsewhere("/#login")

    async def redirected(self, request: web.Request) -> web.Response:
        """Where Kite sends the browser. The answer repeats nothing of the address."""
        try:
            await self._logins.finish(request.query_string, request.query.get("state", ""))
        except (LoginNeeded, BadInput, Unavailable) as error:
            status = 502 if isinstance(error, Unavailable) else 403
            return _told(status, "The login did not work", str(error))
        if self._is_guarded():
            # A strict cookie does not come along on the way from Kite; from a page of ours it does.
            return _told(200, "Logged in", "Prices are live within seconds.", to="/#logged-in")
        return _elsewhere("/#logged-in")


def _shown(found: Found) -> dict[str, object]:
    return {
        "instrument": found.key,
        "name": found.name,
        "expiry": found.expiry,
        "kind": found.kind,
        "segment": found.segment,
    }


async def _read(request: web.Request, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"The request cannot be read: {error}") from None


def _elsewhere(url: str) -> web.Response:
    return web.Response(status=303, headers={"Location": url})


def _told(status: int, title: str, sentence: str, to: str = "") -> web.Response:
    """A page of one sentence, with the way back; `to`: where it goes by itself."""
    onward = f'<meta http-equiv="refresh" content="0;url={to}">' if to else ""
    body = (
        f'<!doctype html><html lang="en"><meta charset="utf-8">{onward}'
        "<title>kitefeed: login</title>"
        '<meta name="viewport" content="width=device-width"><link rel="icon" '
        'href="/page/icon.svg"><link rel="stylesheet" '
        f'href="/page/style.css"><main class="told"><h1>{title}</h1>'
        f'<p>{escape(sentence)}</p><p><a class="button" href="/">Back to kitefeed</a></p></main>'
    )
    return web.Response(status=status, text=body, content_type="text/html")
