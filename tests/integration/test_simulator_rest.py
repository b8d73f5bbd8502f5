"""The simulator's REST API, through the official Python client wherever it can say it."""

import datetime as dt
import gzip
import json
import time
import urllib.parse
from collections.abc import Iterator

import pytest
import requests
from kiteconnect import KiteConnect
from kiteconnect.exceptions import (
    DataException,
    GeneralException,
    InputException,
    KiteException,
    NetworkException,
    PermissionException,
    TokenException,
)

from kitefeed.simulator.server import Simulator
from kitefeed.simulator.thread import RunningSimulator, running_simulator

NS = 1_000_000_000


class Clock:
    """The simulator's wall clock: every reading is two seconds on, so no limit is ever met."""

    def __init__(self) -> None:
        self.step_ns = 2 * NS
        self._start_ns = time.time_ns()
        self._offset_ns = 0

    def __call__(self) -> int:
        self._offset_ns += self.step_ns
        return self._start_ns + self._offset_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kite_server(clock: Clock) -> Iterator[RunningSimulator]:
    with running_simulator(Simulator(wall_ns=clock, instruments=1500)) as running:
        yield running


def client_of(running: RunningSimulator, app: int = 1) -> KiteConnect:
    account = running.credentials(app)
    client = KiteConnect(account["api_key"], root=running.rest_url, timeout=5)
    client.set_access_token(account["access_token"])
    return client


def raw_get(running: RunningSimulator, path: str, app: int = 1) -> requests.Response:
    account = running.credentials(app)
    token = f"token {account['api_key']}:{account['access_token']}"
    return requests.get(running.rest_url + path, headers={"Authorization": token}, timeout=5)


def login(running: RunningSimulator, app: int = 1) -> str:
    """Return the request token that the browser brings back."""
    page = client_of(running, app).login_url().replace("https://kite.zerodha.com", running.rest_url)
    answer = requests.get(page, allow_redirects=False, timeout=5)
    assert answer.status_code == 302
    url = urllib.parse.urlsplit(answer.headers["Location"])
    assert f"{url.scheme}://{url.netloc}{url.path}" == "http://127.0.0.1:8787/login/redirect"
    query = dict(urllib.parse.parse_qsl(url.query))
    assert (query["action"], query["status"]) == ("login", "success")
    return query["request_token"]


def test_the_official_client_logs_in_and_the_old_token_dies(kite_server: RunningSimulator) -> None:
    old, new = client_of(kite_server), client_of(kite_server)
    secret = kite_server.credentials()["api_secret"]
    session = new.generate_session(login(kite_server), api_secret=secret)
    assert session["access_token"] == new.access_token == kite_server.credentials()["access_token"]
    assert isinstance(session["login_time"], dt.datetime)
    assert session["refresh_token"] == ""
    assert new.profile()["user_id"] == session["user_id"]
    with pytest.raises(TokenException):
        old.profile()


def test_a_request_token_is_good_once_and_only_with_the_right_checksum(
    kite_server: RunningSimulator,
) -> None:
    client, secret = client_of(kite_server), kite_server.credentials()["api_secret"]
    token = login(kite_server)
    with pytest.raises(TokenException, match="Invalid `checksum`") as caught:
        client.generate_session(token, api_secret="wrong")
    assert caught.value.code == 403
    client.generate_session(token, api_secret=secret)
    with pytest.raises(TokenException, match="invalid or has expired"):
        client.generate_session(token, api_secret=secret)


def test_the_login_page_echoes_the_redirect_parameters(kite_server: RunningSimulator) -> None:
    key = kite_server.credentials()["api_key"]
    page = f"{kite_server.rest_url}/connect/login?v=3&api_key={key}&redirect_params=some%3Dthing"
    answer = requests.get(page, allow_redirects=False, timeout=5)
    assert "some=thing" in answer.headers["Location"]
    unknown = requests.get(f"{kite_server.rest_url}/connect/login?api_key=no", timeout=5)
    assert unknown.status_code == 400


def test_a_session_can_be_ended_but_not_renewed(kite_server: RunningSimulator) -> None:
    client = client_of(kite_server)
    with pytest.raises(TokenException):
        client.renew_access_token("token", kite_server.credentials()["api_secret"])
    assert client.invalidate_access_token() is True
    with pytest.raises(TokenException, match="Incorrect `api_key` or `access_token`"):
        client.profile()


def test_the_profile_names_the_user_and_no_token(kite_server: RunningSimulator) -> None:
    profile = client_of(kite_server, 2).profile()
    assert profile["user_name"] == kite_server.credentials(2)["user_name"]
    assert not [name for name in profile if "token" in name]


def test_quotes_are_keyed_as_asked_and_unknown_instruments_are_absent(
    kite_server: RunningSimulator,
) -> None:
    client = client_of(kite_server)
    quotes = client.quote(["NSE:INFY", "408065", "NSE:NIFTY 50", "NSE:NOPE", "BCD:USDINR"])
    assert set(quotes) == {"NSE:INFY", "408065", "NSE:NIFTY 50"}
    item = quotes["NSE:INFY"]
    assert item == quotes["408065"]
    assert isinstance(item["last_trade_time"], dt.datetime)
    assert len(item["depth"]["buy"]) == len(item["depth"]["sell"]) == 5
    assert item["lower_circuit_limit"] < item["last_price"] < item["upper_circuit_limit"]
    assert item["net_change"] == pytest.approx(item["last_price"] - item["ohlc"]["close"])
    assert set(client.ohlc("NSE:INFY")["NSE:INFY"]) == {"instrument_token", "last_price", "ohlc"}
    assert set(client.ltp("NSE:INFY")["NSE:INFY"]) == {"instrument_token", "last_price"}


def test_the_quote_routes_share_one_call_per_second_and_the_profile_does_not(
    kite_server: RunningSimulator, clock: Clock
) -> None:
    client, other = client_of(kite_server), client_of(kite_server, 2)
    clock.step_ns = 0
    client.ltp("NSE:INFY")
    for call in (client.ltp, client.ohlc, client.quote):
        with pytest.raises(NetworkException, match="Too many requests") as caught:
            call("NSE:INFY")
        assert caught.value.code == 429
    other.ltp("NSE:INFY")
    for _ in range(10):
        client.profile()
    with pytest.raises(NetworkException):
        client.profile()
    clock.step_ns = NS
    client.quote("NSE:INFY")


@pytest.mark.parametrize(("call", "count_max"), [("quote", 500), ("ohlc", 1000), ("ltp", 1000)])
def test_a_call_takes_so_many_instruments(
    kite_server: RunningSimulator, call: str, count_max: int
) -> None:
    client = client_of(kite_server)
    tokens = list(kite_server.simulator.market.by_token)
    assert len(getattr(client, call)(tokens[:count_max])) == count_max
    with pytest.raises(InputException):
        getattr(client, call)(tokens[: count_max + 1])
    with pytest.raises(InputException):
        getattr(client, call)([])


def test_a_url_of_16_kb_is_too_long(kite_server: RunningSimulator) -> None:
    names = "&i=NFO%3ABANKNIFTY26NOV52000CE" * 600
    answer = raw_get(kite_server, f"/quote/ltp?{names[1:]}")
    assert answer.status_code == 414
    assert "html" in answer.headers["Content-Type"]


def test_the_dump_is_gzipped_csv_and_needs_no_session(kite_server: RunningSimulator) -> None:
    rows = client_of(kite_server).instruments()
    assert len(rows) == 1500
    nifty = next(row for row in rows if row["instrument_token"] == 256265)
    assert (nifty["segment"], nifty["exchange"], nifty["lot_size"]) == ("INDICES", "NSE", 0)
    assert {row["exchange"] for row in client_of(kite_server).instruments("MCX")} == {"MCX"}
    asking = {"Accept-Encoding": "gzip, deflate"}
    url = f"{kite_server.rest_url}/instruments/NSE"
    raw = requests.get(url, headers=asking, timeout=5, stream=True)
    # No charset behind it: the JavaScript client compares the whole header.
    assert raw.headers["Content-Type"] == "text/csv"
    lines = gzip.decompress(raw.raw.read()).decode().splitlines()
    assert lines[0] == (
        "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,"
        "lot_size,instrument_type,segment,exchange"
    )
    assert "256265,1001,NIFTY 50,NIFTY 50,0,,0,0,0,EQ,INDICES,NSE" in lines
    assert requests.get(f"{kite_server.rest_url}/instruments/NYSE", timeout=5).status_code == 400


@pytest.mark.parametrize("accepted", [None, "identity", "gzip;q=0", "deflate, br"])
def test_the_dump_is_plain_for_who_did_not_ask_for_gzip(
    kite_server: RunningSimulator, accepted: str | None
) -> None:
    headers = {"Accept-Encoding": accepted}
    url = f"{kite_server.rest_url}/instruments/MCX"
    raw = requests.get(url, headers=headers, timeout=5, stream=True)
    assert "Content-Encoding" not in raw.headers
    assert raw.headers["Content-Type"] == "text/csv"
    assert raw.raw.read().startswith(b"instrument_token,")


def test_an_unknown_route_is_an_envelope_too(kite_server: RunningSimulator) -> None:
    answer = raw_get(kite_server, "/nowhere")
    assert answer.status_code == 404
    assert answer.json()["error_type"] == "GeneralException"


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (400, InputException, 400),
        (403, TokenException, 403),
        (429, NetworkException, 429),
        (500, GeneralException, 500),
        (502, DataException, 502),
        (503, NetworkException, 503),
        (504, DataException, 502),  # an HTML page: the client invents the 502
    ],
)
def test_rest_status_answers_every_call(
    kite_server: RunningSimulator, status: int, error: type[KiteException], code: int
) -> None:
    client = client_of(kite_server)
    kite_server.fault("rest_status", status)
    for call in (client.profile, lambda: client.ltp("NSE:INFY"), client.instruments):
        with pytest.raises(error) as caught:
            call()
        assert caught.value.code == code
    kite_server.fault("clear")
    assert client.profile()


def test_a_fault_may_strike_one_app(kite_server: RunningSimulator) -> None:
    kite_server.fault("rest_status", 503, app=2)
    assert client_of(kite_server, 1).profile()
    with pytest.raises(NetworkException):
        client_of(kite_server, 2).profile()


def test_rest_down_ends_connections_without_an_answer(kite_server: RunningSimulator) -> None:
    kite_server.fault("rest_down")
    with pytest.raises(requests.exceptions.ConnectionError):
        client_of(kite_server).profile()
    answer = requests.post(f"{kite_server.rest_url}/_sim/fault", json={"name": "clear"}, timeout=5)
    assert answer.json()["standing"] == []
    assert client_of(kite_server).profile()


def test_rest_slow_outlasts_an_impatient_client(kite_server: RunningSimulator) -> None:
    client = client_of(kite_server)
    kite_server.fault("rest_slow", 30)
    client.timeout = 0.2
    with pytest.raises(requests.exceptions.ReadTimeout):
        client.profile()
    kite_server.fault("rest_slow", 0.01)
    client.timeout = 5
    assert client.profile()


def test_a_plan_without_market_data_has_a_profile_and_no_quotes(
    kite_server: RunningSimulator,
) -> None:
    client = client_of(kite_server)
    kite_server.fault("no_entitlement")
    assert client.profile()
    with pytest.raises(PermissionException, match="Insufficient permission") as caught:
        client.ltp("NSE:INFY")
    assert caught.value.code == 403


def test_expire_strikes_app_1_and_clear_brings_nothing_back(kite_server: RunningSimulator) -> None:
    client = client_of(kite_server)
    kite_server.fault("expire")
    kite_server.fault("clear")
    with pytest.raises(TokenException):
        client.profile()
    with pytest.raises(TokenException):
        client.ltp("NSE:INFY")
    assert client_of(kite_server, 2).profile()
    login_url = f"{kite_server.rest_url}/_sim/login"
    fresh = requests.post(login_url, json={"app": 1}, timeout=5).json()
    assert fresh == kite_server.credentials()
    client.set_access_token(fresh["access_token"])
    assert client.profile()


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("fault", {"name": "explode"}, "refuse_ws"),
        ("fault", {"name": "market", "arg": "ajar"}, "open or closed"),
        ("fault", {"name": "mute", "app": 9}, "from 1 to 2"),
        ("fault", [], "object"),
        ("login", {"app": "one"}, "from 1 to 2"),
        ("notice", {"type": "order"}, "message or error"),
        ("order", {"tradingsymbol": "NOPE"}, "does not exist"),
    ],
)
def test_a_senseless_command_is_answered_with_a_sentence(
    kite_server: RunningSimulator, path: str, body: object, word: str
) -> None:
    answer = requests.post(f"{kite_server.rest_url}/_sim/{path}", json=body, timeout=5)
    assert answer.status_code == 400
    assert word in answer.json()["error"]


def test_requests_are_counted_by_route_and_app(kite_server: RunningSimulator) -> None:
    client_of(kite_server, 2).profile()
    client_of(kite_server, 2).ltp("NSE:INFY")
    stats = requests.get(f"{kite_server.rest_url}/_sim/stats", timeout=5).json()
    wanted = {"GET /user/profile": 1, "GET /quote/ltp": 1}
    assert stats["requests"]["total"] == wanted
    assert stats["requests"]["apps"] == {"2": wanted}
    assert len(stats["requests"]["recent_ns"]["GET /quote/ltp"]) == 1
    assert set(stats["market"]) == {"408065"}
    assert stats["last_packets"] == {}
    session = requests.get(f"{kite_server.rest_url}/_sim/session", timeout=5).json()
    assert session == json.loads(
        json.dumps({"apps": [kite_server.credentials(1), kite_server.credentials(2)]})
    )
