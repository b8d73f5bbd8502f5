"""Last values of a broadcaster that is killed, finds a damaged file, or meets a full disk."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from kitefeed.actors.broadcaster import store
from kitefeed.client.feed import Feed
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.feed import Flag, Source
from kitefeed.protocol.kite.ticks import TickBody
from kitefeed.protocol.messages import bus as m
from tests.integration.broadcaster_kit import LIVE, FakeSource, Stage, item, kill, settle
from tests.integration.disk_faults import DIES, FULL, LOGS
from tests.support import eventually, slowness

pytestmark = pytest.mark.processes

INFY = "NSE:INFY"
NAME = "last_values.msgpack"
OLD, NEW = 1_500_00, 1_600_00
SAVES_OFTEN = "from kitefeed.actors.broadcaster import machine; machine.SAVE_NS = 100_000_000"


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as made:
        yield made


@pytest.fixture
def flag(stage: Stage) -> Path:
    return stage.directory / "flag"


def saved_price(stage: Stage) -> int | None:
    """Return the price that the file holds for INFY now. Raises Damaged if it is ever seen half
    written."""
    try:
        _, rows = store.decode_file((stage.state / NAME).read_bytes())
    except FileNotFoundError:
        return None
    bodies = [row.body for row in rows if row.topic == b"tick/NSE:INFY"]
    return msgspec.msgpack.decode(bodies[0], type=TickBody).last_price if bodies else None


def send_until_read(source: FakeSource, feed: Feed, price: int) -> None:
    def attempt() -> bool:
        source.send([item(INFY, price)])
        tick = feed.get(INFY)
        return tick is not None and tick.raw.last_price == price

    eventually(attempt, 5, every_s=0.05)


@pytest.mark.parametrize("kind", [Source.WEBSOCKET, Source.REST])
def test_a_broadcaster_killed_after_a_save_comes_back_with_values_of_true_age_and_origin(
    stage: Stage, kind: Source
) -> None:
    process = stage.start(SAVES_OFTEN)
    name = "rest" if kind is Source.REST else "websocket"
    supervisor = stage.supervisor(m.Grant(0, 7, name), m.Announce(LIVE))
    source = stage.source(7, kind)
    send_until_read(source, stage.feed(INFY), OLD)
    sent_ns = boot_ns()
    source.stop()
    eventually(lambda: saved_price(stage) == OLD, 3)
    kill(process)
    supervisor.stop_ordering()
    eventually(lambda: boot_ns() - sent_ns > 1_000_000_000, 2)  # an age that would be seen missing
    stage.start()
    tick = stage.feed(INFY)[INFY]
    assert tick.flags & Flag.CACHED
    assert (tick.raw.last_price, tick.source, tick.origin) == (OLD, "cache", name)
    assert not tick.is_fresh
    assert abs(tick.age_s - (boot_ns() - sent_ns) / 1e9) < 0.4 * slowness()


@pytest.mark.parametrize(
    ("name", "is_after", "price"),
    [("os.fsync", False, OLD), ("pathlib.Path.replace", False, OLD),
     ("pathlib.Path.replace", True, NEW)],
)  # fmt: skip
def test_a_broadcaster_killed_inside_a_save_comes_back_with_a_whole_file_and_no_leftover(
    stage: Stage, flag: Path, name: str, is_after: bool, price: int
) -> None:
    dies = DIES.format(name=name, flag=str(flag), is_after=is_after)
    process = stage.start(f"{SAVES_OFTEN}\n{dies}")
    supervisor, source = stage.live()
    settle(stage.feed(INFY), source, {INFY: OLD})
    eventually(lambda: saved_price(stage) == OLD, 3)
    flag.touch()
    source.send([item(INFY, NEW)])
    process.wait(3 * slowness())
    assert saved_price(stage) == price
    assert len(os.listdir(stage.state)) == 1 + (not is_after)
    supervisor.stop_ordering()
    stage.start()
    assert stage.feed(INFY)[INFY].raw.last_price == price
    assert os.listdir(stage.state) == [NAME]


def test_a_value_from_disk_never_replaces_the_fresher_one_a_reader_holds(stage: Stage) -> None:
    process = stage.start(SAVES_OFTEN)
    supervisor, source = stage.live()
    feed = stage.feed(INFY)
    send_until_read(source, feed, OLD)
    eventually(lambda: saved_price(stage) == OLD, 3)
    old = (stage.state / NAME).read_bytes()
    send_until_read(source, feed, NEW)
    kill(process)
    (stage.state / NAME).write_bytes(old)  # as if it had died before this save
    supervisor.stop_ordering()
    source.stop()
    stage.start()
    gen = feed.gen
    eventually(lambda: feed.gen > gen and stage.feed(INFY)[INFY].raw.last_price == OLD, 5)
    assert (feed[INFY].raw.last_price, feed[INFY].source) == (NEW, "cache")


@pytest.mark.parametrize("harm", ["cut", "flipped"])
def test_a_damaged_file_is_said_once_and_the_broadcaster_publishes(stage: Stage, harm: str) -> None:
    stage.state.mkdir()
    data = store.encode_file(5, [store.Saved(b"tick/NSE:INFY", 0, 7, 1, 0, 1, b"\x91\x02")])
    broken = data[:-1] if harm == "cut" else data[:-1] + bytes([data[-1] ^ 1])
    (stage.state / NAME).write_bytes(broken)
    log = stage.directory / "log"
    _, source = stage.live()
    for price in (OLD, NEW):
        process = stage.start(LOGS.format(log=str(log)))
        send_until_read(source, stage.feed(INFY), price)
        eventually(lambda: "set aside" in log.read_text(), 3)
        kill(process)
    assert (stage.state / f"{NAME}.damaged").read_bytes() == broken
    assert log.read_text().count("set aside") == 1


def test_a_full_disk_costs_one_line_and_one_more_when_it_is_over(stage: Stage, flag: Path) -> None:
    flag.touch()
    log = stage.directory / "log"
    full = FULL.format(flag=str(flag))
    process = stage.start(f"{LOGS.format(log=str(log))}\n{SAVES_OFTEN}\n{full}")
    _, source = stage.live()
    feed = stage.feed(INFY)
    for price in range(OLD, OLD + 20):  # 50 ms each: many saves that fail
        send_until_read(source, feed, price)
    eventually(lambda: feed[INFY].is_fresh, 5)
    eventually(lambda: "condition=disk" in log.read_text(), 5)
    eventually(lambda: flag.stat().st_size > 3, 5)  # tries that failed, and only one line of them
    assert log.read_text().count("condition=disk") == 1
    assert os.listdir(stage.state) == []
    tries = flag.stat().st_size
    eventually(lambda: flag.stat().st_size > tries + 3, 3)  # nothing new came: tried by itself
    flag.unlink()
    eventually(lambda: saved_price(stage) == OLD + 19, 3)
    process.terminate()
    assert process.wait(3 * slowness()) == 0
    lines = [line for line in log.read_text().splitlines() if "condition=disk" in line]
    assert len(lines) == 2
    assert "over after" in lines[1]
