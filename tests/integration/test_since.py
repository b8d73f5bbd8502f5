"""`Feed(since=…)`: the recording, then what comes, with no hole and no tick twice, whatever happens
at the seam."""

import asyncio
from collections.abc import Iterator
from itertools import pairwise

import pytest

from kitefeed import AsyncFeed, BadInput, ConfigError, Feed, Gap, Tick
from kitefeed.protocol.clock import utc_ns
from tests.integration.broadcaster_kit import Stage, kill
from tests.integration.recorder_kit import Scene
from tests.support import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]
KEY = "NSE:S7"


@pytest.fixture
def scene() -> Iterator[Scene]:
    with Scene(rate=50) as made:
        yield made


def numbers(ticks: list[Tick]) -> list[tuple[int, int]]:
    return [(tick.gen, tick.seq) for tick in ticks if tick.instrument == KEY]


def begun(scene: Scene) -> int:
    """A time, some seconds of recording ago."""
    scene.record()
    eventually(lambda: scene.recorded_bytes() > 100_000, 30)
    then_ns = utc_ns()
    before = scene.recorded_bytes()
    eventually(lambda: scene.recorded_bytes() > before + 200_000, 30)
    return then_ns


def clock(at_ns: int) -> str:
    from datetime import datetime

    from kitefeed.client.tick import IST

    return datetime.fromtimestamp(at_ns // 1_000_000_000, IST).time().isoformat()


def live(ticks: list[Tick], count: int) -> bool:
    """Whether so many of them came after the recording: those are judged as of now."""
    return sum(tick.arrival.boot_ns < 1 << 61 for tick in ticks) >= count


def test_the_recording_goes_over_into_what_comes_without_a_hole_or_a_tick_twice(
    scene: Scene,
) -> None:
    then_ns = begun(scene)
    with Feed(KEY, "NSE:S8", config=scene.stage.config, since=clock(then_ns)) as feed:
        ticks: list[Tick] = []
        while not live(ticks, 40):
            tick = feed.next(10)
            assert tick is not None
            ticks.append(tick)
        found = numbers(ticks)
        gen, first = found[0]
        assert found == [(gen, seq) for seq in range(first, first + len(found))]
        assert ticks[0].t_rx_ns >= then_ns - 2_000_000_000
        assert not ticks[0].arrival.boot_ns < 1 << 61
        assert feed[KEY].seq >= found[-1][1]


def test_a_reader_of_everything_gets_every_tick_too(scene: Scene) -> None:
    then_ns = begun(scene)
    with Feed(config=scene.stage.config, since=clock(then_ns)) as feed:
        ticks: list[Tick] = []
        while not live(ticks, 4_000):
            ticks += feed.next_batch(10)
    by_key: dict[str, list[int]] = {}
    for tick in ticks:
        by_key.setdefault(tick.instrument, []).append(tick.seq)
    assert len(by_key) > 900
    for found in by_key.values():
        assert found == [*range(found[0], found[0] + len(found))]


def test_an_async_feed_does_the_same(scene: Scene) -> None:
    then_ns = begun(scene)

    async def read() -> list[Tick]:
        ticks: list[Tick] = []
        async with AsyncFeed(KEY, config=scene.stage.config, since=clock(then_ns)) as feed:
            async for tick in feed:
                ticks.append(tick)
                if live(ticks, 40):
                    return ticks
        return ticks

    found = numbers(asyncio.run(read()))
    assert found == [(found[0][0], seq) for seq in range(found[0][1], found[0][1] + len(found))]


def test_a_recorder_that_is_killed_at_the_seam_costs_a_sentence_and_no_tick_comes_twice(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    then_ns = begun(scene)
    recorder = scene.stage.processes._started[-1]
    kill(recorder)
    before = len(scene.published)
    eventually(lambda: len(scene.published) > before + 100, 30)  # which nobody records
    told: list[Gap] = []
    since, on_gap = clock(then_ns), lambda *gap: told.append(Gap(*gap))
    with Feed(KEY, config=scene.stage.config, since=since, on_gap=on_gap) as feed:
        ticks = []
        while not live(ticks, 40):
            tick = feed.next(20)
            assert tick is not None
            ticks.append(tick)
    found = numbers(ticks)
    assert found == sorted(set(found))
    assert "the recording does not reach the present" in caplog.text
    holes = sum(b[1] - a[1] - 1 for a, b in pairwise(found))
    (gap,) = [each for each in told if each.reason == "unrecorded"]
    assert (gap.instruments, gap.healed) == ({KEY: holes}, True)


def test_a_recorder_that_is_started_again_at_the_seam_costs_only_its_own_gap(scene: Scene) -> None:
    then_ns = begun(scene)
    recorder = scene.stage.processes._started[-1]
    kill(recorder)
    scene.record()
    told: list[Gap] = []
    since, on_gap = clock(then_ns), lambda *gap: told.append(Gap(*gap))
    with Feed(KEY, config=scene.stage.config, since=since, on_gap=on_gap) as feed:
        ticks: list[Tick] = []
        while not live(ticks, 40):
            tick = feed.next(20)
            assert tick is not None
            ticks.append(tick)
    found = numbers(ticks)
    assert found == sorted(set(found))
    steps = [b[1] - a[1] for a, b in pairwise(found)]
    holes = sum(step > 1 for step in steps)
    assert holes <= 1  # none, if no tick came while nobody recorded
    assert {each.reason for each in told} <= {"unrecorded"}
    assert told or not holes
    assert all(each.healed for each in told[-1:])


def test_a_broadcaster_that_is_restarted_at_the_seam_begins_anew_in_order(scene: Scene) -> None:
    then_ns = begun(scene)
    broadcaster = scene.stage.processes._started[0]
    with Feed(KEY, config=scene.stage.config, since=clock(then_ns)) as feed:
        ticks = [feed.next(10)]
        kill(broadcaster)
        scene.stage.start()
        while not (live([t for t in ticks if t], 20) and len({t.gen for t in ticks if t}) == 2):
            ticks.append(feed.next(20))
    found = numbers([tick for tick in ticks if tick is not None])
    assert found == sorted(set(found))


def test_what_cannot_be_is_a_sentence(scene: Scene) -> None:
    with pytest.raises(BadInput, match="no time of the day"):
        Feed(KEY, config=scene.stage.config, since="noon")
    with pytest.raises(BadInput, match="choose one"):
        Feed(KEY, config=scene.stage.config, since="09:15", per_second=2)
    with Stage() as other:
        other.live()
        other.up()
        with pytest.raises(ConfigError, match=r"record\.dir"):
            Feed(config=other.config, since="00:00")
