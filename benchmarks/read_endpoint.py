"""The program of `read_official` on kite_endpoint: what one call brings may be of several frames.

python -m benchmarks.read_endpoint
"""

from typing import Any

from benchmarks import check, read_official


class Reader(read_official.Reader):
    def _is_ours(self, tick: dict[str, Any]) -> bool:
        return self._low <= check.official_price(tick) < self._high

    def _on_ticks(self, _ticker: object, ticks: list[dict[str, Any]]) -> None:
        # In the order in which they were sent, so that all between two of this run are of it.
        if not (self._is_ours(ticks[0]) and self._is_ours(ticks[-1])):
            ours = [tick for tick in ticks if self._is_ours(tick)]
            if ours or not self._tokens_missing:
                ticks = ours
        if ticks:
            super()._on_ticks(_ticker, ticks)


def main() -> None:
    read_official.read(Reader)


if __name__ == "__main__":
    main()
