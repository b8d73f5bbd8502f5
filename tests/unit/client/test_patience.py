"""Tests how a reader repeats its request for the last values; nobody answers, and the time is
virtual."""

import itertools
import tempfile
from collections.abc import Callable, Iterator

import pytest

from kitefeed.client import reader as reader_module
from kitefeed.client.reader import Reader
from kitefeed.protocol import feed as f
from tests.unit.client.view_kit import Reader as Told
from tests.unit.client.view_kit import S

STEP_NS = S // 4


class Waiting:
    """A reader that has just connected anew, and what it asks for from then on."""

    def __init__(self, reader: Reader, clock: list[int]) -> None:
        self.reader, self._clock = reader, clock
        self._start_ns = clock[0]
        reader._reopen()
        self.asked: list[tuple[float, bytes]] = []
        self._note()

    def goes_on(self, seconds: float, answer: Callable[[], None] = lambda: None) -> None:
        for _ in range(int(seconds * S / STEP_NS)):
            self._clock[0] += STEP_NS
            answer()
            self.reader._drain()
            self._note()

    @property
    def now_s(self) -> float:
        return (self._clock[0] - self._start_ns) / S

    def end(self) -> None:
        """The last request is answered: there are no values."""
        told = Told()
        end = told.message(f.SnapshotEnd(0), seq=1, flags=f.Flag.SNAPSHOT)
        topic = self.asked[-1][1].removesuffix(b"\0")
        self.reader._view.apply(f.feed_frame(topic, end), self._clock[0], told.utc_ns)

    def _note(self) -> None:
        (request,) = self.reader._pipe.requests
        if not self.asked or self.asked[-1][1] != request:
            self.asked.append((self.now_s, request))


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Waiting]:
    clock = [1_000 * S]
    monkeypatch.setattr(reader_module, "boot_ns", lambda: clock[0])
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="kf") as directory:
        reader = Reader("NSE:INFY", endpoint=f"ipc://{directory}/feed.sock")
        reader._ask()
        yield Waiting(reader, clock)
        reader.close()


def test_an_unanswered_request_is_repeated_ever_more_seldom(waiting: Waiting) -> None:
    waiting.goes_on(100)
    times_s = [at_s for at_s, _ in waiting.asked]
    gaps_s = [b - a for a, b in itertools.pairwise(times_s)]
    assert gaps_s == [4.25, 8.25, 16.25, 30.25, 30.25]


def test_an_answer_that_takes_ten_seconds_is_waited_for(waiting: Waiting) -> None:
    def slow_answer() -> None:
        if waiting.now_s - waiting.asked[-1][0] >= 10:
            waiting.end()

    waiting.goes_on(40, slow_answer)
    assert not waiting.reader._view.is_catching_up


def test_after_an_answer_it_asks_again_as_soon_as_before(waiting: Waiting) -> None:
    waiting.goes_on(20)
    waiting.end()
    waiting.goes_on(5)
    count = len(waiting.asked)
    waiting.reader._view.losses.note()
    waiting.goes_on(STEP_NS / S)
    assert len(waiting.asked) == count + 1
    waiting.goes_on(2.5)
    assert len(waiting.asked) == count + 1  # nothing more was lost: this one is waited for
