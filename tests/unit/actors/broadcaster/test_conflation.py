"""The latest ticks at a steady rate, in virtual time."""

from itertools import pairwise

import pytest

from kitefeed.actors.broadcaster import conflation
from kitefeed.actors.broadcaster.conflation import BURST_MAX, LOOKS_MAX
from kitefeed.actors.broadcaster.listeners import Listeners
from kitefeed.actors.broadcaster.store import LastValues, Saved
from kitefeed.protocol import feed as f
from kitefeed.protocol.feed import FeedMessage, Flag
from kitefeed.protocol.topics import (
    LAST_RATES,
    NUL,
    SNAPSHOT,
    last_head,
    last_topic,
    mode_request,
    snapshot_request,
    tick_topic,
)
from tests.unit.actors.broadcaster.world import BODY, INFY, TCS, S, World

LATEST = last_topic(2, "NSE:INFY")
LATEST_TCS = last_topic(2, "NSE:TCS")


@pytest.fixture
def world() -> World:
    made = World()
    made.grant(1)
    made.published.clear()
    return made


def stream(world: World, span_ns: int, *topics: bytes, every_ns: int = S // 100) -> None:
    """Ticks of `topics` in a steady stream."""
    end_ns = world.now_ns + span_ns
    while world.now_ns < end_ns:
        world.batch(*(topics or (INFY,)))
        world.run(every_ns)


def inner(world: World, prefix: bytes) -> list[tuple[bytes, FeedMessage]]:
    """Return what a snapshot of `prefix` holds."""
    world.published.clear()
    world.subscribe(snapshot_request("0a", prefix))
    world.run(S // 100)
    frames: list[bytes] = []
    for topic, message in world.published:
        if topic.startswith(SNAPSHOT):
            body = f.decode_snapshot_chunk(message.body)
            frames += [] if isinstance(body, f.SnapshotEnd) else body
    split = (f.split_frame(frame) for frame in frames)
    return [(topic, f.decode_feed_message(array)) for topic, array in split]


@pytest.mark.parametrize("rate", LAST_RATES)
def test_a_reader_gets_the_latest_so_often_and_numbered_without_holes(
    world: World, rate: int
) -> None:
    topic = last_topic(rate, "NSE:INFY")
    world.subscribe(topic + NUL)
    stream(world, 10 * S)
    got = world.take(topic)
    assert 10 * rate - 10 <= len(got) <= 10 * rate
    assert [message.seq for message in got] == list(range(1, len(got) + 1))
    sent = [message.t_pub_ns for message in got]
    assert min(b - a for a, b in pairwise(sent)) >= S // rate
    assert all(message.t_pub_ns - message.t_rx_ns <= S // 100 for message in got)


def test_no_tick_that_is_unchanged_is_sent_again(world: World) -> None:
    world.subscribe(LATEST + NUL)
    world.batch(INFY)
    world.run(10 * S, beats=True)
    assert len(world.take(LATEST)) == 1


def test_without_readers_there_are_no_turns_and_no_messages(world: World) -> None:
    world.subscribe(LATEST + NUL)
    stream(world, S)
    world.unsubscribe(LATEST + NUL)
    world.published.clear()
    assert world.machine._conflation.deadline_ns is None
    stream(world, 3 * S)
    assert not [topic for topic, _ in world.published if topic.startswith(b"last/")]


def test_the_ticks_of_others_are_not_written_for_a_reader_of_the_latest(world: World) -> None:
    world.subscribe(LATEST + NUL)
    stream(world, S, INFY, TCS)
    assert {t for t, _ in world.published if not t.startswith(b"hb/")} == {LATEST}


def test_a_pattern_brings_what_streams_and_nothing_that_was_there_already(world: World) -> None:
    world.batch(INFY, TCS)
    world.run(S)
    world.subscribe(b"last/2/NSE:I")
    world.run(2 * S, beats=True)
    assert not world.take(LATEST)
    stream(world, S, INFY, TCS)
    topics = {topic for topic, _ in world.published if topic.startswith(b"last/")}
    assert topics == {LATEST}


@pytest.mark.parametrize("prefix", [b"", b"l", b"last/", b"last/3/NSE:INFY\0", b"last/1"])
def test_what_names_no_rate_causes_nothing(world: World, prefix: bytes) -> None:
    world.subscribe(prefix)
    stream(world, 2 * S)
    assert not [topic for topic, _ in world.published if topic.startswith(b"last/")]
    world.unsubscribe(prefix)


def test_a_new_reader_gets_at_once_what_the_others_have_with_its_number(world: World) -> None:
    world.subscribe(LATEST + NUL)
    stream(world, 2 * S)
    last = world.take(LATEST)[-1]
    world.batch(INFY)  # a newer value, for which it is too soon
    world.subscribe(LATEST + NUL)
    [replay] = world.take(LATEST)
    assert (replay.seq, replay.t_rx_ns) == (last.seq, last.t_rx_ns)
    assert replay.flags == Flag.REPLAY
    world.run(S)
    assert [message.seq for message in world.take(LATEST)] == [last.seq + 1]


def test_the_first_reader_gets_the_newest_value_and_no_hole_after_a_pause(world: World) -> None:
    world.subscribe(LATEST + NUL)
    stream(world, 2 * S)
    last = world.take(LATEST)[-1]
    world.unsubscribe(LATEST + NUL)
    stream(world, 5 * S)
    newest_ns = world.utc_ns - S // 100
    world.subscribe(LATEST + NUL)
    [replay] = world.take(LATEST)
    assert (replay.seq, replay.flags, replay.t_rx_ns) == (last.seq + 1, Flag.REPLAY, newest_ns)
    world.run(3 * S, beats=True)
    assert not world.take(LATEST)  # the same is not published as new


def test_a_snapshot_holds_what_the_readers_have(world: World) -> None:
    world.subscribe(b"last/2/")
    stream(world, 2 * S, INFY, TCS)
    numbers = {t: m.seq for t, m in world.published if t in (LATEST, LATEST_TCS)}
    world.batch(INFY)
    found = inner(world, b"last/2/")
    assert {topic: message.seq for topic, message in found} == numbers
    assert all(message.flags == Flag.SNAPSHOT for _, message in found)
    assert [topic for topic, _ in inner(world, LATEST + NUL)] == [LATEST]
    assert inner(world, b"last/") == []


def test_what_is_kept_keeps_its_numbers_however_much_is_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conflation, "LIST_MAX", 1)
    world.subscribe(b"last/2/")
    stream(world, 2 * S, INFY, TCS)
    assert world.machine.counters()["conflated"] == sum(
        topic in (LATEST, LATEST_TCS) for topic, _ in world.published
    )
    numbers = {topic: message.seq for topic, message in world.published if message.seq > 1}
    assert {topic: message.seq for topic, message in inner(world, b"last/2/")} == {
        topic: numbers[topic] for topic in (LATEST, LATEST_TCS)
    }


def test_a_snapshot_that_nobody_streams_takes_no_numbers_twice(world: World) -> None:
    world.batch(INFY)
    first, second = inner(world, b"last/2/"), inner(world, b"last/2/")
    assert [m.seq for _, m in first] == [m.seq for _, m in second] == [1]
    world.subscribe(LATEST + NUL)
    assert [m.seq for m in world.take(LATEST)] == [1]


def test_the_end_of_an_instrument_is_told_at_once_and_only_once(world: World) -> None:
    world.subscribe(LATEST + NUL)
    stream(world, S)
    world.batch(INFY)
    world.published.clear()
    world.batch(INFY, flags=Flag.STALE)
    [end] = world.take(LATEST)
    assert end.flags == Flag.STALE
    world.run(2 * S, beats=True)
    assert not world.take(LATEST)
    stream(world, S)
    after = world.take(LATEST)
    assert (after[0].seq, after[0].flags) == (end.seq + 1, 0)


def test_a_value_whose_source_lost_the_grant_meanwhile_is_sent_as_stale(world: World) -> None:
    world.subscribe(LATEST + NUL)
    world.batch(INFY)
    world.grant(2)
    world.run(S)
    [message] = world.take(LATEST)
    assert (message.epoch, message.flags) == (1, Flag.STALE)
    world.batch(INFY, epoch=1)  # fenced
    world.run(S)
    assert not world.take(LATEST)


def test_flags_and_source_are_those_of_the_tick(world: World) -> None:
    world.subscribe(LATEST + NUL)
    world.batch(INFY, flags=Flag.FIRST_PACKET)
    world.run(S)
    [message] = world.take(LATEST)
    assert (message.flags, message.epoch, message.source) == (Flag.FIRST_PACKET, 1, 1)
    assert bytes(message.body) == bytes(BODY)


def test_a_value_from_disk_is_replayed_uncounted_and_never_published() -> None:
    values = LastValues()
    row = Saved(INFY, 0, 1, 1, 0, 1_789_000_000 * S, bytes(BODY))
    values.load([row], now_ns=1_000 * S, utc_ns=1_790_001_000 * S)
    world = World(values)
    world.grant(1)
    world.subscribe(LATEST + NUL)
    [replay] = world.take(LATEST)
    assert (replay.seq, replay.flags) == (0, Flag.REPLAY | Flag.CACHED)
    world.run(2 * S)
    assert not world.take(LATEST)
    world.batch(INFY)
    world.run(S)
    assert [(m.seq, m.flags) for m in world.take(LATEST)] == [(1, 0)]


def test_many_values_are_sent_in_bursts_between_which_ticks_are_taken_in(world: World) -> None:
    topics = [tick_topic(f"NSE:X{n}") for n in range(2 * BURST_MAX + 1)]
    world.subscribe(b"last/10/")
    world.batch(*topics)
    world.now_ns += S // 10
    sizes = []
    while world.machine.deadline_ns <= world.now_ns:
        world.published.clear()
        world.turn()
        sizes.append(sum(topic.startswith(b"last/") for topic, _ in world.published))
    assert sizes == [BURST_MAX, BURST_MAX, 1]


def test_one_who_reads_at_every_rate_makes_no_turn_longer(world: World) -> None:
    topics = [tick_topic(f"NSE:X{n}") for n in range(3 * BURST_MAX)]
    for rate in LAST_RATES:
        world.subscribe(last_head(rate))
    got = dict.fromkeys(LAST_RATES, 0)
    for _ in range(10):
        world.batch(*topics)
        world.now_ns += S // 10
        while world.machine.deadline_ns <= world.now_ns:
            world.published.clear()
            world.turn()
            sent = [topic for topic, _ in world.published if topic.startswith(b"last/")]
            assert len(sent) <= BURST_MAX
            for rate in LAST_RATES:
                got[rate] += sum(topic.startswith(last_head(rate)) for topic in sent)
    assert got == {rate: rate * len(topics) for rate in LAST_RATES}


def test_a_turn_looks_at_a_part_of_what_is_read(world: World) -> None:
    topics = [tick_topic(f"NSE:X{n}") for n in range(LOOKS_MAX + 1)]
    world.subscribe(b"last/10/")
    world.batch(*topics)
    world.now_ns += S // 10
    while world.machine.deadline_ns <= world.now_ns:
        world.turn()
    world.batch(topics[0], topics[-1])
    world.now_ns += S // 10
    turns = []
    while world.machine.deadline_ns <= world.now_ns:
        world.published.clear()
        world.turn()
        turns.append([topic for topic, _ in world.published if topic.startswith(b"last/")])
    assert [len(sent) for sent in turns] == [1, 1]


def test_a_reader_that_comes_often_keeps_the_rate_of_the_others(world: World) -> None:
    world.subscribe(LATEST + NUL)
    for _ in range(100):
        stream(world, S // 50)
        world.subscribe(LATEST + NUL)
        world.unsubscribe(LATEST + NUL)
    new = [message for message in world.take(LATEST) if not message.flags & Flag.REPLAY]
    assert 3 <= len(new) <= 4


def test_more_readers_than_are_counted_still_get_theirs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kitefeed.actors.broadcaster.conflation.SUBSCRIPTIONS_MAX", 1)
    world.subscribe(LATEST_TCS + NUL)
    for _ in range(2):
        world.subscribe(LATEST + NUL)
    for _ in range(2):
        stream(world, S, INFY)
        assert world.take(LATEST)
        world.unsubscribe(LATEST + NUL)
    for _ in range(2):
        stream(world, 2 * S, INFY)
        assert not world.take(LATEST)
        world.unsubscribe(LATEST + NUL)  # of nobody's
    stream(world, S, TCS)
    assert world.take(LATEST_TCS)
    world.unsubscribe(LATEST_TCS + NUL)
    assert world.machine._conflation.deadline_ns is None


# --- upstream ---------------------------------------------------------------------------------


def test_whoever_reads_the_latest_wants_the_instrument_upstream() -> None:
    listeners = Listeners()
    listeners.add(LATEST + NUL)
    listeners.add(last_topic(10, "NSE:INFY") + NUL)
    listeners.add(b"last/2/NSE:TCS")  # a pattern asks for nothing
    assert listeners.want().keys == ("NSE:INFY",)
    assert listeners.wanted_topics == {}
    listeners.remove(LATEST + NUL)
    assert listeners.want().keys == ("NSE:INFY",)
    listeners.remove(last_topic(10, "NSE:INFY") + NUL)
    assert listeners.want().keys == ()


def test_a_mode_asked_for_beside_the_latest_counts_as_beside_every_tick() -> None:
    listeners = Listeners()
    listeners.add(LATEST + NUL)
    listeners.add(mode_request("full", INFY))
    assert (listeners.want().modes, listeners.want().also_plain) == ({"NSE:INFY": "full"}, ())
    listeners.add(INFY + NUL)
    assert listeners.want().also_plain == ("NSE:INFY",)
