"""The examples, and what a program imports, against a real broadcaster."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from benchmarks import npm
from kitefeed.client.status import Status
from kitefeed.protocol.feed import TICKS_PER_CHUNK_MAX, FeedState, Flag
from kitefeed.protocol.messages import bus as m
from tests.integration.broadcaster_kit import LIVE, FakeSource, Stage, item, kill
from tests.support import eventually

pytestmark = pytest.mark.processes

EXAMPLES = Path(__file__).parents[2] / "examples"
INFY = "NSE:INFY"


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as made:
        yield made


class Output:
    """Lines of a program, read as they come."""

    def __init__(self, stage: Stage, *arguments: str, program: str = sys.executable) -> None:
        self.lines: list[str] = []
        env = {"KITEFEED_CONFIG": str(stage.config), "PYTHONUNBUFFERED": "1"}
        self._process = stage.processes.start(
            *arguments, env=env, stdout=subprocess.PIPE, program=program
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.decode())

    def has(self, *words: str) -> bool:
        return any(all(word in line for word in words) for line in self.lines)


def send_until(
    source: FakeSource, output: Output, *words: str, price: int = 1_500_05, flags: int = 0
) -> None:
    sent = msgspec.structs.replace(item(INFY, price), flags=int(flags))

    def attempt() -> bool:
        source.send([sent])
        return output.has(*words)

    eventually(attempt, 8, every_s=0.1)


def test_the_example_strategy_prints_fresh_prices(stage: Stage) -> None:
    stage.start()
    _, source = stage.live()
    output = Output(stage, str(EXAMPLES / "strategy.py"), INFY)
    send_until(source, output, INFY, "1500.05", "websocket\n")
    assert output.has("-- feed live")


def test_the_example_for_asyncio_prints_fresh_prices(stage: Stage) -> None:
    stage.start()
    _, source = stage.live()
    output = Output(stage, str(EXAMPLES / "async_reader.py"), INFY)
    send_until(source, output, INFY, "1500.05", "websocket\n")
    assert output.has("-- feed ", " instruments")


def test_the_example_for_columns_writes_every_tick_down(stage: Stage, tmp_path: Path) -> None:
    stage.start()
    _, source = stage.live()
    path = tmp_path / "ticks.csv"
    output = Output(stage, str(EXAMPLES / "columns.py"), str(path), "60")

    def is_written() -> bool:
        source.send([item(INFY, 1_500_05)])
        return path.exists() and ",408065,1500.05," in path.read_text()

    eventually(is_written, 15, every_s=0.1)
    head, *rows = path.read_text().split("\n")
    assert head.split(",")[:3] == ["t_rx_ns", "instrument_token", "last_price"]
    assert rows[0].count(",") == head.count(",")
    assert not output.lines


def test_the_raw_reader_needs_no_kitefeed_and_agrees_on_freshness(stage: Stage) -> None:
    stage.start()
    _, source = stage.live()
    path = EXAMPLES / "raw_reader.py"
    assert "import kitefeed" not in path.read_text()
    output = Output(stage, str(path), stage.feed_endpoint, INFY)
    send_until(source, output, INFY, "1500.05", "fresh")


def test_the_raw_reader_in_javascript_agrees_on_freshness_for_1500_instruments(
    stage: Stage, tmp_path: Path
) -> None:
    path, program = raw_reader("raw_reader.mjs", tmp_path)
    stage.start()
    supervisor, source = stage.live()
    keys = [f"NSE:S{number}" for number in range(1_500)]
    output = Output(stage, str(path), stage.feed_endpoint, *keys, program=program)

    def is_read(word: str, since: int) -> bool:
        for start in range(0, len(keys), TICKS_PER_CHUNK_MAX):
            source.send([item(key, 1_500_05) for key in keys[start : start + TICKS_PER_CHUNK_MAX]])
        said = {tuple(line.split()) for line in output.lines[since:]}
        return all((key, "1500.05", word) in said for key in keys)

    eventually(lambda: is_read("fresh", 0), 15, every_s=0.5)
    supervisor.order(m.Announce(FeedState("paused", "cache")))
    read = len(output.lines)
    eventually(lambda: is_read("stale", read), 10, every_s=0.5)


@pytest.mark.parametrize("name", ["raw_reader.py", "raw_reader.mjs"])
def test_a_raw_reader_believes_only_news_of_a_segment_that_is_closed(
    stage: Stage, name: str, tmp_path: Path
) -> None:
    path, program = raw_reader(name, tmp_path)
    stage.start()
    supervisor, source = stage.live()
    supervisor.order(m.Announce(msgspec.structs.replace(LIVE, closed_segments=[1])))
    output = Output(stage, str(path), stage.feed_endpoint, INFY, program=program)
    send_until(source, output, INFY, "1500.05", "fresh")
    send_until(source, output, INFY, "1600.00", "stale", price=1_600_00, flags=Flag.FIRST_PACKET)
    send_until(source, output, INFY, "1700.00", "fresh", price=1_700_00)
    with stage.feed(INFY) as feed:
        eventually(lambda: feed[INFY].is_fresh, 5)


@pytest.mark.parametrize("arguments", [(), ("ipc:///tmp/feed.sock",), (INFY, "NSE:TCS")])
@pytest.mark.parametrize("name", ["raw_reader.py", "raw_reader.mjs"])
def test_a_raw_reader_that_lacks_an_argument_says_what_it_needs(
    name: str, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    path, program = raw_reader(name, tmp_path)
    done = subprocess.run([program, path, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stderr.startswith("Name the feed's endpoint")
    assert len(done.stderr.splitlines()) == 1


def raw_reader(name: str, directory: Path) -> tuple[Path, str]:
    """The example and what runs it. That in JavaScript is put beside the packages that it imports;
    where they cannot be had, the test is skipped."""
    if name.endswith(".py"):
        return EXAMPLES / name, sys.executable
    installed = npm.BUILD / "examples" / "raw_reader"
    if reason := npm.why_not(installed, "zeromq@6.8.0", "@msgpack/msgpack@3.1.3"):
        pytest.skip(reason)
    (directory / "node_modules").symlink_to(installed / "node_modules")
    return Path(shutil.copy(EXAMPLES / name, directory)), "node"


def test_importing_the_client_loads_none_of_the_daemons_packages() -> None:
    code = "import sys; from kitefeed import AsyncFeed, Feed, Tick; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert {"kitefeed", "msgspec", "zmq"} <= loaded
    daemon = {"kiteconnect", "click", "supervisor", "rich", "aiohttp", "requests", "twisted"}
    assert not loaded & daemon


def test_a_program_hears_of_every_change_of_the_headline(stage: Stage) -> None:
    process = stage.up()
    supervisor, _ = stage.live()
    heard: list[Status] = []
    with stage.feed(on_status=heard.append) as feed:

        def has_heard(word: str) -> bool:
            feed.next(0.05)
            return any(status.feed == word for status in heard)

        eventually(lambda: has_heard("live"), 3)
        supervisor.order(m.Announce(FeedState(feed="login_required", source="cache")))
        eventually(lambda: has_heard("login_required"), 3)
        kill(process)
        eventually(lambda: has_heard("lost"), 4)
    assert all((a.feed, a.source) != (b.feed, b.source) for a, b in pairwise(heard))


def test_iteration_gives_last_values_first_and_ends_when_closed(stage: Stage) -> None:
    stage.up()
    _, source = stage.live()
    warm = stage.feed(INFY)

    def has_value() -> bool:
        source.send([item(INFY, 1_500_05)])
        return warm.get(INFY) is not None

    eventually(has_value, 5)
    feed = stage.feed(INFY)
    prices = []
    for tick in feed:
        source.send([item(INFY, 1_501_00), item(INFY, 1_502_00)])
        eventually(lambda: feed[INFY].last_price == 1502.0, 3)  # so that more waits to be given out
        prices.append(tick.last_price)
        feed.close()
    assert prices == [1500.05]
    assert feed.next(0.1) is None
