"""Tests what of an order book is news: nothing twice, nothing backwards, nothing from before."""

from collections.abc import Iterator
from itertools import permutations

import msgspec
import pytest

from kitefeed.actors.broadcaster import events as e
from kitefeed.actors.broadcaster import orders as o
from kitefeed.actors.broadcaster.machine import Broadcaster
from kitefeed.actors.broadcaster.orders import KEPT_DAYS, KNOWN_MAX, Orders, decode_file
from kitefeed.actors.broadcaster.store import LastValues
from kitefeed.protocol import feed as f
from kitefeed.protocol.feed import FeedMessage, IngestBatch, Item, OrderBook, Source
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.topics import order_topic
from tests.unit.actors.broadcaster.world import GEN, INFY, S, World

DAY_NS = 86_400 * S


def row(
    order_id: str = "1", status: str = "OPEN", at: int = 0, **fields: object
) -> dict[str, object]:
    """An order as Kite has it. at: second of its last change."""
    time = f"2026-11-30 10:00:{at:02d}"
    return {
        "order_id": order_id, "status": status, "filled_quantity": 0, "quantity": 10,
        "price": 100.5, "order_timestamp": time, "exchange_update_timestamp": time, **fields,
    }  # fmt: skip


def item(data: dict[str, object]) -> Item:
    return Item(order_topic(data.get("order_id")), 0, msgspec.Raw(f.encode(f.OrderUpdate(data))))


class Account(World):
    """A broadcaster, and Kite that tells of orders."""

    def __init__(self, orders: Orders | None = None) -> None:
        super().__init__()
        self.machine = Broadcaster(GEN, self.now_ns, LastValues(), orders=orders)
        self.grant(1)
        self.told.clear()
        self._orders_seq = 0

    def live(self, *rows: dict[str, object], epoch: int = 1) -> None:
        """The socket brings these."""
        self.now_ns += S // 10
        self._orders_seq += 1
        items = [item(each) for each in rows]
        self._ingest(IngestBatch(
            1, 0, epoch, Source.WEBSOCKET, self._orders_seq, self.now_ns, self.now_ns, 0, 0, items
        ))  # fmt: skip

    def book(self, *rows: dict[str, object], user: str = "AB1", ago_s: float = 0.05) -> None:
        """Kite's book of the account comes, asked for `ago_s` ago."""
        self.now_ns += S // 10
        asked_ns = self.now_ns - int(ago_s * S)
        found = OrderBook(7, user, [item(each) for each in rows])
        self._ingest(IngestBatch(1, 0, 0, Source.REST, 0, asked_ns, 0, 0, 0, [], book=found))

    def _ingest(self, batch: IngestBatch) -> None:
        self.give(e.Ingest(f.encode(batch), self.utc_ns))

    @property
    def messages(self) -> list[FeedMessage]:
        return [message for topic, message in self.published if topic.startswith(b"order/")]

    @property
    def said(self) -> list[tuple[object, object, str]]:
        """Order, status and source of what was published, and no more of it later."""
        found = []
        for message in self.messages:
            data = f.decode_order(message.body).data
            found.append((data["order_id"], data["status"], Source(message.source).name))
        self.published.clear()
        return found

    def restarted(self, after_ns: int = 0) -> "Account":
        """Another life, with what this one has written."""
        data, orders = self.machine.orders.encoded(self.utc_ns), Orders()
        orders.load(decode_file(data), self.utc_ns + after_ns)
        other = Account(orders)
        other.now_ns = self.now_ns + after_ns
        return other


@pytest.fixture
def account() -> Account:
    """One whose first book was empty."""
    made = Account()
    made.book()
    made.told.clear()
    return made


# --- what is missed ---------------------------------------------------------------------------


def test_what_changed_without_a_socket_is_published_once_and_marked(account: Account) -> None:
    account.live(row())
    assert account.said == [("1", "OPEN", "WEBSOCKET")]
    for _ in range(5):
        account.book(row(status="COMPLETE", filled_quantity=10, at=9), row("2", "REJECTED"))
    assert account.told == [m.OrdersHealed(7, 2, 2), *[m.OrdersHealed(7, 2, 0)] * 4]
    assert account.said == [("1", "COMPLETE", "REST"), ("2", "REJECTED", "REST")]
    assert account.machine.counters()["orders_missed"] == 2


def test_it_is_numbered_after_what_the_socket_brought_and_as_old_as_its_question(
    account: Account,
) -> None:
    account.live(row())
    account.book(row(status="CANCELLED", at=3), ago_s=2)
    first, second = account.messages
    assert (first.seq, second.seq) == (1, 2)
    assert second.t_pub_ns - second.t_rx_ns == 2 * S
    assert (second.shard, second.epoch, second.flags) == (0, 0, 0)


def test_no_grant_is_needed_for_the_order_book() -> None:
    account = Account()
    account.grant(2, "none")
    account.book()
    account.book(row())
    assert account.said == [("1", "OPEN", "REST")]


def test_the_first_book_of_an_account_is_where_it_begins() -> None:
    account = Account()
    account.book(row("1", "COMPLETE"), row("2"))
    assert account.said == []
    account.book(row("1", "COMPLETE"), row("2", at=5, status="COMPLETE"), row("3"))
    assert account.said == [("2", "COMPLETE", "REST"), ("3", "OPEN", "REST")]


def test_of_an_order_that_was_known_before_the_first_book_its_change_is_news() -> None:
    account = Account()
    account.live(row())
    account.book(row(status="COMPLETE", at=4), row("2", "COMPLETE"))
    assert account.said == [("1", "OPEN", "WEBSOCKET"), ("1", "COMPLETE", "REST")]


def test_each_account_has_a_first_book_of_its_own(account: Account) -> None:
    account.book(row("8", "COMPLETE"), user="ZZ9")
    assert account.said == []
    account.book(row("8", "COMPLETE"), row("9"), user="ZZ9")
    assert account.said == [("9", "OPEN", "REST")]


@pytest.mark.parametrize(
    "change",
    [
        {"filled_quantity": 4}, {"quantity": 20}, {"price": 101.0}, {"trigger_price": 99.0},
        {"order_type": "MARKET"}, {"validity": "IOC"}, {"disclosed_quantity": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_modification_and_a_part_that_was_filled_are_told_in_kites_word_for_both(
    account: Account, change: dict[str, object]
) -> None:
    before = {"trigger_price": 0, "order_type": "LIMIT", "validity": "DAY", "disclosed_quantity": 0}
    account.live(row(**before))
    account.book(row(at=7, **before | change))
    account.book(row(at=7, **before | change))
    assert account.said == [("1", "OPEN", "WEBSOCKET"), ("1", "UPDATE", "REST")]


def test_a_trigger_that_was_reached_is_told_as_the_state_it_led_to(account: Account) -> None:
    account.live(row(status="TRIGGER PENDING"))
    account.live(row(status="UPDATE", price=99.0, at=1))
    account.book(row(status="TRIGGER PENDING", price=99.0, at=1))
    account.book(row(status="OPEN", price=99.0, at=3))
    assert [status for _, status, _ in account.said] == ["TRIGGER PENDING", "UPDATE", "OPEN"]


def test_what_the_book_only_words_otherwise_is_no_news(account: Account) -> None:
    account.live(row(status="UPDATE", filled_quantity=3, trigger_price=None))
    account.book(row(status="OPEN", filled_quantity=3, trigger_price=0.0))
    account.book(row(status="MODIFY PENDING", filled_quantity=3, price=102.0, at=2))
    assert account.said == [("1", "UPDATE", "WEBSOCKET")]


@pytest.mark.parametrize("status", sorted(o.PASSING))
def test_what_is_on_its_way_is_left_to_kite_to_tell(account: Account, status: str) -> None:
    account.book(row(status=status))
    account.live(row(status="OPEN", at=1))
    assert account.said == [("1", "OPEN", "WEBSOCKET")]
    account.book(row(status=status, filled_quantity=2, at=2))  # but this it told already
    assert account.said == [("1", "UPDATE", "REST")]


def test_an_order_that_waits_for_the_market_is_no_news_until_it_changes(account: Account) -> None:
    account.book(row(status="AMO REQ RECEIVED"))
    assert account.said == []
    account.book(row(status="OPEN", at=9))
    assert account.said == [("1", "OPEN", "REST")]


# --- nothing twice, nothing backwards -----------------------------------------------------------


def test_what_kite_sends_after_all_is_not_published_again(account: Account) -> None:
    account.live(row())
    account.book(row(status="COMPLETE", filled_quantity=10, at=9))
    for late in (
        row(status="UPDATE", filled_quantity=4, at=5),
        row(status="COMPLETE", filled_quantity=10, at=9),
        row(status="COMPLETE", filled_quantity=10, at=9),
    ):
        account.live(late)
    assert account.said == [("1", "OPEN", "WEBSOCKET"), ("1", "COMPLETE", "REST")]
    assert account.machine.counters()["orders_repeated"] == 3


def test_a_time_in_another_spelling_is_no_later_time(account: Account) -> None:
    account.live(row())
    account.book(row(filled_quantity=4, at=5))
    spelt = "2026-11-30T10:00:05.000+05:30"
    late = row(status="UPDATE", filled_quantity=4)
    account.live(late | {"order_timestamp": spelt, "exchange_update_timestamp": spelt})
    assert len(account.said) == 2


def test_what_comes_after_what_was_missed_is_published(account: Account) -> None:
    account.live(row())
    account.book(row(filled_quantity=4, at=5))
    account.live(row(status="UPDATE", filled_quantity=4, at=5))
    account.live(row(status="UPDATE", filled_quantity=4, price=101.0, at=5))
    account.live(row(status="UPDATE", filled_quantity=6, price=101.0, at=5))
    account.live(row(status="COMPLETE", filled_quantity=10, at=6))
    assert [(status, source) for _, status, source in account.said] == [
        ("OPEN", "WEBSOCKET"), ("UPDATE", "REST"), ("UPDATE", "WEBSOCKET"),
        ("UPDATE", "WEBSOCKET"), ("COMPLETE", "WEBSOCKET"),
    ]  # fmt: skip


def test_a_slow_socket_brings_nothing_that_the_book_told_before_a_quick_one_went_on(
    account: Account,
) -> None:
    account.live(row())
    account.book(row(filled_quantity=4, at=5))
    account.live(row(status="UPDATE", filled_quantity=6, at=6))
    account.live(row(status="UPDATE", filled_quantity=4, at=5))
    account.live(row(status="UPDATE", filled_quantity=6, at=6))
    account.live(row(status="UPDATE", filled_quantity=6, price=101.0, at=6))
    assert [(status, source) for _, status, source in account.said] == [
        ("OPEN", "WEBSOCKET"), ("UPDATE", "REST"), ("UPDATE", "WEBSOCKET"),
        ("UPDATE", "WEBSOCKET"),
    ]  # fmt: skip


def test_the_same_socket_may_say_the_same_twice(account: Account) -> None:
    account.live(row())
    account.live(row())
    assert len(account.said) == 2


def test_a_book_older_than_what_the_socket_brought_changes_nothing(account: Account) -> None:
    account.live(row(at=1))
    account.live(row(status="UPDATE", price=101.0, at=1))
    account.live(row(status="UPDATE", price=101.0, filled_quantity=6, at=1))
    assert len(account.said) == 3
    account.book(row(at=1), ago_s=1)
    account.book(row(at=1, price=101.0), ago_s=1)
    account.book(row(at=0, price=102.0, filled_quantity=6))
    account.live(row(status="COMPLETE", filled_quantity=10, at=1))
    account.book(row(at=1, price=101.0, filled_quantity=6))
    account.book(row(status="TRIGGER PENDING", at=59))
    assert account.said == [("1", "COMPLETE", "WEBSOCKET")]


def test_in_one_second_of_kites_clock_the_book_that_was_asked_for_later_is_later(
    account: Account,
) -> None:
    account.live(row(at=1))
    account.book(row(at=1, price=101.0))
    account.live(row(status="UPDATE", price=102.0, at=1))
    account.book(row(at=1, price=101.0), ago_s=1)
    assert [status for _, status, _ in account.said] == ["OPEN", "UPDATE", "UPDATE"]


def test_in_whatever_order_book_and_socket_tell_an_order_goes_forward_and_is_told_once() -> None:
    steps = [
        row(at=1), row(status="UPDATE", price=101.0, at=2),
        row(status="UPDATE", price=101.0, filled_quantity=4, at=3),
        row(status="COMPLETE", price=101.0, filled_quantity=10, at=4),
    ]  # fmt: skip
    for ways in permutations([("live", 1), ("book", 1), ("live", 2), ("book", 3), ("live", 3)]):
        account = Account()
        account.book()
        account.live(steps[0])
        for way, number in ways:
            step = steps[number]
            if way == "live":
                account.live(step)
            else:
                is_open = step["status"] == "UPDATE"
                account.book(step | ({"status": "OPEN"} if is_open else {}))
        said = account.said
        told = [word for word in said if word[2] == "REST"]
        assert len(told) == len(set(told)), ways
        ends = [status for _, status, _ in said].index("COMPLETE")
        assert all(source == "WEBSOCKET" for *_, source in said[ends + 1 :]), ways


def test_updates_of_a_source_without_the_grant_are_not_taken_for_told(account: Account) -> None:
    account.live(row(status="COMPLETE", at=9), epoch=9)
    account.book(row(status="COMPLETE", at=9))
    assert account.said == [("1", "COMPLETE", "REST")]


# --- another life -----------------------------------------------------------------------------


def test_a_restart_repeats_nothing_and_finds_what_was_missed_meanwhile(account: Account) -> None:
    account.live(row("1"), row("2"))
    account.book(row("1"), row("2", "COMPLETE", at=3))
    other = account.restarted(after_ns=60 * S)
    other.book(row("1"), row("2", "COMPLETE", at=3))
    assert other.said == []
    other.live(row("2", "COMPLETE", at=3))  # late
    other.book(row("1", "CANCELLED", at=50), row("2", "COMPLETE", at=3), row("3", at=40))
    assert other.said == [("1", "CANCELLED", "REST"), ("3", "OPEN", "REST")]


def test_by_the_clock_of_another_boot_nothing_is_later_than_a_book(account: Account) -> None:
    account.live(row())
    other = account.restarted()
    other.now_ns = 10 * S
    other.book(row(price=101.0))
    assert other.said == [("1", "UPDATE", "REST")]


def test_a_life_of_another_day_begins_with_its_first_book_but_knows_its_orders(
    account: Account,
) -> None:
    account.live(row("1"))
    other = account.restarted(after_ns=DAY_NS)
    other.book(row("1", "COMPLETE", at=1), row("2", "COMPLETE"))
    assert other.said == [("1", "COMPLETE", "REST")]


def test_a_life_that_goes_on_into_another_day_goes_on_listening(account: Account) -> None:
    account.now_ns += DAY_NS
    account.book(row("2"))
    assert account.said == [("2", "OPEN", "REST")]


def test_orders_of_long_ago_are_forgotten(account: Account) -> None:
    account.live(row("1"))
    account.now_ns += (KEPT_DAYS + 1) * DAY_NS
    account.live(row("2"))
    assert decode_file(account.machine.orders.encoded(account.utc_ns)).known.keys() == {b"order/2"}


def test_not_more_orders_are_kept_than_any_account_has() -> None:
    orders = Orders()
    for number in range(KNOWN_MAX + 10):
        assert orders.is_news(item(row(str(number))), 0, 0)
    known = decode_file(orders.encoded(0)).known
    assert len(known) == KNOWN_MAX
    assert b"order/9" not in known
    assert len(orders.encoded(0)) < o.FILE_BYTES_MAX


def test_every_change_is_to_be_written(account: Account) -> None:
    def is_due() -> bool:
        due = account.machine.orders.has_changed
        account.machine.orders.encoded(account.utc_ns)
        return due

    assert is_due()
    assert not is_due()
    account.live(row())
    assert is_due()
    account.book(row())
    assert is_due()  # the day of the last book counts
    account.batch()
    assert not is_due()


def damaged() -> Iterator[bytes]:
    orders = Orders()
    orders.is_news(item(row()), 0, 0)
    good = orders.encoded(0)
    yield from (b"", b"\x93", good[:-1], good[:-5] + b"xxxxx", b"\x93\x02" + good[2:], b"\xff" * 9)


@pytest.mark.parametrize("data", list(damaged()), ids=repr)
def test_a_damaged_file_is_refused_with_a_reason(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"checksum|file of orders|version"):
        decode_file(data)


# --- hostile bytes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        {}, {"order_id": None}, {"order_id": "a/b"}, {"order_id": 5, "status": "COMPLETE"},
        {"order_id": "1", "status": [1], "price": {"a": 1}, "filled_quantity": "many"},
        {"order_id": "1", "filled_quantity": float("nan"), "quantity": True},
        {"order_id": "1", "order_timestamp": 7, "exchange_update_timestamp": None},
    ],
    ids=str,
)  # fmt: skip
def test_odd_orders_are_passed_on_as_they_come_and_end_nothing(
    account: Account, data: dict[str, object]
) -> None:
    account.live(data)
    assert len(account.messages) == 1
    account.book(data, row("2"))
    assert account.messages[-1].source == Source.REST
    account.published.clear()
    account.book(data, row("2"))
    assert account.said == []
    account.restarted().book(data)


def test_a_body_that_is_no_order_is_passed_on(account: Account) -> None:
    account.batch(b"order/1", b"notice/message")
    assert {b"order/1", b"notice/message"} <= {topic for topic, _ in account.published}


# --- a long book --------------------------------------------------------------------------------


def test_ticks_wait_for_no_more_than_a_part_of_a_long_book() -> None:
    account = Account()
    account.subscribe(b"tick/NSE:INFY")
    account.book()
    account.told.clear()
    account.book(*(row(str(n), "COMPLETE") for n in range(250)))
    assert len(account.said) == o.COMPARED_MAX
    assert account.machine.deadline_ns == 0, "the rest is due at once"
    account.batch(INFY)
    assert len(account.take(INFY)) == 1
    account.turn()
    account.turn()
    assert len(account.said) == 150
    assert account.told == [m.OrdersHealed(7, 250, 250)]
    assert account.machine.deadline_ns > 0


def test_what_the_socket_brings_while_a_long_book_is_compared_is_told_once() -> None:
    account = Account()
    account.book()
    account.book(*(row(str(n), "COMPLETE", at=1) for n in range(250)))
    account.said  # noqa: B018 - forgotten
    account.live(row("240", "COMPLETE", at=1))
    account.turn()
    account.turn()
    told = [order for order, _, _ in account.said]
    assert told.count("240") == 1
    assert len(told) == 150


def test_a_long_book_is_written_down_once() -> None:
    account = Account()
    frame = f.encode(
        IngestBatch(1, 0, 0, Source.REST, 0, account.now_ns, 0, 0, 0, [],
                    book=OrderBook(7, "AB1", [item(row(str(n))) for n in range(250)]))
    )  # fmt: skip
    events = [e.Ingest(frame, account.utc_ns), *[e.Wake(account.utc_ns, 0)] * 2]
    saves = [
        sum(isinstance(c, e.SaveOrders) for c in account.machine.handle(event, account.now_ns))
        for event in events
    ]
    assert saves == [0, 0, 1]


def test_the_newest_of_two_books_that_wait_is_compared() -> None:
    account = Account()
    account.book(*(row(str(n)) for n in range(150)))
    account.book(row("1"), row("2"))
    account.book(row("1", "COMPLETE"))
    while account.machine.deadline_ns == 0:
        account.turn()
    assert account.said == [("1", "COMPLETE", "REST")]
