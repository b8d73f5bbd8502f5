"""`kitefeed verify`: one page of what a day holds and lacks."""

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import kitefeed
from kitefeed.cli.commands.verify import verify
from kitefeed.client import bar_history
from kitefeed.protocol.errors import LoginNeeded
from kitefeed.protocol.feed import Source
from kitefeed.protocol.kite.units import IST
from kitefeed.protocol.recording import Gap
from tests.recordings import (
    DAY,
    GOLD,
    INFY,
    NIFTY,
    NINE_FIFTEEN,
    S,
    Writes,
    described,
    put,
    segment,
)

T0 = NINE_FIFTEEN
NOT_HAD = "Kite's candles cannot be had"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Three minutes: live, ten seconds that were not recorded, polled; and a damaged block."""
    feed = Writes()
    blocks: list[list[tuple[int, Any]]] = []
    for n in range(180):
        at_ns = T0 + n * S
        if n == 100:
            feed.source, feed.epoch = Source.REST, 4
        word = "rest" if n >= 100 else "live"
        block: list[tuple[int, Any]] = []
        if 60 <= n < 70:
            feed.chunk(at_ns, {INFY: 1500_00 + n})
            continue
        if n == 70:
            gap = Gap(at_ns - 11 * S, at_ns, "killed", healed=True)
            block.append((at_ns, gap))
        block.append((at_ns, feed.heartbeat(at_ns, word)))
        block.append((at_ns + 1, feed.chunk(at_ns + 1, {INFY: 1500_00 + n, NIFTY: 24_000_00})))
        blocks.append(block)
    parts = segment(blocks, instruments=described(INFY, NIFTY, GOLD))
    parts[5] = parts[5][:-1] + bytes([parts[5][-1] ^ 1])
    put(tmp_path, parts)
    return tmp_path


def run(directory: Path, *words: str) -> str:
    done = CliRunner().invoke(verify, [DAY, "--dir", str(directory), *words])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_page_says_what_is_there_and_what_is_missing(directory: Path) -> None:
    text = run(directory, "--no-candles")
    assert "2026-11-30, 09:15:00 to 09:17:59 IST: 338 ticks of 2 instruments" in text
    assert "09:15:59 for 11 s: killed; only ticks between are missing" in text
    assert "damaged" in text
    assert "its checksum is wrong" in text
    assert "no tick of  MCX:GOLD26DECFUT" in text
    (row,) = [line for line in text.splitlines() if line.startswith("NSE:INFY")]
    assert row.split()[:4] == ["NSE:INFY", "169", "09:14:59", "09:17:58"]
    assert row.split()[-1] == "47%"  # polled
    assert "feed        live 92 s, rest 79 s, lost 8.5 s" in text


def test_programs_get_the_same_as_json(directory: Path) -> None:
    found = json.loads(run(directory, "--json", "--no-candles", "NSE:INFY"))
    assert found["ticks"] == 169
    assert found["instruments"][0]["longest_pause_ns"] == 11 * S
    assert [gap["reason"] for gap in found["gaps"]] == ["damaged", "killed"]
    assert len(found["damage"]) == 1
    assert found["candles_left_out"] == "not asked for"


class Kite:
    """Answers as Kite's client does."""

    def __init__(self, **changes: Any) -> None:
        self.changes = changes

    def historical_data(self, token: int, *_: object, oi: bool) -> list[dict[str, Any]]:
        start = datetime.datetime(2026, 11, 30, 9, 15, tzinfo=IST)
        rows = [
            {"date": start + datetime.timedelta(minutes=n), "open": 1500.0 + 0.6 * n,
             "high": 1500.0 + 0.6 * n + 0.59, "low": 1500.0 + 0.6 * n,
             "close": 1500.0 + 0.6 * n + 0.59, "volume": 0}
            for n in range(4)
        ]  # fmt: skip
        rows[0].update(self.changes)
        return rows


def test_minutes_are_compared_with_those_of_kite(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kitefeed, "kite", lambda *_, **__: Kite(high=1600.0), raising=False)
    found = json.loads(run(directory, "--json", "NSE:INFY"))
    (compared,) = found["candles"]
    assert compared["instrument"] == "NSE:INFY"
    # The exchange's clock stands still in this day: there is one minute, of the first 60 ticks.
    assert (compared["differ"], compared["missing"]) == (["09:15"], ["09:16", "09:17", "09:18"])
    monkeypatch.setattr(kitefeed, "kite", lambda *_, **__: Kite())
    assert json.loads(run(directory, "--json", "NSE:INFY"))["candles"][0]["same"] == 1
    monkeypatch.setattr(kitefeed, "kite", lambda *_, **__: Kite(high=1600.0))
    text = run(directory, "NSE:INFY")
    assert "1 differs: 09:15; 3 are missing, first 09:16" in text


def test_a_minute_that_is_not_over_or_not_written_yet_is_not_said_to_be_missing(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kitefeed, "kite", lambda *_, **__: Kite())
    minutes = {
        179: ["09:16"],  # as it is written; 09:17 waits for its last ticks
        190: ["09:16"],
        241: ["09:16", "09:17"],  # nobody writes it any more
        300: ["09:16", "09:17", "09:18"],
    }
    for after_s, missing in minutes.items():
        monkeypatch.setattr(f"{verify.callback.__module__}.utc_ns", lambda s=after_s: T0 + s * S)
        (found,) = json.loads(run(directory, "--json", "NSE:INFY"))["candles"]
        assert found["missing"] == missing


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (LoginNeeded("log in first"), "not compared: log in first"),
        (
            ImportError("kite() needs kiteconnect"),
            f"not compared: {NOT_HAD}: kite() needs kiteconnect",
        ),
        (
            RuntimeError("Too many requests"),
            f"not compared: {NOT_HAD}: Too many requests",
        ),
    ],
)
def test_without_kite_the_rest_is_told(
    directory: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(kitefeed, "kite", refuse, raising=False)
    assert sentence in run(directory)


def test_a_crowd_of_questions_is_waited_out(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crowded(Kite):
        asked = 0

        def historical_data(self, token: int, *_: object, oi: bool) -> list[dict[str, Any]]:
            self.asked += 1
            if self.asked % 3:
                error = RuntimeError("Too many requests")
                error.code = 429  # type: ignore[attr-defined]
                raise error
            return super().historical_data(token, oi=oi)

    waited: list[float] = []
    monkeypatch.setattr(bar_history.time, "sleep", waited.append)
    monkeypatch.setattr(kitefeed, "kite", lambda *_, **__: Crowded(), raising=False)
    found = json.loads(run(directory, "--json", "NSE:INFY", "NSE:NIFTY 50"))
    assert found["candles_left_out"] == ""
    assert len(found["candles"]) == 2
    assert [round(each) for each in waited] == [0, 1, 1, 0, 1, 1]
