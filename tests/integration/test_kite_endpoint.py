"""Programs written for Kite, unmodified, on the endpoint beside a whole daemon."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import pytest

from benchmarks import npm
from kitefeed.protocol.topology import Role
from tests.integration.rig import Rig
from tests.integration.test_gateway import free_port
from tests.support import eventually, slowness

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]
HERE = Path(__file__).parent
INFY, NIFTY = 408065, 256265
KITECONNECTJS = "kiteconnect@5.2.0"


class Bot:
    """A program in a process of its own, and what it has said so far."""

    def __init__(self, *command: str) -> None:
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.events: list[dict[str, Any]] = []
        self._news: queue.Queue[None] = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                self.events.append(json.loads(line))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(5 * slowness())
        self._thread.join(5)

    def of(self, event: str, since: int = 0) -> list[dict[str, Any]]:
        return [found for found in self.events[since:] if found["event"] == event]

    def ticks_of(self, token: int, since: int = 0) -> list[dict[str, Any]]:
        batches = self.of("ticks", since)
        return [t for b in batches for t in b["ticks"] if t["instrument_token"] == token]

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None


class Endpoint:
    def __init__(self, rig: Rig, port: int) -> None:
        self.rig = rig
        self.port = port
        self.ws = f"ws://127.0.0.1:{port}"
        made = rig.kitefeed("keys", "--endpoint", "bot")
        assert made.returncode == 0, made.stderr
        self.password = made.stdout.strip()

    def python(self, tokens: list[int], mode: str = "full", password: str | None = None) -> Bot:
        given = json.dumps([self.ws, password or self.password, tokens, mode])
        return Bot(sys.executable, str(HERE / "kite_bot.py"), given)

    def get(self, path: str, password: str | None = None) -> tuple[int, Any, Any]:
        """Status, headers and JSON."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            headers={"Authorization": f"token any:{password or self.password}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
                return answer.status, answer.headers, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, error.headers, json.loads(error.read())


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    port = free_port()
    with Rig(tables=f'[kite_endpoint]\nlisten = "127.0.0.1:{port}"\n') as rig:
        rig.start()
        eventually(lambda: f"ready at http://127.0.0.1:{port}" in rig.output(), 20)
        yield Endpoint(rig, port)


def live_again(endpoint: Endpoint) -> None:
    endpoint.rig.simulator.fault("clear")
    endpoint.rig.log_in(endpoint.rig.simulator.login())
    endpoint.rig.until("live", 40)


def test_an_official_client_streams_what_it_subscribed_to_in_its_mode(endpoint: Endpoint) -> None:
    with endpoint.python([INFY, NIFTY]) as bot:
        eventually(lambda: len(bot.ticks_of(INFY)) > 3 and bot.ticks_of(NIFTY), 15)
        eventually(lambda: bot.ticks_of(INFY)[-1]["mode"] == "full", 10)
        tick = bot.ticks_of(INFY)[-1]
        assert len(tick["depth"]["buy"]) == 5
        assert tick["volume_traded"] > 0


def test_a_price_is_one_of_the_market(endpoint: Endpoint) -> None:
    with endpoint.python([INFY], "ltp") as bot:
        eventually(lambda: len(bot.ticks_of(INFY)) > 3, 15)
        moves = endpoint.rig.simulator.stats([INFY])["market"][str(INFY)]["moves"]
        prices = {price for _, price in moves}
        assert {round(t["last_price"] * 100) for t in bot.ticks_of(INFY)} <= prices


def test_over_an_expired_session_and_a_login_no_program_reconnects(endpoint: Endpoint) -> None:
    with endpoint.python([INFY]) as bot:
        eventually(lambda: len(bot.ticks_of(INFY)) > 3, 15)
        endpoint.rig.simulator.post("fault", {"name": "kill", "app": 1})
        endpoint.rig.simulator.fault("drop_ws", "1000")
        endpoint.rig.until("login_required", 20)
        told = eventually(lambda: bot.of("error"), 10)
        assert "kitefeed login" in told[0]["reason"]
        mark = len(bot.events)
        live_again(endpoint)
        eventually(lambda: len(bot.ticks_of(INFY, mark)) > 3, 15)
        eventually(lambda: any("live again" in e["reason"] for e in bot.of("error", mark)), 10)
        assert len(bot.of("connect")) == 1
        assert bot.of("close") == bot.of("reconnect") == []


@pytest.mark.parametrize("victim", [Role.BROADCASTER, Role.TICKER, Role.SUPERVISOR])
def test_a_killed_process_of_the_daemon_costs_no_program_its_socket(
    endpoint: Endpoint, victim: Role
) -> None:
    endpoint.rig.until("live", 30)
    with endpoint.python([INFY]) as bot:
        eventually(lambda: len(bot.ticks_of(INFY)) > 3, 15)
        os.kill(endpoint.rig.pid_of(victim), signal.SIGKILL)
        endpoint.rig.until("live", 30)
        mark = len(bot.events)
        eventually(lambda: len(bot.ticks_of(INFY, mark)) > 3, 20)
        assert len(bot.of("connect")) == 1
        assert bot.of("close") == []


def test_what_streams_nowhere_yet_is_asked_for(endpoint: Endpoint) -> None:
    listed = endpoint.rig.kitefeed("instruments", "find", "TCS", "--json", "--limit", "1")
    token = json.loads(listed.stdout.splitlines()[0])["token"]
    with endpoint.python([token], "quote") as bot:
        eventually(lambda: len(bot.ticks_of(token)) > 1, 20)


def test_an_unknown_token_is_named_and_changes_nothing(endpoint: Endpoint) -> None:
    with endpoint.python([INFY, 999_999_937]) as bot:
        eventually(lambda: len(bot.ticks_of(INFY)) > 3, 15)
        assert any("999999937" in event["reason"] for event in bot.of("error"))
        assert len(bot.of("connect")) == 1


def test_nobody_enters_without_a_password_of_the_owners(endpoint: Endpoint) -> None:
    kites_own = endpoint.rig.simulator.tokens[-1]
    for wrong in ("nonsense", kites_own):
        with endpoint.python([INFY], password=wrong) as bot:
            error = eventually(lambda bot=bot: bot.of("error"), 10)[0]
            assert "403" in error["reason"]
            assert bot.of("connect") == []
        status, _, body = endpoint.get("/quote/ltp?i=NSE:INFY", wrong)
        assert (status, body["error_type"]) == (403, "TokenException")


def test_rest_answers_from_the_feed_and_says_how_good_it_is(endpoint: Endpoint) -> None:
    endpoint.rig.until("live", 30)
    eventually(lambda: endpoint.get("/quote?i=NSE:INFY&i=408065&i=NSE:NOSUCH")[0] == 200, 10)
    _, headers, body = endpoint.get("/quote?i=NSE:INFY&i=408065&i=NSE:NOSUCH")
    assert set(body["data"]) == {"NSE:INFY", "408065"}
    assert body["data"]["NSE:INFY"]["depth"]["buy"]
    assert headers["X-Kitefeed-Source"] == "websocket"
    assert int(headers["Age"]) <= 3 * slowness()
    assert endpoint.get("/quote/ohlc?i=NSE:INFY")[2]["data"]["NSE:INFY"]["ohlc"]["open"] > 0
    assert endpoint.get("/user/profile")[2]["data"]["user_id"]


def test_the_official_rest_client_reads_instruments_and_quotes(endpoint: Endpoint) -> None:
    from kiteconnect import KiteConnect

    endpoint.rig.until("live", 30)
    kite = KiteConnect("any", endpoint.password, root=f"http://127.0.0.1:{endpoint.port}")
    rows = kite.instruments("NSE")
    assert any(row["instrument_token"] == INFY for row in rows)
    assert kite.ltp("NSE:INFY")["NSE:INFY"]["last_price"] > 0
    with pytest.raises(Exception, match="no orders"):
        kite.orders()


def test_what_does_not_stream_is_kites_own_answer_and_does_not_stream_because_of_it(
    endpoint: Endpoint,
) -> None:
    endpoint.rig.until("live", 30)
    listed = endpoint.rig.kitefeed("instruments", "find", "HDFCBANK", "--json", "--limit", "1")
    key = json.loads(listed.stdout.splitlines()[0])["key"]
    status, headers, body = endpoint.get(f"/quote?i={key}")
    assert status == 200
    item = body["data"][key]
    assert item["lower_circuit_limit"] < item["last_price"] < item["upper_circuit_limit"]
    assert item["last_trade_time"]
    assert len(item["depth"]["sell"]) == 5
    assert (headers["X-Kitefeed-Source"], headers["Age"]) == ("rest", "0")
    assert endpoint.get(f"/quote/ltp?i={key}")[2]["data"][key].keys() == {
        "instrument_token", "last_price",
    }  # fmt: skip
    assert "ohlc" in endpoint.get(f"/quote/ohlc?i={key}&i=NSE:INFY")[2]["data"][key]
    wanted = endpoint.rig.status()["subscriptions"]["wanted"]

    # More than Kite answers in that time is its own 429, whoever asks, and no mistake of anybody's.
    url = f"http://127.0.0.1:{endpoint.port}/instruments"
    with urllib.request.urlopen(url, timeout=10) as answer:
        tokens = [line.split(b",")[0].decode() for line in answer.read().splitlines()[1:]]
    paths = ["/quote/ltp?" + "&".join(f"i={t}" for t in tokens[n::20][:100]) for n in range(20)]
    with ThreadPoolExecutor(len(paths)) as pool:
        answers = [*pool.map(endpoint.get, paths)]
    assert {status for status, _, _ in answers} <= {200, 429}
    assert endpoint.rig.status()["subscriptions"]["wanted"] == wanted
    endpoint.rig.until("live", 5)


def test_what_streams_has_circuit_limits_too_asked_for_once(endpoint: Endpoint) -> None:
    endpoint.rig.until("live", 30)
    eventually(lambda: endpoint.get("/quote?i=NSE:SBIN")[0] == 200, 10)
    _, headers, body = endpoint.get("/quote?i=NSE:SBIN")
    item = body["data"]["NSE:SBIN"]
    assert 0 < item["lower_circuit_limit"] < item["last_price"] < item["upper_circuit_limit"]
    assert headers["X-Kitefeed-Source"] == "websocket"

    def requests() -> int:
        actors = {actor["role"]: actor for actor in endpoint.rig.status()["actors"]}
        return int(actors["rest_poller"]["counters"]["requests"])

    before = requests()
    for _ in range(5):
        assert endpoint.get("/quote?i=NSE:SBIN&i=NSE:NIFTY%2050")[0] == 200
    assert requests() == before


def test_rest_never_gives_an_old_price_as_if_it_were_new(endpoint: Endpoint) -> None:
    endpoint.rig.until("live", 30)
    eventually(lambda: endpoint.get("/quote/ltp?i=NSE:INFY")[0] == 200, 10)
    endpoint.rig.simulator.post("fault", {"name": "kill", "app": 1})
    endpoint.rig.simulator.fault("drop_ws", "1000")
    endpoint.rig.until("login_required", 20)
    # The word comes by the feed; on a busy host a moment after `status` has it.
    eventually(lambda: endpoint.get("/quote/ltp?i=NSE:INFY")[0] == 503, 2)
    for route in ("quote", "quote/ohlc", "quote/ltp") * 2:
        status, _, body = endpoint.get(f"/{route}?i=NSE:INFY&i=NSE:NIFTY%2050")
        assert (status, body["error_type"]) == (503, "NetworkException")
    live_again(endpoint)


def test_the_official_javascript_client_lives_through_it_too(endpoint: Endpoint) -> None:
    directory = npm.BUILD / "kiteconnectjs-endpoint"
    if reason := npm.why_not(directory, KITECONNECTJS):
        pytest.skip(reason)
    endpoint.rig.until("live", 30)
    modules = str(npm.module(directory, KITECONNECTJS))
    given = json.dumps([modules, endpoint.ws, endpoint.password, [INFY], "full"])
    with Bot("node", str(HERE / "kite_bot.cjs"), given) as bot:
        eventually(lambda: len(bot.ticks_of(INFY)) > 3, 20)
        endpoint.rig.simulator.post("fault", {"name": "kill", "app": 1})
        endpoint.rig.simulator.fault("drop_ws", "1000")
        endpoint.rig.until("login_required", 20)
        live_again(endpoint)
        mark = len(bot.events)
        eventually(lambda: len(bot.ticks_of(INFY, mark)) > 3, 20)
        assert bot.is_running
        assert len(bot.of("connect")) == 1
        assert bot.of("close") == bot.of("reconnect") == []


def test_order_updates_reach_every_program_as_kites_own_frames(endpoint: Endpoint) -> None:
    session = endpoint.rig.simulator.login()
    endpoint.rig.log_in(session)
    endpoint.rig.until("live", 30)
    with endpoint.python([INFY]) as bot, endpoint.python([NIFTY]) as other:
        eventually(lambda: bot.of("ticks") and other.of("ticks"), 15)
        ready = endpoint.rig.simulator.ready
        request = urllib.request.Request(  # noqa: S310
            f"{ready['rest']}/orders/regular",
            data=b"exchange=NSE&tradingsymbol=INFY&transaction_type=BUY&quantity=1&product=CNC"
            b"&order_type=MARKET&validity=DAY",
            headers={"Authorization": f"token {ready['api_key']}:{session['access_token']}"},
        )
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            order_id = json.loads(answer.read())["data"]["order_id"]
        for each in (bot, other):
            found = eventually(lambda each=each: each.of("order"), 10)
            assert found[0]["order"]["order_id"] == order_id


def test_an_order_that_changed_without_a_socket_reaches_every_program_once(
    endpoint: Endpoint,
) -> None:
    simulator = endpoint.rig.simulator
    endpoint.rig.until("live", 40)
    with endpoint.python([INFY]) as bot, endpoint.python([NIFTY]) as other:
        eventually(lambda: bot.of("ticks") and other.of("ticks"), 15)
        order_id = simulator.post("order", {"status": "OPEN", "filled_quantity": 0})["order_id"]
        eventually(lambda: bot.of("order") and other.of("order"), 10)
        simulator.fault("refuse_ws", 502)
        simulator.post("order", {"order_id": order_id, "status": "COMPLETE"})
        simulator.fault("clear")
        endpoint.rig.kitefeed("retry")
        eventually(lambda: len(bot.of("order")) == len(other.of("order")) == 2, 30)
        endpoint.rig.simulator.fault("drop_ws")
        endpoint.rig.until("live", 40)
        last = simulator.post("order", {"status": "REJECTED"})["order_id"]
        for each in (bot, other):
            eventually(lambda each=each: each.of("order")[-1]["order"]["order_id"] == last, 20)
            told = [(o["order"]["order_id"], o["order"]["status"]) for o in each.of("order")]
            assert told == [(order_id, "OPEN"), (order_id, "COMPLETE"), (last, "REJECTED")]


def test_hostile_texts_change_nothing_for_the_others(endpoint: Endpoint) -> None:
    import base64
    import socket as plain

    endpoint.rig.until("live", 30)
    with endpoint.python([INFY]) as bot:
        eventually(lambda: len(bot.ticks_of(INFY)) > 2, 15)
        key = base64.b64encode(os.urandom(16)).decode()
        for path in ("/", "/../../etc/passwd", "/quote?i=" + "A" * 20_000, "/%00"):
            with plain.create_connection(("127.0.0.1", endpoint.port), timeout=5) as hostile:
                hostile.sendall(
                    f"GET {path}?access_token={endpoint.password} HTTP/1.1\r\nHost: x\r\n"
                    f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                    f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
                )
                hostile.recv(4_096)
                hostile.sendall(os.urandom(2_000))
        mark = len(bot.events)
        eventually(lambda: len(bot.ticks_of(INFY, mark)) > 3, 15)
        assert bot.of("close") == []


def test_no_token_of_kite_is_in_anything_that_was_said(endpoint: Endpoint) -> None:
    endpoint.rig.assert_no_token(endpoint.rig.root / "up.log")
    assert endpoint.password not in endpoint.rig.output()
