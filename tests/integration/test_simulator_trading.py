"""Orders, portfolio and candles through the official Python client, as a strategy uses them."""

import datetime as dt
import inspect
import json
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
import requests
from kiteconnect import KiteConnect
from kiteconnect.exceptions import (
    GeneralException,
    InputException,
    KiteException,
    NetworkException,
    OrderException,
    PermissionException,
    TokenException,
)

from kitefeed.simulator.server import Simulator
from kitefeed.simulator.thread import RunningSimulator, running_simulator
from kitefeed.simulator.trading import UNANSWERED
from tests.integration.test_simulator_rest import client_of, raw_get
from tests.support import eventually

INFY = 408065
ORDER = {
    "variety": "regular", "exchange": "NSE", "tradingsymbol": "INFY", "transaction_type": "BUY",
    "quantity": 1, "product": "MIS", "order_type": "MARKET",
}  # fmt: skip
# As in zerodha/kiteconnect-mocks, orders.json: what a client of another language may expect.
OF_AN_ORDER = {
    "placed_by", "order_id", "exchange_order_id", "parent_order_id", "status", "status_message",
    "status_message_raw", "order_timestamp", "exchange_update_timestamp", "exchange_timestamp",
    "variety", "modified", "exchange", "tradingsymbol", "instrument_token", "order_type",
    "transaction_type", "validity", "product", "quantity", "disclosed_quantity", "price",
    "trigger_price", "average_price", "filled_quantity", "pending_quantity", "cancelled_quantity",
    "market_protection", "meta", "tag", "guid",
}  # fmt: skip


class Fast:
    """The simulator's wall clock: every reading is half a second on, so no limit is met."""

    def __init__(self) -> None:
        self._start_ns, self._offset_ns = time.time_ns(), 0

    def __call__(self) -> int:
        self._offset_ns += 500_000_000
        return self._start_ns + self._offset_ns


@pytest.fixture
def kite_server() -> Iterator[RunningSimulator]:
    with running_simulator(Simulator(wall_ns=Fast())) as running:
        yield running


@pytest.fixture
def client(kite_server: RunningSimulator) -> KiteConnect:
    return client_of(kite_server)


def last_price(client: KiteConnect) -> float:
    return client.ltp("NSE:INFY")["NSE:INFY"]["last_price"]


def test_a_market_order_has_a_history_and_a_trade(client: KiteConnect) -> None:
    order_id = client.place_order(**ORDER, tag="mytag")
    (order,) = client.orders()
    assert set(order) == OF_AN_ORDER | {"tags"}
    assert (order["order_id"], order["status"], order["tag"]) == (order_id, "COMPLETE", "mytag")
    assert isinstance(order["order_timestamp"], dt.datetime)
    history = client.order_history(order_id)
    assert "RECEIVED" in history[0]["status"]
    assert history[-1]["status"] == "COMPLETE"
    assert history[-1]["order_type"] == "MARKET"
    (trade,) = client.trades()
    assert client.order_trades(order_id) == [trade]
    assert trade["average_price"] == order["average_price"]
    assert isinstance(trade["fill_timestamp"], dt.datetime)


def test_a_limit_order_is_modified_and_cancelled(client: KiteConnect) -> None:
    price = round(last_price(client) * 0.97, 1)
    order_id = client.place_order(**{**ORDER, "order_type": "LIMIT", "price": price})
    assert client.order_history(order_id)[-1]["status"] == "OPEN"
    assert client.modify_order("regular", order_id, quantity=2, price=price - 1) == order_id
    last = client.order_history(order_id)[-1]
    assert (last["quantity"], last["price"]) == (2, price - 1)
    assert client.cancel_order("regular", order_id) == order_id
    assert client.order_history(order_id)[-1]["status"] == "CANCELLED"
    assert client.order_trades(order_id) == []
    with pytest.raises(OrderException, match="being processed") as caught:
        client.cancel_order("regular", order_id)
    assert caught.value.code == 400
    for call in (client.order_history, client.order_trades):
        with pytest.raises(OrderException, match="Couldn't find"):
            call("1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"product": "GIFT"},
        {"order_type": "STOP"},
        {"variety": "normal"},
        {"validity": "GTC"},
        {"quantity": 0},
        {"tradingsymbol": "NIFTY 50"},
        {"order_type": "LIMIT"},
        {"order_type": "SL", "price": 1600},
        {"order_type": "LIMIT", "price": 1580.01},
    ],
)
def test_what_kite_refuses_is_an_input_exception(
    client: KiteConnect, wrong: dict[str, object]
) -> None:
    with pytest.raises(InputException) as caught:
        client.place_order(**{**ORDER, **wrong})
    assert caught.value.code == 400
    assert client.orders() == []


def test_orders_fill_while_the_market_moves_though_nobody_is_subscribed() -> None:
    with running_simulator(Simulator(tick_hz=50.0)) as running:
        client = client_of(running)
        price = last_price(client)
        orders = [
            client.place_order(**{**ORDER, "order_type": "LIMIT", "price": price - 0.05}),
            client.place_order(**{**ORDER, "order_type": "SL-M", "trigger_price": price + 0.5}),
        ]

        def are_over() -> bool:
            book = running.simulator.exchange.book(running.simulator.accounts.apps[0])
            return all(book.orders[each].status == "COMPLETE" for each in orders)

        eventually(are_over, 20)
        trades = {trade["order_id"]: trade["average_price"] for trade in client.trades()}
        assert trades[orders[0]] <= price
        assert trades[orders[1]] >= price + 0.5


def test_an_autosliced_order_names_its_slices(client: KiteConnect) -> None:
    rows = client.instruments("NFO")
    future = next(r for r in rows if (r["name"], r["instrument_type"]) == ("NIFTY", "FUT"))
    order = {**ORDER, "exchange": "NFO", "tradingsymbol": future["tradingsymbol"]}
    order["quantity"] = 1_800 + future["lot_size"]
    with pytest.raises(InputException, match="allowed by the exchanges"):
        client.place_order(**order)
    answer = client.place_autoslice_order(**order)
    found = client.orders()
    assert [each["order_id"] for each in answer["children"]] == [each["order_id"] for each in found]
    assert answer["order_id"] == found[0]["order_id"]
    assert [each["quantity"] for each in found] == [1_800, future["lot_size"]]


def test_positions_holdings_and_margins_have_kites_shape(client: KiteConnect) -> None:
    client.place_order(**ORDER)
    positions = client.positions()
    assert set(positions) == {"net", "day"}
    (row,) = positions["net"]
    assert (row["tradingsymbol"], row["quantity"], row["product"]) == ("INFY", 1, "MIS")
    holdings = client.holdings()
    assert {"tradingsymbol", "isin", "opening_quantity", "day_change"} <= set(holdings[0])
    margins = client.margins()
    assert set(margins) == {"equity", "commodity"}
    assert margins["equity"]["utilised"]["debits"] > 0
    assert client.margins("commodity") == margins["commodity"]
    with pytest.raises(InputException):
        client.margins("debt")


def test_candles_come_with_the_official_client(client: KiteConnect) -> None:
    last_price(client)
    now = dt.datetime.now()
    day = dt.timedelta(days=2)
    found = client.historical_data(INFY, now - day, now + day, "minute", oi=True)
    assert set(found[0]) == {"date", "open", "high", "low", "close", "volume", "oi"}
    assert found[0]["date"].utcoffset() == dt.timedelta(hours=5, minutes=30)
    assert set(client.historical_data(INFY, now - day, now + day, "day")[0]) == {
        "date", "open", "high", "low", "close", "volume",
    }  # fmt: skip
    with pytest.raises(InputException, match="interval exceeds max limit: 60 days"):
        client.historical_data(INFY, now - dt.timedelta(days=61), now, "minute")


def test_candles_are_asked_for_three_times_a_second_at_most() -> None:
    with running_simulator(Simulator(wall_ns=lambda: 1_795_400_000_000_000_000)) as running:
        client = client_of(running)
        ask = (INFY, "2026-11-22", "2026-11-25", "minute")
        for _ in range(3):
            client.historical_data(*ask)
        with pytest.raises(NetworkException, match="Too many requests"):
            client.historical_data(*ask)
        running.fault("no_entitlement")
        with pytest.raises(PermissionException):
            client.historical_data(*ask)


def test_a_test_suite_may_do_without_the_limits() -> None:
    wall_ns = 1_795_400_000_000_000_000
    with running_simulator(Simulator(limits="none", wall_ns=lambda: wall_ns)) as running:
        client = client_of(running)
        for _ in range(20):
            client.ltp("NSE:INFY")
            client.orders()


# --- every route of the official client ----------------------------------------------------------


def arguments_of(call: Any) -> dict[str, Any]:
    """Something for every parameter of a method of the official client that needs one."""
    special = {
        "trigger_type": "single", "trigger_values": [1], "orders": [], "variety": "regular",
        "interval": "minute", "from_date": "2026-11-23", "to_date": "2026-11-24",
        "transaction_type": "BUY", "instrument_token": INFY, "order_id": "1",
    }  # fmt: skip
    return {
        name: special.get(name, "1")
        for name, parameter in inspect.signature(call).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    }


LOCAL = {
    "login_url", "set_access_token", "set_session_expiry_hook", "generate_session",
    "renew_access_token", "invalidate_refresh_token", "invalidate_access_token", "instruments",
}  # fmt: skip
CALLS = sorted(
    name
    for name, member in inspect.getmembers(KiteConnect, inspect.isfunction)
    if not name.startswith("_") and name not in LOCAL
)


@pytest.mark.parametrize("name", CALLS)
def test_every_call_checks_the_token_first(kite_server: RunningSimulator, name: str) -> None:
    client = client_of(kite_server)
    client.set_access_token("wrong")
    call = getattr(client, name)
    with pytest.raises(TokenException) as caught:
        call(**arguments_of(call))
    assert caught.value.code == 403


@pytest.mark.parametrize("name", CALLS)
def test_every_call_is_answered_or_refused_with_a_sentence_of_ours(
    client: KiteConnect, name: str
) -> None:
    refusal = refusal_of(getattr(client, name))
    assert refusal is None or refusal.code in (400, 501)
    if refusal is not None and refusal.code == 501:
        assert "The simulator does not answer" in str(refusal)
        assert "docs/simulator.md" in str(refusal)


def refusal_of(call: Any) -> KiteException | None:
    try:
        call(**arguments_of(call))
    except (GeneralException, InputException, OrderException) as error:
        return error
    return None


def test_every_path_of_the_official_client_is_known(kite_server: RunningSimulator) -> None:
    for path in set(KiteConnect._routes.values()):
        filled = path.format_map(dict.fromkeys(
            ("segment", "order_id", "variety", "sip_id", "exchange", "instrument_token", "interval",
             "transaction_type", "trigger_id"), "1",
        ))  # fmt: skip
        answers = [
            requests.request(method, kite_server.rest_url + filled, timeout=5)
            for method in ("GET", "POST", "PUT", "DELETE")
        ]
        assert any(answer.status_code not in (404, 405) for answer in answers), path


def test_the_page_and_the_help_list_what_is_answered_and_what_is_not() -> None:
    from click.testing import CliRunner

    from kitefeed.cli.commands.simulate import simulate
    from tests.unit.test_architecture import ROOT

    page = (ROOT / "docs/simulator.md").read_text("utf-8")
    simulator = Simulator()
    routes = [*simulator.rest.routes(), *simulator.trading.routes()]
    refused = {f"{method} {path}" for method, path, _ in UNANSWERED}
    answered = {f"{route.method} {route.path}" for route in routes} - refused
    shown = CliRunner().invoke(simulate, ["--help"]).output
    assert len(answered) > 20
    listed, _, unlisted = page.partition("## What it does not answer")
    assert [each for each in answered if f"`{each}`" not in listed] == []
    assert [each for each in refused if f"`{each}`" not in unlisted] == []
    for word in ("orders", "trades", "positions", "holdings", "margins", "historical"):
        assert word in shown


def test_the_fate_of_orders_is_told_on_the_socket(kite_server: RunningSimulator) -> None:
    client = client_of(kite_server)
    price = round(last_price(client) * 0.97, 1)

    async def watch() -> list[tuple[str, str]]:
        account = kite_server.credentials()
        query = {"api_key": account["api_key"], "access_token": account["access_token"]}
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(kite_server.ws_url, params=query) as ws,
        ):
            form = {name: str(value) for name, value in ORDER.items() if name != "variety"}
            form |= {"order_type": "LIMIT", "price": str(price)}
            url = f"{kite_server.rest_url}/orders/regular"
            token = f"token {account['api_key']}:{account['access_token']}"
            headers = {"Authorization": token}
            async with http.post(url, data=form, headers=headers) as answer:
                order_id = (await answer.json())["data"]["order_id"]
            change = {"quantity": "2"}
            await http.put(f"{url}/{order_id}", data=change, headers=headers)
            await http.delete(f"{url}/{order_id}", headers=headers)
            told: list[tuple[str, str]] = []
            while len(told) < 3:
                message = await ws.receive(timeout=5)
                if message.type is aiohttp.WSMsgType.TEXT:
                    found = json.loads(message.data)
                    if found["type"] == "order":
                        data = found["data"]
                        assert data["order_id"] == order_id
                        assert {"user_id", "checksum", "unfilled_quantity"} <= set(data)
                        told.append((data["status"], data["quantity"]))
            return told

    told = kite_server.call(watch)
    assert told == [("OPEN", 1), ("UPDATE", 2), ("CANCELLED", 2)]
    assert raw_get(kite_server, "/orders").status_code == 200
