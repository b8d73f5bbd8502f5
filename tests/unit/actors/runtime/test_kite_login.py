"""Tests what is said of logins, without a Kite."""

import http.server
import threading
from collections.abc import Iterator

import pytest

from kitefeed.actors.runtime import kite_login
from kitefeed.actors.runtime.kite_target import Kite
from kitefeed.protocol.errors import LoginNeeded, Unavailable
from kitefeed.protocol.secret import Secret

KITE = Kite(redirect_url="http://127.0.0.1:8787/login/redirect")


@pytest.fixture
def answering() -> Iterator[list[bytes]]:
    """Start a server; yield what it answers to every POST, and its address."""
    given = [b""]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(given[0])))
            self.end_headers()
            self.wfile.write(given[0])

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        given.append(f"http://127.0.0.1:{server.server_port}".encode())
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield given
        server.shutdown()


@pytest.mark.parametrize(
    "body", [b"{}", b'{"data": []}', b'{"data": {}}', b'{"data": {"access_token": "x"}}', b"[1]",
             b"<html>", b'{"data": null}', b"1"]
)  # fmt: skip
def test_what_is_no_answer_of_kite_is_trouble_and_no_bug(
    answering: list[bytes], body: bytes
) -> None:
    answering[0] = body
    with pytest.raises(Unavailable, match="try again"):
        kite_login.exchange(
            Kite(rest_url=answering[1].decode()), "k", Secret("t" * 32), Secret("s")
        )


@pytest.mark.parametrize(
    "registered",
    ["https://127.0.0.1:8787/login/redirect", "http://127.0.0.1:5000/", "http://localhost:8787/",
     "https://example.com/kite?x=1"],
)  # fmt: skip
def test_a_redirect_url_registered_elsewhere_is_told_with_both_remedies(registered: str) -> None:
    joint = "&" if "?" in registered else "?"
    told = kite_login.elsewhere(KITE, f"{registered}{joint}request_token=sss&status=success")
    assert registered.partition("?")[0] in told
    assert "developers.kite.trade" in told
    assert "kite.redirect_url" in told
    assert "sss" not in told


@pytest.mark.parametrize(
    "pasted", ["http://127.0.0.1:8787/login/redirect?request_token=sss", "request_token=sss", "sss",
               "http://[", ""]
)  # fmt: skip
def test_the_registered_redirect_url_is_not_complained_of(pasted: str) -> None:
    assert kite_login.elsewhere(KITE, pasted) == ""


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("Invalid `checksum`.", "secret"),
        ("Token is invalid or has expired.", "few minutes old"),
        ("The user is not enabled for the app.", "user's id"),
        ("Invalid `api_key`.", "kite.api_key"),
        ("Something else", "log in once more"),
    ],
)
def test_each_refusal_has_its_own_remedy(text: str, remedy: str) -> None:
    error = kite_login.refusal(text, 403)
    assert isinstance(error, LoginNeeded)
    assert remedy in str(error)
