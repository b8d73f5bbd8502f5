"""One source actor on stage: a real process between the simulator, a supervisor and a broadcaster
that are played by the test."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import zmq

from kitefeed.actors.runtime import session_file
from kitefeed.actors.runtime.directories import prepare_directory
from kitefeed.actors.runtime.secrets import Secret, fingerprint_of
from kitefeed.actors.runtime.session_file import Session
from kitefeed.protocol import sockets
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.feed import IngestBatch, Item, decode_batch
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.envelope import Message, new_id, seal
from kitefeed.protocol.messages.membership import Beat, BeatAck, Challenge, Hello, Welcome
from kitefeed.protocol.topology import BUS, INGEST, Role
from tests.support import bound, eventually, slowness

M = TypeVar("M", bound=Message)

CONFIG = """
runtime_dir = "run"
state_dir = "state"
[kite]
api_key = "{api_key}"
rest_url = "{rest_url}"
ws_url = "{ws_url}"
"""


class Stage:
    """`reports` and `batches` hold what the actor has said so far; `pump` takes in what is new."""

    def __init__(self, rest_url: str, ws_url: str, api_key: str, access_token: str) -> None:
        self.root = Path(tempfile.mkdtemp(dir="/tmp", prefix="kf-"))  # short: it holds sockets
        self.config = self.root / "kitefeed.toml"
        self._rest_url = rest_url
        self.api_key = api_key
        self.set_ws_url(ws_url)
        self.run_dir, self.state_dir = self.root / "run", self.root / "state"
        prepare_directory(self.run_dir)
        self.reports: list[Message] = []
        self.batches: list[IngestBatch] = []
        self.beats: list[Beat] = []
        self.hellos: list[Hello] = []
        self.secrets = {access_token}
        self.boot_id = new_id()
        self._bus = bound(sockets.bus_socket(), self.run_dir, BUS)
        self._ingest = bound(sockets.ingest_socket(), self.run_dir, INGEST)
        self._peer: bytes | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log = (self.root / "log").open("wb")

    def set_ws_url(self, url: str) -> None:
        """Writes the configuration; before `start`."""
        text = CONFIG.format(api_key=self.api_key, rest_url=self._rest_url, ws_url=url)
        self.config.write_text(text)

    def start(self, role: Role) -> None:
        """The actor's process; returns when it has said hello."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"kitefeed.actors.{role}.process"],
            env={**os.environ, "KITEFEED_CONFIG": str(self.config)},
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,  # with the child that fetches the instrument dump
        )
        self.until(lambda: self.hellos, 10)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def save_session(self, access_token: str, slot: str = "session") -> str:
        """Writes a session file; returns the fingerprint."""
        self.secrets.add(access_token)
        secret = Secret(access_token)
        session_file.write(self.state_dir / f"{slot}.json", Session(self.api_key, secret))
        return fingerprint_of(self.api_key, secret)

    def send(self, message: Message) -> None:
        assert self._peer is not None
        self._bus.send_multipart([self._peer, seal(message)])

    def until(self, condition: Callable[[], Any], within_s: float = 5.0) -> Any:
        def pumped() -> Any:
            self.pump()
            return condition()

        return eventually(pumped, within_s)

    def report(
        self, kind: type[M], where: Callable[[M], bool] = lambda _: True, within_s: float = 5.0
    ) -> M:
        """The first report of this kind for which `where` holds."""
        found: list[M] = self.until(
            lambda: [r for r in self.reports if isinstance(r, kind) and where(r)], within_s
        )
        return found[0]

    def items(self, topic: str = "") -> list[Item]:
        """Return what came under `topic`, ticks included, which come as columns."""
        wanted = topic.encode()
        found = [item for batch in self.batches for item in (*batch.items, *ticks_of(batch))]
        return [item for item in found if item.topic.startswith(wanted)]

    def pump(self) -> None:
        while frames := _receive(self._bus):
            self._peer = frames[0]
            self._hear(m.open_bus(frames[-1]))
        while frames := _receive(self._ingest):
            self.batches.append(decode_batch(frames[0]))

    def _hear(self, message: m.BusMessage) -> None:
        match message:
            case Hello():
                self.hellos.append(message)
                self.send(Welcome(self.boot_id))
            case Beat():
                self.beats.append(message)
                self.send(BeatAck())
            case _:
                self.reports.append(message)

    def challenge(self) -> None:
        """As a new supervisor does that hears of an actor it does not know."""
        self.boot_id = new_id()
        self.send(Challenge())

    def stop(self) -> int:
        """Ends the actor politely; its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(5 * slowness())

    def log_text(self) -> str:
        return (self.root / "log").read_text()

    def close(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):  # a test may have ended it
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(5 * slowness())
        self._bus.close(0)
        self._ingest.close(0)
        self._log.close()
        text = self.log_text()
        shutil.rmtree(self.root)
        assert not [secret for secret in self.secrets if secret in text], "a token in the log"
        assert "Traceback" not in text, text


def _receive(socket: "zmq.Socket[bytes]") -> list[bytes]:
    try:
        return socket.recv_multipart(zmq.NOBLOCK)
    except zmq.Again:
        return []


def deadline_ns(seconds: float = 5.0) -> int:
    return boot_ns() + int(seconds * 1e9)


def ticks_of(batch: IngestBatch) -> list[Item]:
    flags = batch.flags or [0] * len(batch.topics)
    columns = zip(batch.topics, flags, batch.bodies, strict=True)
    return [Item(topic, flag, msgspec.Raw(body)) for topic, flag, body in columns]
