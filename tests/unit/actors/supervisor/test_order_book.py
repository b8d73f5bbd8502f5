"""Tests when the order book is read: after whatever may have cost an update of an order."""

import pytest

from kitefeed.actors.supervisor.facts import BOOK_READERS_NS, BOOK_REPEAT_NS
from kitefeed.actors.supervisor.order_book import condition
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.membership import Beat, LinkReport
from kitefeed.protocol.topology import Role
from tests.unit.actors.supervisor.bench import Bench, S


@pytest.fixture
def bench() -> Bench:
    """Live, and its order book read."""
    made = Bench()
    made.live()
    heal(made)
    made.forget()
    return made


def heal(bench: Bench, missed: int = 0) -> None:
    bench.feed(m.OrdersHealed(bench.last(m.ReadOrders).reading, 9, missed))


def fail(bench: Bench, outcome: m.RestOutcome = "network") -> None:
    bench.feed(m.OrdersUnread(bench.last(m.ReadOrders).reading, outcome, "HTTP 503"))


def reconnect(bench: Bench) -> None:
    """The socket is lost, and another opens."""
    epoch = bench.machine.state.shards[0].link.epoch
    bench.feed(m.LinkClosed(0, epoch, 1006, "lost"))
    bench.wait(2)
    bench.validate("valid")
    bench.open()


def said(bench: Bench) -> list[str]:
    return [say.text for say in bench.said if "order" in say.text]


def test_it_is_read_once_after_a_reconnect_with_the_session_of_the_socket(bench: Bench) -> None:
    reconnect(bench)
    (order,) = bench.all(m.ReadOrders)
    assert order.fingerprint == "first"
    heal(bench)
    bench.wait(600, fresh=True)
    assert len(bench.all(m.ReadOrders)) == 1
    assert said(bench) == []


def test_it_is_not_read_before_the_socket_is_let_through(bench: Bench) -> None:
    bench.feed(m.LinkClosed(0, bench.machine.state.shards[0].link.epoch, 1006, "lost"))
    bench.wait(2)
    bench.validate("valid")
    order = bench.last(m.OpenLink)
    bench.feed(m.LinkOpened(0, order.epoch))
    assert not bench.all(m.ReadOrders)
    bench.grant()
    assert len(bench.all(m.ReadOrders)) == 1


def test_it_is_read_when_a_new_login_takes_the_socket_over(bench: Bench) -> None:
    bench.login("second")
    bench.validate("valid")
    bench.open()
    assert [order.fingerprint for order in bench.all(m.ReadOrders)] == ["second"]


def test_it_is_read_for_a_broadcaster_that_is_new(bench: Bench) -> None:
    """Later, when readers have found it: what is published is published once."""
    bench.restart(Role.BROADCASTER)
    bench.grant()
    bench.wait(BOOK_READERS_NS / S - 0.1, fresh=True)
    assert not bench.all(m.ReadOrders)
    bench.wait(0.2, fresh=True)
    assert len(bench.all(m.ReadOrders)) == 1


def test_it_is_read_when_batches_were_lost_on_the_way(bench: Bench) -> None:
    bench.feed(Beat(losses={0: 3}, fresh_tick_age_ns=0))
    bench.wait(13, fresh=True)
    assert len(bench.all(m.ReadOrders)) == 1


def test_readings_rise_and_only_the_last_one_counts(bench: Bench) -> None:
    reconnect(bench)
    first = bench.last(m.ReadOrders).reading
    reconnect(bench)
    assert bench.last(m.ReadOrders).reading > first
    bench.feed(m.OrdersUnread(first, "network", "HTTP 503"), m.OrdersHealed(first, 3, 1))
    assert said(bench) == []
    assert bench.machine.state.book.order is not None


def test_what_nobody_answers_is_ordered_again(bench: Bench) -> None:
    reconnect(bench)
    bench.wait(2.5 * BOOK_REPEAT_NS / S, fresh=True)
    orders = bench.all(m.ReadOrders)
    assert len(orders) == 3
    assert len(set(orders)) == 1


def test_a_new_poller_is_told_what_the_one_before_did_not_finish(bench: Bench) -> None:
    reconnect(bench)
    bench.restart(Role.REST_POLLER)
    assert len(bench.all(m.ReadOrders)) == 2
    heal(bench)
    bench.restart(Role.REST_POLLER)
    assert len(bench.all(m.ReadOrders)) == 2


def test_what_was_missed_is_said_in_one_line(bench: Bench) -> None:
    reconnect(bench)
    heal(bench, missed=1)
    reconnect(bench)
    heal(bench, missed=3)
    assert [text.split(" had")[0] for text in said(bench)] == [
        "updates of 1 order", "updates of 3 orders",
    ]  # fmt: skip


def test_a_failure_is_one_condition_that_ends_when_the_book_is_had(bench: Bench) -> None:
    reconnect(bench)
    for _ in range(4):
        fail(bench)
        bench.wait(10, fresh=True)
    reconnect(bench)
    fail(bench, "rate")
    (error,) = [text for text in bench.errors() if "condition=orders" in text]
    assert "HTTP 503" in error
    assert condition(bench.machine.state) in error
    heal(bench)
    assert condition(bench.machine.state) == ""
    assert said(bench)[-1].startswith("over after")
    assert "condition=orders" in said(bench)[-1]


def test_a_book_that_is_lost_with_the_network_is_no_condition_of_its_own(bench: Bench) -> None:
    reconnect(bench)
    bench.feed(m.LinkClosed(0, bench.last(m.OpenLink).epoch, None, "connection reset"))
    fail(bench)
    bench.wait(20)
    assert not [text for text in said(bench) if "condition=orders" in text]
    assert condition(bench.machine.state) == ""


def test_a_plan_that_is_refused_stays_said_until_a_later_reconnect_reads_it(bench: Bench) -> None:
    reconnect(bench)
    fail(bench, "permission")
    bench.wait(600, fresh=True)
    assert len(bench.all(m.ReadOrders)) == 1
    assert len(said(bench)) == 1
    reconnect(bench)
    heal(bench)
    assert said(bench)[-1].startswith("over after")


def test_a_book_that_meets_a_dead_session_tells_of_the_session_and_is_left(bench: Bench) -> None:
    reconnect(bench)
    fail(bench, "token")
    assert bench.machine.state.session.word == "refused"
    bench.wait(120, fresh=True)
    assert len(bench.all(m.ReadOrders)) == 1
    assert not [text for text in said(bench) if "condition=orders" in text]


def test_nothing_is_asked_with_a_session_that_kite_refuses(bench: Bench) -> None:
    reconnect(bench)
    fail(bench)
    bench.feed(m.Polled(0, 1, "ok"))
    bench.machine.state.session.next_check_ns = bench.now_ns
    bench.wait(1, fresh=True)
    bench.validate("refused")
    bench.forget()
    bench.wait(120, fresh=True)
    assert not bench.all(m.ReadOrders)
    assert not bench.machine.state.conditions.keys() & {"orders"}


def test_a_supervisor_that_adopts_a_socket_reads_it_too(bench: Bench) -> None:
    epoch = bench.machine.state.shards[0].link.epoch
    second = Bench(persisted=bench.machine.state.persisted)
    second.follow(bench)
    report = LinkReport(0, epoch, "first", True, "websocket")
    second.up(links=(report,))
    second.login("first")
    second.grant()
    second.wait(BOOK_READERS_NS / S, fresh=True)
    assert [order.fingerprint for order in second.all(m.ReadOrders)] == ["first"]
