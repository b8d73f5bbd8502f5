"""Values and figures that the gateway gives to browsers, scripts and monitors."""

import asyncio
import csv
import functools
import io
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.rig import Rig
from tests.integration.test_gateway import Gateway, free_port
from tests.support import eventually, slowness

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    port = free_port()
    with Rig(gateway=f"127.0.0.1:{port}") as rig:
        rig.start()
        found = Gateway(rig, port)
        found.until("/readyz", 200, 20)
        yield found


@pytest.fixture(autouse=True)
def healthy(gateway: Gateway) -> None:
    gateway.rig.simulator.fault("clear")
    gateway.until("/readyz", 200, 40)


def test_quotes_say_where_they_come_from_and_that_they_are_fresh(gateway: Gateway) -> None:
    _, told = gateway.get("/api/quotes?i=NSE:INFY&i=NSE:NIFTY%2050")
    assert [quote["instrument"] for quote in told["quotes"]] == ["NSE:INFY", "NSE:NIFTY 50"]
    for quote in told["quotes"]:
        assert (quote["fresh"], quote["source"]) == (True, "websocket")
        assert 0 <= quote["age_s"] < 3 * slowness()
    assert told["missing"] == {}


def test_a_price_is_the_one_of_the_market(gateway: Gateway) -> None:
    quote = gateway.get("/api/quotes?i=NSE:INFY")[1]["quotes"][0]
    moves = gateway.rig.simulator.stats([quote["token"]])["market"][str(quote["token"])]["moves"]
    assert round(quote["last_price"] * 100) in {price for _, price in moves}


def test_what_cannot_be_had_is_named_beside_what_can(gateway: Gateway) -> None:
    status, told = gateway.get("/api/quotes?i=NSE:INFY&i=NSE:NOSUCH")
    assert status == 200
    assert [quote["instrument"] for quote in told["quotes"]] == ["NSE:INFY"]
    assert "NSE:NOSUCH" in told["missing"]


@pytest.mark.parametrize("query", ["", "?i=", "?i=INFY", "?i=NSE:NOSUCH"])
def test_a_bad_question_is_answered_with_a_sentence(gateway: Gateway, query: str) -> None:
    status, told = gateway.get(f"/api/quotes{query}")
    assert status == 400
    assert len(told) > 20


def test_csv_has_a_head_and_a_line_for_each(gateway: Gateway) -> None:
    status, text = gateway.get("/api/quotes?i=NSE:INFY&i=NSE:SBIN&format=csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert status == 200
    assert [row["instrument"] for row in rows] == ["NSE:INFY", "NSE:SBIN"]
    assert all(row["fresh"] == "True" for row in rows)


def samples(gateway: Gateway) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(gateway.get("/metrics")[1])
        for sample in family.samples
    }


def test_metrics_are_read_by_the_parser_of_prometheus(gateway: Gateway) -> None:
    # The actors' counters come with their beats, once a second.
    eventually(lambda: samples(gateway).get(("kitefeed_ticks_total",), 0) > 0, 15)
    # It looks once a second whether all is fresh.
    eventually(lambda: ("kitefeed_last_fresh_timestamp_seconds",) in samples(gateway), 15)
    found = samples(gateway)
    assert found["kitefeed_healthy",] == 1
    assert found["kitefeed_feed", "live"] == 1
    assert found["kitefeed_logins_total",] >= 1
    assert found["kitefeed_last_fresh_timestamp_seconds",] > 1_700_000_000
    assert not any("INFY" in str(key) for key in found)


def played(story: Callable[[Gateway], Coroutine[Any, Any, None]]) -> Callable[[Gateway], None]:
    """A test that is a coroutine."""

    @functools.wraps(story)
    def test(gateway: Gateway) -> None:
        asyncio.run(story(gateway))

    return test


@asynccontextmanager
async def market(gateway: Gateway) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    url = f"http://127.0.0.1:{gateway.port}/ws/market"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        yield socket


async def until(socket: aiohttp.ClientWebSocketResponse, kind: str, wanted: Any) -> dict[str, Any]:
    """The first message of this kind for which `wanted` holds, within 15 s."""
    async with asyncio.timeout(15):
        while True:
            message: dict[str, Any] = await socket.receive_json()
            if message["type"] == kind and wanted(message):
                return message


@played
async def test_a_browser_gets_last_values_at_once_and_then_what_changes(gateway: Gateway) -> None:
    async with market(gateway) as socket:
        await socket.send_json({"type": "subscribe", "instruments": ["NSE:INFY"], "rate": 5})
        first = await until(socket, "quotes", lambda _: True)
        assert first["quotes"][0]["instrument"] == "NSE:INFY"
        price = first["quotes"][0]["last_price"]
        await until(socket, "quotes", lambda m: m["quotes"][0]["last_price"] != price)
        await until(socket, "pulse", lambda m: m["heartbeat_age_s"] < 2.5)


@played
async def test_a_dead_stream_turns_each_value_stale_before_the_browser(gateway: Gateway) -> None:
    async with market(gateway) as socket:
        names = ["NSE:INFY", "NSE:SBIN"]
        await socket.send_json({"type": "subscribe", "instruments": names})
        await until(socket, "quotes", lambda m: all(q["fresh"] for q in m["quotes"]))
        gateway.rig.simulator.fault("mute")
        stale: set[str] = set()

        def all_stale(message: dict[str, Any]) -> bool:
            for quote in message["quotes"]:
                (stale.discard if quote["fresh"] else stale.add)(quote["instrument"])
            return stale == set(names)

        await until(socket, "quotes", all_stale)
        await until(socket, "feed", lambda m: not m["health"]["is_healthy"])


@played
async def test_what_is_not_understood_is_answered_and_nothing_else_changes(
    gateway: Gateway,
) -> None:
    async with market(gateway) as socket:
        await socket.send_str("{")
        assert "not understood" in (await until(socket, "refused", lambda _: True))["refused"][""]
        await socket.send_json({"type": "subscribe", "instruments": ["NSE:NOSUCH", "NSE:SBIN"]})
        refused = await until(socket, "refused", lambda _: True)
        assert "NSE:NOSUCH" in refused["refused"]
        assert await until(socket, "quotes", lambda m: m["quotes"][0]["instrument"] == "NSE:SBIN")


@played
async def test_server_sent_events_say_the_same(gateway: Gateway) -> None:
    url = f"http://127.0.0.1:{gateway.port}/api/stream?i=NSE:INFY&rate=5"
    seen: set[str] = set()
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        async with asyncio.timeout(15):
            async for line in answer.content:
                if line.startswith(b"data: "):
                    seen.add(json.loads(line[6:])["type"])
                if seen >= {"feed", "quotes", "pulse", "events"}:
                    break
