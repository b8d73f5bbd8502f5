"""`kitefeed login` as a person uses it: the link is followed, the redirect is taken."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from kitefeed.actors.runtime import session_file
from kitefeed.simulator.server import Simulator
from kitefeed.simulator.thread import RunningSimulator, running_simulator
from tests.integration.cli_kit import KITEFEED, Home
from tests.integration.rig import Rig
from tests.integration.test_gateway import free_port
from tests.support import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]
FOLLOW = "import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=10).read()"


def follow(url: str, host: str = "") -> tuple[int, str]:
    """As a browser does, over all redirects: status and text of where it ends."""
    request = urllib.request.Request(url, headers={"Host": host} if host else {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Login:
    """`kitefeed login` that runs; what it prints goes to a file."""

    def __init__(self, directory: Path, env: dict[str, str], *words: str, given: str = "") -> None:
        self._log = directory / "login.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*KITEFEED, "login", *words],
                env=env,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        assert self.process.stdin is not None
        self.process.stdin.write(given.encode())
        self.process.stdin.close()

    def text(self) -> str:
        return self._log.read_text()

    def link(self) -> str:
        """The link that it prints to be opened, once it waits."""
        eventually(lambda: "Log in here" in self.text() or self.process.poll() is not None, 20)
        found = re.search(r"^  (http\S+)$", self.text(), re.M)
        assert found, self.text()
        return found[1]

    def end(self, within_s: float = 45) -> int:
        return self.process.wait(within_s)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Stage(NamedTuple):
    home: Home
    running: RunningSimulator
    redirect: str

    def log_in(self, *words: str) -> Login:
        secret = f"{self.home.account['api_secret']}\n"
        return Login(self.home.directory, self.home.environment(), *words, given=secret)

    def session(self) -> session_file.Session | None:
        return session_file.read(self.home.directory / "state" / "session.json")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A configuration whose redirect URL is a free address of this host; no daemon."""
    redirect = f"http://127.0.0.1:{free_port()}/kite/back"
    with running_simulator(Simulator(apps=1, redirect_url=redirect)) as running:
        home = Home(tmp_path, running.credentials())
        text = home.config.read_text()
        home.config.write_text(text.replace("[kite]", f'[kite]\nredirect_url = "{redirect}"'))
        yield Stage(home, running, redirect)
        home.close()


@pytest.fixture
def house() -> Iterator[Rig]:
    """A daemon with a gateway, to which the simulated Kite redirects."""
    port = free_port()
    redirect = f"http://127.0.0.1:{port}/login/redirect"
    with Rig(
        gateway=f"127.0.0.1:{port}",
        kite=f'redirect_url = "{redirect}"',
        simulator_options=("--redirect-url", redirect),
    ) as rig:
        yield rig


def test_a_login_by_the_gateway_ends_when_prices_are_live_and_says_how_long_it_took(
    house: Rig,
) -> None:
    house.start()
    house.simulator.post("fault", {"name": "kill", "app": 1})
    house.until("login_required", 30)
    secret = f"{house.simulator.ready['api_secret']}\n"
    # The browser is one that follows the link; it is opened by the command.
    env = {**house.env, "BROWSER": f"{sys.executable} -c '{FOLLOW}' %s"}
    login = Login(house.root, env, "--remember-secret", given=secret)
    try:
        assert login.end() == 0, login.text()
        assert re.search(r"^live \d+\.\d s after the login$", login.text(), re.M), login.text()
        assert house.status()["feed"] == "live"
        assert secret.strip() not in login.text() + house.output()
        kept = house.root / "state" / "api_secret.json"
        assert kept.stat().st_mode & 0o777 == 0o600
    finally:
        login.close()


def test_without_a_gateway_the_command_takes_the_redirect_itself(stage: Stage) -> None:
    login = stage.log_in("--no-browser")
    try:
        status, text = follow(login.link())
        assert (status, "Logged in" in text) == (200, True)
        assert login.end() == 0, login.text()
        found = stage.session()
        assert found is not None
        assert found.access_token.reveal() == stage.running.simulator.accounts.apps[0].access_token
        assert "no daemon runs" in login.text()
        assert found.access_token.reveal() not in login.text()
    finally:
        login.close()


def test_a_redirect_that_was_not_asked_for_changes_nothing_and_the_login_goes_on(
    stage: Stage,
) -> None:
    login = stage.log_in("--no-browser")
    try:
        link = login.link()
        token = "request_token=abcdefgh12345678&action=login&status=success"
        assert follow(f"{stage.redirect}?{token}&state=guessed")[0] == 403
        assert follow(f"{stage.redirect}?{token}")[0] == 403
        assert follow(stage.redirect, "evil.example")[0] == 403
        assert stage.session() is None
        assert follow(link)[0] == 200
        assert login.end() == 0, login.text()
    finally:
        login.close()


def test_a_refused_redirect_is_told_in_the_browser_and_in_the_terminal(stage: Stage) -> None:
    stage.running.fault("not_enabled")
    login = stage.log_in("--no-browser", "--remember-secret")
    try:
        status, text = follow(login.link())
        assert status == 403
        assert "add the user" in text
        assert login.end() == 77
        assert "add the user's id to the app" in login.text()
        assert stage.session() is None
        assert not (stage.home.directory / "state" / "api_secret.json").exists()
    finally:
        login.close()


def test_a_kept_secret_is_asked_for_no_more_by_any_way(stage: Stage) -> None:
    login = stage.log_in("--no-browser", "--remember-secret")
    try:
        follow(login.link())
        assert login.end() == 0, login.text()
    finally:
        login.close()
    account = stage.running.credentials()
    token = stage.running.simulator.accounts.new_request_token(
        stage.running.simulator.accounts.apps[0], stage.running.simulator.rest._world.wall_ns()
    )
    done = stage.home.run("login", "--paste", given=f"{token}\n")
    assert done.returncode == 0, done.stderr
    assert str(account["api_secret"]) not in done.stdout + done.stderr


def test_an_address_that_another_program_has_is_one_sentence(stage: Stage) -> None:
    port = int(re.findall(r":(\d+)/", stage.redirect)[0])
    with socket.create_server(("127.0.0.1", port)):
        login = stage.log_in("--no-browser")
        assert login.end() == 69
    assert f"127.0.0.1:{port}" in login.text()
    assert "--paste" in login.text()


def test_a_redirect_url_of_another_host_leads_to_paste(stage: Stage) -> None:
    text = stage.home.config.read_text()
    stage.home.config.write_text(text.replace(stage.redirect, "https://trader.example/kite"))
    login = stage.log_in("--no-browser")
    assert login.end() == 78
    assert "--paste" in login.text()


def test_a_pasted_address_that_is_registered_elsewhere_is_told_with_the_remedy(
    stage: Stage,
) -> None:
    stage.running.simulator.rest._redirect_url = "http://127.0.0.1:9/other"
    url = f"http://127.0.0.1:9/other?request_token={'x' * 32}&status=success&action=login"
    done = stage.home.run("login", "--paste", given=f"{url}\n{stage.home.account['api_secret']}\n")
    assert "registered for this app is http://127.0.0.1:9/other" in done.stderr
    assert done.returncode == 77


def test_ctrl_c_ends_a_login_that_waits(stage: Stage) -> None:
    login = stage.log_in("--no-browser")
    try:
        login.link()
        os.kill(login.process.pid, signal.SIGINT)
        assert login.end(10) == 130
        assert "Traceback" not in login.text()
    finally:
        login.close()
