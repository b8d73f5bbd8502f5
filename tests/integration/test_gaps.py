"""Programs that are really too slow, beside a real broadcaster: warned, told what is missing, and
told when the last values have come anew.
"""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest

from kitefeed import AsyncFeed, Feed, Gap, GapReason
from kitefeed.client.tick import Tick
from kitefeed.client.wants import Wants
from kitefeed.protocol.clock import boot_ns
from tests.integration.broadcaster_kit import FakeSource, Stage, item, kill, settle
from tests.support import eventually, eventually_async, slowness

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

INFY, TCS = "NSE:INFY", "NSE:TCS"


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as made:
        yield made


@pytest.fixture
def live(stage: Stage) -> FakeSource:
    stage.up()
    _, source = stage.live()
    with stage.feed(INFY, TCS) as warm:
        settle(warm, source, {INFY: 1, TCS: 1})
    return source


class Heard:
    """The gaps that `on_gap` was told, and the tick that the program had been given before each."""

    def __init__(self) -> None:
        self.gaps: list[Gap] = []
        self.after: list[int] = []
        self.seqs: list[int] = []  # of INFY, as they were given out

    def __call__(
        self,
        start: datetime,
        end: datetime | None,
        instruments: Mapping[str, int],
        reason: GapReason,
        healed: bool,
    ) -> None:
        self.gaps.append(Gap(start, end, instruments, reason, healed))
        self.after.append(len(self.seqs))

    def took(self, tick: Tick | None) -> None:
        if tick is not None and tick.instrument == INFY:
            self.seqs.append(tick.seq)

    def words(self) -> list[tuple[str, bool]]:
        """Without what is told again and again."""
        found = [(gap.reason, gap.healed) for gap in self.gaps]
        return [one for before, one in pairwise([("", False), *found]) if one != before]

    def missing(self, *reasons: str) -> int:
        """Of INFY, as the healed gaps count it."""
        return sum(gap.instruments.get(INFY, 0) for gap in self.gaps
                   if gap.healed and gap.reason in reasons)  # fmt: skip

    @property
    def holes(self) -> int:
        """The number of ticks of INFY that are missing among those that were given out."""
        return sum(later - before - 1 for before, later in pairwise(self.seqs))


class Pump:
    """Sends a tick of INFY every few milliseconds until it is stopped."""

    def __init__(self, source: FakeSource, every_s: float) -> None:
        self._source = source
        self._every_s = every_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.price = 100

    def _run(self) -> None:
        while not self._stopped.wait(self._every_s):
            self.price += 1
            self._source.send([item(INFY, self.price)])

    def __enter__(self) -> "Pump":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()


@pytest.mark.parametrize("instruments", [(INFY, TCS), ()], ids=["each", "all"])
def test_a_slow_program_is_warned_before_ticks_are_skipped_and_told_how_many_in_their_place(
    stage: Stage, live: FakeSource, instruments: tuple[str, ...]
) -> None:
    heard, busy = Heard(), threading.Event()
    with Feed(*instruments, endpoint=stage.feed_endpoint, on_gap=heard) as feed:
        with Pump(live, 0.005):
            for tick in feed:
                heard.took(tick)
                busy.wait(0.03)  # six ticks come meanwhile
                if ("skipped", True) in heard.words() and len(heard.gaps) >= 3:
                    break
        eventually(lambda: heard.took(feed.next(0.05)) or ("behind", True) in heard.words(), 5)
        while (last := feed.next(0.2)) is not None:
            heard.took(last)
        assert (feed.gaps, feed.overrun) == (0, 0)
        assert heard.words()[:2] == [("behind", False), ("skipped", True)]
        assert heard.holes == heard.missing("skipped") == feed.skipped > 0
    for gap, after in zip(heard.gaps, heard.after, strict=True):
        if gap.reason == "skipped":  # in its place: before the tick that came after it
            assert heard.seqs[after] - heard.seqs[after - 1] - 1 == gap.instruments[INFY]
            assert gap.end is not None
            assert gap.start <= gap.end
        if gap == ("behind", False):
            assert gap.end is None


def test_a_program_that_is_to_get_every_tick_is_warned_before_its_queues_are_full(
    stage: Stage, live: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits behind its own queue is some 13,000 messages, here as ever."""
    monkeypatch.setattr(Wants, "queued_max", 2_000)
    heard, busy = Heard(), threading.Event()
    lost_when_warned: list[int] = []

    def told(*gap: Any) -> None:
        heard(*gap)
        lost_when_warned.append(feed.gaps + feed.overrun)

    feed = Feed(INFY, endpoint=stage.feed_endpoint, max_age_s=None, on_gap=told)
    with feed:
        for price in range(1, 160):
            live.send([item(INFY, price)] * 250)
            heard.took(feed.next(0))
            busy.wait(0.004)  # else it is the source's queue that is full
        assert heard.words() == [("behind", False)]
        live.send([item(INFY, 7)])

        def is_healed() -> bool:
            heard.took(feed.next(0.05))
            return {("lost", True), ("behind", True)} <= set(heard.words())

        eventually(is_healed, 30, every_s=0)
        while (last := feed.next(0.2)) is not None:
            heard.took(last)
        assert lost_when_warned[0] == 0
        assert heard.holes == heard.missing("lost") > 0
        assert heard.missing("lost") <= feed.gaps  # which counts heartbeats, too
        assert feed[INFY].raw.last_price == 7
        eventually(lambda: feed[INFY].is_fresh, 5)


def test_an_async_feed_tells_the_same_though_the_task_that_reads_is_slow(
    stage: Stage, live: FakeSource
) -> None:
    heard = Heard()

    async def told(*gap: object) -> None:
        await asyncio.sleep(0)
        heard(*gap)  # type: ignore[arg-type]

    async def main() -> None:
        async with AsyncFeed(INFY, TCS, endpoint=stage.feed_endpoint, on_gap=told) as feed:
            with Pump(live, 0.005):
                async for tick in feed:
                    heard.took(tick)
                    await asyncio.sleep(0.03)  # is slower than the ticks that come
                    if ("skipped", True) in heard.words():
                        break
            while (tick := await feed.next(0.3)) is not None:
                heard.took(tick)
            await eventually_async(lambda: ("behind", True) in heard.words(), 5)
            assert heard.words()[:2] == [("behind", False), ("skipped", True)]
            assert heard.holes == heard.missing("skipped") == feed.skipped > 0

    asyncio.run(main())


def test_a_broadcaster_that_dies_leaves_a_gap_that_the_next_one_heals(stage: Stage) -> None:
    process = stage.up()
    _, source = stage.live()
    heard = Heard()
    with Feed(INFY, endpoint=stage.feed_endpoint, on_gap=heard) as feed:
        eventually(lambda: source.send([item(INFY, 1)]) or feed.next(0.05), 10)
        gen, died_ns = feed.gen, boot_ns()
        kill(process)
        stage.start()

        def is_healed() -> bool:
            source.send([item(INFY, 5)])
            feed.next(0.05)
            return ("restarted", True) in heard.words()

        eventually(is_healed, 20)
        assert feed.gen > gen
        gap = next(one for one in heard.gaps if one.reason == "restarted")
        assert gap.end is not None
        away_s = (boot_ns() - died_ns) / 1e9
        assert 0 <= (gap.end - gap.start).total_seconds() < 1.5 * slowness() + away_s


def test_nobody_is_told_of_anything_while_all_is_well(stage: Stage, live: FakeSource) -> None:
    heard = Heard()
    with Feed(INFY, endpoint=stage.feed_endpoint, on_gap=heard) as feed:
        for price in range(2, 300):
            live.send([item(INFY, price)])
            assert feed.next(5 * slowness()) is not None
        assert heard.gaps == []
