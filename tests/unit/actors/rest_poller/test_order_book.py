"""Tests when the order book is asked for, and when it is given up."""

import msgspec

from kitefeed.actors.rest_poller.machine import Ask
from kitefeed.actors.rest_poller.order_book import (
    ANSWER_WITHIN_NS,
    RATE_HOLD_NS,
    SPACING_NS,
    BookRead,
    ReadBook,
)
from kitefeed.protocol.feed import IngestBatch, OrderBook, OrderUpdate, Source
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.instruments import Instrument
from tests.unit.actors.rest_poller.stage import PERIOD_NS, S, Stage

ROW: dict[str, object] = {"order_id": "2611", "status": "OPEN"}


class Books(Stage):
    """The same poller; what is asked of the order book is kept apart."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[tuple[int, ReadBook]] = []

    def tell(self, event: object) -> list[object]:
        commands = super().tell(event)
        self.reads += [(self.at_ns, c) for c in commands if isinstance(c, ReadBook)]
        return commands

    def order(self, reading: int = 1, fingerprint: str = "fp") -> list[object]:
        return self.tell(m.ReadOrders(reading, fingerprint))

    def read(self, outcome: m.RestOutcome = "ok", *rows: dict[str, object]) -> list[object]:
        """Answers the latest request."""
        detail = "" if outcome == "ok" else "why"
        return self.tell(BookRead(self.reads[-1][1].request, outcome, "AB1", rows, detail))


def test_it_is_read_once_when_it_is_ordered_and_given_to_the_broadcaster() -> None:
    stage = Books()
    stage.order(reading=5)
    stage.at_ns += S
    (batch,) = stage.read("ok", ROW)
    assert isinstance(batch, IngestBatch)
    assert (batch.source, batch.received_boot_ns) == (Source.REST, 100 * S)
    assert isinstance(batch.book, OrderBook)
    assert (batch.book.reading, batch.book.user_id) == (5, "AB1")
    (item,) = batch.book.orders
    assert item.topic == b"order/2611"
    body = msgspec.msgpack.decode(item.body, type=OrderUpdate)
    assert body.data == {"user_id": "AB1", **ROW}  # as it is on the socket
    assert stage.wait(600) == []
    assert len(stage.reads) == 1


def test_what_no_message_can_hold_is_left_out_alone() -> None:
    stage = Books()
    stage.order()
    (batch,) = stage.read("ok", {"order_id": "1", "quantity": 2**70}, ROW)
    assert isinstance(batch, IngestBatch)
    assert batch.book is not None
    assert [item.topic for item in batch.book.orders] == [b"order/2611"]


def test_many_reconnects_ask_at_most_twelve_times_a_minute_and_once_after_the_last() -> None:
    stage = Books()
    for reading in range(1, 41):
        stage.order(reading)
        if len(stage.reads) and stage.reads[-1][0] == stage.at_ns:
            stage.read()
        stage.wait(1.5)
        if stage.reads[-1][0] != stage.at_ns:
            stage.read()
    assert len(stage.reads) <= 60 * S // SPACING_NS + 1
    stage.wait(10)
    (batch,) = stage.read("ok", ROW)
    assert isinstance(batch, IngestBatch)
    assert batch.book is not None
    assert batch.book.reading == 40
    count = len(stage.reads)
    stage.wait(60)
    assert len(stage.reads) == count


def test_a_book_that_was_asked_for_before_the_last_reconnect_is_not_enough() -> None:
    stage = Books()
    stage.order(1)
    stage.at_ns += S
    stage.order(2)
    assert stage.read("ok", ROW) == []
    stage.wait(5)
    (batch,) = stage.read("ok", ROW)
    assert isinstance(batch, IngestBatch)
    assert batch.book is not None
    assert batch.book.reading == 2


def test_an_order_that_is_repeated_is_read_anew_only_when_it_was_read() -> None:
    stage = Books()
    stage.order(1)
    stage.order(1)
    stage.wait(1)
    assert len(stage.reads) == 1
    stage.read("ok", ROW)
    stage.order(1)  # the book never arrived
    stage.wait(5)
    assert len(stage.reads) == 2


def test_trouble_is_told_each_time_and_tried_again_more_and_more_seldom() -> None:
    stage = Books()
    stage.order()
    waits_s = []
    for _ in range(7):
        failed_ns = stage.at_ns
        assert stage.read("network") == [m.OrdersUnread(1, "network", "why")]
        count = len(stage.reads)
        while len(stage.reads) == count:
            stage.wait(0.5)
        waits_s.append((stage.at_ns - failed_ns) / S)
    assert waits_s == [5, 5, 10, 30, 60, 60, 60]  # never sooner than the budget has it


def test_that_a_login_replaced_the_session_is_told_to_nobody() -> None:
    stage = Books()
    stage.order()
    assert stage.tell(BookRead(stage.reads[-1][1].request, "network")) == []
    stage.wait(5)
    assert len(stage.reads) == 2
    stage.order(2, "another")
    stage.read("ok", ROW)
    stage.wait(5)
    assert stage.reads[-1][1].fingerprint == "another"


def test_a_limit_is_waited_out_and_quotes_go_on() -> None:
    stage = Books()
    stage.start(Instrument(408065, "NSE:INFY", "full"))
    stage.order()
    assert stage.read("rate") == [m.OrdersUnread(1, "rate", "why")]
    limited_ns = stage.at_ns
    stage.answer()
    stage.wait(30)
    assert stage.reads[1][0] - limited_ns >= RATE_HOLD_NS
    quotes = [at_ns for at_ns, ask in stage.asked if isinstance(ask, Ask)]
    assert quotes[1] - quotes[0] <= PERIOD_NS + 2 * S


def test_a_limit_on_quotes_does_not_keep_the_order_book_waiting() -> None:
    stage = Books()
    stage.start(Instrument(408065, "NSE:INFY", "full"))
    stage.answer("rate")
    stage.order()
    assert len(stage.reads) == 1


def test_a_session_or_plan_that_is_refused_is_not_asked_again() -> None:
    outcomes: tuple[m.RestOutcome, ...] = ("token", "permission", "input")
    for outcome in outcomes:
        stage = Books()
        stage.order(1)
        assert stage.read(outcome) == [m.OrdersUnread(1, outcome, "why")]
        stage.wait(3_600)
        assert len(stage.reads) == 1
        stage.order(2, "another")
        assert stage.reads[-1][1].fingerprint == "another"


def test_a_request_that_hangs_is_given_up_and_its_late_answer_ignored() -> None:
    stage = Books()
    stage.order()
    first = stage.reads[0][1].request
    (unread,) = stage.wait(ANSWER_WITHIN_NS / S)
    assert isinstance(unread, m.OrdersUnread)
    assert unread == m.OrdersUnread(1, "network", "no answer within 15 s")
    assert stage.tell(BookRead(first, "ok", "AB1", [ROW])) == []
    stage.wait(3)
    assert len(stage.reads) == 2
