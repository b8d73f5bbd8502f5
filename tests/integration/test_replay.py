"""`kitefeed replay` as a process: programs that know nothing of it read a recorded day."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kiteconnect import KiteConnect

from kitefeed import AsyncFeed, BadInput, Feed, KiteTicker, Recording, to_dict
from kitefeed.protocol.recording import Codec
from tests.integration.test_gateway import free_port
from tests.recordings import DAY, INFY, NIFTY, NINE_FIFTEEN, S, Writes, put, segment
from tests.support import Processes, eventually, slowness

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]
T0 = NINE_FIFTEEN
TICKS = 2_000


class Day:
    """A recorded day in a directory, and the replays of it."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="kf", dir="/tmp"))
        self.config = self.root / "at" / "kitefeed.toml"
        self.processes = Processes()
        feed = Writes()
        blocks: list[list[tuple[int, Any]]] = []
        for n in range(TICKS):
            at_ns = T0 + n * S // 10
            block: list[tuple[int, Any]] = [(at_ns, feed.heartbeat(at_ns))] if n % 10 == 0 else []
            feed.exchange_s = at_ns // S
            prices = {INFY: 1500_00 + n, NIFTY: 24_000_00 - n}
            blocks.append([*block, (at_ns + 1, feed.chunk(at_ns + 1, prices))])
        put(self.root / "rec", segment(blocks, codec=Codec.ZLIB))

    def replay(self, *options: str, stdin: int | None = None) -> "subprocess.Popen[bytes]":
        words = ["-m", "kitefeed.cli", "replay", DAY, "--dir", str(self.root / "rec"),
                 "--at", str(self.root / "at"), *options]  # fmt: skip
        if stdin is None:
            process = self.processes.start(*words, env={})
        else:
            process = subprocess.Popen([sys.executable, *words], stdin=stdin)
            self.processes._started.append(process)
        eventually(lambda: (self.root / "at/run/feed.sock").exists(), 30)
        return process

    def feed(self, *instruments: str, **options: Any) -> Feed:
        return Feed(*instruments, config=self.config, timeout_s=20.0, **options)

    def kitefeed(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "kitefeed.cli", *words],
            env={**os.environ, "KITEFEED_CONFIG": str(self.config)},
            capture_output=True, text=True, timeout=60 * slowness(), check=False,
        )  # fmt: skip


@pytest.fixture
def day() -> Iterator[Day]:
    made = Day()
    with made.processes:
        yield made
    shutil.rmtree(made.root)


def test_a_program_reads_it_as_any_feed_and_everything_says_replay(day: Day) -> None:
    process = day.replay("--speed", "10", "--from", "09:15:10")
    with day.feed("NSE:INFY") as feed:
        first = feed.next(10)
        assert first is not None
        ticks = [first, *(tick for _ in range(50) if (tick := feed.next(5)) is not None)]
        assert [t.raw.last_price for t in ticks] == [
            *range(first.raw.last_price, first.raw.last_price + 51)
        ]
        assert first.raw.last_price >= 1500_00 + 99
        assert {t.source for t in ticks} == {"replay"}
        eventually(lambda: feed["NSE:INFY"].is_fresh, 5)
        assert (feed.status.feed, feed.status.source) == ("replay", "replay")
        status = day.kitefeed("status")
        assert status.returncode == 0
        assert all(line.startswith("replay ") for line in status.stdout.splitlines())
        assert "live" not in status.stdout.replace("it was live", "")
        with pytest.raises(BadInput, match="is not in this replay"):
            day.feed("NSE:TYPO")
        with day.feed(NIFTY) as by_token:  # type: ignore[arg-type]
            assert by_token.instruments == ("NSE:NIFTY 50",)
        refused = day.kitefeed("pause")
        assert "this is a replay" in refused.stderr
        another = day.kitefeed("replay", DAY, "--dir", str(day.root / "rec"),
                               "--at", str(day.root / "at"))  # fmt: skip
        assert (another.returncode, "is held by process" in another.stderr) == (75, True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10 * slowness()) == 128 + signal.SIGTERM
        eventually(lambda: feed.status.feed == "lost", 10)


def test_at_full_speed_several_programs_get_every_tick(day: Day) -> None:
    process = day.replay("--speed", "max", "--readers", "3", "--exit")
    found: dict[str, list[int]] = {}

    def read(name: str, *instruments: str) -> None:
        with day.feed(*instruments, max_age_s=None) as feed:
            prices: list[int] = []
            while len(prices) < TICKS and (tick := feed.next(20)) is not None:
                if tick.instrument == "NSE:INFY":
                    prices.append(tick.raw.last_price)
            found[name] = prices

    async def read_async() -> None:
        prices: list[int] = []
        async with AsyncFeed("NSE:INFY", config=day.config, timeout_s=20, max_age_s=None) as feed:
            while len(prices) < TICKS and (tick := await feed.next(20)) is not None:
                prices.append(tick.raw.last_price)
        found["async"] = prices

    threads = [
        threading.Thread(target=read, args=("all",)),
        threading.Thread(target=read, args=("one", "NSE:INFY")),
        threading.Thread(target=lambda: asyncio.run(read_async())),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    expected = [*range(1500_00, 1500_00 + TICKS)]
    assert found == {"all": expected, "one": expected, "async": expected}
    assert process.wait(20 * slowness()) == 0


def test_step_by_step_a_line_plays_one_message_of_ticks(day: Day) -> None:
    process = day.replay("--speed", "step", stdin=subprocess.PIPE)
    assert process.stdin is not None
    with day.feed("NSE:INFY") as feed:
        for n in range(5):
            assert feed.next(0.3) is None
            process.stdin.write(b"\n")
            process.stdin.flush()
            tick = feed.next(10)
            assert tick is not None
            assert tick.raw.last_price == 1500_00 + n
        eventually(lambda: feed["NSE:INFY"].is_fresh, 5)


def test_a_program_that_was_written_for_kite_gets_the_day(day: Day) -> None:
    day.replay("--speed", "10")
    prices: list[float] = []
    ticker = KiteTicker("key", "token", config=day.config)
    ticker.on_ticks = lambda ws, ticks: prices.extend(tick["last_price"] for tick in ticks)
    ticker.on_connect = lambda ws, response: ws.subscribe([INFY])
    ticker.connect(threaded=True)
    try:
        eventually(lambda: len(prices) > 20, 20)
        assert prices[1:] == sorted(prices[1:])
    finally:
        ticker.close()


BOT = """
import json, sys
from kiteconnect import KiteTicker
root, key, token, tokens = json.loads(sys.argv[1])
ticker = KiteTicker(key, token, root=root)
def on_connect(ws, response):
    ws.subscribe(tokens)
    ws.set_mode(ws.MODE_FULL, tokens)
ticker.on_connect = on_connect
ticker.on_ticks = lambda ws, ticks: [print(json.dumps(t, default=str), flush=True) for t in ticks]
ticker.connect()
"""


def test_the_official_client_gets_the_recorded_day_tick_by_tick(day: Day) -> None:
    simulator = subprocess.Popen(
        [sys.executable, "-m", "kitefeed.cli", "simulate", "--port", "0", "--replay", DAY,
         "--dir", str(day.root / "rec"), "--speed", "max"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    day.processes._started.append(simulator)  # type: ignore[arg-type]
    assert simulator.stdout is not None
    ready = json.loads(simulator.stdout.readline())
    given = json.dumps([ready["ws"], ready["api_key"], ready["access_token"], [INFY, NIFTY]])
    bot = subprocess.Popen([sys.executable, "-c", BOT, given], stdout=subprocess.PIPE, text=True)
    day.processes._started.append(bot)  # type: ignore[arg-type]
    assert bot.stdout is not None
    recorded = list(Recording(DAY, dir=day.root / "rec"))
    for tick in recorded:
        got = json.loads(bot.stdout.readline())
        expected = json.loads(json.dumps(to_dict(tick, kite=True), default=str))
        if tick.instrument_token == NIFTY:  # the recording was made with more than an index has
            expected = {name: expected[name] for name in got}
        assert got == expected
    bot.kill()
    kite = KiteConnect(ready["api_key"], ready["access_token"], root=ready["rest"])
    for token, key in ((INFY, "NSE:INFY"), (NIFTY, "NSE:NIFTY 50")):
        rows = kite.historical_data(token, f"{DAY} 00:00:00", f"{DAY} 23:59:59", "minute")
        bars = list(Recording(DAY, key, dir=day.root / "rec").bars("1m"))
        found = [(r["date"], r["open"], r["high"], r["low"], r["close"], r["volume"]) for r in rows]
        assert found == [(b.start, b.open, b.high, b.low, b.close, b.volume) for b in bars]
        assert len(bars) == 4


def test_the_official_client_gets_it_through_the_endpoint_tick_by_tick(day: Day) -> None:
    replay = day.replay("--speed", "step", stdin=subprocess.PIPE)
    port = free_port()
    text = day.config.read_text().replace(":8789", f":{port}")
    for name in ("run", "state"):
        text = text.replace(f'"{name}"', f'"{day.root}/at/{name}"')
    own = day.root / "endpoint.toml"
    own.write_text(text)
    service = ["-m", "kitefeed.cli", "service", "kite_endpoint"]
    day.processes.start(*service, env={"KITEFEED_CONFIG": str(own)})
    eventually(lambda: answers(port), 30)
    given = json.dumps([f"ws://127.0.0.1:{port}", "any", "any", [INFY]])
    bot = subprocess.Popen([sys.executable, "-c", BOT, given], stdout=subprocess.PIPE, text=True)
    day.processes._started.append(bot)  # type: ignore[arg-type]
    lines = bot.stdout
    assert lines is not None
    found: list[dict[str, Any]] = []
    reading = threading.Thread(target=lambda: found.extend(map(json.loads, lines)))
    reading.start()

    def step() -> None:
        assert replay.stdin is not None
        replay.stdin.write(b"\n")
        replay.stdin.flush()

    eventually(lambda: step() or found, 30, every_s=0.5)  # until it has subscribed
    settled = -1
    while settled != len(found):  # some steps may have been too early
        settled = len(found)
        threading.Event().wait(1.0)
    for count in range(len(found), len(found) + 150):
        step()
        eventually(lambda count=count: len(found) == count + 1, 20)
    bot.kill()
    reading.join(10)
    recorded = list(Recording(DAY, "NSE:INFY", dir=day.root / "rec"))
    expected = [json.loads(json.dumps(to_dict(t, kite=True), default=str)) for t in recorded]
    begin = expected.index(found[0])
    assert found == expected[begin : begin + len(found)]
    assert len(found) > 150


def answers(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--speed", "fast"], "is none of: a number such as 1 or 10, max, step"),
        (["--from", "noon"], "write it as 09:15"),
        (["NSE:TYPO"], "nothing is recorded of it"),
        (["--at", "x" * 100], "too long for a socket"),
    ],
)
def test_bad_input_is_a_sentence(day: Day, words: list[str], sentence: str) -> None:
    where = ["--dir", str(day.root / "rec"), "--at", str(day.root / "at")]
    done = day.kitefeed("replay", DAY, *where, *words)  # the last of two options counts
    assert done.returncode in (2, 65)
    assert sentence in done.stderr.replace("\n", " ")


def test_bars_of_a_replay_are_those_of_the_day_and_none_is_called_complete(day: Day) -> None:
    day.replay("--speed", "20")
    with day.feed("NSE:INFY", max_age_s=None) as feed:
        stream = feed.bars("30s", since="00:00")
        made = [bar for bar, _ in zip(stream, range(4), strict=False)]
        assert stream.late == 0
    assert {bar.quality for bar in made} == {"replay"}
    recorded = list(Recording(DAY, "NSE:INFY", dir=day.root / "rec").bars("30s"))[: len(made)]
    facts = [(b.start_ns, b.open, b.high, b.low, b.close, b.volume, b.ticks) for b in made]
    assert facts == [
        (b.start_ns, b.open, b.high, b.low, b.close, b.volume, b.ticks) for b in recorded
    ]
