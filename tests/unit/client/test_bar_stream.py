"""The bars of a feed that begins in the past: those of a program that was there."""

from pathlib import Path
from typing import Any, cast

import pytest

from kitefeed.client import bar_stream
from kitefeed.client.bar_stream import BarStream
from kitefeed.client.bars import Bar, Bars
from kitefeed.client.feed import Feed
from kitefeed.client.recording import Recording
from kitefeed.client.tick import Tick
from tests.recordings import DAY, INFY, NINE_FIFTEEN, S, Writes, put, segment

MINUTES = 12
RESTARTED = 7 * 60 + 20  # when another broadcaster begins, in seconds
LOST = 3 * 60 + 30  # a tick that never came


class Past:
    """A feed that gives these, one after the other, as fast as they are taken."""

    heartbeat = None
    begins_in_the_past = True

    def __init__(self, ticks: list[Tick]) -> None:
        self.ticks = ticks

    @property
    def is_closed(self) -> bool:
        return not self.ticks

    def snapshot(self) -> dict[str, Tick]:
        return {}

    def next(self, timeout_s: float | None = None) -> Tick | None:
        return self.ticks.pop(0) if self.ticks else None


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    feed, blocks = Writes(), list[list[tuple[int, Any]]]()
    for n in range(MINUTES * 60):
        at_ns = NINE_FIFTEEN + n * S
        if n == RESTARTED:
            feed = Writes(gen=8)
        feed.exchange_s = at_ns // S
        frame = feed.chunk(at_ns + 1, {INFY: 1500_00 + n % 50})
        if n != LOST:
            blocks.append([(at_ns + 1, frame)])
    put(tmp_path, segment(blocks))
    return Recording(DAY, dir=tmp_path)


def of(recording: Recording, monkeypatch: pytest.MonkeyPatch, after_s: int) -> list[Bar]:
    """Of a program that begins so long after the last tick."""
    now_ns = NINE_FIFTEEN + (MINUTES * 60 + after_s) * S
    monkeypatch.setattr(bar_stream, "utc_ns", lambda: now_ns)
    feed = cast(Feed, Past(list(recording)))
    return list(BarStream(feed, Bars("1m"), None, None))


def test_only_the_bars_in_which_something_is_missing_say_gap(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = of(recording, monkeypatch, after_s=3_600)
    assert [bar.quality for bar in made] == [
        "gap" if n in (LOST // 60, RESTARTED // 60) else "complete" for n in range(MINUTES)
    ]


def test_they_are_those_of_the_recording(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = of(recording, monkeypatch, after_s=3_600)
    # A recording does not know of the time before it began, nor of that after it ends.
    assert made[1:-1] == list(recording.bars("1m"))[1:-1]


def test_what_is_nearly_now_waits_for_its_last_ticks(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = of(recording, monkeypatch, after_s=1)
    assert [bar.start_ns for bar in made] == [NINE_FIFTEEN + n * 60 * S for n in range(MINUTES - 1)]
