"""Kite's market-data REST. What streams comes from the last values of the feed, the rest by a
question of the daemon's to Kite; and the day's list."""

import asyncio
from collections.abc import Iterable

from aiohttp import web

from kitefeed.client.tick import Tick
from kitefeed.client.trouble import Policy, may_pass
from kitefeed.kite_server import profile as shapes
from kitefeed.kite_server.answers import InputError, RestError, success
from kitefeed.kite_server.market_data import LAST_PRICES_MAX, QUOTES_MAX, dump_response
from kitefeed.protocol.kite.rest import ltp_item, ohlc_item, quote_item
from kitefeed.protocol.kite.ticks import FULL, LTP, QUOTE, TickBody, is_index
from kitefeed.services.kite_endpoint.doors import Doors
from kitefeed.services.kite_endpoint.market import SharedReader
from kitefeed.services.kite_endpoint.names import DayNames
from kitefeed.services.kite_endpoint.quotes import LOWER, UPPER, Item, Limits, Quote, QuoteDesk

NO_ORDERS = "kitefeed places no orders and shows no accounts: ask Kite itself, with its own token."


class Routes:
    """The routes. Every answer with values says how old the oldest of them is (`Age`, seconds),
    where they come from (`X-Kitefeed-Source`) and whether all are current (`X-Kitefeed-Fresh`)."""

    def __init__(
        self, doors: Doors, market: SharedReader, names: DayNames, quotes: QuoteDesk, policy: Policy
    ) -> None:
        self._doors = doors
        self._policy: Policy = policy
        self._market = market
        self._names = names
        self._quotes = quotes

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/quote", self.quote)
        app.router.add_get("/quote/ohlc", self.ohlc)
        app.router.add_get("/quote/ltp", self.ltp)
        app.router.add_get("/instruments", self.instruments)
        app.router.add_get("/instruments/{exchange}", self.instruments)
        app.router.add_get("/user/profile", self.profile)

    async def quote(self, request: web.Request) -> web.Response:
        return await self._values(request, FULL, QUOTES_MAX)

    async def ohlc(self, request: web.Request) -> web.Response:
        return await self._values(request, QUOTE, LAST_PRICES_MAX)

    async def ltp(self, request: web.Request) -> web.Response:
        return await self._values(request, LTP, LAST_PRICES_MAX)

    async def _values(self, request: web.Request, mode: int, count_max: int) -> web.Response:
        self._doors.owner_of_request(request)
        asked = list(dict.fromkeys(request.query.getall("i", [])))
        if not asked:
            raise InputError("Missing instruments, `i`.")
        if len(asked) > count_max:
            raise InputError(f"At most {count_max} instruments in one call.")
        tokens = self._tokens(asked)
        ticks = await self._streaming(tokens.values(), mode)
        quotes = await self._quotes.of(t for t in tokens.values() if t not in ticks)
        limited = [token for token in ticks if mode == FULL and not is_index(token)]
        limits = await self._quotes.limits_of(limited)
        items: dict[int, Item] = {
            t: _item_of(tick.raw, mode, limits.get(t)) for t, tick in ticks.items()
        }
        items |= {t: _cut(quote.item, mode) for t, quote in quotes.items()}
        # Each key is the name as the client wrote it; names without a listing or value are absent.
        answer = success({name: items[t] for name, t in tokens.items() if t in items})
        answer.headers.update(_quality([*ticks.values()], [*quotes.values()]))
        return answer

    async def _streaming(self, tokens: Iterable[int], mode: int) -> dict[int, Tick]:
        """Return the last values of those that stream in this mode, if they may be taken for live.
        An official client reads no headers: what is not live must not come as if it were."""
        keys = self._names.keys_of(list(tokens))
        found = await self._market.look(keys.values())
        is_closed = self._market.status.feed == "closed"
        return {
            token: tick
            for token, key in keys.items()
            if (tick := found.get(key)) is not None
            and tick.raw.mode >= mode
            and may_pass(self._policy, tick.source, is_closed)
        }

    def _tokens(self, asked: list[str]) -> dict[str, int]:
        """Return the token of each: `NSE:INFY`, or the digits of a token. Those that nobody lists
        are left out."""
        named = self._names.tokens_of([name for name in asked if not name.isdecimal()])
        numbers = [int(name) for name in asked if name.isdecimal()]
        listed = self._names.keys_of(numbers)
        given = {str(token): token for token in listed}
        return {n: (named | given)[n] for n in asked if n in named or n in given}

    async def instruments(self, request: web.Request) -> web.Response:
        """Send the list to anybody, as Kite does."""
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
        """Refuse whatever else Kite has."""
        self._doors.owner_of_request(request)
        raise RestError(403, "PermissionException", NO_ORDERS)


def _item_of(body: TickBody, mode: int, limits: Limits | None) -> dict[str, object]:
    if mode == LTP:
        return ltp_item(body)
    if mode == QUOTE:
        return ohlc_item(body)
    item = quote_item(body)
    return item if limits is None else {**item, LOWER: limits.lower, UPPER: limits.upper}


def _cut(item: Item, mode: int) -> Item:
    """Return the part of Kite's answer to /quote that the other two routes give."""
    if mode == FULL:
        return item
    names = ("instrument_token", "last_price", "ohlc")[: 2 if mode == LTP else 3]
    return {name: item[name] for name in names if name in item}


def _quality(ticks: list[Tick], quotes: list[Quote]) -> dict[str, str]:
    ages_s = [tick.age_s for tick in ticks] + [quote.age_s for quote in quotes]
    if not ages_s:
        return {"X-Kitefeed-Source": "none", "X-Kitefeed-Fresh": "false"}
    sources = {*(tick.source for tick in ticks), *(["rest"] if quotes else [])}
    return {
        "Age": str(round(max(ages_s))),
        "X-Kitefeed-Source": ",".join(sorted(sources)),
        "X-Kitefeed-Fresh": "true" if all(tick.is_fresh for tick in ticks) else "false",
    }
