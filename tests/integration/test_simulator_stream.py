"""The simulator's WebSocket, seen raw: frames are taken apart here by hand, not by our decoder."""

import asyncio
import datetime as dt
import json
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from kitefeed.protocol.kite.units import IST
from kitefeed.simulator.server import Simulator
from tests.support import eventually_async

NIFTY, INFY, USDINR = 256265, 408065, 301059
WITHIN_S = 5.0
Scenario = Callable[["Client", Simulator], Awaitable[None]]


class Client:
    """Opens sockets on one simulator and closes them all."""

    def __init__(self, simulator: Simulator, http: aiohttp.ClientSession) -> None:
        self.simulator = simulator
        self.http = http

    async def connect(
        self, app: int = 1, token: str | None = None
    ) -> aiohttp.ClientWebSocketResponse:
        account = self.simulator.accounts.apps[app - 1]
        query = {"api_key": account.api_key, "access_token": token or account.access_token or "-"}
        return await self.http.ws_connect(
            self.simulator.ws_url, params=query, autoping=False, autoclose=False
        )

    async def refusal(self, app: int = 1, token: str | None = None) -> int:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await self.connect(app, token)
        return caught.value.status

    async def control(self, path: str, **body: Any) -> dict[str, Any]:
        async with self.http.post(f"{self.simulator.rest_url}/_sim/{path}", json=body) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def fault(self, name: str, argument: object = None, **body: Any) -> None:
        await self.control("fault", name=name, arg=argument, **body)


def run(scenario: Scenario, **options: Any) -> None:
    async def main() -> None:
        simulator = Simulator(**{"tick_hz": 20.0, **options})
        await simulator.start()
        try:
            async with asyncio.timeout(20), aiohttp.ClientSession() as http:
                await scenario(Client(simulator, http), simulator)
        finally:
            await simulator.stop()

    asyncio.run(main())


async def ask(ws: aiohttp.ClientWebSocketResponse, action: str, value: object) -> None:
    await ws.send_str(json.dumps({"a": action, "v": value}))


async def next_where(
    ws: aiohttp.ClientWebSocketResponse, wanted: Callable[[aiohttp.WSMessage], bool]
) -> aiohttp.WSMessage:
    async with asyncio.timeout(WITHIN_S):
        while True:
            message = await ws.receive()
            if wanted(message):
                return message
            assert message.type not in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR), message


async def next_text(ws: aiohttp.ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    message = await next_where(
        ws,
        lambda each: each.type is aiohttp.WSMsgType.TEXT and json.loads(each.data)["type"] == kind,
    )
    return json.loads(message.data)


def packets(frame: bytes) -> list[bytes]:
    """Count, then length and packet in turn; everything big-endian; nothing may be left over."""
    (count,) = struct.unpack_from(">H", frame)
    offset, found = 2, []
    for _ in range(count):
        (length,) = struct.unpack_from(">H", frame, offset)
        found.append(frame[offset + 2 : offset + 2 + length])
        offset += 2 + length
    assert offset == len(frame)
    return found


async def next_packets(ws: aiohttp.ClientWebSocketResponse) -> dict[int, bytes]:
    message = await next_where(
        ws, lambda each: each.type is aiohttp.WSMsgType.BINARY and len(each.data) > 1
    )
    return {struct.unpack_from(">I", packet)[0]: packet for packet in packets(message.data)}


async def next_end(ws: aiohttp.ClientWebSocketResponse) -> int | None:
    """The close code; 1006 when the connection ended without a close frame."""
    ended = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
    async with asyncio.timeout(WITHIN_S):
        while True:
            message = await ws.receive()
            if message.type in ended:
                return message.data if message.type is aiohttp.WSMsgType.CLOSE else 1006


async def read_on(ws: aiohttp.ClientWebSocketResponse) -> None:
    """Read what is under way; TimeoutError once nothing has come for longer than a heartbeat
    takes."""
    while True:
        await asyncio.wait_for(ws.receive(), 1.3)


async def raw_handshake(
    simulator: Simulator, extra: str = ""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
    """A socket opened by hand, and the head of the answer."""
    app = simulator.accounts.apps[0]
    port = int(simulator.rest_url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"GET /?api_key={app.api_key}&access_token={app.access_token} HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{port}\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"{extra}\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    return reader, writer, head.decode()


def test_after_the_handshake_come_the_dump_version_and_the_app_code() -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        ws = await client.connect()
        meta = await ws.receive()
        code = await ws.receive()
        assert len(meta.data) == 86 - 5 + len(str(len(simulator.market.listings)))
        assert json.loads(meta.data)["data"]["count"] == len(simulator.market.listings)
        assert set(json.loads(code.data)) == {"type", "timestamp"}
        assert len(code.data) == 59

    run(scenario)


def test_the_handshake_grants_no_extension_and_speaks_http_1_1() -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
        _, writer, head = await raw_handshake(simulator, offer)
        writer.close()
        head = head.lower()
        assert head.startswith("http/1.1 101 switching protocols\r\n")
        assert "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=" in head
        assert "upgrade: websocket" in head
        assert "connection: upgrade" in head
        assert "extensions" not in head
        assert "protocol:" not in head

    run(scenario)


def test_a_subscription_is_answered_at_once_in_quote_and_then_with_changes() -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        ws = await client.connect()
        await ask(ws, "subscribe", [NIFTY, INFY, USDINR])
        first = await next_packets(ws)
        assert {token: len(packet) for token, packet in first.items()} == {
            NIFTY: 28,
            INFY: 44,
            USDINR: 44,
        }
        prices = {struct.unpack_from(">i", (await next_packets(ws)).get(INFY, first[INFY]), 4)}
        while len(prices) < 3:
            packet = (await next_packets(ws)).get(INFY)
            if packet:
                prices.add(struct.unpack_from(">i", packet, 4))

    run(scenario)


@pytest.mark.parametrize(("mode", "index", "tradable"), [("ltp", 8, 8), ("full", 32, 184)])
def test_a_mode_changes_the_length_of_every_packet_after_it(
    mode: str, index: int, tradable: int
) -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        ws = await client.connect()
        await ask(ws, "subscribe", [NIFTY, INFY])
        await ask(ws, "mode", [mode, [NIFTY, INFY]])
        await next_packets(ws)  # the one of mode quote
        for _ in range(5):
            lengths = {token: len(packet) for token, packet in (await next_packets(ws)).items()}
            assert lengths.items() <= {NIFTY: index, INFY: tradable}.items()

    run(scenario)


def test_an_index_packet_has_high_low_open_close_and_a_signed_change() -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        ws = await client.connect()
        await ask(ws, "subscribe", [NIFTY])
        await ask(ws, "mode", ["full", [NIFTY]])
        await next_packets(ws)
        packet = (await next_packets(ws))[NIFTY]
        _, last, high, low, open_, close, change, stamp = struct.unpack(">7iI", packet)
        assert high >= max(last, open_)
        assert low <= min(last, open_)
        assert change == last - close
        assert abs(stamp - time.time()) < 3

    run(scenario)


def test_a_closed_market_still_answers_a_subscription_and_beats() -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        ws = await client.connect()
        await ask(ws, "subscribe", [INFY])
        assert INFY in await next_packets(ws)
        await next_where(ws, lambda each: each.data == b"\x00")
        before = simulator.stats.ticks_sent
        await next_where(ws, lambda each: each.data == b"\x00")
        assert simulator.stats.ticks_sent == before
        await client.fault("market", "open")
        assert INFY in await next_packets(ws)

    run(scenario, market_open=False)


def test_strings_as_tokens_yield_nothing() -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        ws = await client.connect()
        await ask(ws, "subscribe", [str(INFY)])
        await ask(ws, "subscribe", [NIFTY])
        assert set(await next_packets(ws)) == {NIFTY}

    run(scenario)


def test_the_3001st_token_is_an_error_and_the_first_3000_stream() -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        ws = await client.connect()
        await ask(ws, "subscribe", list(simulator.market.by_token)[:3001])
        error = await next_text(ws, "error")
        assert error["data"] == "Can't subscribe to more than 3000 instruments."
        tokens: set[int] = set()
        while len(tokens) < 3000:
            tokens |= (await next_packets(ws)).keys()
        assert simulator.stream.connections()[0].subscriptions.modes.keys() == tokens

    run(scenario, instruments=3200, tick_hz=1.0)


def test_a_ping_is_answered_and_no_pong_comes_unasked() -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        ws = await client.connect()
        await ask(ws, "subscribe", [INFY])
        await next_packets(ws)
        await ws.ping(b"hello")
        pong = await next_where(ws, lambda each: each.type is aiohttp.WSMsgType.PONG)
        assert pong.data == b"hello"
        for _ in range(20):
            assert (await ws.receive()).type is aiohttp.WSMsgType.BINARY

    run(scenario)


def test_a_client_that_closes_gets_its_close_frame() -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        ws = await client.connect()
        assert await ws.close(code=1000)
        assert ws.close_code == 1000
        await eventually_async(lambda: not simulator.stream.connections(), WITHIN_S)

    run(scenario)


def test_a_wrong_or_old_token_is_refused_with_403_and_a_fourth_socket_with_429() -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        assert await client.refusal(token="wrong") == 403
        old = simulator.accounts.apps[0].access_token
        await client.control("login", app=1)
        assert await client.refusal(token=old) == 403
        sockets = [await client.connect() for _ in range(3)]
        assert await client.refusal() == 429
        sockets.append(await client.connect(app=2))
        await sockets[0].close()
        await eventually_async(lambda: len(simulator.stream.connections()) == 3, WITHIN_S)
        sockets.append(await client.connect())
        assert simulator.stats.handshakes()["total"] == {"403": 2, "101": 5, "429": 1}

    run(scenario)


def test_expire_refuses_the_next_handshake_and_leaves_the_open_socket_streaming() -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        ws = await client.connect()
        await ask(ws, "subscribe", [INFY])
        await client.fault("expire")
        assert await client.refusal() == 403
        assert await client.connect(app=2)
        for _ in range(3):
            await next_packets(ws)
        await client.fault("clear")
        assert await client.refusal() == 403
        await client.control("login", app=1)
        assert await client.connect()
        await next_packets(ws)

    run(scenario)


def test_kill_closes_the_sockets_of_its_app_only() -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        ws, other = await client.connect(), await client.connect(app=2)
        await client.fault("kill")
        assert await next_end(ws) == 1000
        assert await client.refusal() == 403
        await ask(other, "subscribe", [INFY])
        await next_packets(other)

    run(scenario)


@pytest.mark.parametrize(("argument", "status"), [(None, 403), (503, 503), ("429", 429)])
def test_refuse_ws_closes_sockets_and_refuses_until_clear(argument: object, status: int) -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        ws = await client.connect()
        await client.fault("refuse_ws", argument)
        assert await next_end(ws) == 1000
        assert await client.refusal() == status
        await client.fault("clear")
        assert await client.connect()

    run(scenario)


@pytest.mark.parametrize(
    ("how", "code"),
    [("close", 1000), ("twice", 1000), ("1011", 1011), ("fin", 1006), ("rst", 1006)],
)
def test_drop_ws_ends_every_socket_once(how: str, code: int) -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        sockets = [await client.connect(), await client.connect(app=2)]
        await client.fault("drop_ws", how)
        assert [await next_end(ws) for ws in sockets] == [code, code]
        assert await client.connect()

    run(scenario)


def test_drop_one_ends_the_newest_socket_only() -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        _, newest = [await client.connect(), await client.connect()]
        await client.fault("drop_one", "1011")
        assert await next_end(newest) == 1011
        assert len(simulator.stream.connections()) == 1

    run(scenario)


def test_fin_and_rst_are_told_apart_on_the_wire() -> None:
    async def ending(client: Client, simulator: Simulator, how: str) -> str:
        reader, writer, _ = await raw_handshake(simulator)
        await client.fault("drop_ws", how)
        try:
            await reader.read()
        except ConnectionResetError:
            return "rst"
        finally:
            writer.close()
        return "fin"

    async def scenario(client: Client, simulator: Simulator) -> None:
        assert await ending(client, simulator, "fin") == "fin"
        assert await ending(client, simulator, "rst") == "rst"

    run(scenario)


def test_silence_says_nothing_answers_nothing_and_ends_with_clear() -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        ws, leaver = await client.connect(), await client.connect()
        await ask(ws, "subscribe", [INFY])
        await next_packets(ws)
        await client.fault("silence")
        await ws.ping()
        await leaver.send_frame(struct.pack(">H", 1000), aiohttp.WSMsgType.CLOSE)
        await client.control("notice", type="message", data="unheard")
        await ask(ws, "subscribe", [USDINR])
        with pytest.raises(TimeoutError):
            await read_on(ws)
        assert len(simulator.stream.connections()) == 2
        await client.fault("clear")
        assert USDINR in await next_packets(ws)

    run(scenario)


def test_mute_leaves_the_heartbeats_while_the_market_moves_on() -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        ws = await client.connect()
        await ask(ws, "subscribe", [NIFTY, INFY])
        await next_packets(ws)
        await client.fault("mute")
        sent = simulator.stats.ticks_sent
        before = simulator.market.prices(0)[INFY].changed_utc_ns
        beats = 0
        async with asyncio.timeout(WITHIN_S):
            while beats < 2:
                beats += (await ws.receive()).data == b"\x00"
        assert simulator.stats.ticks_sent == sent
        assert simulator.market.prices(0)[INFY].changed_utc_ns > before
        await client.fault("clear")
        assert set(await next_packets(ws)) == {NIFTY, INFY}

    run(scenario)


def test_garbage_lies_between_good_frames_until_clear() -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        ws = await client.connect()
        await ask(ws, "subscribe", [INFY])
        await client.fault("garbage")
        seen: set[object] = set()
        good = 0
        while len(seen) < 6 or not good:
            message = await asyncio.wait_for(ws.receive(), WITHIN_S)
            if message.data in ("[1, 2]", b"", b"\x00\x00"):
                seen.add(message.data)
            elif isinstance(message.data, bytes) and len(message.data) > 1:
                try:
                    good += {len(packet) for packet in packets(message.data)} == {44}
                except (AssertionError, struct.error):
                    seen.add(message.data)
                else:
                    if len(message.data) < 44:
                        seen.add(message.data)

    run(scenario)


def test_an_app_without_entitlement_is_refused_the_stream() -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        await client.fault("no_entitlement", app=2)
        assert await client.refusal(app=2) == 403
        assert await client.connect(app=1)

    run(scenario)


def test_an_order_that_changes_without_a_socket_is_told_to_none_that_comes_later() -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        lost = (await client.control("order", status="COMPLETE"))["order_id"]
        simulator.exchange.book(simulator.accounts.apps[0]).outbox.append({"order_id": lost})
        ws = await client.connect()
        told = (await client.control("order", status="OPEN"))["order_id"]
        assert (await next_text(ws, "order"))["data"]["order_id"] == told

    run(scenario)


def test_orders_and_notices_reach_every_socket_of_their_app() -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        mine = [await client.connect(), await client.connect()]
        other = await client.connect(app=2)
        answer = await client.control("order", status="REJECTED", quantity=5)
        assert answer["sockets"] == 2
        for ws in mine:
            order = (await next_text(ws, "order"))["data"]
            assert order["order_id"] == answer["order_id"]
            assert (order["status"], order["quantity"]) == ("REJECTED", 5)
        await client.control("notice", type="message", data="Maintenance tonight", app=2)
        assert (await next_text(other, "message"))["data"] == "Maintenance tonight"
        await client.control("notice", type="error", data="No.", app=1)
        assert (await next_text(mine[0], "error"))["data"] == "No."

    run(scenario)


def test_candles_agree_with_the_packets_of_a_socket() -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        ws = await client.connect()
        await ask(ws, "subscribe", [INFY])
        await ask(ws, "mode", ["full", [INFY]])
        ticks: list[tuple[int, float]] = []  # exchange time, last price

        async def take() -> None:
            packet = (await next_packets(ws)).get(INFY, b"")
            if len(packet) == 184:
                (at_s,) = struct.unpack_from(">I", packet, 60)
                ticks.append((at_s, struct.unpack_from(">i", packet, 4)[0] / 100))

        while len(ticks) < 25:
            await take()
        await client.fault("market", "closed")
        while not ticks or ticks[-1][1] != simulator.market.seen(INFY).price / 100:
            await take()
        minutes: dict[int, list[float]] = {}
        for at_s, price in ticks:
            minutes.setdefault(at_s // 60, []).append(price)
        app = simulator.accounts.apps[0]
        moments = [dt.datetime.fromtimestamp(ticks[0][0] + s, IST) for s in (-60, 60)]
        begin, end = (f"{moment:%Y-%m-%d %H:%M:%S}" for moment in moments)
        async with client.http.get(
            f"{simulator.rest_url}/instruments/historical/{INFY}/minute",
            headers={"Authorization": f"token {app.api_key}:{app.access_token}"},
            params={"from": begin, "to": end},
        ) as answer:
            candles = (await answer.json())["data"]["candles"]
        assert [row[1:5] for row in candles] == [
            [prices[0], max(prices), min(prices), prices[-1]] for prices in minutes.values()
        ]

    run(scenario)


def test_the_statistics_name_the_last_packet_that_was_sent() -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        ws = await client.connect()
        await ask(ws, "subscribe", [INFY, NIFTY])
        await ask(ws, "mode", ["full", [INFY]])
        await next_packets(ws)
        packet = (await next_packets(ws))[INFY]
        await client.fault("market", "closed")
        async with client.http.get(f"{simulator.rest_url}/_sim/stats?tokens={INFY}") as answer:
            stats = await answer.json()
        while (
            stats["last_packets"][str(INFY)]["last_price"] != struct.unpack_from(">i", packet, 4)[0]
        ):
            packet = (await next_packets(ws)).get(INFY, packet)
        last, market = stats["last_packets"][str(INFY)], stats["market"][str(INFY)]
        assert last["mode"] == "full"
        assert last["last_price"] == market["last_price"]
        assert market["changed_at_ns"] <= last["sent_at_ns"] <= stats["now_ns"]
        assert stats["sockets"] == {"open": 1, "most_open": 1, "apps": {"1": 1, "2": 0}}
        assert set(stats["last_packets"]) == {str(INFY)}

    run(scenario)


def test_a_reader_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kitefeed.kite_server.connection.UNREAD_BYTES_MAX", 64 * 1024)

    async def scenario(client: Client, simulator: Simulator) -> None:
        _, writer, _ = await raw_handshake(simulator)
        writer.transport.pause_reading()
        await eventually_async(lambda: len(simulator.stream.connections()) == 1, WITHIN_S)
        (connection,) = simulator.stream.connections()
        tokens = list(simulator.market.by_token)[:3000]
        subscribe = json.dumps({"a": "subscribe", "v": tokens}).encode()
        mode = json.dumps({"a": "mode", "v": ["full", tokens]}).encode()
        for _ in range(12):
            await connection.handle(subscribe, time.time_ns())
            await connection.handle(mode, time.time_ns())
        await eventually_async(lambda: not simulator.stream.connections(), WITHIN_S)
        writer.close()

    run(scenario, instruments=3000, tick_hz=1.0)


@pytest.mark.parametrize(
    ("fault", "lengths"), [("lose_subscribe", [44, 184]), ("lose_mode", [44, 44, 184])]
)
def test_as_many_messages_are_lost_as_were_ordered_and_nobody_is_told(
    fault: str, lengths: list[int]
) -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        await client.fault(fault)
        ws = await client.connect()
        for action, value in [("subscribe", [INFY]), ("mode", ["full", [INFY]])] * 2:
            await ask(ws, action, value)
        assert [len((await next_packets(ws))[INFY]) for _ in lengths] == lengths
        assert simulator.stats.messages()["full"] == 2

    run(scenario, market_open=False)


def test_two_close_frames_lie_on_the_wire() -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        reader, writer, _ = await raw_handshake(simulator)
        await client.fault("drop_ws", "twice")
        assert (await reader.read()).endswith(bytes.fromhex("880203e8") * 2)
        writer.close()

    run(scenario)


@pytest.mark.parametrize(
    ("code", "frame"), [("1005", "8800"), ("1006", None), ("1015", None), ("1012", "880203f4")]
)
def test_a_code_that_may_be_in_no_frame_ends_the_socket_as_it_is_reported(
    code: str, frame: str | None
) -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        reader, writer, _ = await raw_handshake(simulator)
        await client.fault("drop_ws", code)
        sent = await reader.read()
        writer.close()
        closes = [at for at in range(len(sent)) if sent[at] == 0x88]
        assert [sent[at:].hex() for at in closes] == ([] if frame is None else [frame])

    run(scenario)


def test_a_closed_market_shows_the_same_book_to_every_socket_and_to_rest() -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        early, empty = await client.connect(), bytes(120)
        await ask(early, "subscribe", [INFY])
        await ask(early, "mode", ["full", [INFY]])
        while len(packet := (await next_packets(early))[INFY]) < 184 or packet[64:] == empty:
            pass
        await client.fault("market", "closed")
        while (packet := (await next_packets(early))[INFY])[64:] != empty:
            pass
        late = await client.connect(app=2)
        await ask(late, "subscribe", [INFY])
        await next_packets(late)
        await ask(late, "mode", ["full", [INFY]])
        assert (await next_packets(late))[INFY] == packet
        account = simulator.accounts.apps[0]
        headers = {"Authorization": f"token {account.api_key}:{account.access_token}"}
        url = f"{simulator.rest_url}/quote?i={INFY}"
        async with client.http.get(url, headers=headers) as answer:
            quote = (await answer.json())["data"][str(INFY)]
        assert {level["quantity"] for side in quote["depth"].values() for level in side} == {0}
        assert quote["buy_quantity"] == quote["sell_quantity"] == 0
        await client.fault("market", "open")
        while (await next_packets(early))[INFY][64:] == empty:
            pass

    run(scenario)


def test_a_slow_handshake_is_answered_and_holds_up_nobody_else() -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        await client.fault("slow_ws", 600)
        late = asyncio.create_task(client.connect())
        await eventually_async(
            lambda: simulator.stats.handshakes()["total"] == {"101": 1}, WITHIN_S
        )
        await client.fault("clear")
        assert await client.connect()
        assert not late.done()
        late.cancel()

    run(scenario)


@pytest.mark.parametrize("how", ["close", "1011", "rst"])
def test_a_socket_whose_handshake_waits_is_dropped_too(how: str) -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        await client.fault("slow_ws", 600)
        late = asyncio.create_task(raw_handshake(simulator))
        await eventually_async(lambda: len(simulator.stream.connections()) == 1, WITHIN_S)
        await client.fault("drop_ws", how)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await asyncio.wait_for(late, WITHIN_S)
        assert simulator.stream.connections() == []

    run(scenario)


def test_one_instrument_freezes_while_its_market_and_the_others_move_on() -> None:
    async def scenario(client: Client, simulator: Simulator) -> None:
        ws = await client.connect()
        await client.fault("freeze", NIFTY)
        await ask(ws, "subscribe", [NIFTY, INFY])
        assert set(await next_packets(ws)) == {NIFTY, INFY}  # what it was is told
        before = simulator.market.prices(0)[NIFTY].changed_utc_ns
        while simulator.market.prices(0)[NIFTY].changed_utc_ns == before:
            assert set(await next_packets(ws)) == {INFY}
        await client.fault("clear")
        while NIFTY not in await next_packets(ws):
            pass

    run(scenario)
