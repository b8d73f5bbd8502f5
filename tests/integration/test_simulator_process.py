"""`kitefeed simulate` and `python -m kitefeed.simulator` as processes, and the commands to them."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from click.testing import CliRunner
from kiteconnect import KiteConnect

from kitefeed.cli.commands.simulate import simulate
from kitefeed.simulator import discovery
from kitefeed.simulator.discovery import Announcement, Running
from kitefeed.simulator.options import OPTIONS, Options
from kitefeed.simulator.thread import RunningSimulator, running_simulator
from tests.support import slowness

MODULE = ("-m", "kitefeed.simulator")
COMMAND = ("-c", "from kitefeed.cli.commands.simulate import simulate; simulate()")
HANDSHAKE = (
    "Host: 127.0.0.1:1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a simulator; whatever it started is gone afterwards."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def kite_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[RunningSimulator]:
    """One in this process, announced as a process would do it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with running_simulator() as running:
        announcement = Announcement(running.rest_url)
        yield running
        announcement.withdraw()


def command(*arguments: str) -> Any:
    result = CliRunner().invoke(simulate, arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.processes
@pytest.mark.parametrize(("how", "number"), [(MODULE, signal.SIGTERM), (COMMAND, signal.SIGINT)])
def test_it_says_one_line_when_ready_and_ends_within_a_second_of_a_signal(
    start: Start, tmp_path: Path, how: tuple[str, ...], number: signal.Signals
) -> None:
    process = start(*how, "--port", "0", "--seed", "5", "--apps", "3", "--market", "closed")
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    fields = {"rest", "ws", "api_key", "api_secret", "access_token"}
    assert fields <= set(ready)
    assert len(ready["apps"]) == 3
    assert ready["apps"][0].items() <= ready.items()
    (announced,) = tmp_path.iterdir()
    assert ready["access_token"] not in announced.read_text()
    address = ("127.0.0.1", int(ready["rest"].rpartition(":")[2]))
    with socket.create_connection(address, timeout=5) as client:
        path = f"/?api_key={ready['api_key']}&access_token={ready['access_token']}"
        client.sendall(f"GET {path} HTTP/1.1\r\n{HANDSHAKE}\r\n".encode())
        assert client.recv(100).startswith(b"HTTP/1.1 101")
        before = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=5 * slowness())
    assert (process.returncode, out, err) == (0, "", "")
    assert time.monotonic() - before < slowness()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.processes
def test_a_taken_port_is_one_sentence_and_69(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = start(*MODULE, "--port", port)
        out, err = process.communicate(timeout=10 * slowness())
    assert process.returncode == 69
    assert out == ""
    assert err.count("\n") == 1
    assert port in err
    assert "--port" in err


def test_the_commands_find_the_running_simulator(kite_server: RunningSimulator) -> None:
    answer = command("fault", "refuse_ws", "503")
    assert answer["standing"] == [{"name": "refuse_ws", "arg": "503", "app": None}]
    assert command("fault", "clear")["standing"] == []
    before = kite_server.credentials(2)["access_token"]
    fresh = command("login", "--app", "2")
    assert fresh["access_token"] != before
    assert fresh == kite_server.credentials(2)
    assert command("stats", "--url", kite_server.rest_url)["sockets"]["open"] == 0


def test_a_senseless_fault_is_a_usage_error(kite_server: RunningSimulator) -> None:
    result = CliRunner().invoke(simulate, ["fault", "explode"])
    assert result.exit_code == 2
    assert "valid are expire" in result.output


@pytest.mark.parametrize("arguments", [["stats"], ["login"], ["fault", "expire"]])
def test_without_a_simulator_a_command_says_so_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for url in ([], ["--url", "http://127.0.0.1:9"], ["--url", "nonsense"]):
        result = CliRunner().invoke(simulate, [*arguments, *url])
        assert result.exit_code == 69
        assert result.output.count("\n") == 1
        assert "kitefeed simulate" in result.output


@pytest.mark.parametrize("arguments", [["stats"], ["login"], ["fault", "expire"]])
def test_a_command_names_its_simulator_and_does_not_guess_between_two(
    kite_server: RunningSimulator, arguments: list[str]
) -> None:
    one = CliRunner().invoke(simulate, arguments)
    assert kite_server.rest_url in one.stderr
    before = kite_server.credentials()
    other = Announcement("http://127.0.0.1:9")
    two = CliRunner().invoke(simulate, arguments)
    assert two.exit_code == 2
    assert kite_server.rest_url in two.stderr
    assert "http://127.0.0.1:9" in two.stderr
    assert "--url" in two.stderr
    assert kite_server.credentials() == before
    named = CliRunner().invoke(simulate, [*arguments, "--url", kite_server.rest_url])
    assert named.exit_code == 0
    other.withdraw()
    assert CliRunner().invoke(simulate, arguments).exit_code == 0


@pytest.mark.processes
def test_after_one_of_two_was_killed_the_other_is_found_and_no_file_stays(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    first, second = (start(*MODULE, "--port", "0") for _ in range(2))
    assert first.stdout is not None
    assert second.stdout is not None
    first.stdout.readline()
    address = json.loads(second.stdout.readline())["rest"]
    assert len(discovery.running()) == 2
    first.kill()
    first.wait()
    assert discovery.running() == [Running(address, second.pid)]
    assert len(list(tmp_path.iterdir())) == 1
    second.terminate()
    second.wait()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_no_simulator_wrote_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    prefix = f"kitefeed-simulator-{os.getuid()}-"
    locked = (tmp_path / f"{prefix}rubbish.json").open("w")
    fcntl.flock(locked, fcntl.LOCK_EX)
    (tmp_path / f"{prefix}dangling.json").symlink_to(tmp_path / "nowhere")
    assert discovery.running() == []
    locked.close()
    gone = Announcement("http://127.0.0.1:1")
    gone.withdraw()
    gone.withdraw()
    assert discovery.running() == []


@pytest.mark.processes
def test_on_an_ipv6_address_the_urls_are_valid(start: Start) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this host has no ::1")
    process = start(*MODULE, "--host", "::1", "--port", "0")
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    for name, scheme in (("rest", "http"), ("ws", "ws"), ("login_url", "http")):
        url = urlsplit(ready[name])
        assert (url.scheme, url.hostname) == (scheme, "::1")
        assert url.port
    client = KiteConnect(ready["api_key"], ready["access_token"], root=ready["rest"], timeout=5)
    assert client.profile()["user_id"] == ready["user_id"]


@pytest.mark.processes
def test_the_login_page_is_where_the_ready_line_says(start: Start) -> None:
    process = start(*MODULE, "--port", "0")
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    page = f"{ready['login_url']}?v=3&api_key={ready['api_key']}"
    answer = requests.get(page, allow_redirects=False, timeout=5)
    assert "request_token=" in answer.headers["Location"]


def test_every_option_has_a_field_and_every_field_an_option() -> None:
    assert {option.name for option in OPTIONS} == set(Options.__dataclass_fields__)
