"""The instrument dump of the simulated market, and what can be wrong with it."""

from collections.abc import Sequence

from aiohttp import web

from kitefeed.kite_server.market_data import dump_response, zipped_dump
from kitefeed.protocol.kite.instruments import DumpRow, format_dump
from kitefeed.simulator.listings import Listing

SHORT_ROWS = 2
_CUT_AT = 0.6  # of the bytes
# Another order, without some columns, with a new one, side fields that nobody can read, and rows
# that name nothing.
_ODD_HEADER = "exchange,isin,tradingsymbol,expiry,lot_size,instrument_token,instrument_type"
_ODD_ROWS = ("NSE,,,,1,77,EQ", "NSE,,TORN", "NSE,,NO TOKEN,,1,none,EQ", "NSE,,A,,1,1,EQ,COMMA,X")


def dump(listings: Sequence[Listing], exchange: str) -> bytes:
    """Gzipped; `exchange` "" is all of them."""
    return zipped_dump(_row(each) for each in listings if exchange in ("", each.exchange))


def faulty(request: web.Request, listings: Sequence[Listing], fault: str) -> web.Response:
    """`cut`, `cut_plain`, `short`, `odd`, or what is missing: an exchange, or an instrument."""
    if fault in ("cut", "cut_plain"):
        return _cut(request, listings, is_zipped=fault == "cut")
    if fault == "odd":
        rows = [
            f"{row.exchange},INE,{row.tradingsymbol},{row.expiry},{row.lot_size or 'none'},"
            f"{row.instrument_token},?"
            for row in map(_row, listings)
        ]
        text = "\n".join([_ODD_HEADER, *rows, *_ODD_ROWS, ""])
        return web.Response(text=text, content_type="text/csv")
    if fault == "short":
        left = listings[:SHORT_ROWS]
    else:
        left = [each for each in listings if fault not in (each.exchange, each.key)]
    return dump_response(request, dump(left, ""))


def _cut(request: web.Request, listings: Sequence[Listing], *, is_zipped: bool) -> web.Response:
    """An answer without a length, whose connection ends too early: nothing in HTTP tells."""
    rows = [_row(each) for each in listings]
    body = zipped_dump(rows) if is_zipped else format_dump(rows).encode()
    coding = "Content-Encoding: gzip\r\n" if is_zipped else ""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\n{coding}Connection: close\r\n\r\n"
    if request.transport is not None:
        request.transport.write(head.encode() + body[: int(len(body) * _CUT_AT)])
        request.transport.close()
    return web.Response()


def _row(listing: Listing) -> DumpRow:
    return DumpRow(
        instrument_token=listing.token,
        exchange_token=listing.token >> 8,
        tradingsymbol=listing.symbol,
        name=listing.name,
        last_price=0.0,
        expiry=listing.expiry.isoformat() if listing.expiry else "",
        strike=listing.strike,
        tick_size=listing.tick_size,
        lot_size=listing.lot_size,
        instrument_type=listing.kind,
        segment=listing.segment,
        exchange=listing.exchange,
    )
