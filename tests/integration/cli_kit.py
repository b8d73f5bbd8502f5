"""A home for a daemon of its own beside a simulator, and commands run in it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from kitefeed.actors.runtime import locks
from kitefeed.protocol.messages.status import StatusReport
from kitefeed.simulator.server import Simulator
from kitefeed.simulator.thread import RunningSimulator, running_simulator
from tests.support import eventually, slowness, status_of

KITEFEED = (sys.executable, "-m", "kitefeed.cli")
BIN = Path(sys.executable).parent
STARTED_S = 60.0
STOPPED_S = 8.0

_CONFIGURATION = """\
instruments = ["NSE:INFY"]
runtime_dir = "run"
state_dir = "state"
backoff_s = [0.2]
[kite]
api_key = "{api_key}"
rest_url = "{rest}"
ws_url = "{ws}"
login_url = "{rest}/connect/login"
[market]
hours = "always"
[gateway]
listen = ""
"""


class Home:
    """A directory with a configuration; whatever runs in it is stopped by `close`."""

    def __init__(self, directory: Path, account: dict[str, Any]) -> None:
        self.directory = directory
        self.account = account
        self.config = directory / "kitefeed.toml"
        self.config.write_text(_CONFIGURATION.format(**account))
        self.log = directory / "log"
        self._started: list[subprocess.Popen[bytes]] = []

    @property
    def run_dir(self) -> Path:
        return self.directory / "run"

    def run(self, *words: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        """`kitefeed WORDS` to its end, `given` on its standard input."""
        return subprocess.run(
            [*KITEFEED, *words],
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            env=self.environment(),
            timeout=30 * slowness(),
            check=False,
        )

    def environment(self) -> dict[str, str]:
        return {**os.environ, "KITEFEED_CONFIG": str(self.config)}

    def start(
        self, *command: str, env: dict[str, str] | None = None, stdout: Any = None
    ) -> subprocess.Popen[bytes]:
        """Its output goes to `log`, unless `stdout` says otherwise."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                env=self.environment() if env is None else env,
                stdin=subprocess.DEVNULL,
                stdout=log if stdout is None else stdout,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def log_in(self) -> None:
        done = self.run("session", "set", given=msgspec.json.encode(self.account).decode())
        assert done.returncode == 0, done.stderr

    def wait_for(self, feed: str) -> StatusReport:
        def reached() -> StatusReport | None:
            report = status_of(self.run_dir)
            return report if report and report.feed == feed else None

        try:
            found = eventually(reached, STARTED_S)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log_text()}") from None
        assert found is not None
        return found

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def is_empty(self) -> bool:
        return not locks.live_holders(self.run_dir)

    def close(self) -> None:
        for process in self._started:
            process.terminate()
        for process in self._started:
            try:
                process.wait(STOPPED_S * slowness())
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        eventually(self.is_empty, STOPPED_S)


@contextmanager
def home_beside_simulator(directory: Path) -> Iterator[tuple[Home, RunningSimulator]]:
    with running_simulator(Simulator(port=0, apps=1)) as simulator:
        home = Home(directory, simulator.credentials())
        try:
            yield home, simulator
        finally:
            home.close()
