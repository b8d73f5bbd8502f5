"""`kitefeed simulate` and `python -m kitefeed.simulator` as processes, and the commands to them."""

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

import pytest
from click.testing import CliRunner

from kitefeed.cli.commands.simulate import simulate
from kitefeed.simulator import discovery
from kitefeed.simulator.options import OPTIONS, Options
from kitefeed.simulator.thread import RunningSimulator, running_simulator

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
        discovery.announce(running.rest_url)
        yield running


def command(*arguments: str) -> Any:
    result = CliRunner().invoke(simulate, arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


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
        out, err = process.communicate(timeout=5)
    assert (process.returncode, out, err) == (0, "", "")
    assert time.monotonic() - before < 1.0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.processes
def test_a_taken_port_is_one_sentence_and_69(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = start(*MODULE, "--port", port)
        out, err = process.communicate(timeout=10)
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
    for stale in (False, True):
        if stale:
            discovery.announce("http://127.0.0.1:9")
        result = CliRunner().invoke(simulate, arguments)
        assert result.exit_code == 69
        assert result.output.count("\n") == 1
        assert "kitefeed simulate" in result.output


def test_a_simulator_withdraws_only_what_it_announced_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert discovery.find() is None
    discovery.announce("http://127.0.0.1:1")
    discovery.announce("http://127.0.0.1:2")
    discovery.withdraw("http://127.0.0.1:1")
    assert discovery.find() == "http://127.0.0.1:2"
    discovery.withdraw("http://127.0.0.1:2")
    assert list(tmp_path.iterdir()) == []
    discovery.address_file().write_text("rubbish")
    assert discovery.find() is None


def test_every_option_has_a_field_and_every_field_an_option() -> None:
    assert {option.name for option in OPTIONS} == set(Options.__dataclass_fields__)
