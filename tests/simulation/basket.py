"""Chooses the instruments of a day. On every third day commodities are among them, which trade on
into the evening; on a few of these there is nothing else. On a quarter of the others it is shares
alone, none of them always active. On some days a screen reads it, too."""

from datetime import datetime
from random import Random
from typing import NamedTuple

from kitefeed.protocol.kite.ticks import is_index
from kitefeed.protocol.kite.units import IST
from tests.simulation.exchange import COMMODITIES, LISTED, MORE, SLOW, TOKENS, Floor, at_ist

NIFTY_50, CRUDE_OIL, GOLD = "NSE:NIFTY 50", *list(COMMODITIES)[:2]

EVENING_ONLY = datetime(2026, 6, 26, tzinfo=IST)  # equities have a holiday, commodities half of one
DAYTIME_ONLY = datetime(2026, 1, 1, tzinfo=IST)  # New Year's evening is free
SUMMER = (datetime(2026, 3, 9, tzinfo=IST), datetime(2026, 11, 2, tzinfo=IST))


class Basket(NamedTuple):
    """configured, canaries: as in the configuration file. read: by a program, from the start.
    keys: what programs may want in the course of the day. per_second: how often a screen reads the
    latest, 0 without one; `has_all`: of all that streams, else of what is configured."""

    configured: tuple[str, ...]
    read: tuple[str, ...]
    keys: tuple[str, ...]
    canaries: tuple[str, ...] = ()
    per_second: int = 0
    has_all: bool = False

    @property
    def has_commodities(self) -> bool:
        return CRUDE_OIL in self.configured

    @property
    def anchor(self) -> str:
        """By which a feed that is well is known: it is read all day."""
        return self.configured[0]

    def is_canary(self, token: int) -> bool:
        """Whether it is an always-active one, at whatever hour."""
        if not self.canaries:
            return is_index(token)
        return token in [LISTED[key] for key in self.canaries]


def basket_of(seed: int, *, is_sharded: bool) -> Basket:
    basket, rng = _instruments_of(seed, is_sharded=is_sharded), Random(f"screen {seed}")
    if rng.random() >= 0.4:
        return basket
    return basket._replace(per_second=rng.choice([1, 2, 5]), has_all=rng.random() < 0.6)


def _instruments_of(seed: int, *, is_sharded: bool) -> Basket:
    rng = Random(f"commodities {seed}")
    more = tuple(MORE) if is_sharded else ()
    if rng.random() >= 1 / 3:
        if Random(f"shares {seed}").random() < 0.25:
            listed = (*TOKENS, *more)
            keys = tuple(key for key in listed if not is_index(LISTED[key]))
            return Basket(keys[:2], keys[:2], keys)
        also = ("NSE:NIFTY BANK",) if is_sharded else ()
        slow = Random(f"slow {seed}")
        if slow.random() < 0.3:  # an index that is none to rely on, alone or beside one that is
            index = slow.choice(list(SLOW))
            others = slow.choice([(), (NIFTY_50,)])
            configured = ("NSE:INFY", *others, index)
            read = ("NSE:INFY", "NSE:RELIANCE", index)
            return Basket(configured, read, ("NSE:INFY", "NSE:RELIANCE", "NSE:DROWSY", index))
        configured = (NIFTY_50, "NSE:INFY", *also)
        return Basket(configured, (NIFTY_50, "NSE:RELIANCE", *more), (*TOKENS, *more))
    if rng.random() < 0.2:
        canaries = rng.choice([(), (CRUDE_OIL,)])
        return Basket((CRUDE_OIL,), (CRUDE_OIL, GOLD), tuple(COMMODITIES), canaries)
    # The sockets of some days have room for two.
    also = ("NSE:NIFTY BANK",) if is_sharded else ()
    configured = (NIFTY_50, CRUDE_OIL, "NSE:INFY", *also)
    read = (NIFTY_50, CRUDE_OIL, GOLD, "NSE:RELIANCE", *more)
    keys = (*TOKENS, CRUDE_OIL, GOLD, *more)
    has_index_alone = Random(f"canaries {seed}").random() < 0.35
    return Basket(configured, read, keys, () if has_index_alone else (NIFTY_50, CRUDE_OIL))


def day_with_commodities(
    rng: Random, day: datetime, sessions: list[tuple[int, int]]
) -> tuple[datetime, list[tuple[int, int]]]:
    """Often another day than was drawn: one on which only one of the two trades all day."""
    match rng.choices(["", "evening", "daytime"], [60, 25, 15])[0]:
        case "evening":
            return EVENING_ONLY, []
        case "daytime":
            opens, closes = at_ist(DAYTIME_ONLY, 9, 15), at_ist(DAYTIME_ONLY, 15, 30)
            return DAYTIME_ONLY, [(opens, closes)]
    return day, sessions


def commodity_floor(day: datetime, *, is_half_holiday: bool, is_shut: bool) -> Floor:
    """Return when commodities truly trade, which the calendar ought to know."""
    if is_shut:
        return Floor([], is_announced=True)
    opens_ns = at_ist(day, 17 if is_half_holiday else 9)
    closes_ns = at_ist(day, 23, 30 if SUMMER[0] <= day < SUMMER[1] else 55)
    if day == DAYTIME_ONLY:
        closes_ns = at_ist(day, 17)
    return Floor([(opens_ns, closes_ns)], is_announced=True)
