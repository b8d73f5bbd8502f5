"""kite(): the official client on the daemon's session, against a small HTTP server."""

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kitefeed import BadInput, ConfigError, LoginNeeded, kite
from kitefeed.actors.runtime import session_file
from kitefeed.actors.runtime.secrets import Secret
from kitefeed.actors.runtime.session_file import Session
from kitefeed.protocol.kite.rest import error_envelope, success_envelope

OLD, NEW = "OldToken00OldToken00", "NewToken00NewToken00"


class Server:
    """Lets in whoever has a token of `good`."""

    def __init__(self) -> None:
        self.good: set[str] = set()
        self.asked: list[str] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                token = self.headers.get("Authorization", "").rpartition(":")[2]
                server.asked.append(f"{self.path} {token}")
                is_good = token in server.good
                refusal = error_envelope("Incorrect `api_key` or `access_token`.", "TokenException")
                body = success_envelope({"user_id": "AB1234"}) if is_good else refusal
                self.send_response(200 if is_good else 403)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}).start()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture
def config(tmp_path: Path, server: Server) -> Path:
    path = tmp_path / "kitefeed.toml"
    path.write_text(
        f'runtime_dir = "run"\nstate_dir = "state"\n'
        f'[kite]\napi_key = "key"\nrest_url = "http://127.0.0.1:{server.http.server_port}"\n'
        'rest_prefix = "/oms"\n[session]\nwatch = "watched.json"\n'
    )
    (tmp_path / "state").mkdir(mode=0o700)
    return path


def log_in(path: Path, token: str) -> None:
    session_file.write(path, Session("key", Secret(token)))


def test_it_is_the_official_client_and_follows_each_login(config: Path, server: Server) -> None:
    import kiteconnect

    shared = kite(config)
    assert isinstance(shared, kiteconnect.KiteConnect)
    with pytest.raises(LoginNeeded, match="there is no session: log in") as found:
        shared.profile()
    assert isinstance(found.value, kiteconnect.exceptions.TokenException)
    assert server.asked == []

    server.good = {OLD}
    log_in(config.parent / "state/session.json", OLD)
    assert shared.profile() == {"user_id": "AB1234"}
    assert server.asked == [f"/oms/user/profile {OLD}"]

    server.good = set()
    expired: list[str] = []
    shared.set_session_expiry_hook(lambda: expired.append("once"))
    with pytest.raises(LoginNeeded, match=r"Kite refuses the session .*log in") as found:
        shared.profile()
    assert expired == ["once"]
    assert OLD not in str(found.value)

    server.good = {NEW}
    log_in(config.parent / "state/session.json", NEW)
    assert shared.profile() == {"user_id": "AB1234"}


def test_a_newer_session_that_kite_refuses_hides_none_that_it_accepts(
    config: Path, server: Server
) -> None:
    log_in(config.parent / "state/session.json", OLD)
    log_in(config.parent / "watched.json", NEW)
    os.utime(config.parent / "state/session.json", (1, 1))
    server.good = {OLD}
    assert kite(config).profile() == {"user_id": "AB1234"}
    assert [asked.rpartition(" ")[2] for asked in server.asked] == [NEW, OLD]


def test_a_file_that_others_can_read_is_refused_with_the_remedy(
    config: Path, server: Server
) -> None:
    path = config.parent / "state/session.json"
    log_in(path, OLD)
    path.chmod(0o644)
    with pytest.raises(LoginNeeded, match="chmod 600"):
        kite(config).profile()
    assert server.asked == []


def test_it_makes_no_session_of_its_own(config: Path) -> None:
    with pytest.raises(BadInput, match="shares the daemon's session"):
        kite(config).generate_session("request", "secret")
    with pytest.raises(ConfigError):
        kite(config.parent / "none.toml")


@pytest.mark.processes
def test_without_kites_client_one_sentence_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['requests'] = None\n"
        "from kitefeed import kite\n"
        "try: kite()\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "kite() needs requests, which is not installed: pip install 'kitefeed[daemon]'\n"
    )


@pytest.mark.processes
def test_it_loads_no_twisted() -> None:
    code = "import kitefeed.actors.runtime.shared_kite, sys; print('twisted' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
