"""The gateway beside a whole daemon: health over HTTP, and who is let in."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kitefeed.actors.runtime import session_file
from kitefeed.services.table import SERVICES
from tests.integration.rig import Rig
from tests.support import Processes, eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Gateway:
    """A daemon whose gateway listens at `port`."""

    def __init__(self, rig: Rig, port: int) -> None:
        self.rig = rig
        self.port = port

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        """Status and body, from JSON where it is some."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
                return answer.status, _body(answer)
        except urllib.error.HTTPError as error:
            return error.code, _body(error)
        except OSError:
            return 0, None

    def until(self, path: str, status: int, within_s: float) -> Any:
        return eventually(
            lambda: (found := self.get(path))[0] == status and (found[1] or True), within_s
        )


def _body(answer: Any) -> Any:
    text = answer.read().decode()
    return json.loads(text) if "json" in answer.headers["Content-Type"] else text


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    port = free_port()
    with Rig(gateway=f"127.0.0.1:{port}") as rig:
        rig.start()
        yield Gateway(rig, port)


def test_it_is_ready_while_prices_are_fresh(gateway: Gateway) -> None:
    assert gateway.until("/livez", 200, 10)
    told = gateway.until("/health", 200, 10)
    assert (told["feed"], told["source"], told["session"]) == ("live", "websocket", "valid")
    assert told["last_login_utc_s"] is None, "the session file does not say when"
    path = gateway.rig.root / "state/session.json"
    session = session_file.read(path)
    assert session is not None
    session_file.write(path, msgspec.structs.replace(session, login_time="2026-11-23 08:31:02"))
    at_utc_s = datetime(2026, 11, 23, 3, 1, 2, tzinfo=UTC).timestamp()
    assert gateway.get("/health")[1]["last_login_utc_s"] == at_utc_s
    assert gateway.get("/health/websocket")[1]["status"] == "connected"


def test_the_data_dies_everything_else_stays_up_health_turns_within_10_s(gateway: Gateway) -> None:
    gateway.until("/readyz", 200, 20)
    gateway.rig.simulator.fault("mute")
    gateway.until("/readyz", 503, 10)
    assert gateway.get("/livez")[0] == 200
    gateway.rig.simulator.fault("clear")
    gateway.until("/readyz", 200, 40)


def test_a_request_in_the_name_of_another_host_or_site_is_refused(gateway: Gateway) -> None:
    gateway.until("/livez", 200, 10)
    assert gateway.get("/livez", Host=f"evil.example:{gateway.port}")[0] == 403
    assert gateway.get("/livez", Origin="http://evil.example")[0] == 403
    assert gateway.get("/livez", Origin=f"http://127.0.0.1:{gateway.port}")[0] == 200


def test_a_killed_gateway_is_back_and_costs_no_tick(gateway: Gateway) -> None:
    gateway.until("/livez", 200, 10)
    with gateway.rig.feed("NSE:INFY") as feed:
        before = gateway.rig.pid_of("gateway")
        os.kill(before, signal.SIGKILL)
        eventually(lambda: gateway.rig.pid_of("gateway") not in (0, before), 10)
        assert feed.next(5) is not None
        assert feed.gaps == 0
    first = eventually(lambda: gateway.get("/readyz")[0], 10)
    assert first == 200, "it hears a heartbeat before it calls the feed lost"


def test_status_shows_which_services_run(gateway: Gateway) -> None:
    gateway.until("/livez", 200, 10)
    told = json.loads(gateway.rig.kitefeed("status", "--json").stdout)
    assert told["services"]["gateway"] == "running"
    assert told["services"]["kite_endpoint"] == "off"
    shown = gateway.rig.kitefeed("status").stdout
    assert f"127.0.0.1:{gateway.port}" in shown
    assert re.search(r"✓ services +gateway", gateway.rig.kitefeed("doctor").stdout)


def test_a_busy_port_is_one_line_and_is_taken_when_it_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Rig(gateway=f"127.0.0.1:{port}") as rig:
            rig.start()
            eventually(lambda: rig.output().count(f"cannot listen at 127.0.0.1:{port}") == 1, 10)
            taken.close()
            gateway = Gateway(rig, port)
            gateway.until("/readyz", 200, 15)
            assert rig.output().count("cannot listen") == 1


def test_services_that_are_off_are_not_started_and_can_be_ordered_to(gateway: Gateway) -> None:
    rig = gateway.rig
    off = SERVICES.keys() - {"gateway"}
    assert [name for name in off if rig.pid_of(name)] == []
    control = [str(Path(sys.executable).with_name("supervisorctl")), "-c"]
    control.append(str(rig.run_dir / "supervisor.conf"))

    def states() -> dict[str, str]:
        done = subprocess.run([*control, "status"], capture_output=True, text=True, check=False)
        rows = [line.split() for line in done.stdout.splitlines()]
        return {row[0].removeprefix("kitefeed:"): row[1] for row in rows}

    assert {name for name, state in states().items() if state == "STOPPED"} == off
    subprocess.run([*control, "start", "kitefeed:recorder"], check=True, capture_output=True)
    eventually(lambda: states()["recorder"] == "EXITED", 10, every_s=0.2)


def test_services_wait_for_a_daemon_that_starts_much_later() -> None:
    port = free_port()
    names = ("gateway", "notifier", "kite_endpoint")
    tables = (
        f'[alerts]\ncommand = ["true"]\n[kite_endpoint]\nlisten = "127.0.0.1:{free_port()}"\n'
        'password = "any"\n'
    )
    with Rig(gateway=f"127.0.0.1:{port}", tables=tables) as rig, Processes() as alone:
        logs = [rig.root / f"{name}.log" for name in names]
        started = []
        for name, log in zip(names, logs, strict=True):
            with log.open("wb") as file:
                words = ("-m", "kitefeed.cli", "service", name)
                started.append(
                    alone.start(*words, env=rig.env, stdout=file.fileno(), stderr=file.fileno())
                )
        eventually(lambda: all(" ready" in log.read_text() for log in logs), 20)
        with pytest.raises(subprocess.TimeoutExpired):
            started[0].wait(7)  # longer than a feed waits for its daemon
        rig.start()
        Gateway(rig, port).until("/health", 200, 20)
        assert [process.poll() for process in started] == [None] * len(names)
        for log in logs:
            assert " ERROR " not in log.read_text()
