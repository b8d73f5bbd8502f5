"""Kite's market-data REST, from the last values of the feed and the day's list."""

import asyncio
from collections.abc import Callable

from aiohttp import web

from kitefeed.client.tick import Tick
from kitefeed.client.trouble import Policy, may_pass
from kitefeed.kite_server import profile as shapes
from kitefeed.kite_server.answers import InputError, RestError, success
from kitefeed.kite_server.market_data import LAST_PRICES_MAX, QUOTES_MAX, dump_response
from kitefeed.protocol.kite.rest import ltp_item, ohlc_item, quote_item
from kitefeed.protocol.kite.ticks import FULL, LTP, QUOTE, TickBody
from kitefeed.services.kite_endpoint.doors import Doors
from kitefeed.services.kite_endpoint.market import Market
from kitefeed.services.kite_endpoint.names import DayNames

NAMED_MAX = 10
NO_ORDERS = "kitefeed places no orders and reads no accounts: ask Kite itself, with its own token."


class Rest:
    """The routes. Every answer with values says how old the oldest of them is (`Age`, seconds),
    where they come from (`X-Kitefeed-Source`) and whether all are current (`X-Kitefeed-Fresh`)."""

    def __init__(self, doors: Doors, market: Market, names: DayNames, policy: Policy) -> None:
        self._doors = doors
        self._policy: Policy = policy
        self._market = market
        self._names = names

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/quote", self.quote)
        app.router.add_get("/quote/ohlc", self.ohlc)
        app.router.add_get("/quote/ltp", self.ltp)
        app.router.add_get("/instruments", self.instruments)
        app.router.add_get("/instruments/{exchange}", self.instruments)
        app.router.add_get("/user/profile", self.profile)

    async def quote(self, request: web.Request) -> web.Response:
        return await self._values(request, FULL, QUOTES_MAX, quote_item)

    async def ohlc(self, request: web.Request) -> web.Response:
        return await self._values(request, QUOTE, LAST_PRICES_MAX, ohlc_item)

    async def ltp(self, request: web.Request) -> web.Response:
        return await self._values(request, LTP, LAST_PRICES_MAX, ltp_item)

    async def _values(
        self,
        request: web.Request,
        mode: int,
        count_max: int,
        item: Callable[[TickBody], dict[str, object]],
    ) -> web.Response:
        self._doors.owner_of_request(request)
        asked = list(dict.fromkeys(request.query.getall("i", [])))
        if not asked:
            raise InputError("Missing instruments, `i`.")
        if len(asked) > count_max:
            raise InputError(f"At most {count_max} instruments in one call.")
        keys = self._keys(asked)
        found = await self._market.ask(keys.values(), mode)
        self._refuse_what_is_not_live(found)
        # Keyed by what was asked for; what is not listed, or has no value, is absent.
        answer = success({name: item(found[key].raw) for name, key in keys.items() if key in found})
        answer.headers.update(_quality(list(found.values())))
        return answer

    def _refuse_what_is_not_live(self, found: dict[str, Tick]) -> None:
        """An official client reads no headers: what is not live must not come as if it were."""
        status = self._market.status
        is_closed = status.feed == "closed"
        dead = [k for k, t in found.items() if not may_pass(self._policy, t.source, is_closed)]
        if dead:
            names = ", ".join(dead[:NAMED_MAX])
            raise RestError(
                503,
                "NetworkException",
                f"kitefeed: no live price of {names} ({status.feed}: {status.reason})",
            )

    def _keys(self, asked: list[str]) -> dict[str, str]:
        """`NSE:INFY` by what was asked for: that, or the digits of a token."""
        by_token = self._names.keys_of([int(name) for name in asked if name.isdecimal()])
        named = self._names.known([name for name in asked if not name.isdecimal()])
        tokens = {str(token): key for token, key in by_token.items()}
        return {name: tokens.get(name, name) for name in asked if name in tokens or name in named}

    async def instruments(self, request: web.Request) -> web.Response:
        """Kite answers this to anybody, and so do we."""
        exchange = request.match_info.get("exchange", "")
        zipped = await asyncio.to_thread(self._names.dump, exchange)
        return dump_response(request, zipped)

    async def profile(self, request: web.Request) -> web.Response:
        self._doors.owner_of_request(request)
        status = self._market.status
        if status.user_id is None:
            raise RestError(403, "TokenException", f"kitefeed: {status.feed}: {status.reason}")
        return success(shapes.profile(status.user_id, status.user_name or status.user_id))

    async def other(self, request: web.Request) -> web.Response:
        """Whatever else Kite has."""
        self._doors.owner_of_request(request)
        raise RestError(403, "PermissionException", NO_ORDERS)


def _quality(ticks: list[Tick]) -> dict[str, str]:
    if not ticks:
        return {"X-Kitefeed-Source": "none", "X-Kitefeed-Fresh": "false"}
    sources = sorted({tick.source for tick in ticks})
    return {
        "Age": str(round(max(tick.age_s for tick in ticks))),
        "X-Kitefeed-Source": ",".join(sources),
        "X-Kitefeed-Fresh": "true" if all(tick.is_fresh for tick in ticks) else "false",
    }
