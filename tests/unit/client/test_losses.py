"""Tests what a reader believes after a loss that no gap tells of; no socket, virtual time."""

import pytest

from kitefeed.client.losses import BACKLOG_MESSAGES, BACKLOG_NS, QUEUE_MESSAGES
from tests.unit.client.view_kit import INFY, Reader, S

TCS = "NSE:TCS"
MS = 1_000_000


@pytest.fixture
def reader() -> Reader:
    made = Reader()
    made.heartbeat()
    drained(made, 1)
    return made


def drained(reader: Reader, messages: int) -> None:
    reader.view.losses.drained(messages, reader.now_ns)


def is_fresh(reader: Reader, key: str = INFY) -> bool:
    return reader.view.is_fresh(reader.value(key), reader.now_ns)


# --- on the way to the broadcaster ----------------------------------------------------------------


def test_a_value_from_before_a_loss_is_not_fresh_and_one_from_after_it_is(reader: Reader) -> None:
    reader.tick()
    reader.now_ns += 500 * MS
    reader.heartbeat(loss_age_ns=200 * MS)
    reader.tick(TCS)
    assert not is_fresh(reader)
    assert is_fresh(reader, TCS)
    reader.now_ns += 800 * MS  # and so it stays as time goes by
    assert not is_fresh(reader)
    assert is_fresh(reader, TCS)
    reader.tick(seq=2)
    assert is_fresh(reader)


def test_it_is_told_from_what_came_after_by_when_it_was_received_not_by_when_it_was_sent(
    reader: Reader,
) -> None:
    reader.now_ns += S
    reader.heartbeat(loss_age_ns=200 * MS)
    reader.tick(t_rx_ns=reader.utc_ns - 300 * MS)
    reader.tick(TCS, t_rx_ns=reader.utc_ns - 100 * MS)
    assert not is_fresh(reader)
    assert is_fresh(reader, TCS)


# --- on the way from there ------------------------------------------------------------------------


def test_who_was_behind_when_a_queue_was_full_believes_nothing_from_before_and_asks(
    reader: Reader,
) -> None:
    reader.tick()
    for _ in range(4):
        reader.tick(TCS, t_pub_ns=reader.utc_ns - BACKLOG_NS)
        drained(reader, QUEUE_MESSAGES // 4)
    reader.heartbeat(full_queues=1)
    drained(reader, 1)
    assert not is_fresh(reader)
    assert reader.view.losses.is_incomplete


def test_so_does_who_found_that_many_messages_waiting(reader: Reader) -> None:
    reader.tick()
    reader.heartbeat(full_queues=1)
    drained(reader, QUEUE_MESSAGES)
    assert not is_fresh(reader)
    assert reader.view.losses.is_incomplete


def test_what_waited_before_the_last_heartbeat_counts_too(reader: Reader) -> None:
    """A full queue holds a heartbeat that was sent before it was full."""
    reader.tick()
    reader.heartbeat()
    drained(reader, QUEUE_MESSAGES)
    reader.heartbeat(full_queues=1)
    drained(reader, 1)
    assert reader.view.losses.is_incomplete


@pytest.mark.parametrize("behind_ns", [BACKLOG_NS - 1, 900 * MS])
def test_a_full_queue_of_somebody_else_changes_nothing(reader: Reader, behind_ns: int) -> None:
    """Neither for one that is never behind, nor for one that looks once a second."""
    messages = BACKLOG_MESSAGES - 1 if behind_ns < BACKLOG_NS else QUEUE_MESSAGES // 4
    for count in range(1, 10):
        reader.now_ns += S
        reader.tick(seq=count, t_pub_ns=reader.utc_ns - behind_ns)
        reader.heartbeat(full_queues=count)
        drained(reader, messages)
        assert is_fresh(reader)
    assert not reader.view.losses.is_incomplete


def test_what_was_full_before_one_came_is_nothing_to_it(reader: Reader) -> None:
    newcomer = Reader()
    newcomer.tick()
    newcomer.heartbeat(full_queues=9)
    drained(newcomer, QUEUE_MESSAGES)
    assert not newcomer.view.losses.is_incomplete
