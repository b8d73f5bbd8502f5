"""The official client, as its documentation uses it: KiteTicker with an on_ticks callback.

python -m benchmarks.read_official
"""

import threading
import time
from array import array
from typing import Any

from kiteconnect import KiteTicker

from benchmarks import check, reading
from benchmarks.frames import FRAMES_MAX, Plan


class Reader:
    def __init__(self, given: reading.Spec) -> None:
        self._given = given
        self._tokens_missing = set(given.tokens)
        self._low, self._high = given.first_price, given.first_price + FRAMES_MAX
        self.ready = threading.Event()
        self.missing = given.ticks
        self.give_up_ns = 0
        self.kept: list[dict[str, Any]] = []
        self.times_ns = array("q")
        self.done = threading.Event()

    def start(self) -> None:
        ticker = KiteTicker(
            self._given.key,
            "token",
            root=f"{self._given.scheme}://{self._given.address}",
            reconnect=False,
        )
        ticker.on_connect = self._on_connect
        ticker.on_ticks = self._on_ticks
        ticker.connect(threaded=True)

    def _on_connect(self, ticker: Any, _response: object) -> None:
        ticker.subscribe(self._given.tokens)
        ticker.set_mode(ticker.MODE_FULL, self._given.tokens)

    def _on_ticks(self, _ticker: object, ticks: list[dict[str, Any]]) -> None:
        # All packets of one frame have the same price, see `benchmarks.frames`.
        if self._low <= check.official_price(ticks[0]) < self._high:
            now_ns, add, note = time.monotonic_ns, self.kept.append, self.times_ns.append
            for tick in ticks:
                add(tick)
                note(now_ns())
            self.give_up_ns = self.times_ns[-1] + reading.SILENT_NS
            self.missing -= len(ticks)
            if self.missing <= 0:
                self.done.set()
        elif self._tokens_missing:
            self._tokens_missing.difference_update(t["instrument_token"] for t in ticks)
            if not self._tokens_missing:
                self.ready.set()


def main() -> None:
    read(Reader)


def read(kind: type[Reader]) -> None:
    given = reading.spec()
    reader = kind(given)
    reader.start()
    if not reader.ready.wait(30):
        raise RuntimeError("not every instrument sent its first packet")
    reader.give_up_ns = time.monotonic_ns() + reading.FIRST_NS
    reading.say({"ready": True})
    while not reader.done.wait(0.5) and time.monotonic_ns() < reader.give_up_ns:
        pass

    def received(plan: Plan) -> Any:
        return check.received_officially(reader.kept, plan)

    reading.report(given, check.is_official, received, reader.times_ns)


if __name__ == "__main__":
    main()
