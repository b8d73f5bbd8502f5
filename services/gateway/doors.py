"""Turns strangers away before any route is looked at.

A page of the internet can make a browser send requests to this host. Such a request names the
page's host in `Host` (DNS rebinding) or its origin in `Origin`; both are refused.
"""

from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

BODY_BYTES_MAX = 64 * 1024

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def names_of(address: str, port: int, others: Iterable[str] = ()) -> frozenset[str]:
    """Return the values of `Host` that are good for a server at `address`: its own address, the
    names that every host has for itself, and `others`, with that port, one of their own, or none
    (that of a proxy before us)."""
    hosts = {_shown(address)}
    if ip_address(address).is_loopback or ip_address(address).is_unspecified:
        hosts |= {"localhost", "127.0.0.1", "[::1]"}
    named = {name.lower() for name in others}
    return frozenset({f"{host}:{port}" for host in hosts | named} | named)


def _shown(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def only_for(names: Iterable[str], *, is_own_address_known: bool = True) -> Middleware:
    """Refuses a request whose `Host` is none of `names`, or whose `Origin` is another site.

    is_own_address_known: else the address that the connection came to is a good name, too; no page
    of another site has it for its own.
    """
    known = frozenset(names)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("Host", "").lower()
        if host not in known and (is_own_address_known or host != _own_address(request)):
            return refusal(403, f"This is kitefeed's gateway at {', '.join(sorted(known))}; "
                                "the request names another host.")  # fmt: skip
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host:
            return refusal(403, "Another site may not ask here: open the gateway's own page.")
        return await handler(request)

    return middleware


def _own_address(request: web.Request) -> str | None:
    own = request.get_extra_info("sockname")
    return f"{_shown(own[0])}:{own[1]}" if own else None


@web.middleware
async def sealed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Sets the headers that every answer has, those of errors included."""
    try:
        response = await handler(request)
    except web.HTTPException as error:
        response = refusal(error.status, f"{error.reason}: {request.method} {request.path}")
    if not response.prepared:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
    return response


def refusal(status: int, sentence: str) -> web.Response:
    return web.Response(status=status, text=f"{sentence}\n")
