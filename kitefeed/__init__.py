"""One self-healing Kite Connect market-data feed for every program on the machine.

    from kitefeed import Feed

    for tick in Feed("NSE:INFY"):
        print(tick.instrument, tick.last_price, tick.source, tick.age_s)

Needs pyzmq and msgspec only. Names are imported when first used, so that the daemon's processes,
which all pass through here, do not load the client.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kitefeed.client.feed import Feed, Status
    from kitefeed.client.feed_async import AsyncFeed
    from kitefeed.client.tick import Tick
    from kitefeed.protocol.errors import BadInput, KitefeedError, TryLater, Unavailable

__version__ = "0.1.0"

__all__ = [
    "AsyncFeed",
    "BadInput",
    "Feed",
    "KitefeedError",
    "Status",
    "Tick",
    "TryLater",
    "Unavailable",
    "__version__",
]

_PLACES = {
    "AsyncFeed": "kitefeed.client.feed_async",
    "Feed": "kitefeed.client.feed",
    "Status": "kitefeed.client.feed",
    "Tick": "kitefeed.client.tick",
    "BadInput": "kitefeed.protocol.errors",
    "KitefeedError": "kitefeed.protocol.errors",
    "TryLater": "kitefeed.protocol.errors",
    "Unavailable": "kitefeed.protocol.errors",
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_PLACES[name]), name)
    globals()[name] = value
    return value
