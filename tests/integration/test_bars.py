"""Bars of a real daemon's feed, beside the ticks of another reader."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise

import pytest

from kitefeed.client.bar_history import BarHistory
from kitefeed.client.bars import Bar, Bars
from kitefeed.client.feed import Feed
from kitefeed.client.feed_async import AsyncFeed
from kitefeed.client.recording import Recording
from kitefeed.protocol.clock import utc_ns
from kitefeed.protocol.errors import BadInput
from kitefeed.protocol.kite.units import IST
from tests.integration.rig import Rig
from tests.support import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

INFY, NIFTY = "NSE:INFY", "NSE:NIFTY 50"


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig() as made:
        made.start()
        yield made


def taken(feed: Feed, count: int, wait_s: float = 0.5) -> list[Bar]:
    stream = feed.bars("1s", wait_s=wait_s)
    return [bar for bar, _ in zip(stream, range(count), strict=False)]


def test_bars_come_when_they_are_final_and_are_those_of_the_ticks(rig: Rig) -> None:
    with (
        rig.feed(INFY, NIFTY) as feed,
        Feed(INFY, NIFTY, config=rig.config, max_age_s=None) as beside,
    ):
        made = taken(feed, 12)
        came_ns = utc_ns()
        again = Bars("1s")
        while (tick := beside.next(0)) is not None:
            again.take(tick, tick.t_rx_ns)
        other = {(bar.instrument, bar.start_ns): bar for bar in again.final(came_ns + 10**10)}
    assert {bar.instrument for bar in made} == {INFY, NIFTY}
    assert all(bar.is_final and bar.end_ns + 5 * 10**8 <= came_ns for bar in made)
    for key in (INFY, NIFTY):
        ends = [bar.end_ns for bar in made if bar.instrument == key]
        assert ends == sorted(set(ends))
    complete = [bar for bar in made if bar.quality == "complete"]
    assert len(complete) >= 6
    for bar in complete:
        beside_it = other[bar.instrument, bar.start_ns]
        assert (bar.open, bar.high, bar.low, bar.close, bar.ticks) == (
            beside_it.open, beside_it.high, beside_it.low, beside_it.close, beside_it.ticks,
        )  # fmt: skip
    assert all(bar.volume is not None for bar in made if bar.instrument == INFY)
    assert all(bar.volume is None for bar in made if bar.instrument == NIFTY)


def test_what_is_under_way_can_be_looked_at_and_waiting_ends_in_time(rig: Rig) -> None:
    with rig.feed(INFY) as feed:
        stream = feed.bars("1h")
        before = time.monotonic()
        assert stream.next(1.0) is None
        assert 0.9 < time.monotonic() - before < 5
        (bar,) = stream.under_way()
        assert (bar.instrument, bar.is_final, bar.quality) == (INFY, False, "first")
        assert stream.late == 0
    assert stream.next(1.0) is None
    assert list(stream) == []


def test_an_asyncio_program_gets_the_same(rig: Rig) -> None:
    async def story() -> list[Bar]:
        async with AsyncFeed(INFY, config=rig.config) as feed:
            made = []
            async for bar in feed.bars("1s", wait_s=0.2):
                made.append(bar)
                if len(made) == 4:
                    break
            assert await feed.bars("1h").next(0.1) is None
        return made

    made = asyncio.run(story())
    # The last value that a feed begins with may be of the second before.
    firsts = 2 if made[1].quality == "first" else 1
    assert {bar.quality for bar in made[:firsts]} == {"first"}
    assert {bar.quality for bar in made[firsts:]} == {"complete"}
    assert all(a.end_ns <= b.start_ns for a, b in pairwise(made))


def test_bars_of_a_feed_that_leaves_ticks_out_are_refused(rig: Rig) -> None:
    with (
        Feed(INFY, config=rig.config, per_second=2) as feed,
        pytest.raises(BadInput, match="per_second"),
    ):
        feed.bars("1m")


def test_a_restarted_broadcaster_is_a_gap_and_the_bars_after_it_are_complete_again(
    rig: Rig,
) -> None:
    with rig.feed(INFY) as feed:
        stream = feed.bars("1s", wait_s=0.5)
        made: list[Bar] = []

        def has(quality: str, after: int = 0) -> bool:
            bar = stream.next(0.1)
            made.extend([bar] if bar else [])
            return any(each.quality == quality for each in made[after:])

        eventually(lambda: has("complete"), 15)
        os.kill(rig.pid_of("broadcaster"), signal.SIGKILL)
        eventually(lambda: has("gap"), 30)
        eventually(lambda: has("complete", len(made)), 30)


def test_polled_minutes_say_so(rig: Rig) -> None:
    with rig.feed(INFY) as feed:
        rig.kitefeed("source", "rest")
        stream = feed.bars("2s", wait_s=0.5)
        made: list[Bar] = []

        def is_polled() -> bool:
            bar = stream.next(0.1)
            made.extend([bar] if bar else [])
            return bool(made) and made[-1].quality == "rest"

        eventually(is_polled, 40)
        rig.kitefeed("source", "auto")
        eventually(lambda: not is_polled() and made[-1].quality == "complete", 40)


def test_bars_of_before_are_kites_and_the_one_under_way_is_filled(rig: Rig) -> None:
    """A real minute passes."""
    with rig.feed(INFY) as feed:
        stream = feed.bars("1m", since="00:00", wait_s=0.5)
        made: list[Bar] = []
        while not made or made[-1].end_ns < utc_ns() - 5 * 10**9:
            bar = stream.next(90)
            assert bar is not None
            made.append(bar)
        assert {bar.quality for bar in made} == {"history"}
        assert all(a.end_ns <= b.start_ns for a, b in pairwise(made))
        token = feed[INFY].instrument_token
        asked = BarHistory(rig.config).bars(INFY, token, "1m", made[-1].start_ns, made[-1].end_ns)
        assert asked == [made[-1]]


def test_without_a_session_bars_go_on_and_say_why_they_are_not_whole(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    with rig.feed(INFY) as feed:
        session = rig.root / "state" / "session.json"
        kept = session.read_bytes()
        session.unlink()
        try:
            stream = feed.bars("1m", since="00:00")
            assert stream.next(1.0) is None
        finally:
            session.write_bytes(kept)
            session.chmod(0o600)
        assert [each.quality for each in stream.under_way()] == ["first"]
    (said,) = [each.message for each in caplog.records if "not whole" in each.message]
    assert "log in" in said


def test_the_command_prints_the_bars_of_today(rig: Rig) -> None:
    asked = ("bars", INFY, "--interval", "1m", "--json", "--count", "1")
    # The simulator has no minute of today before the first that is over.
    eventually(lambda: rig.kitefeed(*asked).stdout, 90)
    done = rig.kitefeed(*asked)
    assert done.returncode == 0, done.stderr
    (row,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (row["instrument"], row["quality"]) == (INFY, "history")
    done = rig.kitefeed("bars", INFY, "--interval", "1s", "--follow", "--count", "2")
    assert len(done.stdout.splitlines()) == 2
    assert "NSE:INFY" in done.stdout
    assert "₹" in done.stdout
    assert rig.kitefeed("bars", INFY, "--interval", "1w").returncode == 65
    assert rig.kitefeed("bars", "NSE:*").returncode == 65


def test_bars_of_before_come_from_the_recording_where_there_is_one() -> None:
    with Rig(tables='[record]\ndir = "recordings"\n') as rig:
        rig.start()

        def recorded() -> list[Bar]:
            try:
                today = datetime.now(IST).date()
                return list(Recording(today, INFY, config=rig.config).bars("2s"))
            except BadInput:
                return []

        eventually(lambda: sum(bar.quality == "complete" for bar in recorded()) >= 3, 60)
        begin = recorded()[1].start
        # Just after a bar's end: the feed's last value is of that bar, which the recording has too.
        eventually(lambda: utc_ns() % (2 * 10**9) < 10**8, 5)
        with rig.feed(INFY) as feed:
            stream = feed.bars("2s", since=begin, wait_s=3)
            came_ns = utc_ns()
            made = []
            while not made or made[-1].start_ns < came_ns + 2 * 10**9:
                bar = stream.next(20)
                assert bar is not None
                made.append(bar)
    assert made[0].start == begin
    assert {bar.quality for bar in made} == {"complete"}
    assert all(a.end_ns == b.start_ns for a, b in pairwise(made))
