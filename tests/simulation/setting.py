"""The setting of a simulated day, drawn from its seed: the date, when the market truly trades, what
is wanted of how many sockets."""

from datetime import datetime
from random import Random

from kitefeed.actors.supervisor.shards import WHOLE_KEY, Capacity
from kitefeed.protocol.kite.units import IST
from tests.simulation.basket import (
    DAYTIME_ONLY,
    EVENING_ONLY,
    Basket,
    commodity_floor,
    day_with_commodities,
)
from tests.simulation.exchange import Floor, S, at_ist

NORMAL = datetime(2026, 6, 15, tzinfo=IST)
AUCTION = datetime(2026, 11, 23, tzinfo=IST)  # continuous to 15:15, the closing auction at 15:30
BUDGET = datetime(2026, 2, 1, tzinfo=IST)  # a full session on a Sunday, which the table knows
SECRET_SUNDAY = datetime(2026, 7, 12, tzinfo=IST)  # one that it does not know
HOLIDAY = datetime(2026, 11, 24, tzinfo=IST)
SURPRISE = datetime(2026, 6, 16, tzinfo=IST)  # a holiday that the table does not know
SATURDAY = datetime(2026, 6, 13, tzinfo=IST)
MUHURAT = datetime(2026, 11, 8, tzinfo=IST)  # a Sunday; the table's window is provisional


def sessions_of(rng: Random) -> tuple[datetime, list[tuple[int, int]]]:
    """The day and the hours in which the exchange truly trades. The calendar is often right."""
    kind = rng.choices(
        ["full", "auction", "half", "muhurat", "holiday"], [60, 14, 8, 5, 13]
    )[0]  # fmt: skip
    match kind:
        case "full":
            day = rng.choices([NORMAL, BUDGET, SECRET_SUNDAY], [4, 2, 1])[0]
            opens, closes = at_ist(day, 9, 15), at_ist(day, 15, 30)
            if rng.random() < 0.3:  # a halt: open, and nothing moves
                halt_ns = opens + int(rng.uniform(600, 20_000) * S)
                again_ns = halt_ns + int(rng.uniform(20, 240) * S)
                return day, [(opens, halt_ns), (again_ns, closes)]
            return day, [(opens, closes)]
        case "auction":
            opens, closes = at_ist(AUCTION, 9, 15), at_ist(AUCTION, 15, 15)
            return AUCTION, [(opens, closes), (at_ist(AUCTION, 15, 30), at_ist(AUCTION, 15, 31))]
        case "half":
            start = rng.choice([(9, 15, 12, 30), (12, 0, 15, 30)])
            return NORMAL, [(at_ist(NORMAL, *start[:2]), at_ist(NORMAL, *start[2:]))]
        case "muhurat":
            return MUHURAT, [(at_ist(MUHURAT, 13, 45), at_ist(MUHURAT, 14, 45))]
    return rng.choice([HOLIDAY, SURPRISE, SATURDAY]), []


def is_announced(day: datetime, sessions: list[tuple[int, int]]) -> bool:
    """Whether the calendar ought to know this day's sessions."""
    known = (NORMAL, BUDGET, AUCTION, DAYTIME_ONLY) if sessions else (HOLIDAY, SATURDAY)
    return day in (*known, EVENING_ONLY)


def capacity_of(seed: int) -> Capacity:
    """Two days in three have two or three sockets; of some of them the wants take more."""
    rng = Random(f"capacity {seed}")
    if rng.random() < 0.34:
        return WHOLE_KEY
    return Capacity(rng.choice([2, 3, 3, 3]), rng.choice([1, 2, 2, 2, 3]))


def floors_of(
    seed: int, basket: Basket, day: datetime, sessions: list[tuple[int, int]]
) -> tuple[datetime, Floor, Floor | None]:
    """The day and its floors: of equities, and of commodities if they are wanted."""
    if not basket.has_commodities:
        return day, Floor(sessions, is_announced=is_announced(day, sessions)), None
    day, sessions = day_with_commodities(Random(f"day {seed}"), day, sessions)
    commodity = commodity_floor(
        day,
        is_half_holiday=day in (HOLIDAY, EVENING_ONLY),
        is_shut=day in (SECRET_SUNDAY, SATURDAY, MUHURAT),
    )
    if basket.configured == (basket.anchor,):
        sessions = []  # nobody looks at the others
    return day, Floor(sessions, is_announced=is_announced(day, sessions)), commodity
