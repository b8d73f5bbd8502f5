"""Processes of a benchmark: lines in and out, their CPU time, and an end in any case."""

import json
import mmap
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from benchmarks import subject

ROOT = Path(__file__).parents[1]
WARM_BYTES = 512 << 20  # what a reader of everything keeps at the maximum


def warm_memory() -> None:
    """Touches as much memory as a reader may take and gives it back. On a virtual machine the first
    touch of a page costs several times what it does later, and readers of big objects pay most."""
    page = os.sysconf("SC_PAGE_SIZE")
    available = os.sysconf("SC_AVPHYS_PAGES") * page
    with mmap.mmap(-1, min(WARM_BYTES, available // 4 // page * page)) as memory:
        for at in range(0, len(memory), page):
            memory[at] = 1


class Died(RuntimeError):
    """A process of the benchmark ended or fell silent; the text says what it wrote."""


class Talker:
    """A process that is told and answers in lines of JSON."""

    def __init__(
        self, command: list[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """`environment`: in addition to ours."""
        self.name = " ".join(command[-2:])
        self._log = log
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
            )
        self._lines: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._pump, daemon=True).start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, message: dict[str, Any]) -> None:
        stdin = self.process.stdin
        try:
            if stdin is not None:
                stdin.write(json.dumps(message).encode() + b"\n")
                stdin.flush()
        except BrokenPipeError:
            raise Died(self._last_words(0)) from None

    def hear(self, within_s: float) -> dict[str, Any]:
        """Its next line."""
        try:
            line = self._lines.get(timeout=within_s)
        except queue.Empty:
            line = b""
        if not line:
            raise Died(self._last_words(within_s))
        found: dict[str, Any] = json.loads(line)
        return found

    def _last_words(self, within_s: float) -> str:
        """The cause on the first line, then all that it wrote."""
        try:
            self.process.wait(1)
            end = f"ended with {self.process.returncode}"
        except subprocess.TimeoutExpired:
            end = f"said nothing for {within_s:.0f} s"
        text = self._log.read_text(errors="replace").strip()[-4000:]
        lines = text.splitlines() or ["it wrote nothing"]
        cause = next((line for line in reversed(lines) if "rror" in line), lines[-1])
        return f"{self.name} {end}: {cause.strip()}\n{text}"

    def close(self) -> None:
        """Ends it: politely, by the end of its input, and then in any case."""
        try:
            if self.process.stdin is not None:
                self.process.stdin.close()
        except BrokenPipeError:
            pass  # it has ended
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _pump(self) -> None:
        stdout = self.process.stdout
        if stdout is not None:
            for line in stdout:
                self._lines.put(line)
        self._lines.put(b"")


def python(module: str, *arguments: str, log: Path) -> Talker:
    return Talker([sys.executable, "-m", module, *arguments], log)


class Daemon:
    """`kitefeed up` against the frame server, in a directory of its own. `rest` and `ws` are its
    addresses with their schemes, `more` ends the configuration, `environment` adds to ours."""

    def __init__(
        self,
        root: Path,
        rest: str,
        ws: str,
        key: str,
        instruments: list[str],
        more: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.key = key
        self.root = root
        self.config = root / "kitefeed.toml"
        self.run_dir = root / "run"
        self._process: subprocess.Popen[bytes] | None = None
        self.instruments = instruments
        root.mkdir(parents=True, exist_ok=True)
        self._environment = {**os.environ, **(environment or {})}
        self.config.write_text(
            f"instruments = {json.dumps(instruments)}\n"
            'runtime_dir = "run"\nstate_dir = "state"\n'
            f'[kite]\napi_key = "{key}"\nrest_url = "{rest}"\nws_url = "{ws}"\n'
            f'[market]\nhours = "always"\n[gateway]\nlisten = ""\n{more}'
        )
        self._kitefeed("session", "set", "--force", input="benchtoken")

    def start(self) -> None:
        """Returns at once; see `wait_until_live`."""
        with (self.root / "up.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "kitefeed.cli", "--config", str(self.config), "up"],
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )

    def wait_until_live(self, within_s: float = 60) -> None:
        """Until every instrument has sent its first packet."""
        give_up_s = time.monotonic() + within_s
        while not self._is_complete():
            has_ended = self._process is None or self._process.poll() is not None
            if has_ended or time.monotonic() > give_up_s:
                log = (self.root / "up.log").read_text(errors="replace")[-3000:]
                raise Died(f"the daemon is not live: {self._status()}\n{log}")
            time.sleep(0.1)

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, 9)
            self._process.wait(5)
        self._process = None

    def __enter__(self) -> Self:
        self.start()
        self.wait_until_live()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def pids(self) -> dict[str, int]:
        """Every process by its name, supervisord included."""
        pids: dict[str, int] = {str(r): subject.pid_of(self.run_dir, r) for r in subject.Role}
        if self._process is not None:
            pids["supervisord"] = self._process.pid
        return pids

    def _is_complete(self) -> bool:
        status = self._status()
        if status.get("feed") != "live":
            return False
        return bool(status["subscriptions"]["confirmed"] >= len(self.instruments))

    def _status(self) -> dict[str, Any]:
        done = self._kitefeed("status", "--json")
        found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
        return found

    def _kitefeed(self, *arguments: str, input: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "kitefeed.cli", "--config", str(self.config), *arguments],
            input=input,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
