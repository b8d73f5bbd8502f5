"""`kitefeed verify` beside a Kite that answers over HTTP: the simulator, which plays that day."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kitefeed.protocol.recording import Codec
from tests.recordings import DAY, INFY, NIFTY, NINE_FIFTEEN, S, Writes, put, segment
from tests.support import Processes, slowness

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]
T0 = NINE_FIFTEEN
MINUTES = 5


class Desk:
    """Kite has played `theirs`; `ours` was recorded."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="kf", dir="/tmp"))
        self.config = self.root / "kitefeed.toml"
        self.processes = Processes()
        self.record("theirs")

    def record(self, name: str, *, odd_minute: int = -1, left_out: int = -1) -> None:
        feed, blocks = Writes(), list[list[tuple[int, Any]]]()
        for n in range(MINUTES * 60):
            at_ns, minute = T0 + n * S, n // 60
            feed.exchange_s = at_ns // S
            price = (
                1500_00 + 5 * (n % 17) + (100_00 if minute == odd_minute and n % 60 == 30 else 0)
            )
            frame = feed.chunk(at_ns + 1, {INFY: price, NIFTY: 24_000_00 - n})
            if minute != left_out:
                blocks.append([(at_ns, feed.heartbeat(at_ns)), (at_ns + 1, frame)])
        put(self.root / name, segment(blocks, codec=Codec.ZLIB))

    def start(self) -> None:
        words = ["simulate", "--port", "0", "--replay", DAY, "--dir", str(self.root / "theirs"),
                 "--from", "23:00"]  # fmt: skip
        simulator = subprocess.Popen(
            [sys.executable, "-m", "kitefeed.cli", *words], stdout=subprocess.PIPE, text=True
        )
        self.processes._started.append(simulator)  # type: ignore[arg-type]
        assert simulator.stdout is not None
        ready = json.loads(simulator.stdout.readline())
        self.config.write_text(
            f'runtime_dir = "run"\nstate_dir = "state"\n[record]\ndir = "ours"\n'
            f'[kite]\napi_key = "{ready["api_key"]}"\nrest_url = "{ready["rest"]}"\n'
        )
        done = self.kitefeed("session", "set", "--force", given=json.dumps(ready))
        assert done.returncode == 0, done.stderr

    def kitefeed(self, *words: str, given: str | None = None) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "kitefeed.cli", *words], input=given,
            env={**os.environ, "KITEFEED_CONFIG": str(self.config)},
            capture_output=True, text=True, timeout=60 * slowness(), check=False,
        )  # fmt: skip


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    with made.processes:
        yield made
    shutil.rmtree(made.root)


def test_a_day_that_is_whole_agrees_with_kites_candles_minute_by_minute(desk: Desk) -> None:
    desk.record("ours")
    desk.start()
    done = desk.kitefeed("verify", DAY)
    assert done.returncode == 0, done.stderr
    assert "NSE:INFY" in done.stdout
    assert done.stdout.count(f"{MINUTES} minutes as Kite has them") == 2
    found = json.loads(desk.kitefeed("verify", DAY, "--json").stdout)
    assert found["candles_left_out"] == ""
    assert found["candles"] == [
        {"instrument": key, "same": MINUTES, "differ": [], "missing": []}
        for key in ("NSE:INFY", "NSE:NIFTY 50")
    ]


def test_what_differs_and_what_is_missing_is_named(desk: Desk) -> None:
    desk.record("ours", odd_minute=1, left_out=3)
    desk.start()
    found = json.loads(desk.kitefeed("verify", DAY, "NSE:INFY", "--json").stdout)
    assert found["candles"] == [
        {"instrument": "NSE:INFY", "same": MINUTES - 2, "differ": ["09:16"], "missing": ["09:18"]}
    ]
    page = desk.kitefeed("verify", DAY).stdout
    assert "1 differs: 09:16; 1 is missing: 09:18" in page


def test_without_a_session_it_says_why_nothing_is_compared(desk: Desk) -> None:
    desk.record("ours")
    desk.start()
    assert desk.kitefeed("session", "clear").returncode == 0
    done = desk.kitefeed("verify", DAY)
    assert done.returncode == 0
    assert "not compared: " in done.stdout
    assert "log in" in done.stdout
