"""The program of `read_official` with its one changed line: KiteTicker of kitefeed.

python -m benchmarks.read_kite_ticker
"""

from benchmarks.read_endpoint import Reader as EndpointReader
from benchmarks.read_official import read
from kitefeed import KiteTicker


class Reader(EndpointReader):
    def start(self) -> None:
        ticker = KiteTicker(self._given.key, "token", config=self._given.config)
        ticker.on_connect = self._on_connect
        ticker.on_ticks = self._on_ticks
        ticker.connect(threaded=True)


def main() -> None:
    read(Reader)


if __name__ == "__main__":
    main()
