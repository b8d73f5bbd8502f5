"""A recorded day as Kite's: its candles are the bars of the recording."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kitefeed import Recording
from kitefeed.cli.replay.market import recorded_market
from kitefeed.protocol.kite.ticks import TickBody
from kitefeed.simulator.accounts import Accounts
from kitefeed.simulator.exchange import Exchange
from kitefeed.simulator.historical import historical
from tests.recordings import DAY, INFY, NIFTY, NINE_FIFTEEN, S, Writes, put, segment

T0 = NINE_FIFTEEN
NOW_NS = T0 + 40 * 86_400 * S  # it is played on another day
TOKENS = {"NSE:INFY": INFY, "NSE:NIFTY 50": NIFTY}


class Traded(Writes):
    """Ticks of which some come after their minute, and volume that grows."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.dice = random.Random(seed)
        self.volume = 1_000
        self.now_s = T0 // S

    def body(self, token: int, price: int, volume: int = 0) -> TickBody:
        self.volume += self.dice.choice((0, 0, 25, 400))
        late_s = self.dice.choice((0, 0, 0, 1))
        made = super().body(token, price, self.volume)
        return replace(made, exchange_timestamp=self.now_s - late_s, oi=self.volume // 7)


def recorded(root: Path, seed: int, minutes: int = 7) -> Recording:
    feed = Traded(seed)
    at_ns, blocks = T0, list[list[tuple[int, Any]]]()
    while at_ns < T0 + minutes * 60 * S:
        at_ns += feed.dice.randrange(S // 10, 4 * S)
        feed.now_s = at_ns // S
        prices = {token: feed.dice.randrange(1400_00, 1600_00) for token in TOKENS.values()}
        blocks.append([(at_ns, feed.heartbeat(at_ns)), (at_ns, feed.chunk(at_ns, prices))])
    put(root, segment(blocks))
    return Recording(DAY, dir=root)


class Played:
    """Kite, when it has played that day."""

    def __init__(self, root: Path, since: str | None = None, *, is_played: bool = True) -> None:
        self.market = recorded_market(DAY, since, str(root), None)
        self.exchange = Exchange(Accounts(1, 1), self.market)
        self.market.begin(NOW_NS)
        while is_played and self.market.due_ns(NOW_NS) is not None:
            list(self.market.play(NOW_NS))

    def candles(self, token: int, interval: str = "minute", begin: str = DAY) -> list[list[Any]]:
        path = {"instrument_token": str(token), "interval": interval}
        query = {"from": f"{begin} 00:00:00", "to": f"{DAY} 23:59:59", "oi": "1"}
        kept = self.exchange.candles
        found: Any = asyncio.run(historical(self.market, kept, path, query, NOW_NS))
        return found["candles"]


def bars(recording: Recording, key: str, interval: str) -> list[list[Any]]:
    part = Recording(DAY, key, dir=recording.dir)
    return [
        [f"{b.start:%Y-%m-%dT%H:%M:%S%z}", b.open, b.high, b.low, b.close, b.volume, b.oi]
        for b in part.bars(interval)
    ]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("interval", "name"), [("minute", "1m"), ("3minute", "3m")])
def test_its_candles_are_the_bars_of_the_recording_tick_for_tick(
    tmp_path: Path, seed: int, interval: str, name: str
) -> None:
    recording = recorded(tmp_path, seed)
    played = Played(tmp_path)
    for key, token in TOKENS.items():
        expected = bars(recording, key, name)
        assert len(expected) >= 3
        assert played.candles(token, interval) == expected


def test_what_was_before_it_begins_is_known_and_what_comes_is_not(tmp_path: Path) -> None:
    recording = recorded(tmp_path, 1)
    played = Played(tmp_path, "09:18", is_played=False)
    expected = bars(recording, "NSE:INFY", "1m")[:3]
    assert played.candles(INFY) == expected
    security = played.market.read(INFY, NOW_NS)
    before = list(Recording(DAY, "NSE:INFY", dir=tmp_path, until="09:18"))
    assert security is not None
    assert security.price == before[-1].raw.last_price
    assert played.market.due_ns(NOW_NS) is not None


def test_the_days_before_it_are_made_up_and_it_is_not(tmp_path: Path) -> None:
    recording = recorded(tmp_path, 2)
    rows = Played(tmp_path).candles(INFY, "day", "2026-11-20")
    days = [row[0][:10] for row in rows]
    assert days == ["2026-11-20", *(f"2026-11-{n}" for n in range(23, 28)), DAY]
    minutes = Played(tmp_path).candles(INFY, "minute", "2026-11-27")
    assert sum(row[0].startswith("2026-11-27") for row in minutes) == 375
    assert [row for row in minutes if row[0].startswith(DAY)] == bars(recording, "NSE:INFY", "1m")


def test_an_instrument_without_a_value_yet_has_no_candle(tmp_path: Path) -> None:
    recorded(tmp_path, 3)
    assert Played(tmp_path, is_played=False).candles(INFY) == []
