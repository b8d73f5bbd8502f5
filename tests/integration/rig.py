"""The whole thing on a rig: a simulated Kite, a real `kitefeed up`, and a truth checker."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from kitefeed import Feed, Tick
from kitefeed.actors.runtime import locks
from kitefeed.protocol.clock import utc_ns
from kitefeed.protocol.errors import Unavailable
from kitefeed.protocol.topology import Role
from tests.support import eventually

ROOT = Path(__file__).parents[2]
INSTRUMENTS = ("NSE:NIFTY 50", "BSE:SENSEX", "NSE:INFY", "NSE:RELIANCE", "NSE:SBIN")
# A quarter of a second until the market's next frame, and what a busy host adds.
ON_THE_WAY_S = 1.0
PYTHON_ENV = {"PYTHONFAULTHANDLER": "1"}


class Simulator:
    """A simulated Kite in a process of its own."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "kitefeed.simulator", "--port", "0", "--apps", "2"]
        self._process = subprocess.Popen(
            [*command, *options],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.ready: dict[str, Any] = json.loads(self._process.stdout.readline())
        self.tokens: list[str] = [app["access_token"] for app in self.ready["apps"]]

    def fault(self, name: str, arg: object = None) -> None:
        self.post("fault", {"name": name, "arg": arg})

    def login(self, app: int = 1) -> dict[str, Any]:
        session = self.post("login", {"app": app})
        self.tokens.append(session["access_token"])
        return session

    def stats(self, tokens: Iterable[int] | None = None) -> dict[str, Any]:
        """`tokens`: prices of these alone, where there are thousands."""
        query = "" if tokens is None else f"?tokens={','.join(map(str, tokens))}"
        return self._answer(f"{self.ready['rest']}/_sim/stats{query}")

    def post(self, path: str, body: dict[str, object]) -> dict[str, Any]:
        data = json.dumps(body).encode()
        url = f"{self.ready['rest']}/_sim/{path}"
        return self._answer(
            urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310
        )

    def _answer(self, request: urllib.request.Request | str) -> dict[str, Any]:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            found: dict[str, Any] = json.load(answer)
        return found

    def stop(self) -> None:
        """Connections stay and are silent, new ones are taken and get no answer."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.go_on()
        self._process.terminate()
        self._process.wait(5)


class Rig:
    """A simulator, a directory, and the daemon in it. Everything it wrote is in `output`.

    wrapper: a command that starts the daemon, in that directory."""

    def __init__(
        self,
        *,
        settings: str = "",
        standby: bool = False,
        market: str = 'hours = "always"',
        simulator_options: tuple[str, ...] = (),
        wrapper: tuple[str, ...] = (),
        instruments: tuple[str, ...] = INSTRUMENTS,
        kite: str = "",
    ) -> None:
        self._wrapper = wrapper
        self.simulator = Simulator(*simulator_options)
        self.root = Path(tempfile.mkdtemp(dir="/tmp", prefix="kf-"))  # short: sockets
        self.config = self.root / "kitefeed.toml"
        ready = self.simulator.ready
        other = ready["apps"][1]
        table = f'[session.standby]\napi_key = "{other["api_key"]}"\n' if standby else ""
        self.config.write_text(
            f"instruments = {json.dumps(instruments)}\n"
            'runtime_dir = "run"\nstate_dir = "state"\n'
            f"{settings}\n"
            f'[kite]\napi_key = "{ready["api_key"]}"\nrest_url = "{ready["rest"]}"\n'
            f'ws_url = "{ready["ws"]}"\n{kite}\n[market]\n{market}\n{table}'
        )
        self.run_dir = self.root / "run"
        self.env = {**os.environ, **PYTHON_ENV, "KITEFEED_CONFIG": str(self.config)}
        self._log = (self.root / "up.log").open("wb")
        self.daemon: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self.simulator.close()
            self._log.close()
            shutil.rmtree(self.root, ignore_errors=True)

    # --- the daemon ---------------------------------------------------------------------------

    def start(self, until: str = "live") -> None:
        """`kitefeed up` with the session of the simulator's first app; returns when the headline is
        `until`."""
        self.log_in(self.simulator.ready)
        self.launch()
        self.until(until, 20)

    def launch(self) -> None:
        self.daemon = subprocess.Popen(
            [*self._wrapper, sys.executable, "-m", "kitefeed.cli", "up"],
            env=self.env,
            cwd=self.root,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def stop(self) -> None:
        if self.daemon is None:
            return
        self.daemon.terminate()
        try:
            self.daemon.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.daemon.pid, signal.SIGKILL)
            self.daemon.wait(5)
        self.daemon = None

    def log_in(self, session: dict[str, Any], *options: str) -> None:
        done = self.kitefeed("session", "set", *options, input=json.dumps(session))
        assert done.returncode == 0, done.stderr

    def kitefeed(
        self, *arguments: str, input: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "kitefeed.cli", *arguments],
            env=self.env,
            input=input,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def status(self) -> dict[str, Any]:
        done = self.kitefeed("status", "--json")
        found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
        return found

    def until(self, feed: str, within_s: float) -> dict[str, Any]:
        """Waits until the headline is `feed`; returns the status."""
        return (
            eventually(
                lambda: (found := self.status()).get("feed") == feed and found,
                within_s,
                every_s=0.1,
            )
            or {}
        )

    def pid_of(self, role: Role) -> int:
        holder = locks.live_holder(self.run_dir, role)
        return holder.pid if holder else 0

    def feed(self, *instruments: str) -> Feed:
        return eventually(lambda: self._feed(*instruments), 10)

    def _feed(self, *instruments: str) -> Feed | None:
        try:
            return Feed(*instruments, config=self.config, timeout_s=2)
        except Unavailable:
            return None

    # --- what it wrote ------------------------------------------------------------------------

    def output(self) -> str:
        return (self.root / "up.log").read_text(errors="replace")

    def assert_no_token(self, path: Path) -> None:
        """None of the simulator's tokens, of all logins so far, is in this file."""
        data = path.read_bytes()
        for token in self.simulator.tokens:
            assert token.encode() not in data, f"a token is in {path.name}"

    def errors(self) -> list[str]:
        return re.findall(r"^.* (?:ERROR|CRITICAL|CRIT) .*$", self.output(), re.M)


class Truth:
    """Records what the simulated market's prices were, and what a program read as fresh; compares
    the two at the end (`lies`).

    A value read as fresh must be the market's current price, or have been it less than `slack_s`
    before: the time within which a dead source must be noticed. Nor may it have been replaced for
    longer than its own age says, save for the way from the market to the daemon.
    """

    def __init__(
        self, simulator: Simulator, slack_s: float, tokens: Iterable[int] | None = None
    ) -> None:
        self._simulator = simulator
        self._slack_s = slack_s
        self._tokens = None if tokens is None else tuple(tokens)
        self._history: dict[int, dict[int, int]] = {}  # token -> since when -> price
        self._observed: list[tuple[int, float, Tick]] = []  # when, of what age
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._record, daemon=True)
        self.lies: list[str] = []

    def __enter__(self) -> Self:
        self._take()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._take()
        self.lies = [lie for read in self._observed if (lie := self._lie(*read))]

    @property
    def judged(self) -> int:
        """How many values were read as fresh."""
        return len(self._observed)

    def judge(self, tick: Tick) -> None:
        """Notes a value that a program reads now."""
        if tick.is_fresh:
            self._observed.append((utc_ns(), tick.age_s, tick))

    def _lie(self, now_ns: int, age_s: float, tick: Tick) -> str:
        last_true_ns = self._last_true_ns(tick.instrument_token, tick.raw.last_price, now_ns)
        late_s = (now_ns - last_true_ns) / 1e9
        is_lie = late_s > min(self._slack_s, age_s + ON_THE_WAY_S)
        return f"{tick} was {late_s:.1f} s behind, and said {age_s:.1f}" if is_lie else ""

    def _last_true_ns(self, token: int, price: int, now_ns: int) -> int:
        """When `price` was last the market's, at or before `now_ns`: it held until the next change.
        One that was never recorded had been replaced when the record began, or is wrong."""
        until_ns = now_ns
        for since_ns, recorded in sorted(self._history.get(token, {}).items(), reverse=True):
            if since_ns > now_ns:
                continue
            if recorded == price:
                return until_ns
            until_ns = since_ns
        return until_ns

    def _record(self) -> None:
        while not self._stopped.wait(0.5):
            try:
                self._take()
            except OSError:  # the simulator was told to refuse everything
                continue

    def _take(self) -> None:
        for token, row in self._simulator.stats(self._tokens)["market"].items():
            self._history.setdefault(int(token), {}).update(row["moves"])
