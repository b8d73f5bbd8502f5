"""A real NATS server on loopback, and the bridge of a real broadcaster in front of it."""

import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kitefeed.client.feed import Feed
from tests.integration.broadcaster_kit import FakeSource, Stage
from tests.support import Processes, eventually

SERVER = Path(sysconfig.get_path("scripts")) / "nats-server"
BRIDGE = "from kitefeed.services.nats_bridge.process import main; raise SystemExit(main())"
PATIENT_S = 15.0  # on a loaded host the bridge needs seconds to start


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as made:
        return int(made.getsockname()[1])


class NatsServer:
    """nats-server with JetStream, in a directory of its own; started again it finds its files."""

    def __init__(self, more: str = "", jetstream: str = "") -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="nats", dir="/tmp"))
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._config = self.directory / "nats.conf"
        self._config.write_text(
            f'listen: "127.0.0.1:{self.port}"\n'
            f'jetstream {{ store_dir: "{self.directory}/store"\n{jetstream} }}\n{more}\n'
        )
        self._processes = Processes()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        with (self.directory / "log").open("ab") as log:
            self.process = self._processes.start(
                "-c", str(self._config), env={}, stdout=log.fileno(), stderr=log.fileno(),
                program=str(SERVER),
            )  # fmt: skip
        eventually(self._answers, 15)
        return self

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 0.2).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(5)

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def log_text(self) -> str:
        return (self.directory / "log").read_text()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._processes.__exit__()
        shutil.rmtree(self.directory, ignore_errors=True)


class NatsStage(Stage):
    """A broadcaster with its bridge. `url`: where the bridge publishes; `nats`: more lines of its
    table."""

    def __init__(self, url: str, nats: str = "") -> None:
        super().__init__()
        self.url = url
        with self.config.open("a") as config:
            config.write(f'[nats]\nservers = ["{url}"]\n{nats}\n')
        self.bridge: subprocess.Popen[bytes] | None = None
        self._log = self.directory / "bridge.log"

    def start_bridge(self) -> subprocess.Popen[bytes]:
        env = {"KITEFEED_CONFIG": str(self.config)}
        with self._log.open("ab") as log:
            self.bridge = self.processes.start(
                "-c", BRIDGE, env=env, stdout=log.fileno(), stderr=log.fileno()
            )
        return self.bridge

    def live_bridge(self) -> FakeSource:
        """All of it, up to the bridge."""
        _, source = self.live()
        self.up()
        self.start_bridge()
        return source

    def bridge_log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def nats_feed(self, *instruments: str | Sequence[str], url: str = "", **options: Any) -> Feed:
        options.setdefault("timeout_s", PATIENT_S)
        made = Feed(*instruments, endpoint=url or self.url, **options)
        self._closers.append(made.close)
        return made
