"""A broadcaster under full rate, a recorder beside it, and a witness of what was published."""

import random
import subprocess
import threading
from pathlib import Path
from typing import Self

from kitefeed.client.recording import Recording
from kitefeed.protocol import feed as f
from kitefeed.protocol import recording as r
from kitefeed.protocol.clock import utc_ns
from kitefeed.protocol.topics import NUL, TICKS_TOPIC
from tests.integration.broadcaster_kit import FakeSource, Stage, item

MAIN = "from kitefeed.services.recorder.process import main; raise SystemExit(main())"
FRAMES_PER_S, TICKS_PER_FRAME = 100, 90


class Scene:
    """`rate`: frames a second, of 90 ticks each."""

    def __init__(self, rate: int = FRAMES_PER_S, settings: str = "") -> None:
        self.stage = Stage()
        self.directory = self.stage.directory / "rec"
        text = f'{self.stage.config.read_text()}[record]\ndir = "rec"\n{settings}\n'
        self.stage.config.write_text(text)
        self.supervisor, self.source = self.stage.live()
        self.stage.up()
        self.published: dict[int, int] = {}  # number of a chunk -> when it was read
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._watch),
            threading.Thread(target=self._send, args=(self.source, rate)),
        ]
        for thread in self._threads:
            thread.start()

    def record(self, before: str = "") -> subprocess.Popen[bytes]:
        return self.stage.start(before, MAIN)

    def recording(self) -> Recording:
        (day,) = [path.name for path in self.directory.iterdir() if r.DAY_NAME.match(path.name)]
        return Recording(day, dir=self.directory)

    def files(self) -> list[Path]:
        return sorted(self.directory.glob("*/*.kfrec"))

    def recorded_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.files())

    def recorded(self) -> list[int]:
        """The numbers of the chunks that are recorded, in the order of the files."""
        return [
            f.decode_chunk_message(f.split_frame(frame)[1]).seq
            for _, frame in self.recording().frames()
            if frame.startswith(TICKS_TOPIC + NUL)
        ]

    def _send(self, source: FakeSource, rate: int) -> None:
        dice = random.Random(1)
        keys = [(f"NSE:S{n}", 256 * n + 1) for n in range(1, 1_000)]
        while not self._stopped.wait(1 / rate):
            part = dice.sample(keys, TICKS_PER_FRAME)
            source.send([item(key, dice.randint(100_00, 900_00), token) for key, token in part])

    def _watch(self) -> None:
        socket = self.stage.plain(TICKS_TOPIC + NUL)
        while not self._stopped.is_set():
            if socket.poll(50):
                _, array = f.split_frame(socket.recv())
                self.published[f.decode_chunk_message(array).seq] = utc_ns()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        self.stage.__exit__(None, None, None)
