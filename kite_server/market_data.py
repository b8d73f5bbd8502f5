"""The quote routes and the instrument dump, over any source of values."""

import gzip
from collections.abc import Callable, Iterable
from typing import TypeVar

from aiohttp import web

from kitefeed.kite_server.answers import InputError, success
from kitefeed.protocol.kite.instruments import DumpRow, format_dump

QUOTES_MAX = 500  # instruments in one call of /quote
LAST_PRICES_MAX = 1000  # in one of /quote/ohlc and /quote/ltp
Found = TypeVar("Found")


def quotes(
    request: web.Request,
    count_max: int,
    find: Callable[[str], Found | None],
    item: Callable[[Found], dict[str, object]],
) -> web.Response:
    """Answer any of the quote routes. `find` is given each key of the request: `NSE:INFY`, or the
    digits of a token. InputError for none or too many."""
    keys = request.query.getall("i", [])
    if not keys:
        raise InputError("Missing instruments, `i`.")
    if len(keys) > count_max:
        raise InputError(f"At most {count_max} instruments in one call.")
    found = {key: find(key) for key in keys}
    # Keyed as in the request; an instrument that is not listed is absent, and no error.
    return success({key: item(each) for key, each in found.items() if each is not None})


def zipped_dump(rows: Iterable[DumpRow]) -> bytes:
    """Return the dump as it is kept: gzipped CSV."""
    return gzip.compress(format_dump(rows).encode(), mtime=0)


def dump_response(request: web.Request, zipped: bytes) -> web.Response:
    """Return the dump as CSV, gzipped for a client that accepts it."""
    # No charset behind the type: the JavaScript client compares the whole header.
    if not accepts_gzip(request.headers.get("Accept-Encoding", "")):
        return web.Response(body=gzip.decompress(zipped), content_type="text/csv")
    headers = {"Content-Encoding": "gzip"}
    return web.Response(body=zipped, headers=headers, content_type="text/csv")


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether the header names gzip, or anything (`*`), with a weight above zero."""
    weights: dict[str, float] = {}
    for part in accept_encoding.lower().split(","):
        coding, *parameters = (piece.strip() for piece in part.split(";"))
        weights[coding] = _weight(parameters)
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0))) > 0


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
