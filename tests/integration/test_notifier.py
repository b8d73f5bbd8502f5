"""The notifier beside a whole daemon: who is told, over real HTTP, and that no log has a URL."""

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest

from tests.integration.rig import Rig
from tests.support import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(150)]
SECRET = "hunter2hunter2"  # in every URL, as a bot's token is


class Receiver:
    """Takes what is sent over HTTP. status: what it answers from now on."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str, str]] = []  # method, path, body
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self._take(self.rfile.read(int(self.headers.get("Content-Length", 0))))

            def do_GET(self) -> None:
                self._take(b"")

            def _take(self, body: bytes) -> None:
                receiver.got.append((self.command, self.path, body.decode()))
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def bodies(self, start: str) -> list[str]:
        return [body for _, path, body in list(self.got) if path.startswith(start)]

    def alerts(self) -> list[dict[str, Any]]:
        """Return what the webhook was told."""
        return [json.loads(body) for body in self.bodies("/hook/")]

    def codes(self) -> list[str]:
        return [alert["code"] for alert in self.alerts()]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


def settings(receiver: Receiver, command: Path | None = None) -> str:
    """Everybody at once; apprise's own format for its posts is `json://`."""
    lines = [
        "[alerts]",
        f'urls = ["json://{receiver.address}/apprise/{SECRET}"]',
        f'webhook = "http://{receiver.address}/hook/{SECRET}"',
        f'heartbeat_url = "http://{receiver.address}/beat/{SECRET}"',
    ]
    if command is not None:
        lines.append(f"command = {json.dumps([sys.executable, str(command)])}")
    return "\n".join(lines)


def assert_no_secret(rig: Rig) -> None:
    """In nothing that the run wrote but the configuration."""
    assert SECRET not in rig.output()
    for path in (rig.root / "state").rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path.name


def test_a_login_that_is_needed_reaches_everybody_and_so_does_its_end(
    receiver: Receiver, tmp_path: Path
) -> None:
    command, told = tmp_path / "page-me.py", tmp_path / "told"
    command.write_text(
        "import sys\nopen(sys.argv[0].replace('page-me.py', 'told'), 'a').write("
        "sys.argv[1] + ': ' + sys.stdin.read())\n"
    )
    with Rig(tables=settings(receiver, command)) as rig:
        rig.start()
        eventually(lambda: receiver.bodies("/beat/"), 30)
        receiver.got.clear()

        rig.simulator.fault("kill")
        eventually(lambda: "KF-LOGIN" in receiver.codes(), 40)
        login = next(alert for alert in receiver.alerts() if alert["code"] == "KF-LOGIN")
        assert login["wakes"] is True
        assert "kitefeed login --paste" in login["text"]
        eventually(lambda: any("KF-LOGIN" in body for body in receiver.bodies("/apprise/")), 20)
        eventually(lambda: told.exists() and "KF-LOGIN: KF-LOGIN Kite" in told.read_text(), 20)

        notifier = rig.pid_of("notifier")
        os.kill(notifier, signal.SIGKILL)
        eventually(lambda: rig.pid_of("notifier") not in (0, notifier), 20)
        rig.simulator.fault("clear")
        rig.log_in(rig.simulator.login())
        rig.until("live", 30)
        eventually(lambda: "KF-RECOVERED" in receiver.codes(), 40)
        recovered = receiver.alerts()[-1]
        assert "KF-LOGIN" in recovered["text"]
        assert "over after" in recovered["text"]

        rig.stop()
        eventually(lambda: "KF-STOPPED" in receiver.codes(), 5)
        assert receiver.codes().count("KF-LOGIN") == 1, "once, over a restart of the notifier"
        assert [line for line in rig.errors() if "notifier" in line] == []
        assert_no_secret(rig)


def test_a_receiver_that_fails_is_said_once_tried_again_and_starves_the_switch(
    receiver: Receiver,
) -> None:
    with Rig(tables=settings(receiver)) as rig:
        rig.start()
        eventually(lambda: receiver.bodies("/beat/"), 30)
        receiver.status = 500
        rig.simulator.fault("kill")
        eventually(lambda: receiver.codes().count("KF-LOGIN") >= 2, 60)
        problems = [line for line in rig.errors() if "condition=alerts" in line]
        assert sum("alerts.webhook: answered 500" in line for line in problems) == 1
        doctor = rig.kitefeed("doctor").stdout
        assert "alerts.webhook: answered 500" not in doctor
        assert "webhook: answered 500" in doctor
        receiver.status = 200
        eventually(lambda: "alerts reach alerts.webhook again" in rig.output(), 60)
        assert_no_secret(rig)


def test_the_test_says_whom_it_reached(receiver: Receiver) -> None:
    with Rig(tables=settings(receiver)) as rig:
        done = rig.kitefeed("alerts", "test")
        assert done.returncode == 0, done.stdout
        assert [line[0] for line in done.stdout.splitlines()] == ["✓"] * 3
        assert receiver.codes() == ["KF-TEST"]
        assert len(receiver.bodies("/apprise/")) == 1
        assert len(receiver.bodies("/beat/")) == 1
        receiver.status = 500
        done = rig.kitefeed("alerts", "test")
        assert done.returncode == 69
        assert "✗ alerts.webhook: answered 500" in done.stdout
        assert SECRET not in done.stdout + done.stderr


def test_a_file_of_urls_that_others_can_read_is_refused_and_one_that_is_good_is_used(
    receiver: Receiver,
) -> None:
    with Rig(tables='[alerts]\nurls_file = "urls.txt"') as rig:
        path = rig.root / "urls.txt"
        path.write_text(f"# phones\n\njson://{receiver.address}/apprise/{SECRET}\n")
        path.chmod(0o644)
        done = rig.kitefeed("alerts", "test")
        assert done.returncode == 78
        assert f"chmod 600 {path}" in done.stderr
        path.chmod(0o600)
        done = rig.kitefeed("alerts", "test")
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(receiver.bodies("/apprise/")) == 1
        assert SECRET not in done.stdout + done.stderr


def test_alerts_that_name_nobody_are_said_to(receiver: Receiver) -> None:
    with Rig() as rig:
        done = rig.kitefeed("alerts", "test")
        assert done.returncode == 78
        assert "names nobody" in done.stderr
