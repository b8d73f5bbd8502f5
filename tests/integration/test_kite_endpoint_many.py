"""Many programs at once on the Kite endpoint, and those that behave badly."""

import asyncio
import json
import os
import signal
import struct
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack

import aiohttp
import pytest

from benchmarks import npm
from tests.integration.rig import Rig
from tests.integration.test_gateway import free_port
from tests.integration.test_kite_endpoint import (
    HERE,
    INFY,
    KITECONNECTJS,
    NIFTY,
    Bot,
    Endpoint,
)
from tests.support import eventually, slowness

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]
PROGRAMS = 50
MARKET_CLOSED_S = 20.0  # the official JavaScript client gives up after 5 s without a frame
TOKENS_MAX = 3_000


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    port = free_port()
    with Rig(tables=f'[kite_endpoint]\nlisten = "127.0.0.1:{port}"\n') as rig:
        rig.start()
        eventually(lambda: f"ready at http://127.0.0.1:{port}" in rig.output(), 20)
        yield Endpoint(rig, port)


def packets_in(frame: bytes) -> list[bytes]:
    if len(frame) < 4:
        return []
    at, found = 2, []
    for _ in range(struct.unpack_from(">H", frame)[0]):
        length = struct.unpack_from(">H", frame, at)[0]
        found.append(frame[at + 2 : at + 2 + length])
        at += 2 + length
    return found


async def program(session: aiohttp.ClientSession, endpoint: Endpoint, mode: str) -> set[int]:
    """The lengths of the packets of INFY that it got, until there were five of its mode."""
    wanted = {"ltp": 8, "quote": 44, "full": 184}[mode]
    url = f"{endpoint.ws}/?api_key=any&access_token={endpoint.password}"
    lengths: list[int] = []
    async with session.ws_connect(url) as socket:
        await socket.send_json({"a": "subscribe", "v": [INFY, NIFTY]})
        await socket.send_json({"a": "mode", "v": [mode, [INFY, NIFTY]]})
        async with asyncio.timeout(30):
            async for message in socket:
                if message.type is aiohttp.WSMsgType.BINARY:
                    lengths += [
                        len(packet)
                        for packet in packets_in(message.data)
                        if struct.unpack_from(">I", packet)[0] == INFY
                    ]
                if lengths.count(wanted) >= 5:
                    return set(lengths[lengths.index(wanted) :])
    return set()


def test_fifty_programs_in_different_modes_each_get_their_own(endpoint: Endpoint) -> None:
    async def all_of_them() -> list[set[int]]:
        modes = ["ltp", "quote", "full"]
        async with aiohttp.ClientSession() as session:
            return await asyncio.gather(
                *(program(session, endpoint, modes[n % 3]) for n in range(PROGRAMS))
            )

    found = asyncio.run(all_of_them())
    assert [lengths for lengths in found if len(lengths) != 1] == []
    assert {length for lengths in found for length in lengths} == {8, 44, 184}


def test_one_that_drops_and_takes_all_again_at_each_turn_changes_nothing(
    endpoint: Endpoint,
) -> None:
    """As the official .NET client does when it reconnects, with all that one socket may have."""
    with urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}/instruments") as answer:
        rows = answer.read().decode().splitlines()[1:]
    tokens = [int(row.partition(",")[0]) for row in rows][:TOKENS_MAX]
    streaming = endpoint.rig.status()["shards"]

    async def restless() -> None:
        url = f"{endpoint.ws}/?api_key=any&access_token={endpoint.password}"
        async with aiohttp.ClientSession() as session:
            for _ in range(20):
                async with session.ws_connect(url) as socket:
                    for what in ("unsubscribe", "subscribe"):
                        await socket.send_json({"a": what, "v": tokens})
                    await socket.send_json({"a": "mode", "v": ["full", tokens]})

    with endpoint.python([INFY]) as bot:
        eventually(lambda: len(bot.ticks_of(INFY)) > 3, 15)
        asyncio.run(restless())
        mark = len(bot.events)
        eventually(lambda: len(bot.ticks_of(INFY, mark)) > 3, 15)
        assert bot.of("close") == []
        assert len(bot.of("connect")) == 1
    assert [shard["epoch"] for shard in endpoint.rig.status()["shards"]] == [
        shard["epoch"] for shard in streaming
    ]


HOSTILE_TEXTS = (
    "", "null", "[]", "{}", "{", "\0", '{"a":null,"v":null}', '{"a":"subscribe"}',
    '{"a":"subscribe","v":"all"}', '{"a":"subscribe","v":[null,{},[],"x",-1,1e400,99999999999999]}',
    '{"a":"subscribe","v":[1.5,true]}', '{"a":"mode","v":["nonsense",[408065]]}',
    '{"a":"mode","v":["full"]}', '{"a":"mode","v":[["full"],408065]}', '{"a":"unsubscribe","v":{}}',
    "[" * 50_000, '{"a":"subscribe","v":[' + "1," * 100_000 + "1]}",
)  # fmt: skip


def test_texts_and_frames_that_mean_nothing_cost_nobody_anything(endpoint: Endpoint) -> None:
    async def hostile() -> int:
        url = f"{endpoint.ws}/some/path?api_key=any&access_token={endpoint.password}"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
            for text in HOSTILE_TEXTS:
                await socket.send_str(text)
            await socket.send_bytes(b"\xff" * 1_000)
            await socket.ping(b"x")
            await socket.send_json({"a": "subscribe", "v": [INFY]})
            while True:
                message = await asyncio.wait_for(socket.receive(), 15)
                assert message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT)
                if message.type is aiohttp.WSMsgType.BINARY and len(message.data) > 4:
                    return len(message.data)

    with endpoint.python([INFY]) as bot:
        eventually(lambda: len(bot.ticks_of(INFY)) > 2, 15)
        assert asyncio.run(hostile()) > 40
        mark = len(bot.events)
        eventually(lambda: len(bot.ticks_of(INFY, mark)) > 3, 15)
        assert bot.of("close") == []


def test_a_killed_endpoint_is_found_again_by_the_clients_themselves(endpoint: Endpoint) -> None:
    with endpoint.python([INFY]) as bot:
        eventually(lambda: len(bot.ticks_of(INFY)) > 3, 15)
        os.kill(endpoint.rig.pid_of("kite_endpoint"), signal.SIGKILL)
        eventually(lambda: len(bot.of("connect")) == 2, 60)
        mark = len(bot.events)
        eventually(lambda: len(bot.ticks_of(INFY, mark)) > 3, 20)
    endpoint.rig.until("live", 5)


def test_a_heartbeat_comes_each_second_while_there_is_nothing_to_send(endpoint: Endpoint) -> None:
    endpoint.rig.simulator.fault("market", "closed")

    async def pauses() -> list[float]:
        loop = asyncio.get_running_loop()
        url = f"{endpoint.ws}/?api_key=any&access_token={endpoint.password}"
        found, last = [], loop.time()
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
            end = last + MARKET_CLOSED_S
            while loop.time() < end:
                message = await asyncio.wait_for(socket.receive(), 5)
                if message.type is aiohttp.WSMsgType.BINARY:
                    found.append(loop.time() - last)
                    last = loop.time()
                else:
                    assert "type" in json.loads(message.data)
        return found

    directory = npm.BUILD / "kiteconnectjs-endpoint"
    has_js = not npm.why_not(directory, KITECONNECTJS)
    modules = str(npm.module(directory, KITECONNECTJS))
    given = json.dumps([modules, endpoint.ws, endpoint.password, [INFY], "full"])
    try:
        with ExitStack() as stack:
            bots = [stack.enter_context(endpoint.python([INFY]))]
            if has_js:
                bots.append(stack.enter_context(Bot("node", str(HERE / "kite_bot.cjs"), given)))
            for bot in bots:
                eventually(lambda bot=bot: bot.of("connect"), 20)
            assert max(asyncio.run(pauses())) < 2.5 * slowness()
            for bot in bots:
                assert bot.is_running
                assert len(bot.of("connect")) == 1
                assert bot.of("close") == bot.of("reconnect") == []
    finally:
        endpoint.rig.simulator.fault("market", "open")
        endpoint.rig.simulator.fault("clear")


def test_another_port_of_the_network_is_refused_without_a_certificate() -> None:
    with Rig(tables='[kite_endpoint]\nlisten = "0.0.0.0:8788"\n') as rig:
        done = rig.kitefeed("up")
        assert done.returncode == 78
        assert "kite_endpoint.certificate" in done.stderr
