"""A reader that fell behind skips the past instead of replaying it; no socket, virtual time."""

import pytest

from kitefeed.protocol import feed as f
from kitefeed.protocol.feed import Flag
from tests.unit.client.view_kit import INFY, REQUEST, Reader, S


@pytest.fixture
def reader() -> Reader:
    return Reader()


def given(reader: Reader) -> list[tuple[str, int]]:
    """Return what the program is given, and has taken."""
    found = [(tick.instrument, tick.seq) for tick in reader.view.arrived if reader.view.has_next]
    reader.view.arrived.clear()
    return found


def answer(reader: Reader, *frames: bytes) -> None:
    """The whole answer to `REQUEST`."""
    reader.apply(f.feed_frame(REQUEST, reader.message(list(frames), seq=1, flags=Flag.SNAPSHOT)))
    end = reader.message(f.SnapshotEnd(len(frames)), seq=2, flags=Flag.SNAPSHOT)
    reader.apply(f.feed_frame(REQUEST, end))


def test_of_a_backlog_that_is_late_only_the_newest_of_each_instrument_is_given_out(
    reader: Reader,
) -> None:
    for seq in range(1, 6):
        reader.tick(seq=seq, t_pub_ns=reader.utc_ns - 3 * S)
    reader.tick("NSE:TCS", seq=9, t_pub_ns=reader.utc_ns)
    reader.view.skip_old(reader.now_ns)
    assert given(reader) == [(INFY, 5), ("NSE:TCS", 9)]
    assert (reader.view.skipped, reader.view.gaps) == (4, 0)
    assert not reader.view.is_behind  # the last message was new: the pipe is empty


def test_what_waited_too_long_for_a_slow_program_is_skipped_too(reader: Reader) -> None:
    for seq in range(1, 6):
        reader.tick(seq=seq)
    reader.now_ns += 2 * S
    reader.view.skip_old(reader.now_ns)
    assert reader.view.skipped == 0
    reader.now_ns += 1
    reader.view.skip_old(reader.now_ns)
    assert (given(reader), reader.view.skipped) == ([(INFY, 5)], 4)
    assert reader.view.lag_ns == 2 * S + 1


def test_a_program_that_wants_every_tick_gets_it_however_old() -> None:
    reader = Reader(max_age_s=None)
    for seq in range(1, 6):
        reader.tick(seq=seq, t_pub_ns=reader.utc_ns - 60 * S)
    reader.view.skip_old(reader.now_ns + 60 * S)
    assert not reader.view.is_behind
    assert len(given(reader)) == 5
    assert (reader.view.skipped, reader.view.late) == (0, 5)


def test_a_reader_that_is_behind_trusts_nothing_until_a_snapshot_has_come(reader: Reader) -> None:
    reader.heartbeat()
    reader.tick(seq=1, t_pub_ns=reader.utc_ns - 20 * S)
    assert reader.view.is_behind
    reader.view.reopened()
    reader.view.losses.expect([REQUEST])
    reader.heartbeat()
    assert not reader.value().is_fresh  # though the heartbeat says that its source is alive
    assert not reader.view.has_next
    answer(reader, reader.frame(seq=500, flags=Flag.SNAPSHOT))
    reader.view.skip_old(reader.now_ns)
    assert reader.value().is_fresh
    assert given(reader) == [(INFY, 500)]
    assert (reader.view.gaps, reader.view.skipped, reader.view.reconnects) == (0, 499, 1)
    assert not reader.view.losses.is_incomplete


def test_a_value_that_the_snapshot_confirms_is_given_out_once(reader: Reader) -> None:
    reader.heartbeat()
    reader.tick(seq=7, t_pub_ns=reader.utc_ns - 20 * S)
    reader.view.reopened()
    reader.view.losses.expect([REQUEST])
    answer(reader, reader.frame(seq=7, flags=Flag.SNAPSHOT))
    reader.view.skip_old(reader.now_ns)
    assert reader.value().is_fresh
    assert given(reader) == [(INFY, 7)]


def test_an_incomplete_snapshot_leaves_the_doubt(reader: Reader) -> None:
    reader.view.reopened()
    reader.view.losses.expect([REQUEST])
    end = reader.message(f.SnapshotEnd(1), seq=2, flags=Flag.SNAPSHOT)
    reader.apply(f.feed_frame(REQUEST, end))
    assert reader.view.is_catching_up
    assert reader.view.losses.is_incomplete


def test_a_missed_heartbeat_leaves_everything_in_doubt_until_a_snapshot_has_come(
    reader: Reader,
) -> None:
    reader.tick()
    reader.heartbeat()
    assert reader.value().is_fresh
    reader._heartbeat_seq += 3
    reader.heartbeat()
    assert not reader.value().is_fresh
    reader.view.losses.expect([REQUEST])
    answer(reader, reader.frame(seq=1, flags=Flag.SNAPSHOT))
    assert reader.value().is_fresh
    assert (reader.view.gaps, reader.view.skipped) == (3, 0)  # lost on the way, not skipped


def test_a_clock_that_is_ahead_of_the_daemons_does_not_make_messages_late() -> None:
    reader = Reader(is_remote=True)
    for seq in range(1, 4):
        reader.tick(seq=seq, t_pub_ns=reader.utc_ns - 5 * S)
    assert (reader.view.late, reader.view.is_behind) == (0, False)
    reader.tick(seq=4, t_pub_ns=reader.utc_ns - 5 * S - 3 * S)
    assert (reader.view.late, reader.view.is_behind) == (1, True)
    reader.view.reopened()
    reader.tick(seq=5, t_pub_ns=reader.utc_ns - 9 * S)
    assert not reader.view.is_behind


def test_a_clock_that_is_behind_the_daemons_needs_no_allowance() -> None:
    reader = Reader(is_remote=True)
    reader.tick(seq=1, t_pub_ns=reader.utc_ns + 5 * S)
    reader.tick(seq=2, t_pub_ns=reader.utc_ns - 3 * S)
    assert reader.view.is_behind
