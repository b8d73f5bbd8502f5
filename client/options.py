"""Options as a trader asks for them: expiries, strikes, and the pair at the money, by the day's
instrument list on this host.

    from kitefeed import Feed, atm

    pair = atm("NIFTY", "weekly")
    feed = Feed(pair.call, pair.put)
"""

import math
import os
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

import msgspec

from kitefeed.client.chain import Chain
from kitefeed.client.feed import Feed
from kitefeed.client.tick import Staleness, Tick
from kitefeed.protocol import location
from kitefeed.protocol.clock import boot_ns, utc_ns
from kitefeed.protocol.errors import BadInput, TryLater, Unavailable
from kitefeed.protocol.instrument_list import InstrumentsDb
from kitefeed.protocol.kite.units import IST

LOOK_S = 0.1  # a value becomes fresh by a heartbeat, too
# Words that a value may have for a moment, when a feed has just begun to read it.
_PASSING = ("unproven", "replaced", "gap", "cached", "old")

Config = str | os.PathLike[str] | None


class AtTheMoney(msgspec.Struct, frozen=True):
    """The call and the put whose strike is nearest to the price of their underlying.

    call, put: their names, for Feed. expiry: the last day on which they trade. strike, price:
    rupees; of two strikes that are as near, the lower. underlying: whose price it is, such as
    NSE:NIFTY 50. why_stale: why that is not the current price, in a word of `Staleness`; empty
    when it is, and when the program gave a number. lot_size: units in one contract. listed_on: the
    day (IST) of the instrument list, which the daemon fetches each morning.
    """

    call: str
    put: str
    expiry: date
    strike: float
    lot_size: int
    underlying: str
    price: float
    why_stale: Staleness
    listed_on: date


def expiries(underlying: str, *, config: Config = None) -> list[date]:
    """The days on which options on `underlying` expire, from today (IST) on, the nearest first.
    Today's is among them until the day is over.

    - underlying, config: as in `atm`.

    Raises:

    - BadInput: there are no options on it.
    - Unavailable: there is no instrument list.
    """
    return _chain(underlying, config).expiries


def strikes(
    underlying: str, expiry: date | str = "nearest", *, config: Config = None
) -> list[float]:
    """The strikes, in rupees, that have a call and a put of this expiry, the lowest first.

    - underlying, expiry, config: as in `atm`.

    Raises:

    - BadInput: there is no such underlying or expiry.
    - Unavailable: there is no instrument list.
    """
    chain = _chain(underlying, config)
    return sorted(chain.pairs(chain.expiry(expiry)))


def atm(
    underlying: str,
    expiry: date | str = "nearest",
    *,
    price: float | Decimal | Tick | None = None,
    may_be_stale: bool = False,
    timeout_s: float = 5.0,
    config: Config = None,
) -> AtTheMoney:
    """The call and the put at the money.

    Arguments:

    - underlying: as the exchange calls it (NIFTY, BANKNIFTY, SENSEX, RELIANCE, CRUDEOIL, USDINR),
      or by the name of its instrument (NSE:NIFTY 50). `BCD:USDINR` chooses the exchange of the
      options.
    - expiry: nearest, weekly (the nearest that is not monthly), monthly, a date, or one as text,
      such as 2026-12-29.
    - price: in rupees, or a tick of the underlying; None: the daemon is asked for it. It is that of
      the share or index, else of the future that expires with the options or next after them.
    - may_be_stale: takes also a price that is not the current one; `why_stale` says then why.
    - timeout_s: how long to wait for a current price, in seconds.
    - config: the configuration whose daemon is meant; None: the one in force.

    Raises:

    - BadInput: there is no such underlying or expiry, or no strike near the price.
    - Unavailable: there is no instrument list, no daemon, or no price.
    - TryLater: the price is not the current one.

    It blocks: in an asyncio program `await asyncio.to_thread(kitefeed.atm, "NIFTY")`.
    """
    chain = _chain(underlying, config)
    day = chain.expiry(expiry)
    pairs = chain.pairs(day)
    if price is None:
        key = chain.priced_by(day)
        value, why_stale = _asked(key, config, timeout_s, may_be_stale)
    elif isinstance(price, Tick):
        key = chain.priced_by(day)
        value, why_stale = _price_of(price, key, may_be_stale)
    else:
        key, value, why_stale = chain.priced_by(day, is_needed=False), _rupees(price), ""
    strike = _nearest(sorted(pairs), value, chain)
    pair = pairs[strike]
    return AtTheMoney(
        pair.call, pair.put, day, strike, pair.lot_size, key, value, why_stale, chain.listed_on
    )


def _nearest(listed: list[float], price: float, chain: Chain) -> float:
    """Return the strike at the money; of two that are as near, the lower. Raises BadInput where the
    list ends before the price."""
    below, above = listed[:2], listed[-2:]
    is_listed = below[0] * 2 - below[-1] <= price <= above[-1] * 2 - above[0]
    if len(listed) > 1 and not is_listed:
        raise BadInput(
            f"At {price:,.2f} no option on {chain.name} is at the money: the strikes in the list "
            f"of {chain.listed_on} are {listed[0]:,.2f} to {listed[-1]:,.2f}"
        )
    return min(listed, key=lambda strike: (abs(strike - price), strike))


def _rupees(price: float | Decimal) -> float:
    try:
        value = 0.0 if isinstance(price, bool) else float(price)
    except (TypeError, ValueError):
        value = 0.0
    if not 0 < value < math.inf:
        raise BadInput(f"price={price!r} is no price in rupees")
    return value


def _price_of(tick: Tick, key: str, may_be_stale: bool) -> tuple[float, Staleness]:
    if tick.instrument != key:
        raise BadInput(f"price is a tick of {tick.instrument}, and the underlying is {key}")
    why_stale = tick.why_stale
    if why_stale and not may_be_stale:
        raise TryLater(
            f"The price of {key} is not the current one ({why_stale.replace('_', ' ')}, "
            f"{tick.age_s:.0f} s old): try again when it is, or take it with may_be_stale=True"
        )
    return tick.last_price, why_stale


def _asked(
    key: str, config: Config, timeout_s: float, may_be_stale: bool
) -> tuple[float, Staleness]:
    """Return the price and staleness of the latest tick. It waits until that is the current price,
    or cannot become it. The tick is judged before its feed is closed: no tick of a closed feed is
    current."""
    deadline_ns = boot_ns() + int(timeout_s * 1e9)
    with Feed(key, config=config, timeout_s=timeout_s, name="kitefeed.atm") as feed:
        tick = feed.get(key)
        while tick is None or tick.why_stale in _PASSING:
            left_s = (deadline_ns - boot_ns()) / 1e9
            if left_s <= 0:
                break
            feed.next(min(left_s, LOOK_S))
            tick = feed.get(key)
        if tick is not None:
            return _price_of(tick, key, may_be_stale)
        why = f"the feed is {feed.status.feed}: {feed.status.reason}".removesuffix(": ")
        raise Unavailable(
            f"No price of {key} came within {timeout_s:g} s ({why}): give one, price="
        )


def _chain(underlying: str, config: Config) -> Chain:
    path = location.state_dir(location.find_config(config)) / location.LIST_NAME
    today = datetime.fromtimestamp(utc_ns() / 1e9, IST).date()
    return Chain(_list_at(str(path)), underlying, today)


@lru_cache(maxsize=4)
def _list_at(path: str) -> InstrumentsDb:
    """Return the one database of this file: whether it is whole is looked at once, and not with
    each question."""
    return InstrumentsDb(Path(path))
