"""The recipes for other languages, run as they stand in `examples/`."""

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.integration.rig import ROOT, Rig
from tests.integration.test_gateway import Gateway, free_port
from tests.support import eventually, slowness

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]
EXAMPLES = ROOT / "examples"
WANTED = ("NSE:INFY", "NSE:NIFTY 50")


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    port = free_port()
    with Rig(gateway=f"127.0.0.1:{port}") as rig:
        rig.start()
        yield Gateway(rig, port)


@pytest.fixture(autouse=True)
def healthy(gateway: Gateway) -> None:
    gateway.rig.simulator.fault("clear")
    gateway.until("/readyz", 200, 40)


def program(name: str) -> list[str]:
    """Return the command that starts a recipe; skip where its language is not."""
    runner = {".sh": "bash", ".mjs": "node", ".php": "php"}[os.path.splitext(name)[1]]
    needed = (runner, "curl") if runner == "bash" else (runner,)
    for each in needed:
        if shutil.which(each) is None:
            pytest.skip(f"there is no {each} here")
    command = [runner, str(EXAMPLES / name)]
    if runner == "node":
        asked = ["node", "-p", "typeof WebSocket"]
        found = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        if "undefined" in found:
            command.insert(1, "--experimental-websocket")
    return command


@contextmanager
def running(name: str, gateway: Gateway) -> Iterator[Callable[[str], str]]:
    """A recipe that reads; gives a function that waits for a line of a pattern, later than any it
    was asked for before."""
    child = subprocess.Popen(
        [*program(name), f"http://127.0.0.1:{gateway.port}", *WANTED],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    lines: list[str] = []

    def read() -> None:
        assert child.stdout is not None
        for each in child.stdout:
            lines.append(each)

    reading = threading.Thread(target=read, daemon=True)
    reading.start()

    def line(pattern: str) -> str:
        start = len(lines)
        return eventually(
            lambda: next((each for each in lines[start:] if re.search(pattern, each)), ""), 15
        )

    try:
        yield line
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait(5 * slowness())
        reading.join(5)


def test_health_by_curl_is_a_word_and_an_exit_code(gateway: Gateway) -> None:
    def told(port: int) -> tuple[int, str]:
        command = [*program("http_health.sh"), f"http://127.0.0.1:{port}"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=15 * slowness(), check=False
        )
        return done.returncode, done.stdout

    assert told(gateway.port) == (0, "ready\n")
    gateway.rig.simulator.fault("mute")
    gateway.until("/readyz", 503, 15)
    code, said = told(gateway.port)
    assert (code, said.startswith("not ready: ")) == (1, True)
    code, said = told(free_port())
    assert (code, said.startswith("kitefeed does not answer")) == (1, True)


@pytest.mark.parametrize("name", ["http_reader.mjs", "http_poll.php"])
def test_a_recipe_shows_live_prices_then_says_that_they_are_not(
    gateway: Gateway, name: str
) -> None:
    with running(name, gateway) as line:
        assert re.search(r"NSE:INFY  \d+\.\d\d  \d\.\d s  websocket$", line("^NSE:INFY .*socket$"))
        line("^NSE:NIFTY 50 .*websocket$")
        gateway.rig.simulator.fault("mute")
        line("^NSE:INFY .*do not trade$")


@pytest.mark.parametrize("name", ["http_reader.mjs", "http_poll.php", "http_stream.sh"])
def test_a_recipe_says_that_the_gateway_hangs_and_goes_on_after_it(
    gateway: Gateway, name: str
) -> None:
    with running(name, gateway) as line:
        line("NSE:INFY")
        pid = gateway.rig.pid_of("gateway")
        os.kill(pid, signal.SIGSTOP)
        try:
            line("(?i)lost")
        finally:
            os.kill(pid, signal.SIGCONT)
        line("NSE:INFY")


def test_the_stream_by_curl_is_json_line_by_line(gateway: Gateway) -> None:
    with running("http_stream.sh", gateway) as line:
        told = json.loads(line('"quotes"'))
        assert told["type"] == "quotes"
        assert {quote["instrument"] for quote in told["quotes"]} <= set(WANTED)
        assert all(quote["fresh"] for quote in told["quotes"])


def test_the_address_that_excel_is_given_is_a_table_with_the_columns_of_the_page(
    gateway: Gateway,
) -> None:
    page = (ROOT / "docs" / "excel.md").read_text("utf-8")
    path = re.search(r"http://127\.0\.0\.1:8787(/api/quotes\S+format=csv\S*)", page)
    assert path is not None
    status, text = gateway.get(path[1])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert status == 200
    assert {row["instrument"] for row in rows} == set(WANTED)
    for column in re.findall(r"^\| `(\w+)`", page, re.M):
        assert all(row[column] for row in rows), column
