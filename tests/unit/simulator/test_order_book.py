from typing import Any

import pytest

from kitefeed.simulator.order_form import OrderError
from kitefeed.simulator.orders import Order
from tests.unit.simulator.trading_kit import FUTURE, NS, Floor

BEGIN = ["PUT ORDER REQ RECEIVED", "VALIDATION PENDING", "OPEN PENDING"]


def test_a_market_order_is_complete_at_the_last_price() -> None:
    floor = Floor()
    order = floor.place(quantity=7)
    assert floor.statuses(order) == [*BEGIN, "OPEN", "COMPLETE"]
    report = order.report()
    assert (report["average_price"], report["filled_quantity"]) == (floor.last(), 7)
    assert report["pending_quantity"] == 0
    assert floor.told() == [(order.order_id, "OPEN"), (order.order_id, "COMPLETE")]
    (trade,) = floor.book.trades
    assert trade.report()["average_price"] == floor.last()
    assert trade.report()["quantity"] == 7


@pytest.mark.parametrize(("side", "away"), [("BUY", -1.0), ("SELL", 1.0)])
def test_a_limit_order_fills_at_its_price_when_the_market_gets_there(
    side: str, away: float
) -> None:
    floor = Floor()
    last = floor.last()
    order = floor.place(order_type="LIMIT", transaction_type=side, price=last + away)
    floor.trade(last + away * 0.5)
    assert order.status == "OPEN"
    floor.trade(last + away * 1.5)
    assert order.status == "COMPLETE"
    assert order.average == last + away
    assert floor.told() == [(order.order_id, "OPEN"), (order.order_id, "COMPLETE")]


def test_a_limit_order_that_the_market_has_reached_fills_at_once_at_the_better_price() -> None:
    floor = Floor()
    order = floor.place(order_type="LIMIT", price=floor.last() + 5)
    assert (order.status, order.average) == ("COMPLETE", floor.last())


@pytest.mark.parametrize(("side", "away"), [("BUY", 1.0), ("SELL", -1.0)])
def test_a_stop_order_waits_for_its_trigger(side: str, away: float) -> None:
    floor = Floor()
    last = floor.last()
    trigger = {"transaction_type": side, "trigger_price": last + away}
    stop = floor.place(order_type="SL", price=last + 2 * away, **trigger)
    market = floor.place(order_type="SL-M", **trigger)
    assert stop.status == market.status == "TRIGGER PENDING"
    floor.trade(last + away * 0.5)
    assert stop.status == market.status == "TRIGGER PENDING"
    floor.trade(last + away * 3)  # beyond the limit of the one
    assert floor.statuses(stop) == [*BEGIN, "TRIGGER PENDING", "OPEN"]
    assert floor.statuses(market) == [*BEGIN, "TRIGGER PENDING", "OPEN", "COMPLETE"]
    assert market.average == last + away * 3
    floor.trade(last + away * 2)
    assert (stop.status, stop.average) == ("COMPLETE", last + away * 2)


def test_a_trigger_on_the_wrong_side_is_a_rejected_order() -> None:
    floor = Floor()
    order = floor.place(order_type="SL-M", trigger_price=floor.last() - 1)
    assert floor.statuses(order) == [*BEGIN[:2], "REJECTED"]
    assert "should be higher than the last traded price" in str(order.report()["status_message"])
    assert floor.told() == [(order.order_id, "REJECTED")]
    assert order.report()["exchange_order_id"] is None


def test_an_order_beyond_the_funds_is_rejected_with_kites_words() -> None:
    floor = Floor()
    order = floor.place(product="CNC", quantity=5_000)
    assert order.status == "REJECTED"
    assert "Insufficient funds. Required margin is" in str(order.report()["status_message"])
    assert floor.book.trades == []


def test_shares_are_sold_for_delivery_only_when_they_are_held_and_not_on_offer() -> None:
    floor = Floor()
    sell = {"product": "CNC", "transaction_type": "SELL"}
    offer = floor.place(order_type="LIMIT", price=floor.last() + 10, quantity=15, **sell)
    assert offer.status == "OPEN"
    refused = floor.place(quantity=10, **sell)
    assert refused.status == "REJECTED"
    assert "Insufficient stock holding" in str(refused.report()["status_message"])
    assert floor.place(quantity=5, **sell).status == "COMPLETE"
    floor.place(product="CNC", quantity=3)
    assert floor.place(quantity=3, **sell).status == "COMPLETE"
    row = next(r for r in floor.book.holdings(floor.now_ns) if r["tradingsymbol"] == "INFY")
    assert (row["quantity"], row["opening_quantity"], row["used_quantity"]) == (15, 20, 5)


def test_a_waiting_order_is_cancelled_once() -> None:
    floor = Floor()
    order = floor.place(order_type="LIMIT", price=floor.last() - 1)
    assert floor.book.cancel("regular", order.order_id, floor.now_ns) is order
    assert floor.statuses(order)[-2:] == ["CANCEL PENDING", "CANCELLED"]
    assert order.report()["cancelled_quantity"] == 1
    assert floor.told()[-1] == (order.order_id, "CANCELLED")
    floor.trade(floor.last() - 5)
    assert order.status == "CANCELLED"
    for change in (
        lambda: floor.book.cancel("regular", order.order_id, floor.now_ns),
        lambda: floor.book.modify("regular", order.order_id, {}, floor.now_ns),
    ):
        with pytest.raises(OrderError, match=r"as it is being processed\. Try later") as caught:
            change()
        assert caught.value.error_type == "OrderException"


@pytest.mark.parametrize(("variety", "number"), [("regular", "1"), ("amo", None)])
def test_an_order_is_found_by_its_id_and_variety_alone(variety: str, number: str | None) -> None:
    floor = Floor()
    order = floor.place(order_type="LIMIT", price=floor.last() - 1)
    with pytest.raises(OrderError, match="Couldn't find that `order_id`"):
        floor.book.cancel(variety, number or order.order_id, floor.now_ns)


def test_a_modified_order_has_its_new_price_and_quantity() -> None:
    floor = Floor()
    price = floor.last() - 2
    order = floor.place(order_type="LIMIT", price=price)
    floor.told()
    changes = {"quantity": "2", "price": str(price - 1)}
    floor.book.modify("regular", order.order_id, changes, floor.now_ns)
    report = order.report()
    assert (report["quantity"], report["price"], report["modified"]) == (2, price - 1, True)
    assert floor.statuses(order)[-4:] == [
        "MODIFY VALIDATION PENDING", "MODIFY PENDING", "MODIFIED", "OPEN",
    ]  # fmt: skip
    assert floor.told() == [(order.order_id, "UPDATE")]
    floor.trade(price)
    assert order.status == "OPEN"
    changes = {"order_type": "MARKET"}
    floor.book.modify("regular", order.order_id, changes, floor.now_ns)
    assert (order.status, order.average) == ("COMPLETE", price)


def test_a_stop_order_can_be_made_a_limit_order() -> None:
    floor = Floor()
    last = floor.last()
    order = floor.place(order_type="SL", price=last + 2, trigger_price=last + 1)
    changes = {"order_type": "LIMIT", "price": str(last - 1)}
    floor.book.modify("regular", order.order_id, changes, floor.now_ns)
    assert order.status == "OPEN"
    assert order.report()["trigger_price"] == 0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"price": "1.01"}, "Tick size"),
        ({"quantity": "0"}, "Invalid `quantity`"),
        ({"order_type": "SL"}, "Missing or empty field `trigger_price`"),
        ({"quantity": "90000"}, "Insufficient funds"),
    ],
)
def test_a_modification_is_checked_like_an_order(changes: dict[str, str], sentence: str) -> None:
    floor = Floor()
    order = floor.place(order_type="LIMIT", price=floor.last() - 1)
    before = order.report()
    with pytest.raises(OrderError, match=sentence):
        floor.book.modify("regular", order.order_id, changes, floor.now_ns)
    assert order.report() == before


def test_an_order_is_modified_25_times_at_most() -> None:
    floor = Floor()
    order = floor.place(order_type="LIMIT", price=floor.last() - 1)
    for number in range(25):
        changes = {"quantity": str(number + 1)}
        floor.book.modify("regular", order.order_id, changes, floor.now_ns)
    with pytest.raises(OrderError, match="Maximum allowed order modifications exceeded"):
        floor.book.modify("regular", order.order_id, {"quantity": "1"}, floor.now_ns)


def test_an_immediate_order_that_does_not_fill_is_cancelled() -> None:
    floor = Floor()
    order = floor.place(order_type="LIMIT", price=floor.last() - 1, validity="IOC")
    assert order.status == "CANCELLED"
    assert floor.place(validity="IOC").status == "COMPLETE"


def test_an_order_for_minutes_is_cancelled_after_them() -> None:
    floor = Floor()
    price = floor.last() - 1
    order = floor.place(order_type="LIMIT", price=price, validity="TTL", validity_ttl=2)
    day = floor.place(order_type="LIMIT", price=price)
    floor.market.open(is_open=False)  # so that neither is filled meanwhile
    floor.exchange.beat(floor.now_ns + 119 * NS)
    assert order.is_waiting
    floor.exchange.beat(floor.now_ns + 120 * NS)
    assert order.status == "CANCELLED"
    assert day.is_waiting


def test_in_a_closed_market_only_orders_for_the_next_day_are_taken() -> None:
    floor = Floor(is_open=False)
    with pytest.raises(OrderError, match="Markets are closed right now"):
        floor.place()
    order = floor.place("amo", order_type="LIMIT", price=floor.last() - 1)
    market = floor.place("amo")
    gone = floor.place("amo")
    assert [order.status, market.status] == ["AMO REQ RECEIVED"] * 2
    floor.book.cancel("amo", gone.order_id, floor.now_ns)
    assert gone.status == "CANCELLED"
    floor.told()
    floor.exchange.open(True, floor.now_ns)
    assert [order.status, market.status] == ["OPEN", "COMPLETE"]
    assert floor.told() == [
        (order.order_id, "OPEN"), (market.order_id, "OPEN"), (market.order_id, "COMPLETE"),
    ]  # fmt: skip


def test_an_iceberg_order_shows_one_leg_after_the_other() -> None:
    floor = Floor()
    last = floor.last()
    legs = {"iceberg_legs": 3, "iceberg_quantity": 4, "quantity": 10}
    first = floor.place("iceberg", order_type="LIMIT", price=last - 1, **legs)
    assert list(floor.book.orders) == [first.order_id]
    found: dict[str, Any] = first.report()
    assert found["quantity"] == 4
    assert found["meta"]["iceberg"] == {
        "leg": 1, "legs": 3, "leg_quantity": 4, "total_quantity": 10, "remaining_quantity": 6,
    }  # fmt: skip
    floor.trade(last - 1)
    assert [each.filled for each in floor.book.orders.values()] == [4, 4, 2]
    with pytest.raises(OrderError, match="Invalid `iceberg_quantity`"):
        floor.place("iceberg", iceberg_legs=2, iceberg_quantity=4, quantity=10)
    with pytest.raises(OrderError, match="Invalid `iceberg_legs`"):
        floor.place("iceberg", iceberg_legs=1, iceberg_quantity=10, quantity=10)


def test_a_sliced_order_is_cut_at_the_freeze_quantity() -> None:
    floor = Floor()
    future = {"exchange": "NFO", "tradingsymbol": FUTURE, "product": "MIS"}
    form = floor.form(quantity=1_950, autoslice="true", **future)
    first, slices = floor.book.place("regular", form, floor.now_ns)
    assert [each.form.quantity for each in slices] == [1_800, 150]
    assert slices[0] is first


def test_positions_and_margins_follow_the_trades() -> None:
    floor = Floor()
    last = floor.last()
    before: Any = floor.book.margins()["equity"]["net"]
    floor.place(quantity=10)
    assert floor.book.margins()["equity"]["net"] == pytest.approx(before - last * 10 * 0.2)
    floor.trade(last + 2)
    floor.place(quantity=10, transaction_type="SELL")
    row: Any
    (row,) = floor.book.positions()
    assert (row["quantity"], row["buy_quantity"], row["sell_quantity"]) == (0, 10, 10)
    assert row["pnl"] == pytest.approx(20)
    assert row["realised"] == pytest.approx(20)
    assert floor.book.margins()["equity"]["net"] == pytest.approx(before + 20)
    assert floor.book.margins()["commodity"]["net"] == before


def test_the_orders_of_two_accounts_are_apart() -> None:
    floor = Floor()
    other = floor.exchange.book(floor.accounts.apps[1])
    mine = floor.place()
    theirs, _ = other.place("regular", floor.form(), floor.now_ns)
    assert mine.order_id != theirs.order_id
    assert list(other.orders) == [theirs.order_id]
    assert [app.number for app, _ in floor.exchange.take_updates()] == [1, 1, 2, 2]


# --- made up --------------------------------------------------------------------------------------


def make_up(floor: Floor, **changes: object) -> Order:
    return floor.book.make_up("regular", floor.form(), changes, floor.now_ns)


def test_a_made_up_order_stands_in_the_book_as_it_is_told_and_moves_no_money() -> None:
    floor = Floor()
    money = floor.book.margins()
    order = make_up(floor, status="OPEN", filled_quantity=0, new_field=1)
    assert floor.book.find(order.order_id) is order
    for said in (order.report(), order.postback()):
        assert (said["status"], said["filled_quantity"], said["new_field"]) == ("OPEN", 0, 1)
    assert floor.book.margins() == money
    assert floor.book.positions() == floor.book.trades == floor.told() == []


def test_a_made_up_order_changes_by_its_id() -> None:
    floor = Floor()
    order = make_up(floor, status="OPEN", filled_quantity=0)
    placed = order.report()["order_timestamp"]
    floor.now_ns += 60 * NS
    assert make_up(floor, order_id=order.order_id, status="CANCELLED") is order
    assert order.report()["status"] == "CANCELLED"
    assert order.report()["order_timestamp"] != placed
    assert order.history[-1]["status"] == "CANCELLED"
    assert len(floor.book.orders) == 1


def test_an_update_is_a_word_of_the_socket_and_an_open_order_in_the_book() -> None:
    floor = Floor()
    order = make_up(floor, status="UPDATE", filled_quantity=4)
    assert (order.postback()["status"], order.report()["status"]) == ("UPDATE", "OPEN")


def test_an_order_that_was_placed_is_not_made_up() -> None:
    floor = Floor()
    order = floor.place()
    with pytest.raises(OrderError, match="was placed"):
        make_up(floor, order_id=order.order_id, status="REJECTED")
