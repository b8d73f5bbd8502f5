from pathlib import Path

import pytest

from kitefeed.actors.runtime import config
from kitefeed.actors.runtime.kite_target import DUMP_ROUTES, Kite
from kitefeed.protocol.errors import ConfigError

SANDBOX = """
[kite]
api_key = "sandboxdemo"
rest_url = "https://sandbox.kite.trade"
rest_prefix = "/oms"
ws_url = "wss://ws-sandbox.kite.trade"
ws_query = { user_id = "AB1234" }
login_url = "https://sandbox.kite.trade/connect/login"
"""


def load(directory: Path, text: str) -> Kite:
    path = directory / "kitefeed.toml"
    path.write_text(text)
    return config.load(path).config.kite


def test_the_sandbox_of_kite_can_be_written_down(tmp_path: Path) -> None:
    kite = load(tmp_path, SANDBOX)
    assert kite.target().kind == "sandbox"
    assert kite.ws_query_text() == "&user_id=AB1234"


@pytest.mark.parametrize(
    ("rest", "ws", "kind"),
    [
        ("https://api.kite.trade", "wss://ws.kite.trade", "kite"),
        ("https://API.kite.trade/", "wss://ws.kite.trade:443", "kite"),
        ("https://sandbox.kite.trade", "wss://ws-sandbox.kite.trade/", "sandbox"),
        ("http://127.0.0.1:8765", "ws://127.0.0.1:8765", "simulator"),
        ("http://[::1]:8765", "ws://localhost:8765", "simulator"),
        ("https://sandbox.kite.trade", "wss://ws.kite.trade", "other"),
        ("https://api.kite.trade", "ws://127.0.0.1:8765", "other"),
        ("https://api.kite.trade.example", "wss://ws.kite.trade", "other"),
    ],
)
def test_both_hosts_decide_which_kite_it_is(rest: str, ws: str, kind: str) -> None:
    found = Kite(rest_url=rest, ws_url=ws).target()
    assert (found.kind, found.rest_url, found.ws_url) == (kind, rest, ws)


def test_the_prefix_stands_before_every_route_but_the_dumps() -> None:
    shipped = {
        "user.profile": "/user/profile",
        "market.historical": "/instruments/historical/{instrument_token}/{interval}",
        "market.instruments": "/instruments/{exchange}",
        "market.instruments.all": "/instruments",
    }
    moved = Kite(rest_prefix="/oms").routes(shipped)
    assert {name for name in shipped if moved[name] == shipped[name]} == DUMP_ROUTES
    assert moved["user.profile"] == "/oms/user/profile"
    assert Kite().routes(shipped) == shipped


def test_parameters_are_encoded_as_a_query() -> None:
    assert Kite().ws_query_text() == ""
    query = {"user_id": "A B&c", "uid": "1"}
    assert Kite(ws_query=query).ws_query_text() == "&user_id=A+B%26c&uid=1"


@pytest.mark.parametrize(
    ("text", "place", "remedy"),
    [
        ('rest_prefix = "oms"', "kite.rest_prefix", "such as /oms"),
        ('rest_prefix = "/oms/"', "kite.rest_prefix", "without a slash at its end"),
        ('rest_prefix = "/oms?x"', "kite.rest_prefix", "such as /oms"),
        ('rest_url = "https://sandbox.kite.trade/oms"', "kite.rest_url", "kite.rest_prefix"),
        ('ws_url = "wss://ws.kite.trade?user_id=1"', "kite.ws_url", "kite.ws_query"),
        ('ws_query = { access_token = "x" }', "kite.ws_query.access_token", "remove it"),
        ('ws_query = { api_key = "x" }', "kite.ws_query.api_key", "remove it"),
        ('ws_query = { "user id" = "x" }', "kite.ws_query", "such as user_id"),
        ("ws_query = { user_id = 1 }", "kite.ws_query", "correct it"),
        ('ws_query = { user_id = "" }', "kite.ws_query", "correct it"),
        ('ws_query = "user_id=1"', "kite.ws_query", "correct it"),
        ("[kite.ws_query]\n" + "\n".join(f'p{n} = "1"' for n in range(11)), "ws_query", "fewer"),
    ],
)
def test_what_cannot_be_used_is_refused_with_place_and_remedy(
    tmp_path: Path, text: str, place: str, remedy: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"[kite]\n{text}\n")
    assert place in str(caught.value)
    assert remedy in str(caught.value)
