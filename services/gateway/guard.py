"""Lets nobody pass without a token, where there are tokens. Programs give it with each request, as
`Authorization: Bearer TOKEN`; a browser gives it once, in a form, for a cookie."""

import logging
import re
from collections.abc import Callable
from html import escape

from aiohttp import web
from aiohttp.typedefs import Handler

from kitefeed.protocol.clock import boot_ns, utc_ns
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.services.gateway.doors import refusal
from kitefeed.services.gateway.failures import FAILURES_MAX, WINDOW_NS, Failures
from kitefeed.services.gateway.tokens import COOKIE_S, Tokens

ENTER = "/enter"
# Kite sends the browser to /login/redirect, and a strict cookie does not come along: that path
# opens by the state of a login that was begun here. The others tell nothing of prices.
OPEN = frozenset({"/livez", "/login/redirect", ENTER})
OPEN_FILE = re.compile(r"/page/[\w-]+\.\w+", re.ASCII)
WRONG = "This token opens nothing here."
MAKE_ONE = "`kitefeed keys --gateway NAME` makes one on the daemon's host."
MISSING = (
    "A token is needed: `Authorization: Bearer TOKEN`, or the gateway's page in a browser. "
    f"{MAKE_ONE}"
)
TOO_MANY = "Too many wrong tokens came from this address: wait a minute."
# Kept in a request that lasts: a function that says whether it may still go on.
MAY_STAY: "web.RequestKey[Callable[[], bool]]" = web.RequestKey("may_stay")
log = logging.getLogger("gateway")


class Guard:
    """port: cookies know hosts, and no ports; two gateways of one host must not share theirs."""

    def __init__(self, tokens: Tokens, port: int, now_ns: Callable[[], int] = boot_ns) -> None:
        self._tokens = tokens
        self._cookie = f"kitefeed_{port}"
        self._failures = Failures()
        self._now_ns = now_ns

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        request[MAY_STAY] = lambda: self._may_pass(request)
        is_open = request.path in OPEN or OPEN_FILE.fullmatch(request.path) is not None
        if is_open or not self._tokens.are_needed() or self._has_cookie(request):
            return await handler(request)
        token = _bearer(request)
        if token is None:
            return _page(request) if _is_browser(request) else _refused(401, MISSING)
        status = self._judge(request, token)
        if status == 200:
            return await handler(request)
        return _refused(status, TOO_MANY if status == 429 else f"{WRONG} {MAKE_ONE}")

    def _may_pass(self, request: web.Request) -> bool:
        """Whether the token of a client that came in before is still there."""
        token = _bearer(request)
        is_owners = token is not None and self._tokens.owner_of(token) is not None
        return not self._tokens.are_needed() or self._has_cookie(request) or is_owners

    async def enter(self, request: web.Request) -> web.StreamResponse:
        """Answer `POST /enter`, by the form: a cookie for a token."""
        if request.content_type != "application/x-www-form-urlencoded":
            raise web.HTTPUnsupportedMediaType
        form = await request.post()
        token, to = str(form.get("token", "")).strip(), str(form.get("to", ""))
        status = self._judge(request, token)
        if status != 200:
            return _page(request, status, TOO_MANY if status == 429 else WRONG)
        utc_s = utc_ns() / 1e9
        owner = self._tokens.owner_of(token) or ""
        log.info("a browser entered with the token of %s, from %s", owner, request.remote)
        answer = web.Response(status=303, headers={"Location": _local(to)})
        answer.set_cookie(
            self._cookie, self._tokens.cookie_of(owner, utc_s), max_age=COOKIE_S, path="/",
            httponly=True, samesite="Strict", secure=request.secure,
        )  # fmt: skip
        return answer

    def _has_cookie(self, request: web.Request) -> bool:
        cookie = request.cookies.get(self._cookie, "")
        return self._tokens.owner_of_cookie(cookie, utc_ns() / 1e9) is not None

    def _judge(self, request: web.Request, token: str) -> int:
        """Judge a token: 200, 401 for a wrong one, 429 for one that is not looked at any more."""
        address, now_ns = request.remote or "", self._now_ns()
        if self._failures.are_too_many(address, now_ns):
            return 429
        if self._tokens.owner_of(token) is not None:
            return 200
        if self._failures.note(address, now_ns) == FAILURES_MAX:
            log.warning(
                "%d wrong tokens came from %s; it is not listened to for a minute",
                FAILURES_MAX,
                address,
            )
        return 401


def _bearer(request: web.Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _is_browser(request: web.Request) -> bool:
    """Whether a person sees the answer: scripts of the page ask for other things."""
    return request.method == "GET" and "text/html" in request.headers.get("Accept", "")


def _local(to: str) -> str:
    """Return where the browser wanted to go, if a link of ours leads there, else the page."""
    return to if to in ("/", "/login") else "/"


def _refused(status: int, sentence: str) -> web.Response:
    answer = refusal(status, sentence)
    if status == 429:
        answer.headers["Retry-After"] = str(WINDOW_NS // NS_PER_S)
    else:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="kitefeed"'
    return answer


def _page(request: web.Request, status: int = 401, trouble: str = "") -> web.Response:
    """Write the form. It names its own origin when it is sent, which `no-referrer` would hide."""
    told = f'<p class="problem" role="alert">{escape(trouble)}</p>' if trouble else ""
    answer = _refused(status, "")
    answer.content_type = "text/html"
    answer.headers["Referrer-Policy"] = "same-origin"
    answer.text = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>kitefeed: token</title>'
        '<meta name="viewport" content="width=device-width"><link rel="icon" '
        'href="/page/icon.svg"><link rel="stylesheet" href="/page/style.css"><main class="told">'
        f'<h1>kitefeed</h1>{told}<form method="post" action="{ENTER}"><p><label for="token">'
        'Your token</label></p><p><input id="token" name="token" type="password" required '
        'autofocus autocomplete="current-password" maxlength="200"></p>'
        f'<input type="hidden" name="to" value="{_local(request.path)}">'
        '<p><button class="primary">Enter</button></p></form>'
        "<p>On the daemon's host <code>kitefeed keys --gateway NAME</code> makes one.</p></main>"
    )
    return answer
