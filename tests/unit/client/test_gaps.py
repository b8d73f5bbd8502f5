"""Tests what a program is told of ticks that it does not get; no socket, virtual time."""

import pytest

from kitefeed.client import view, waiting
from kitefeed.client.gaps import Gap, Gaps
from kitefeed.protocol import feed as f
from kitefeed.protocol.feed import Flag, Source
from kitefeed.protocol.kite.units import IST
from tests.unit.client.view_kit import INFY, REQUEST, Reader, S

TCS = "NSE:TCS"


@pytest.fixture
def reader() -> Reader:
    made = Reader()
    made.view.holes.is_wanted = True
    made.view.waiting.is_iterated = True
    made.heartbeat()
    return made


def told(reader: Reader) -> list[Gap]:
    return taken(reader.view.holes)


def taken(gaps: Gaps) -> list[Gap]:
    found = []
    while gaps.has_news:
        gap = gaps.take()
        assert gap is not None
        found.append(gap)
    assert gaps.take() is None
    return found


def words(gaps: list[Gap]) -> list[tuple[str, dict[str, int], bool]]:
    return [(gap.reason, dict(gap.instruments), gap.healed) for gap in gaps]


def snapshot(reader: Reader, *frames: bytes) -> None:
    """A whole answer to what the reader asked for."""
    reader.view.losses.expect([REQUEST])
    if frames:
        many = reader.message([*frames], seq=1, flags=Flag.SNAPSHOT)
        reader.apply(f.feed_frame(REQUEST, many))
    end = reader.message(f.SnapshotEnd(len(frames)), seq=2, flags=Flag.SNAPSHOT)
    reader.apply(f.feed_frame(REQUEST, end))


# --- the list of gaps -----------------------------------------------------------------------------


def test_a_warning_comes_at_three_quarters_and_ends_at_a_half_and_not_between() -> None:
    gaps = Gaps()
    gaps.is_wanted = True
    found = []
    for share in (0.7, 0.76, 0.9, 0.6, 0.74, 0.8, 0.51, 0.5, 0.7, 0.75):
        gaps.filled(share, 5 * S)
        found += [(share, gap.healed, gap.end is None) for gap in taken(gaps)]
    assert found == [(0.76, False, True), (0.5, True, False), (0.75, False, True)]


def test_a_warning_that_is_over_before_anybody_was_told_is_not_told() -> None:
    gaps = Gaps()
    gaps.is_wanted = True
    gaps.filled(0.9, S)
    gaps.filled(0.1, S)
    assert not gaps.has_news
    assert gaps.take() is None


def test_a_warning_is_told_before_the_loss_of_which_it_warns() -> None:
    gaps = Gaps()
    gaps.is_wanted = True
    gaps.passed("skipped", {INFY: 3}, S, 2 * S)
    gaps.filled(1.2, 2 * S)
    assert [gap.reason for gap in taken(gaps)] == ["behind", "skipped"]


def test_what_is_healed_while_nobody_waits_is_told_once_with_all_counts() -> None:
    gaps = Gaps()
    gaps.is_wanted = True
    for second in range(1, 4):
        gaps.passed("skipped", {INFY: 2, f"NSE:{second}": 1}, second * S, second * S + S // 2)
    (gap,) = taken(gaps)
    assert gap.instruments == {INFY: 6, "NSE:1": 1, "NSE:2": 1, "NSE:3": 1}
    assert (gap.start.timestamp(), gap.end and gap.end.timestamp()) == (1, 3.5)
    assert gap.start.tzinfo is IST


def test_nothing_is_kept_for_a_program_that_is_not_to_be_told() -> None:
    gaps = Gaps()
    gaps.missed("lost", {INFY: 1}, S, S)
    gaps.passed("overrun", {INFY: 1}, S, S)
    gaps.filled(2.0, S)
    assert not gaps.has_news
    assert gaps.take() is None


# --- what a reader meets --------------------------------------------------------------------------


def test_what_was_lost_on_the_way_is_told_with_its_time_and_count_and_again_when_healed(
    reader: Reader,
) -> None:
    reader.tick(seq=1)
    start_ns = reader.utc_ns
    reader.now_ns += S
    reader.tick(seq=5)
    (gap,) = told(reader)
    assert words([gap]) == [("lost", {INFY: 3}, False)]
    assert gap.start.timestamp() == pytest.approx(start_ns / 1e9, abs=1e-3)
    assert gap.end is not None
    assert gap.end.timestamp() == pytest.approx(start_ns / 1e9 + 1, abs=1e-3)
    reader.tick(seq=7)
    assert told(reader) == []  # the same gap goes on
    snapshot(reader)
    assert words(told(reader)) == [("lost", {INFY: 4}, True)]


def test_what_was_skipped_by_a_new_connection_is_told_when_its_last_values_have_come(
    reader: Reader,
) -> None:
    reader.tick(seq=1)
    reader.view.take()
    reader.view.reopened()
    snapshot(reader, reader.frame(seq=9, flags=1))
    assert words(told(reader)) == [("skipped", {INFY: 7}, True)]


def test_what_waited_too_long_is_counted_by_instrument_and_the_newest_is_kept(
    reader: Reader,
) -> None:
    for seq in range(1, 6):
        reader.tick(seq=seq)
    reader.tick(TCS, seq=1)
    reader.now_ns += int(1.4 * S)
    assert reader.view.fullness(reader.now_ns) == pytest.approx(0.7)
    reader.now_ns += S
    assert reader.view.fullness(reader.now_ns) == pytest.approx(1.2)
    reader.view.skip_old(reader.now_ns)
    assert words(told(reader)) == [("skipped", {INFY: 4}, True)]
    assert reader.view.fullness(reader.now_ns) < 0.001  # nothing older than the newest waits
    assert [tick.instrument for tick in reader.view.arrived] == [INFY, TCS]


def test_what_nobody_took_is_told_as_soon_as_there_is_no_room(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (view, waiting):
        monkeypatch.setattr(module, "PENDING_MAX", 10)
    for seq in range(1, 9):
        reader.tick(seq=seq)
    assert reader.view.fullness(reader.now_ns) == pytest.approx(0.8)
    for seq in range(9, 15):
        reader.tick(seq=seq)
    assert reader.view.overrun == 4
    assert words(told(reader)) == [("overrun", {INFY: 4}, True)]


def test_a_program_that_takes_no_ticks_misses_none(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (view, waiting):
        monkeypatch.setattr(module, "PENDING_MAX", 10)
    reader.view.waiting.is_iterated = False
    for seq in range(1, 30):
        reader.tick(seq=seq)
    reader.now_ns += 5 * S
    assert reader.view.fullness(reader.now_ns) == 0
    reader.view.skip_old(reader.now_ns)
    assert told(reader) == []


def test_a_restarted_broadcaster_leaves_a_gap_until_the_last_values_have_come(
    reader: Reader,
) -> None:
    reader.tick(seq=1)
    since = reader.utc_ns
    reader.now_ns += 3 * S
    reader.gen = 2
    reader.tick(seq=1)
    (gap,) = told(reader)
    assert words([gap]) == [("restarted", {}, False)]
    assert gap.start.timestamp() == pytest.approx(since / 1e9, abs=1e-3)
    snapshot(reader)
    assert words(told(reader)) == [("restarted", {}, True)]


def test_a_source_that_ends_leaves_a_gap_until_each_instrument_has_a_value_of_the_next_one(
    reader: Reader,
) -> None:
    reader.tick(seq=1)
    reader.tick(TCS, seq=1)
    reader.now_ns += S
    reader.heartbeat()
    assert told(reader) == []
    since = reader.utc_ns
    reader.now_ns += S
    reader.heartbeat(granted=Source.NONE, epoch=0)
    (gap,) = told(reader)
    assert words([gap]) == [("upstream", {INFY: 0, TCS: 0}, False)]
    assert gap.start.timestamp() == pytest.approx(since / 1e9, abs=1e-3)
    reader.now_ns += 9 * S
    reader.heartbeat(epoch=8)
    reader.tick(seq=2, epoch=8)
    reader.now_ns += S
    reader.heartbeat(epoch=8)
    assert told(reader) == []
    reader.tick(TCS, seq=2, epoch=8)
    reader.now_ns += S
    reader.heartbeat(epoch=8)
    (gap,) = told(reader)
    assert words([gap]) == [("upstream", {INFY: 0, TCS: 0}, True)]
    assert gap.end is not None
    assert 9 < gap.end.timestamp() - since / 1e9 < 11.5


def test_batches_that_never_reached_the_daemon_leave_a_gap_until_later_values_have_come(
    reader: Reader,
) -> None:
    reader.tick(seq=1)
    reader.now_ns += S
    reader.heartbeat(loss_age_ns=S // 5)
    assert words(told(reader)) == [("upstream", {INFY: 0}, False)]
    reader.now_ns += S
    reader.heartbeat(loss_age_ns=S // 5 + S)  # the same loss, told again
    assert told(reader) == []
    reader.tick(seq=2)
    reader.now_ns += S
    reader.heartbeat(loss_age_ns=S // 5 + 2 * S)
    assert words(told(reader)) == [("upstream", {INFY: 0}, True)]


def test_what_is_read_no_more_is_not_waited_for(reader: Reader) -> None:
    reader.tick(seq=1)
    reader.heartbeat(epoch=8)
    assert words(told(reader)) == [("upstream", {INFY: 0}, False)]
    reader.view.drop([b"tick/NSE:INFY"])
    reader.heartbeat(epoch=8)
    assert words(told(reader)) == [("upstream", {INFY: 0}, True)]


def test_what_was_not_streamed_before_its_source_ended_is_not_waited_for(reader: Reader) -> None:
    reader.tick(seq=1)
    reader.tick(TCS, seq=1, flags=Flag.STALE)
    reader.heartbeat(epoch=8)
    assert words(told(reader)) == [("upstream", {INFY: 0}, False)]
    reader.tick(seq=2, epoch=8)
    reader.heartbeat(epoch=8)
    assert words(told(reader)) == [("upstream", {INFY: 0}, True)]
