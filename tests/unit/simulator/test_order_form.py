import pytest

from kitefeed.simulator.order_form import OrderError
from tests.unit.simulator.trading_kit import FUTURE, Floor

LIMIT = {"order_type": "LIMIT"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"product": "GIFT"}, "Invalid `product`"),
        ({"product": "NRML"}, "Invalid `product`"),  # of derivatives alone
        ({"exchange": "NFO", "tradingsymbol": FUTURE, "quantity": 75, "product": "CNC"}, "product"),
        ({"order_type": "STOP"}, "Invalid `order_type`"),
        ({"validity": "GTC"}, "Invalid `validity`"),
        ({"validity": "TTL"}, "Invalid `validity_ttl`"),
        ({"validity": "TTL", "validity_ttl": 61}, "Invalid `validity_ttl`"),
        ({"transaction_type": "HOLD"}, "Invalid `transaction_type`"),
        ({"product": None}, "Missing or empty field `product`"),
        ({"order_type": None}, "Missing or empty field `order_type`"),
        ({"transaction_type": ""}, "Missing or empty field `transaction_type`"),
        ({"quantity": None}, "Missing or empty field `quantity`"),
        ({"exchange": None}, "Missing or empty field `exchange`"),
        ({"tradingsymbol": None}, "Missing or empty field `tradingsymbol`"),
        ({"tradingsymbol": "NOPE"}, "expired or does not exist"),
        ({"tradingsymbol": "NIFTY 50"}, "expired or does not exist"),  # an index
        ({"exchange": "BSE", "tradingsymbol": "SENSEX"}, "expired or does not exist"),
        ({"quantity": 0}, "Invalid `quantity`"),
        ({"quantity": -1}, "Invalid `quantity`"),
        ({"quantity": "1.5"}, "Invalid `quantity`"),
        ({"quantity": "many"}, "Invalid `quantity`"),
        ({"quantity": 10**15}, "Invalid `quantity`"),
        (LIMIT, "Missing or empty field `price`"),
        (LIMIT | {"price": 0}, "Missing or empty field `price`"),
        (LIMIT | {"price": "cheap"}, "Invalid `price`"),
        (LIMIT | {"price": "nan"}, "Invalid `price`"),
        (LIMIT | {"price": "inf"}, "Invalid `price`"),
        (LIMIT | {"price": -5}, "Invalid `price`"),
        (LIMIT | {"price": 1580.02}, "Tick size for this script is 0.05"),
        (LIMIT | {"price": 1.0}, "lower circuit limit"),
        (LIMIT | {"price": 99_999}, "upper circuit limit"),
        ({"order_type": "SL", "price": 1600}, "Missing or empty field `trigger_price`"),
        ({"order_type": "SL", "trigger_price": 1600}, "Missing or empty field `price`"),
        ({"order_type": "SL-M"}, "Missing or empty field `trigger_price`"),
        ({"order_type": "SL-M", "trigger_price": 1600.01}, "Kindly enter trigger price"),
        ({"order_type": "SL", "price": 1600, "trigger_price": 1601}, "can't be higher than price"),
        (
            {"order_type": "SL", "price": 1500, "trigger_price": 1499, "transaction_type": "SELL"},
            "can't be lesser than price",
        ),
        ({"exchange": "NFO", "tradingsymbol": FUTURE, "product": "NRML", "quantity": 50}, "75"),
        (
            {"exchange": "NFO", "tradingsymbol": FUTURE, "product": "NRML", "quantity": 1875},
            "The order quantity 1875 (25 lots) is higher than the maximum quantity of 1800",
        ),
        ({"quantity": 100_001}, "is higher than the maximum quantity of 100000"),
        ({"disclosed_quantity": 2}, "Invalid `disclosed_quantity`"),
        ({"market_protection": 101}, "Invalid `market_protection`"),
        ({"market_protection": -2}, "Invalid `market_protection`"),
        ({"tag": "much too long for a tag of Kite"}, "Invalid `tag`"),
        ({"tag": "a/b"}, "Invalid `tag`"),
    ],
)
def test_what_kite_refuses_is_refused_and_leaves_no_order(
    changes: dict[str, object], sentence: str
) -> None:
    floor = Floor()
    with pytest.raises(OrderError) as caught:
        floor.place(**changes)
    assert sentence in str(caught.value)
    assert caught.value.error_type == "InputException"
    assert floor.book.orders == {}
    assert floor.told() == []


@pytest.mark.parametrize(
    ("variety", "sentence"),
    [("normal", "Invalid `variety`"), ("", "Invalid `variety`"), ("co", "simulator"),
     ("auction", "simulator")],
)  # fmt: skip
def test_a_variety_is_one_of_kites_and_of_the_simulators(variety: str, sentence: str) -> None:
    with pytest.raises(OrderError, match=sentence):
        Floor().place(variety)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"product": "CNC", "tag": "my tag 1"},
        {"market_protection": -1},
        {"market_protection": 2.5},
        {"price": "nonsense"},  # a market order has no use for it
        {"trigger_price": 3},
        {"validity": "TTL", "validity_ttl": 60},
        {"exchange": "NFO", "tradingsymbol": FUTURE, "product": "NRML", "quantity": 150},
        {"exchange": "MCX", "tradingsymbol": "CRUDEOIL26NOVFUT", "product": "NRML",
         "quantity": 100},
    ],
)  # fmt: skip
def test_what_kite_takes_is_taken(changes: dict[str, object]) -> None:
    assert Floor().place(**changes).status == "COMPLETE"


def test_a_price_may_be_what_a_client_computed_in_floats() -> None:
    floor = Floor()
    last = floor.last()
    diff = last * 0.01
    price = last - (diff - (diff % 0.05))
    order = floor.place(order_type="LIMIT", price=price)
    assert order.status == "OPEN"
    assert order.report()["price"] == price
