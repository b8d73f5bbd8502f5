"""The program of `read_official` with its one changed line: KiteTicker of kitefeed.

python -m benchmarks.read_kite_ticker
"""

from typing import Any

from benchmarks import check, read_official
from kitefeed import KiteTicker


class Reader(read_official.Reader):
    def start(self) -> None:
        ticker = KiteTicker(self._given.key, "token", config=self._given.config)
        ticker.on_connect = self._on_connect
        ticker.on_ticks = self._on_ticks
        ticker.connect(threaded=True)

    def _on_ticks(self, _ticker: object, ticks: list[dict[str, Any]]) -> None:
        """A call may bring ticks of several frames; the last before the run, too."""
        ours = [t for t in ticks if self._low <= check.official_price(t) < self._high]
        if ours:
            super()._on_ticks(_ticker, ours)
        elif self._tokens_missing:
            super()._on_ticks(_ticker, ticks)


def main() -> None:
    read_official.read(Reader)


if __name__ == "__main__":
    main()
