"""Last values of a few instruments for a screen, read from the feed."""

from types import TracebackType
from typing import NamedTuple, Self

from kitefeed.cli import output
from kitefeed.client.feed import Feed, Tick
from kitefeed.protocol.errors import KitefeedError

OPEN_S = 1.0  # one attempt; the screen stands still so long


class Row(NamedTuple):
    """One instrument as a person reads it; None where there is no value yet."""

    symbol: str
    last_price: float | None = None
    decimals: int = 2
    change_percent: float | None = None
    source: str = output.NOTHING
    age_s: float | None = None
    is_fresh: bool = False


def row_of(tick: Tick) -> Row:
    return Row(
        tick.symbol,
        tick.last_price,
        decimals_of(tick),
        tick.change,
        tick.source,
        tick.age_s,
        tick.is_fresh,
    )


def decimals_of(tick: Tick) -> int:
    """Return how many decimals its prices have: two; currencies are quoted with four."""
    return 2 if tick.raw.divisor <= 100 else 4


class Prices:
    """A feed that is opened as soon as a daemon answers. `rows` never blocks once it is open."""

    def __init__(self, instruments: tuple[str, ...], *, name: str = "kitefeed demo") -> None:
        self._instruments = instruments
        self._name = name
        self._feed: Feed | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._feed is not None:
            self._feed.close()

    def rows(self) -> list[Row]:
        """Return one row for each instrument, in the order given; without a daemon, rows without
        values."""
        feed = self._feed or self._maybe_open()
        ticks = feed.snapshot() if feed else {}
        return [
            row_of(ticks[key]) if key in ticks else Row(key.partition(":")[2])
            for key in self._instruments
        ]

    def _maybe_open(self) -> Feed | None:
        """Open the feed; None while the daemon starts, or does not know the instruments yet."""
        try:
            self._feed = Feed(*self._instruments, timeout_s=OPEN_S, name=self._name)
        except KitefeedError:
            return None
        return self._feed
