"""A program that reads all through a row, beside whatever the row does: what it saw as fresh is
compared with what the simulated market was."""

import threading
from collections.abc import Iterable
from typing import Self

from tests.integration.rig import INSTRUMENTS, Rig, Truth

# Within this a dead source must be noticed: its silence after 1.5 s, Kite's after 3 s, that of the
# broadcaster after 2.5 s; and half a second for a busy host.
SLACK_S = 3.5


class Reader:
    """slack_s: how far behind the market a value may be that reads fresh (see Truth)."""

    def __init__(
        self, rig: Rig, slack_s: float = SLACK_S, instruments: Iterable[str] = INSTRUMENTS
    ) -> None:
        self._instruments = tuple(instruments)
        self._feed = rig.feed(*self._instruments)
        tokens = [self._token(key) for key in self._instruments]
        self.truth = Truth(rig.simulator, slack_s, tokens)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _token(self, key: str) -> int:
        tick = self._feed.wait_for(key, 10)
        assert tick is not None, key
        return tick.instrument_token

    def __enter__(self) -> Self:
        self.truth.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self.truth.__exit__()

    def _run(self) -> None:
        with self._feed as feed:
            is_over = False
            while not is_over:  # looks once at least, however short the row is
                for key in self._instruments:
                    self.truth.judge(feed[key])
                is_over = self._stopped.wait(0.05)

    @property
    def judged(self) -> int:
        """The number of values that were read as fresh."""
        return self.truth.judged

    @property
    def lies(self) -> list[str]:
        """Known when the reader has ended."""
        return self.truth.lies
