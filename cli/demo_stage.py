"""The demo's processes: a simulated Kite and a daemon of its own, in a directory of their own.

Nothing of it touches a daemon, configuration or session of the user, and nothing is left behind.
"""

import http.client
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

from kitefeed.actors.runtime import app_secret, locks, session_file
from kitefeed.cli import environment
from kitefeed.cli.waiting import wait_until
from kitefeed.protocol.errors import TryLater
from kitefeed.protocol.secret import Secret

INSTRUMENTS = (
    "NSE:NIFTY 50", "NSE:NIFTY BANK", "BSE:SENSEX", "NSE:INFY", "NSE:RELIANCE", "NSE:TCS",
    "NSE:SBIN", "NSE:HDFCBANK",
)  # fmt: skip
READY_S = 20.0  # a cold Python on a slow disk
STOPPED_S = 8.0  # supervisord kills what does not end in 5 s
ORPHANS_S = 3.0  # actors look for their parent every second
HTTP_S = 5.0
LAST_LINES = 15

_CONFIGURATION = """\
instruments = [{instruments}]
runtime_dir = "run"
state_dir = "state"
[kite]
api_key = "{api_key}"
rest_url = "{rest}"
ws_url = "{ws}"
login_url = "{login_url}"
redirect_url = "{redirect_url}"
[gateway]
listen = "{listen}"
[market]
hours = "always"
"""


class Stage:
    """`start` it, and `close` it whatever happened since."""

    def __init__(self) -> None:
        # Not $TMPDIR where that is deep: a socket's path has 107 bytes at most.
        is_deep = len(tempfile.gettempdir()) > 60
        parent = "/tmp" if is_deep else None  # noqa: S108 - mkdtemp makes it 0700
        self.directory = Path(tempfile.mkdtemp(prefix="kitefeed-", dir=parent))
        self._log = (self.directory / "log").open("wb")
        self._children: list[subprocess.Popen[bytes]] = []
        self._account: dict[str, Any] = {}
        self._listen = f"127.0.0.1:{_free_port()}"

    @property
    def page(self) -> str:
        """The address of the gateway's page."""
        return f"http://{self._listen}/"

    @property
    def _redirect_url(self) -> str:
        return f"{self.page}login/redirect"

    def start(self) -> None:
        """Start both; whether the daemon is live is for its status to say."""
        environment.prefer_own_programs()
        self._account = self._start_simulator()
        path = self.directory / "kitefeed.toml"
        path.write_text(self._configuration(), "utf-8")
        environment.forget_settings()
        environment.name_config(path)
        self._write_session(self._account)
        # In a file of the demo's own, not in the user's keyring: LOGIN is one click.
        secret_path = self.directory / "state" / app_secret.FILE_NAME
        api_secret = Secret(self._account["api_secret"])
        app_secret.keep_in_file(secret_path, self._account["api_key"], api_secret)
        self._spawn([sys.executable, "-P", "-m", "kitefeed.cli", "up"])

    def _start_simulator(self) -> dict[str, Any]:
        command = [sys.executable, "-P", "-m", "kitefeed.simulator", "--port", "0", "--apps", "1"]
        command += ["--redirect-url", self._redirect_url]
        child = self._spawn(command, stdout=subprocess.PIPE)
        line = _first_line(child.stdout)
        if not line:
            raise TryLater(f"The simulator did not start within {READY_S:.0f} s")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _configuration(self) -> str:
        names = ", ".join(f'"{name}"' for name in INSTRUMENTS)
        return _CONFIGURATION.format(
            instruments=names,
            redirect_url=self._redirect_url,
            listen=self._listen,
            **self._account,
        )

    def _spawn(self, command: list[str], stdout: int | None = None) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout if stdout is not None else self._log,
            stderr=self._log,
            env=environment.temporary_directory_is(self.directory),
            cwd=self.directory,
            start_new_session=True,
        )
        self._children.append(child)
        return child

    # --- what happens on the stage ------------------------------------------------------------

    def refuse_websocket(self) -> None:
        """Let Kite answer every upgrade with 403, and close the open socket."""
        self._post("/_sim/fault", {"name": "refuse_ws", "arg": "403"})

    def kill_session(self) -> None:
        """Kill the token, for REST and WebSocket alike; a login is all that is missing."""
        self._post("/_sim/fault", {"name": "kill", "app": 1})
        self._post("/_sim/fault", {"name": "clear"})

    def log_in(self) -> None:
        """Log the user in: a new token is in the session file."""
        self._write_session(self._post("/_sim/login", {"app": 1}))

    def _write_session(self, account: dict[str, Any]) -> None:
        found = session_file.parse(json.dumps(account), account["api_key"])
        session_file.write(self.directory / "state" / "session.json", found)

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        address = self._account["rest"].removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=HTTP_S)
        try:
            connection.request("POST", path, json.dumps(body))
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        except OSError as error:
            raise TryLater(f"The simulator does not answer ({error})") from None
        finally:
            connection.close()
        if response.status != 200:
            raise TryLater(f"The simulator refused {path}: {answer}")
        return answer

    def has_ended(self) -> bool:
        """Whether one of the two processes ended by itself."""
        return any(child.poll() is not None for child in self._children)

    def last_lines(self) -> str:
        """Return the last lines of the processes' log, for a failure's report."""
        text = (self.directory / "log").read_text("utf-8", errors="replace")
        return "\n".join(text.splitlines()[-LAST_LINES:])

    # --- the end ------------------------------------------------------------------------------

    def close(self) -> None:
        """Stops everything that was started, and removes the directory."""
        for child in self._children:
            _signal(child, signal.SIGTERM)
        for child in self._children:
            try:
                child.wait(STOPPED_S)
            except subprocess.TimeoutExpired:
                _signal(child, signal.SIGKILL)
                child.wait()
        # Actors are in groups of their own. Without supervisord they leave, or are killed.
        run = self.directory / "run"
        if not wait_until(lambda: not locks.live_holders(run), ORPHANS_S):
            for holder in locks.live_holders(run):
                os.kill(holder.pid, signal.SIGKILL)
        self._log.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def _free_port() -> int:
    """Return a port of loopback that nobody listens at. Another program may take it meanwhile: then
    the page is missing, which the log says, and the demo goes on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _first_line(stream: IO[bytes] | None) -> bytes:
    """Return the first line of a child, or nothing when it ends or takes too long."""
    if stream is None:
        return b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return stream.readline() if wait_until(lambda: bool(selector.select(0)), READY_S) else b""


def _signal(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if child.poll() is None:
        os.killpg(child.pid, number)
