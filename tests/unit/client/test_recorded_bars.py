"""Bars of a recorded day: as a reader that was there would have made them."""

from pathlib import Path
from typing import Any

from kitefeed import Recording
from kitefeed.protocol.recording import Gap
from tests.recordings import DAY, INFY, NINE_FIFTEEN, S, Writes, put, segment

T0 = NINE_FIFTEEN


def minutes(feed: Writes, seconds: range) -> list[Any]:
    """A block a second: a heartbeat and a tick."""
    blocks = []
    for n in seconds:
        feed.exchange_s = T0 // S + n
        at_ns = T0 + n * S
        chunk = feed.chunk(at_ns + 5, {INFY: 1500_00 + n})
        blocks.append([(at_ns, feed.heartbeat(at_ns)), (at_ns + 5, chunk)])
    return blocks


def test_each_bar_holds_the_ticks_of_its_time(tmp_path: Path) -> None:
    put(tmp_path, segment(minutes(Writes(), range(150))))
    first, second, third = Recording(DAY, "NSE:INFY", dir=tmp_path).bars("1m")
    assert (first.start_ns, first.end_ns) == (T0, T0 + 60 * S)
    assert (first.open, first.high, first.low, first.close) == (1500, 1500.59, 1500, 1500.59)
    assert (second.open, second.close, second.ticks) == (1500.60, 1501.19, 60)
    assert [bar.quality for bar in (first, second, third)] == ["first", "complete", "gap"]
    assert third.ticks == 30  # the recording ends in it


def test_a_gap_of_the_recording_is_one_of_its_bars(tmp_path: Path) -> None:
    feed = Writes()
    put(tmp_path, segment(minutes(feed, range(70)), ended="killed"))
    for _ in range(50):
        feed.chunk(T0, {INFY: 1})  # not recorded
    at_ns = T0 + 130 * S
    gap = Gap(T0 + 69 * S, at_ns, "killed")
    later: list[Any] = [(at_ns, gap), (at_ns, feed.heartbeat(at_ns))]
    later += [(at_ns, frame) for frame in feed.snapshot(at_ns)]
    put(tmp_path, segment([later, *minutes(feed, range(131, 250))], started_ns=at_ns), at_ns)
    made = list(Recording(DAY, "NSE:INFY", dir=tmp_path).bars("1m"))
    assert [bar.start_ns for bar in made] == [T0 + n * 60 * S for n in range(5)]
    assert [bar.quality for bar in made] == ["first", "gap", "gap", "complete", "gap"]


def test_hours_are_one_day(tmp_path: Path) -> None:
    feed = Writes()
    put(tmp_path, segment(minutes(feed, range(90))))
    next_ns = T0 + 90 * S
    snapshot = [(next_ns, frame) for frame in feed.snapshot(next_ns)]
    put(tmp_path, segment([snapshot, *minutes(feed, range(90, 200))], started_ns=next_ns), next_ns)
    made = list(Recording(DAY, "NSE:INFY", dir=tmp_path).bars("1m"))
    assert [bar.quality for bar in made] == ["first", "complete", "complete", "gap"]
    assert [bar.ticks for bar in made] == [60, 60, 60, 20]


def test_a_part_of_the_day_begins_with_a_whole_bar(tmp_path: Path) -> None:
    put(tmp_path, segment(minutes(Writes(), range(200))))
    made = list(Recording(DAY, "NSE:INFY", dir=tmp_path, since="09:16", until="09:18").bars("1m"))
    assert [(bar.start_ns - T0) // S for bar in made] == [60, 120]
    assert [bar.quality for bar in made] == ["complete", "gap"]


def test_a_bar_whose_last_ticks_may_not_be_written_yet_is_not_complete(tmp_path: Path) -> None:
    blocks = minutes(Writes(), range(123))
    for seconds, quality in ((120, "gap"), (122, "gap"), (123, "complete")):
        put(tmp_path, segment(blocks[:seconds]))
        made = list(Recording(DAY, "NSE:INFY", dir=tmp_path).bars("1m"))
        assert (made[1].start_ns, made[1].quality) == (T0 + 60 * S, quality)
