"""From what a user's command prints to a session, with the simulator as Kite."""

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kitefeed.actors.runtime import app_secret, config
from kitefeed.actors.runtime.config import Settings
from kitefeed.protocol.errors import BadInput, KitefeedError, LoginNeeded
from kitefeed.protocol.secret import Secret
from kitefeed.services.login.token import OUTPUT_BYTES_MAX, printed_by, session_of
from kitefeed.simulator.server import Simulator
from kitefeed.simulator.thread import RunningSimulator, running_simulator
from tests.support import eventually


def run(program: str, timeout_s: float = 20) -> str:
    return asyncio.run(printed_by([sys.executable, "-c", program], timeout_s))


def test_what_a_program_prints_is_taken() -> None:
    assert run("print('abc')").strip() == "abc"


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("import sys; print('hunter2'); print('hunter2', file=sys.stderr); sys.exit(3)", "with 3"),
        ("import sys; sys.stdout.buffer.write(b'hunter2\\xff')", "no text"),
        (f"print('hunter2' * {OUTPUT_BYTES_MAX})", "more than"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "with -9"),
    ],
)
def test_a_program_that_fails_is_told_without_what_it_printed(program: str, why: str) -> None:
    with pytest.raises(BadInput, match=why) as caught:
        run(program)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("words", [["/no/such/program"], ["/etc/passwd"], ["a\0b"]])
def test_what_cannot_be_run_is_told(words: list[str]) -> None:
    with pytest.raises(BadInput, match="cannot be run"):
        asyncio.run(printed_by(words, 5))


def test_one_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    program = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(600)"
    )
    with pytest.raises(BadInput, match="longer than 3 s"):
        run(program, 3)
    for pid in pids.read_text().split():
        eventually(lambda pid=pid: not _is_running(int(pid)), 5)  # type: ignore[misc]


def test_a_child_that_holds_the_output_after_its_parent_does_not_hold_us(tmp_path: Path) -> None:
    program = (
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print('token')"
    )
    with pytest.raises(BadInput, match="longer than"):
        run(program, 3)


def _is_running(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_relative_path_starts_where_it_is_told_to(tmp_path: Path) -> None:
    program = tmp_path / "get-token"
    program.write_text("#!/bin/sh\necho token\n")
    program.chmod(0o700)
    assert asyncio.run(printed_by(["./get-token"], 20, tmp_path)) == "token\n"


# --- what it printed ----------------------------------------------------------------------------


class Stage:
    def __init__(self, running: RunningSimulator, directory: Path) -> None:
        self.running = running
        self.app = running.simulator.accounts.apps[0]
        path = directory / "kitefeed.toml"
        path.write_text(
            'runtime_dir = "run"\nstate_dir = "state"\n[kite]\n'
            f'api_key = "{self.app.api_key}"\nrest_url = "{running.rest_url}"\n'
        )
        self.settings: Settings = config.load(path)

    def keep_secret(self) -> None:
        os.makedirs(self.settings.state_dir, exist_ok=True)
        app_secret.keep_in_file(
            self.settings.state_dir / app_secret.FILE_NAME,
            self.app.api_key,
            Secret(self.app.api_secret),
        )

    def request_token(self) -> str:
        world = self.running.simulator.rest._world
        return self.running.simulator.accounts.new_request_token(self.app, world.wall_ns())


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSimulator]:
    with running_simulator(Simulator(apps=1, limits="none")) as found:
        yield found


@pytest.fixture
def stage(running: RunningSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.delenv("KITEFEED_API_SECRET", raising=False)
    running.fault("clear")
    running.simulator.accounts.login(running.simulator.accounts.apps[0])
    return Stage(running, tmp_path)


@pytest.mark.parametrize(
    "form", ["{}", "logging in ...\n{}\n", '{{"access_token": "{}"}}', ' "{}"', "access_token={}"]
)
def test_an_access_token_is_taken_as_it_is(stage: Stage, form: str) -> None:
    found = session_of(stage.settings, form.format(stage.app.access_token))
    assert found.access_token.reveal() == stage.app.access_token
    assert found.user_id == stage.app.user_id


@pytest.mark.parametrize(
    "form",
    [
        "{}",
        "request_token={}",
        '{{"request_token": "{}"}}',
        "http://127.0.0.1/cb?action=login&status=success&request_token={}\n",
    ],
)
def test_a_request_token_is_exchanged_in_any_form(stage: Stage, form: str) -> None:
    stage.keep_secret()
    found = session_of(stage.settings, form.format(stage.request_token()))
    assert found.access_token.reveal() == stage.app.access_token


@pytest.mark.parametrize("form", ["{}", "request_token={}"])
def test_for_a_request_token_without_the_secret_the_remedy_is_named(
    stage: Stage, form: str
) -> None:
    token = stage.request_token()
    with pytest.raises(LoginNeeded, match="--remember-secret") as caught:
        session_of(stage.settings, form.format(token))
    assert token not in str(caught.value)


@pytest.mark.parametrize("text", ["", "\n \n", "hunter2 hunter2", "hunter2hunter2", "{", "{}"])
def test_what_is_no_token_is_refused_and_not_repeated(stage: Stage, text: str) -> None:
    stage.keep_secret()
    with pytest.raises(KitefeedError) as caught:
        session_of(stage.settings, text)
    assert "hunter2" not in str(caught.value)
