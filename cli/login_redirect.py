"""Takes one login's redirect in the command itself, where no gateway is there to do it."""

import asyncio
from collections.abc import Callable, Iterable
from html import escape
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from kitefeed.actors.runtime.kite_target import Kite
from kitefeed.actors.runtime.session_file import Session
from kitefeed.protocol.errors import ConfigError, KitefeedError, Unavailable
from kitefeed.services.gateway.doors import names_of, only_for, sealed
from kitefeed.services.gateway.login import Logins, NotBegun

SHUTDOWN_S = 1.0


class Place(NamedTuple):
    """The address to which Kite sends the browser."""

    host: str
    port: int
    path: str


def place_of(kite: Kite) -> Place:
    """Return the address in `kite.redirect_url`. Raises ConfigError when this host cannot answer
    there."""
    try:
        url = urlsplit(kite.redirect_url)
        place = Place(url.hostname or "", url.port or 80, url.path or "/")
    except ValueError:
        raise ConfigError(
            f"kite.redirect_url is no URL ({kite.redirect_url}): write the one that is registered"
        ) from None
    if url.scheme != "http" or not _is_loopback(place.host):
        raise ConfigError(
            f"kite.redirect_url = {kite.redirect_url} leads to no address of this host alone, so "
            "nothing here can take the redirect: `kitefeed login --paste`"
        )
    return place


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


async def receive(
    logins: Logins, place: Place, waits: Iterable[tuple[float, Callable[[], None]]]
) -> Session | None:
    """Listen at `place` until the redirect of a login that `logins` began has come. Return the
    session, None when none came in time, or raise why it was refused. `waits`: seconds, and what is
    done before them. Whatever else asks there is turned away, and changes nothing."""
    answered: asyncio.Future[Session] = asyncio.get_running_loop().create_future()
    app = web.Application(middlewares=[sealed, only_for(_names(place))])
    app.router.add_get(place.path, _taker(logins, answered))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, place.host, place.port).start()
        except OSError as error:
            raise Unavailable(
                f"{place.host}:{place.port}, where Kite sends the browser, cannot be listened at "
                f"({error.strerror or error}): end what uses it, or `kitefeed login --paste`"
            ) from None
        for seconds, before in waits:
            before()
            if (await asyncio.wait((answered,), timeout=seconds))[0]:
                return answered.result()
        return None
    finally:
        await runner.cleanup()


def _names(place: Place) -> frozenset[str]:
    address = "127.0.0.1" if place.host == "localhost" else place.host
    names = names_of(address, place.port)
    return names | {name.removesuffix(":80") for name in names if place.port == 80}


def _taker(logins: Logins, answered: "asyncio.Future[Session]") -> Handler:
    async def take(request: web.Request) -> web.StreamResponse:
        try:
            session = await logins.finish(request.query_string, request.query.get("state", ""))
        except NotBegun as error:
            return _page(403, "The login did not work", str(error))
        except KitefeedError as error:
            answered.set_exception(error)
            return _page(403, "The login did not work", str(error))
        answered.set_result(session)
        return _page(200, "Logged in", "kitefeed has the session. This page can be closed.")

    return take


def _page(status: int, title: str, sentence: str) -> web.Response:
    body = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>kitefeed: login</title>'
        '<meta name="viewport" content="width=device-width">'
        f"<h1>{title}</h1><p>{escape(sentence)}</p>"
    )
    return web.Response(status=status, text=body, content_type="text/html")
