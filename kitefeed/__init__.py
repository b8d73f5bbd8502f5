"""One self-healing Kite Connect market-data feed for every program on the machine.

    from kitefeed import Feed

    for tick in Feed("NSE:INFY"):
        print(tick.instrument, tick.last_price, tick.source, tick.age_s)

Needs pyzmq and msgspec only. Names are imported when first used, so that the daemon's processes,
which all pass through here, do not load the client.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from kitefeed.actors.runtime.shared_kite import SharedKite
    from kitefeed.client.bar_stream import AsyncBarStream, BarStream
    from kitefeed.client.bars import Bar, Bars
    from kitefeed.client.batches import Batch
    from kitefeed.client.feed import Feed, Status
    from kitefeed.client.feed_async import AsyncFeed
    from kitefeed.client.frames import Snapshot
    from kitefeed.client.gaps import Gap, GapReason
    from kitefeed.client.kite_dict import to_dict
    from kitefeed.client.kite_ticker import KiteTicker
    from kitefeed.client.options import AtTheMoney, atm, expiries, strikes
    from kitefeed.client.order import Order
    from kitefeed.client.recording import Recording
    from kitefeed.client.several import wait, wait_async
    from kitefeed.client.tick import Depth, Level, Ohlc, Staleness, Tick
    from kitefeed.protocol.errors import (
        BadInput,
        ConfigError,
        KitefeedError,
        LoginNeeded,
        TryLater,
        Unavailable,
    )
    from kitefeed.protocol.feed import Heartbeat, Notice
    from kitefeed.protocol.messages.control import Answer

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "AsyncBarStream",
    "AsyncFeed",
    "AtTheMoney",
    "BadInput",
    "Bar",
    "BarStream",
    "Bars",
    "Batch",
    "ConfigError",
    "Depth",
    "Feed",
    "Gap",
    "GapReason",
    "Heartbeat",
    "KiteTicker",
    "KitefeedError",
    "Level",
    "LoginNeeded",
    "Notice",
    "Ohlc",
    "Order",
    "Recording",
    "Snapshot",
    "Staleness",
    "Status",
    "Tick",
    "TryLater",
    "Unavailable",
    "__version__",
    "atm",
    "expiries",
    "kite",
    "strikes",
    "to_dict",
    "wait",
    "wait_async",
]

_PLACES = {
    "AsyncFeed": "kitefeed.client.feed_async",
    **dict.fromkeys(("AsyncBarStream", "BarStream"), "kitefeed.client.bar_stream"),
    **dict.fromkeys(("Bar", "Bars"), "kitefeed.client.bars"),
    "Batch": "kitefeed.client.batches",
    "Feed": "kitefeed.client.feed",
    "Status": "kitefeed.client.feed",
    **dict.fromkeys(("Gap", "GapReason"), "kitefeed.client.gaps"),
    "to_dict": "kitefeed.client.kite_dict",
    **dict.fromkeys(("wait", "wait_async"), "kitefeed.client.several"),
    "KiteTicker": "kitefeed.client.kite_ticker",
    **dict.fromkeys(("AtTheMoney", "atm", "expiries", "strikes"), "kitefeed.client.options"),
    "Order": "kitefeed.client.order",
    "Recording": "kitefeed.client.recording",
    "Snapshot": "kitefeed.client.frames",
    **dict.fromkeys(("Depth", "Level", "Ohlc", "Staleness", "Tick"), "kitefeed.client.tick"),
    **dict.fromkeys(
        ("BadInput", "ConfigError", "KitefeedError", "LoginNeeded", "TryLater", "Unavailable"),
        "kitefeed.protocol.errors",
    ),
    **dict.fromkeys(("Heartbeat", "Notice"), "kitefeed.protocol.feed"),
    "Answer": "kitefeed.protocol.messages.control",
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def kite(config: "str | Path | None" = None, **options: Any) -> "SharedKite":
    """Kite's official `KiteConnect` for orders and history, with the session that the daemon of
    this host uses (`config`: of another than the configuration in force). It follows every login by
    itself, and raises LoginNeeded, which is a TokenException too, while one is needed. `options`
    are those of KiteConnect.

    Raises ImportError without the extra `daemon`, ConfigError without a configuration.
    """
    try:
        from kitefeed.actors.runtime.shared_kite import SharedKite
    except ModuleNotFoundError as error:
        raise ImportError(
            f"kite() needs {error.name}, which is not installed: pip install 'kitefeed[daemon]'"
        ) from None
    return SharedKite(config, **options)
