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
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec

from kitefeed import Feed, Tick
from kitefeed.actors.runtime import locks
from kitefeed.protocol.clock import utc_ns
from kitefeed.protocol.errors import Unavailable
from tests.support import eventually, slowness, status_of

ROOT = Path(__file__).parents[2]
INSTRUMENTS = ("NSE:NIFTY 50", "BSE:SENSEX", "NSE:INFY", "NSE:RELIANCE", "NSE:SBIN")
# A quarter of a second until the market's next frame, and what a busy host adds.
ON_THE_WAY_S = 1.0
HEARD_NS = 2_000_000_000
HISTORY_NS = 120_000_000_000  # more than what anybody sees as fresh can be behind
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
        with urllib.request.urlopen(request, timeout=5 * slowness()) as answer:  # noqa: S310
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
        self._process.wait(5 * slowness())


class Rig:
    """A simulator, a directory, and the daemon in it. Everything it wrote is in `output`.

    wrapper: a command that starts the daemon, in that directory. gateway: where it listens; two
    daemons of one test run would meet at the default address. tables: more of the configuration."""

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
        gateway: str = "",
        tables: str = "",
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
            f'ws_url = "{ready["ws"]}"\n'
            f'login_url = "{ready["rest"]}/connect/login"\n{kite}\n[market]\n{market}\n{table}'
            f'[gateway]\nlisten = "{gateway}"\n{tables}\n'
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
        self.until(until, 60)  # on a loaded host, where importing alone takes half of it

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
            self.daemon.wait(10 * slowness())
        except subprocess.TimeoutExpired:
            os.killpg(self.daemon.pid, signal.SIGKILL)
            self.daemon.wait(5 * slowness())
        self.daemon = None

    def log_in(self, session: dict[str, Any], *options: str) -> None:
        done = self.kitefeed("session", "set", "--force", *options, input=json.dumps(session))
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
            timeout=30 * slowness(),
            check=False,
        )

    def status(self) -> dict[str, Any]:
        """As `kitefeed status --json` has it; nothing when nobody answers."""
        report = status_of(self.run_dir)
        found: dict[str, Any] = json.loads(msgspec.json.encode(report)) if report else {}
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

    def pid_of(self, role: str) -> int:
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


class Seen(NamedTuple):
    """A value that a program read as fresh: when, how far behind it may have been by then, of what
    age, and what it was."""

    at_ns: int
    slack_s: float
    age_s: float
    token: int
    price: int
    what: object


class Truth:
    """Records what the simulated market's prices were, and what a program read as fresh; compares
    the two (`lies`, complete at the end), for as long as wanted.

    A value read as fresh must be the market's current price, or have been it less than `slack_s`
    before: the time within which a dead source must be noticed, which may be changed for what is
    read from then on. Nor may it have been replaced for longer than its own age says, save for the
    way from the market to the daemon.
    """

    def __init__(
        self, simulator: Simulator, slack_s: float, tokens: Iterable[int] | None = None
    ) -> None:
        self._simulator = simulator
        self.slack_s = slack_s
        self._start_ns = utc_ns()
        self._tokens = None if tokens is None else tuple(tokens)
        self._history: dict[int, dict[int, int]] = {}  # token -> since when -> price
        self._seen: deque[Seen] = deque()  # and not compared yet
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._record, daemon=True)
        self.lies: list[str] = []
        self.judged = 0  # how many values were read as fresh

    def __enter__(self) -> Self:
        self._take()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._take()
        self._compare(until_ns=utc_ns())

    def judge(self, tick: Tick) -> None:
        """Notes a value that a program reads now."""
        at_ns = utc_ns()  # first: a thread that has to wait for a core reads it no later for that
        if tick.is_fresh:
            token, price = tick.instrument_token, tick.raw.last_price
            self.saw(at_ns, tick.age_s, token, price, tick)

    def saw(self, at_ns: int, age_s: float, token: int, price: int, what: object) -> None:
        """The same of a program that is another process: in the order of time, and at once."""
        self.judged += 1
        self._seen.append(Seen(at_ns, self.slack_s, age_s, token, price, what))

    def _compare(self, until_ns: int) -> None:
        """Compare what was seen until then, of which the market's history is known."""
        while self._seen and self._seen[0].at_ns < until_ns:
            lie = self._lie(self._seen.popleft())
            if lie:
                self.lies.append(lie)

    def _lie(self, seen: Seen) -> str:
        late_s = (seen.at_ns - self._last_true_ns(seen)) / 1e9
        is_lie = late_s > min(seen.slack_s, seen.age_s + ON_THE_WAY_S)
        at_s = (seen.at_ns - self._start_ns) / 1e9
        text = f"{at_s:.1f} s: {seen.what} was {late_s:.1f} s behind, and said {seen.age_s:.1f}"
        return text if is_lie else ""

    def _last_true_ns(self, seen: Seen) -> int:
        """Return when its price was last the market's, at or before then: it held until the next
        change. A price that was never recorded had been replaced when the record began, or is
        wrong."""
        until_ns = seen.at_ns
        for since_ns, recorded in sorted(self._history.get(seen.token, {}).items(), reverse=True):
            if since_ns > seen.at_ns:
                continue
            if recorded == seen.price:
                return until_ns
            until_ns = since_ns
        return until_ns

    def _record(self) -> None:
        while not self._stopped.wait(0.5):
            asked_ns = utc_ns()
            try:
                self._take()
            except OSError:  # the simulator was told to refuse everything
                continue
            # A program that is another process is heard a little later than it looks.
            self._compare(asked_ns - HEARD_NS)
            self._forget(asked_ns - HISTORY_NS)

    def _take(self) -> None:
        for token, row in self._simulator.stats(self._tokens)["market"].items():
            self._history.setdefault(int(token), {}).update(row["moves"])

    def _forget(self, before_ns: int) -> None:
        for token, moves in self._history.items():
            oldest_ns = max((at_ns for at_ns in moves if at_ns < before_ns), default=0)
            self._history[token] = {at: price for at, price in moves.items() if at >= oldest_ns}
