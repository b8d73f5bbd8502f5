"""The examples, and what a program imports, against a real broadcaster."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kitefeed.client.feed import Feed, Status
from kitefeed.protocol import messages as m
from kitefeed.protocol.feed import FeedState
from tests.integration.broadcaster_kit import FakeSource, Stage, item, kill
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

    def __init__(self, stage: Stage, *arguments: str) -> None:
        self.lines: list[str] = []
        self._process = stage.processes.start(
            "-u", *arguments, env={"KITEFEED_CONFIG": str(stage.config)}, stdout=subprocess.PIPE
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.decode())

    def has(self, *words: str) -> bool:
        return any(all(word in line for word in words) for line in self.lines)


def send_until(source: FakeSource, output: Output, *words: str) -> None:
    def attempt() -> bool:
        source.send([item(INFY, 1_500_05)])
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


def test_the_raw_reader_needs_no_kitefeed_and_agrees_on_freshness(stage: Stage) -> None:
    stage.start()
    _, source = stage.live()
    path = EXAMPLES / "raw_reader.py"
    assert "import kitefeed" not in path.read_text()
    output = Output(stage, str(path), stage.feed_endpoint, INFY)
    send_until(source, output, INFY, "1500.05", "fresh")


def test_importing_the_client_loads_none_of_the_daemons_packages() -> None:
    code = "import sys; from kitefeed import AsyncFeed, Feed, Tick; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert {"kitefeed", "msgspec", "zmq"} <= loaded
    daemon = {"kiteconnect", "click", "supervisor", "rich", "aiohttp", "requests", "twisted"}
    assert not loaded & daemon


def test_a_program_hears_of_every_change_of_the_headline(stage: Stage) -> None:
    process = stage.start()
    supervisor, _ = stage.live()
    heard: list[Status] = []
    with Feed(endpoint=stage.feed_endpoint, on_status=heard.append) as feed:

        def has_heard(word: str) -> bool:
            feed.next(0.05)
            return any(status.feed == word for status in heard)

        eventually(lambda: has_heard("live"), 3)
        supervisor.order(m.Announce(FeedState(feed="login_required", source="cache")))
        eventually(lambda: has_heard("login_required"), 3)
        kill(process)
        eventually(lambda: has_heard("lost"), 4)
    assert len({(s.feed, s.source) for s in heard}) == len(heard)


def test_iteration_gives_last_values_first_and_ends_when_closed(stage: Stage) -> None:
    stage.start()
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
