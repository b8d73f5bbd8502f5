"""Against small HTTP servers that answer one thing, and the official client unchanged."""

import http.server
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from kitefeed.actors.runtime.kite_rest import DETAIL_CHARS_MAX, KiteConnect, KiteRest, RestFailure
from kitefeed.actors.runtime.kite_target import Kite
from kitefeed.actors.runtime.secrets import Secret, remember
from kitefeed.actors.runtime.session_file import Session
from kitefeed.protocol.kite.rest import (
    RestFault,
    error_envelope,
    success_envelope,
    tick_from_quote,
)
from kitefeed.protocol.kite.ticks import FULL

TOKEN = "Kf7CanaryToken00Kf7CanaryToken00"
Serve = Callable[..., KiteRest]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A client of a server that answers every request alike."""
    servers: list[http.server.ThreadingHTTPServer] = []

    def serve(
        status: int, body: bytes, kind: str = "application/json", prefix: str = ""
    ) -> KiteRest:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requests.append(self.path)
                authorization.append(self.headers.get("Authorization", ""))
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        session = Session("apikey", remember(Secret(TOKEN)))
        kite = Kite(rest_url=f"http://127.0.0.1:{server.server_port}", rest_prefix=prefix)
        return KiteRest(kite, session, 2.0)

    requests.clear()
    authorization.clear()
    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


requests: list[str] = []
authorization: list[str] = []


def test_a_profile_names_the_user(serve: Serve) -> None:
    rest = serve(200, success_envelope({"user_id": "AB1234", "user_name": "Asha Rao"}))
    profile = rest.profile()
    assert (profile.user_id, profile.user_name) == ("AB1234", "Asha Rao")
    assert authorization == [f"token apikey:{TOKEN}"]


def test_quotes_are_asked_by_number_and_come_by_number(serve: Serve) -> None:
    rest = serve(200, success_envelope({"408065": {"last_price": 1.5}, "265": None}))
    assert rest.quote([408065, 265]) == {408065: {"last_price": 1.5}}  # what is none costs itself
    assert requests[-1] == "/quote?i=408065&i=265"


def test_the_order_book_comes_as_kite_wrote_it(serve: Serve) -> None:
    row = {"order_id": "1", "order_timestamp": "2026-11-23 09:15:03", "new_field": [1]}
    assert serve(200, success_envelope([row])).orders() == [row]
    assert requests == ["/orders"]
    assert serve(200, success_envelope([])).orders() == []
    assert serve(200, success_envelope(None)).orders() == []


def test_an_order_book_of_another_shape_is_no_answer(serve: Serve) -> None:
    for data in ({"order_id": "1"}, ["1"], 5):
        with pytest.raises(RestFailure) as caught:
            serve(200, success_envelope(data)).orders()
        assert caught.value.fault is RestFault.NETWORK


def test_a_prefix_stands_before_the_routes(serve: Serve) -> None:
    body = success_envelope({"user_id": "AB1234"})
    serve(200, body, prefix="/oms").profile()
    assert requests == ["/oms/user/profile"]
    serve(200, success_envelope({}), prefix="/oms").quote([265])
    assert requests[-1] == "/oms/quote?i=265"


def test_the_times_of_a_quote_stay_as_kite_wrote_them(serve: Serve) -> None:
    text = "2026-11-23 09:15:03"
    rest = serve(200, success_envelope({"408065": {"last_price": 1.5, "timestamp": text}}))
    item = rest.quote([408065])[408065]
    assert item["timestamp"] == text
    at_s = tick_from_quote(408065, FULL, item).exchange_timestamp
    assert at_s == datetime.fromisoformat(f"{text}+05:30").timestamp()


@pytest.mark.parametrize(
    ("status", "body", "kind", "fault"),
    [
        (403, error_envelope("no", "TokenException"), "application/json", RestFault.TOKEN),
        (403, error_envelope("no", "PermissionException"), "application/json", "permission"),
        (429, error_envelope("slow", "NetworkException"), "application/json", RestFault.RATE),
        (400, error_envelope("bad", "InputException"), "application/json", RestFault.INPUT),
        (500, error_envelope("oh", "GeneralException"), "application/json", RestFault.NETWORK),
        (403, b"<html>forbidden</html>", "text/html", RestFault.NETWORK),
        (200, b"", "application/json", RestFault.NETWORK),
        (200, b"[1, 2]", "application/json", RestFault.NETWORK),
        (200, success_envelope(None), "application/json", RestFault.NETWORK),
        (200, b'{"status":"success"}', "application/json", RestFault.NETWORK),
        (403, b'{"status":"error","message":"no"}', "application/json", RestFault.NETWORK),
        (429, b'{"status":"error","message":"slow"}', "application/json", RestFault.RATE),
        (429, b"<html>slow</html>", "text/html", RestFault.RATE),
    ],
)
def test_every_failure_is_one_error_that_names_its_remedy(
    serve: Serve, status: int, body: bytes, kind: str, fault: str
) -> None:
    with pytest.raises(RestFailure) as caught:
        serve(status, body, kind).profile()
    assert caught.value.fault == fault


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (404, b'{"status":"error","message":"no route"}', "application/json", "no route"),
        (502, b"<html>\n<b>bad gateway</b>", "text/html", "<html> <b>bad gateway</b>"),
        (200, b"", "application/json", "nothing"),
        (200, b"[1, 2]", "application/json", "[1, 2]"),
        (200, success_envelope(None), "application/json", '"data":null'),
    ],
)
def test_an_answer_that_is_not_kites_is_told_by_its_status_type_and_text(
    serve: Serve, status: int, body: bytes, kind: str, said: str
) -> None:
    with pytest.raises(RestFailure) as caught:
        serve(status, body, kind).profile()
    detail = caught.value.detail
    assert detail.startswith(f"HTTP {status}, {kind}, is no answer of Kite's: ")
    assert said in detail
    assert "Error" not in detail


def test_what_kite_says_is_told_as_it_says_it(serve: Serve) -> None:
    with pytest.raises(RestFailure) as caught:
        serve(403, error_envelope("Token is invalid", "TokenException")).profile()
    assert caught.value.detail == "TokenException: Token is invalid"


def test_nobody_listening_is_the_network() -> None:
    session = Session("apikey", Secret(TOKEN))
    with pytest.raises(RestFailure) as caught:
        KiteRest(Kite(rest_url="http://127.0.0.1:9"), session, 1.0).profile()
    assert caught.value.fault is RestFault.NETWORK


def test_no_error_holds_the_token_or_a_book(serve: Serve) -> None:
    page = f"<html>{TOKEN} access_token={TOKEN[::-1]} {'x' * 5_000}</html>".encode()
    with pytest.raises(RestFailure) as caught:
        serve(502, page, "text/html").profile()
    error = caught.value
    assert TOKEN not in str(error)
    assert TOKEN[::-1] not in str(error)
    assert len(error.detail) <= DETAIL_CHARS_MAX
    assert error.__cause__ is None
    assert error.__suppress_context__


NETRC = "default login stranger password stranger-password\n"


@pytest.fixture
def hostile_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home with a password for every host, and a proxy for every address."""
    path = tmp_path / ".netrc"
    path.write_text(NETRC)
    path.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(path))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)


@pytest.mark.usefixtures("hostile_home")
def test_the_tokens_header_wins_over_a_netrc_and_loopback_needs_no_proxy(serve: Serve) -> None:
    rest = serve(200, success_envelope({"user_id": "AB1234", "user_name": "Asha Rao"}))
    rest.profile()
    rest.quote([1])
    assert set(authorization) == {f"token apikey:{TOKEN}"}


@pytest.mark.usefixtures("hostile_home")
def test_nobodys_password_is_sent_where_there_is_no_token_either(serve: Serve) -> None:
    root = str(serve(200, b"a,b\n", "text/csv")._client.root)
    KiteConnect("dump", root=root).instruments()
    assert authorization == [""]


@pytest.mark.usefixtures("hostile_home")
@pytest.mark.parametrize("is_same_host", [True, False])
def test_a_redirect_takes_the_token_to_no_other_host_and_adds_no_password(
    serve: Serve, is_same_host: bool
) -> None:
    target = str(serve(200, success_envelope({"user_id": "A"}))._client.root)
    host = "127.0.0.1" if is_same_host else "localhost"
    location = target.replace("127.0.0.1", host) + "/user/profile"
    seen: list[str] = []

    class Redirect(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization", ""))
            self.send_response(302)
            self.send_header("Location", location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirect) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            session = Session("apikey", Secret(TOKEN))
            kite = Kite(rest_url=f"http://127.0.0.1:{server.server_port}")
            KiteRest(kite, session, 2.0).profile()
        finally:
            server.shutdown()
    assert seen == [f"token apikey:{TOKEN}"]
    assert authorization == [""]  # another port is another server
