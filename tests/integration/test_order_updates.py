"""Order updates that came while there was nobody to hear them, on real processes: published once,
from the order book, after the reconnect."""

import os
import re
import signal
import threading
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from kitefeed import KiteTicker
from kitefeed.actors.broadcaster.orders import FILE_NAME
from kitefeed.protocol.topology import Role
from tests.integration.rig import Rig
from tests.support import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]


class Told(NamedTuple):
    order_id: str
    status: str
    source: str
    filled: object


class Ear:
    """A program that takes every order update of the feed."""

    def __init__(self, rig: Rig) -> None:
        self.told: list[Told] = []
        self._feed = rig.feed("NSE:INFY")
        self._feed.orders(0)  # from now on they are kept
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        for order in self._feed.orders():
            order_id, status = str(order["order_id"]), str(order["status"])
            self.told.append(Told(order_id, status, order.source, order["filled_quantity"]))

    def of(self, order_id: str) -> list[tuple[str, str]]:
        return [(each.status, each.source) for each in self.told if each.order_id == order_id]

    def close(self) -> None:
        self._feed.close()
        self._thread.join(5)


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig(standby=True, simulator_options=("--limits", "none")) as rig:
        rig.log_in(rig.simulator.ready["apps"][1], "--standby")
        rig.start()
        books(rig, 1)
        yield rig


@pytest.fixture
def ear(rig: Rig) -> Iterator[Ear]:
    rig.until("live", 30)
    ear = Ear(rig)
    eventually(lambda: rig.status()["subscribers"] >= 1, 5, every_s=0.2)
    yield ear
    ear.close()
    rig.simulator.fault("clear")


def books(rig: Rig, least: int) -> int:
    """Waits until the order book was asked for so often; returns how often it was."""
    return eventually(lambda: (count := asked(rig)) >= least and count, 30, every_s=0.2) or 0


def asked(rig: Rig) -> int:
    return len(rig.simulator.stats()["requests"]["recent_ns"].get("GET /orders", []))


def order(rig: Rig, order_id: str = "", **fields: object) -> str:
    """A new order, or a change of one."""
    known = {"order_id": order_id} if order_id else {}
    answer = rig.simulator.post("order", {**known, **fields})
    return str(answer["order_id"])


def lose_the_socket(rig: Rig) -> None:
    rig.simulator.fault("refuse_ws", 502)
    eventually(lambda: rig.status()["feed"] != "live", 10)


def give_it_back(rig: Rig) -> None:
    """Without the wait that many reconnects in a row have earned."""
    rig.simulator.fault("clear")
    rig.kitefeed("retry")


def written(rig: Rig, *orders: str) -> bool:
    """Whether the broadcaster has on its disk what was told of these: killed in the milliseconds
    before that, it may tell it again."""
    path = rig.root / "state" / FILE_NAME
    data = path.read_bytes() if path.exists() else b""
    return all(each.encode() in data for each in orders)


def kill(rig: Rig, role: Role) -> None:
    os.kill(rig.pid_of(role), signal.SIGKILL)


def test_an_order_that_completes_without_a_socket_is_told_once_whatever_follows(
    rig: Rig, ear: Ear
) -> None:
    resting = order(rig, status="OPEN", filled_quantity=0)
    eventually(lambda: ear.of(resting) == [("OPEN", "websocket")], 10)
    lose_the_socket(rig)
    order(rig, resting, status="COMPLETE", filled_quantity=1)
    placed = order(rig, status="REJECTED")
    give_it_back(rig)
    eventually(lambda: len(ear.told) >= 3, 30)
    for _ in range(4):
        before = asked(rig)
        rig.simulator.fault("drop_ws")
        books(rig, before + 1)
    live = order(rig, status="OPEN", tradingsymbol="TCS")
    eventually(lambda: ear.of(live), 10)
    assert ear.of(resting) == [("OPEN", "websocket"), ("COMPLETE", "rest")]
    assert ear.of(placed) == [("REJECTED", "rest")]
    assert ear.of(live) == [("OPEN", "websocket")]
    assert "updates of 2 orders had been missed" in rig.output()


def test_kite_ticker_is_given_what_was_missed_as_any_other_update(rig: Rig, ear: Ear) -> None:
    told: list[tuple[object, object]] = []
    ticker = KiteTicker("key", "token", config=rig.config)
    ticker.on_order_update = lambda ws, order: told.append((order["order_id"], order["status"]))
    ticker.connect(threaded=True)
    try:
        resting = eventually(lambda: _heard(rig, told), 20, every_s=0.5)
        lose_the_socket(rig)
        order(rig, resting, status="CANCELLED")
        give_it_back(rig)
        eventually(lambda: ear.of(resting)[-1] == ("CANCELLED", "rest"), 30)
        eventually(lambda: (resting, "CANCELLED") in told, 5)
        assert told.count((resting, "CANCELLED")) == 1
    finally:
        ticker.close()


def _heard(rig: Rig, told: list[tuple[object, object]]) -> str:
    """An open order of which the program has been told; "" while it is not connected."""
    made = order(rig, status="OPEN", filled_quantity=0)
    try:
        return eventually(lambda: (made, "OPEN") in told and made, 1) or ""
    except AssertionError:
        return ""


def test_a_part_that_was_filled_without_a_socket_is_told_as_kite_words_it(
    rig: Rig, ear: Ear
) -> None:
    resting = order(rig, status="OPEN", filled_quantity=0, quantity=10)
    eventually(lambda: ear.of(resting), 10)
    lose_the_socket(rig)
    order(rig, resting, status="UPDATE", filled_quantity=4)
    give_it_back(rig)
    eventually(lambda: len(ear.of(resting)) == 2, 30)
    order(rig, resting, status="COMPLETE", filled_quantity=10)
    eventually(lambda: len(ear.of(resting)) == 3, 10)
    assert ear.of(resting) == [
        ("OPEN", "websocket"), ("UPDATE", "rest"), ("COMPLETE", "websocket"),
    ]  # fmt: skip


@pytest.mark.parametrize("role", [Role.TICKER, Role.BROADCASTER, Role.REST_POLLER, Role.SUPERVISOR])
def test_a_killed_process_costs_no_update_and_repeats_none(rig: Rig, ear: Ear, role: Role) -> None:
    before = order(rig, status="COMPLETE")
    resting = order(rig, status="OPEN", filled_quantity=0)
    eventually(lambda: ear.of(before) and ear.of(resting), 10)
    eventually(lambda: written(rig, before, resting), 10)
    pid = rig.pid_of(role)
    kill(rig, role)
    order(rig, resting, status="CANCELLED")
    eventually(lambda: rig.pid_of(role) not in (0, pid), 20)
    eventually(lambda: len(ear.of(resting)) == 2, 30)
    reads = asked(rig)
    rig.simulator.fault("drop_ws")
    books(rig, reads + 1)
    rig.until("live", 30)
    after = order(rig, status="COMPLETE")
    eventually(lambda: ear.of(after), 20)
    assert [status for status, _ in ear.of(resting)] == ["OPEN", "CANCELLED"]
    assert ear.of(before) == [("COMPLETE", "websocket")]
    assert len(ear.of(after)) == 1


@pytest.mark.parametrize("status", [503, 429])
def test_a_book_that_cannot_be_read_is_said_once_and_read_later(
    rig: Rig, ear: Ear, status: int
) -> None:
    sentence = r"the order book cannot be read .* condition=orders"
    before = len(re.findall(sentence, rig.output()))
    rig.simulator.fault("oms_status", status)
    rig.simulator.fault("drop_ws")
    missed = order(rig, status="COMPLETE")
    eventually(lambda: len(re.findall(sentence, rig.output())) > before, 60, every_s=0.3)
    reads = asked(rig)
    books(rig, reads + 2)
    assert ear.of(missed) == []
    rig.simulator.fault("clear")
    eventually(lambda: ear.of(missed) == [("COMPLETE", "rest")], 90, every_s=0.3)
    assert len(re.findall(sentence, rig.output())) == before + 1
    assert re.search(r"over after .* condition=orders", rig.output())


def test_what_came_while_a_login_was_needed_is_told_after_it(rig: Rig, ear: Ear) -> None:
    resting = order(rig, status="OPEN", filled_quantity=0)
    eventually(lambda: ear.of(resting), 10)
    rig.simulator.fault("kill")
    rig.until("login_required", 30)
    order(rig, resting, status="COMPLETE", filled_quantity=1)
    reads = asked(rig)
    rig.log_in(rig.simulator.login())
    eventually(lambda: len(ear.of(resting)) == 2, 40)
    assert ear.of(resting) == [("OPEN", "websocket"), ("COMPLETE", "rest")]
    assert asked(rig) > reads


def test_orders_of_another_user_are_never_told(rig: Rig, ear: Ear) -> None:
    """The standby session is of another app and user."""
    lose_the_socket(rig)
    other = str(rig.simulator.post("order", {"app": 2, "status": "COMPLETE"})["order_id"])
    own = order(rig, status="COMPLETE")
    give_it_back(rig)
    eventually(lambda: ear.of(own), 30)
    assert ear.of(other) == []
