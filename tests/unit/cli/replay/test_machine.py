"""A recorded day played again: the same values and verdicts, and nothing that could be taken for
live."""

from typing import Any

import msgspec
import pytest

from kitefeed.actors.broadcaster import events as e
from kitefeed.cli.replay.machine import Replay
from kitefeed.cli.replay.pace import PAUSE_NS_MAX, Pacer
from kitefeed.client.player import Player
from kitefeed.client.tick import Tick
from kitefeed.client.view import View
from kitefeed.protocol import feed as f
from kitefeed.protocol import recording as r
from kitefeed.protocol.feed import Flag, Source
from kitefeed.protocol.recording import Gap, Record, Type
from kitefeed.protocol.topics import HEARTBEAT_TOPIC, NUL, STATE_TOPIC, TICKS_TOPIC
from tests.recordings import DAY, INFY, NIFTY, NINE_FIFTEEN, S, Writes

T0 = NINE_FIFTEEN
MS = 1_000_000


def records_of(items: list[tuple[int, bytes | Gap]]) -> list[Record]:
    return [
        Record(Type.GAP, at_ns, r.encode(item))
        if isinstance(item, Gap)
        else Record(Type.FRAME, at_ns, item)
        for at_ns, item in items
    ]


def day(seconds: int = 30) -> list[tuple[int, Any]]:
    """Live, then stale, then polled, with values that were read from disk and one that ended."""
    feed, found = Writes(), list[tuple[int, Any]]()
    for n in range(seconds):
        at_ns = T0 + n * S
        if n == 12:
            feed.source, feed.epoch = Source.REST, 4
        is_fresh = not 8 <= n < 12
        word = "live" if n < 8 else "stale" if n < 12 else "rest"
        found.append((at_ns, feed.heartbeat(at_ns, word, fresh=is_fresh)))
        flags = int(Flag.FIRST_PACKET) if n == 0 else int(Flag.STALE) if n == 20 else 0
        at_ns += 5 * MS
        found.append((at_ns, feed.chunk(at_ns, {INFY: 1500_00 + n, NIFTY: 7 + n}, flags=flags)))
    return found


class Reader:
    """Reads the replay as any program does, on the replay's clock."""

    def __init__(self, machine: Replay, *subscriptions: bytes) -> None:
        self.machine = machine
        self.now_ns = 5_000 * S
        self.utc_ns = T0 + 90 * 86_400 * S  # some day later
        self.view = View(self, None, (), None)
        self.frames: list[bytes] = []
        for subscription in subscriptions or (TICKS_TOPIC, HEARTBEAT_TOPIC, STATE_TOPIC):
            event = e.Subscription(b"\1" + subscription + NUL, self.utc_ns)
            self._take(machine.handle(event, self.now_ns))

    def why_stale(self, tick: Tick) -> Any:
        return self.view.why_stale(tick, self.now_ns)

    def has_source(self, tick: Tick) -> bool:
        return self.view.has_source(tick, self.now_ns)

    def _take(self, commands: list[e.Command]) -> None:
        for command in commands:
            if isinstance(command, e.Publish):
                self.read(command.frames)

    def read(self, frames: list[bytes]) -> None:
        self.frames += frames
        for frame in frames:
            self.view.apply(frame, self.now_ns, self.utc_ns)

    def wait(self, ns: int) -> None:
        end_ns = self.now_ns + ns
        while self.now_ns < end_ns:
            step = min(100 * MS, end_ns - self.now_ns)
            self.now_ns += step
            self.utc_ns += step
            if self.machine.deadline_ns <= self.now_ns:
                self._take(self.machine.handle(e.Wake(self.utc_ns, 0), self.now_ns))

    def play(self, records: list[Record], speed: float = 1.0) -> list[Tick]:
        """Each record at its time; the ticks with the verdict of the moment."""
        found: list[Tick] = []
        then_ns = records[0].t_ns
        self.machine.is_still = False
        for record in records:
            self.wait(int((record.t_ns - then_ns) / speed))
            then_ns = record.t_ns
            self.read(self.machine.play(record, self.now_ns, self.utc_ns))
            while self.view.arrived:
                found.append(self.view.arrived.popleft())
                self.verdicts.append((found[-1].instrument, found[-1].why_stale))
        return found

    @property
    def verdicts(self) -> list[tuple[str, str]]:
        return self.__dict__.setdefault("told", [])


def then(records: list[Record]) -> list[Tick]:
    player = Player(None)
    return [tick for record in records for tick in player.play(record)]


@pytest.mark.parametrize("speed", [1.0, 10.0, 0.5])
def test_each_tick_is_judged_as_it_was_then(speed: float) -> None:
    records = records_of(day())
    reader = Reader(Replay(1, 5_000 * S, DAY, speed))
    ticks = reader.play(records, speed)
    expected = then(records)
    assert [(t.instrument, t.raw) for t in ticks] == [(t.instrument, t.raw) for t in expected]
    assert reader.verdicts == [(t.instrument, t.why_stale) for t in expected]
    assert {why for _, why in reader.verdicts} == {"", "unproven", "cached"}


def test_a_heartbeat_that_held_no_longer_vouches_for_nothing() -> None:
    feed = Writes()
    items: list[tuple[int, Any]] = [(T0, feed.heartbeat(T0))]
    items += [(T0 + n * S, feed.chunk(T0 + n * S, {INFY: 1500_00 + n})) for n in range(1, 9)]
    reader = Reader(Replay(1, 5_000 * S, DAY))
    reader.play(records_of(items))
    stale = [why for _, why in reader.verdicts]
    assert stale[:2] == ["", ""]
    assert all(stale[4:])


@pytest.mark.parametrize("speed", [1.0, None])
def test_nothing_of_it_is_called_live_and_all_of_it_says_replay(speed: float | None) -> None:
    reader = Reader(Replay(1, 5_000 * S, DAY, speed))
    reader.wait(3 * S)
    ticks = reader.play(records_of(day()))
    reader.read(reader.machine.end(reader.now_ns, reader.utc_ns))
    reader.wait(3 * S)
    words = set()
    for frame in reader.frames:
        topic, array = f.split_frame(frame)
        if topic == TICKS_TOPIC:
            assert f.decode_chunk_message(array).source == Source.REPLAY
            continue
        body = f.decode_feed_message(array).body
        told = f.decode_heartbeat(body) if topic == HEARTBEAT_TOPIC else f.decode_state(body)
        words.add((told.feed, told.source))
        assert told.reason.startswith(f"replay of {DAY}: ")
    assert words == {("replay", "replay")}
    assert {tick.origin for tick in ticks} == {"replay"}
    assert {tick.source for tick in ticks} <= {"replay", "cache"}
    assert not any(tick.is_fresh for tick in ticks)  # the day is over


def test_two_replays_are_the_same_bytes_but_for_times_and_gen() -> None:
    def once(gen: int) -> list[tuple[bytes, list[Any]]]:
        reader = Reader(Replay(gen, 5_000 * S, DAY), b"tick/NSE:INFY", TICKS_TOPIC)
        reader.utc_ns += gen * S
        reader.play(records_of(day()))
        found = []
        for frame in reader.frames:
            topic, array = f.split_frame(frame)
            fields = msgspec.msgpack.decode(array)
            for name in ("gen", "since_utc_ns", "at_utc_ns"):
                if isinstance(fields[9], dict):  # of a heartbeat, or the state
                    fields[9].pop(name, None)
            found.append((topic, [fields[0], *fields[2:7], fields[9]]))
        return found

    assert once(1) == once(2)
    assert sum(topic == TICKS_TOPIC for topic, _ in once(1)) == 30


def test_its_words_are_new_with_their_reason_and_its_state_is_since_its_beginning() -> None:
    reader = Reader(Replay(1, 5_000 * S, DAY), STATE_TOPIC)
    begun_ns = reader.utc_ns
    reader.play(records_of(day()))
    frames = [f.split_frame(frame) for frame in reader.frames]
    told = [
        f.decode_state(f.decode_feed_message(array).body)
        for topic, array in frames
        if topic == STATE_TOPIC
    ]
    assert len({state.reason for state in told}) == len(told) > 1
    assert {state.since_utc_ns for state in told} == {begun_ns}
    assert told[-1].at_utc_ns > begun_ns


def test_programs_are_served_as_by_a_broadcaster() -> None:
    reader = Reader(Replay(1, 5_000 * S, DAY), b"tick/NSE:INFY", b"last/2/NSE:NIFTY 50")
    reader.play(records_of(day()))
    topics = [frame.partition(NUL)[0] for frame in reader.frames]
    assert topics.count(b"tick/NSE:INFY") == 30
    assert 25 <= topics.count(b"last/2/NSE:NIFTY 50") <= 30
    assert not {b"tick/NSE:NIFTY 50", TICKS_TOPIC} & set(topics)
    late = Reader(reader.machine, b"tick/NSE:INFY")
    assert [frame.partition(NUL)[0] for frame in late.frames] == [b"tick/NSE:INFY"]
    event = e.Subscription(b"\1~snap!ab!tick/", late.utc_ns)
    late._take(late.machine.handle(event, late.now_ns))
    late._take(late.machine.handle(e.Wake(late.utc_ns, 0), late.now_ns))
    assert set(late.view.values) == {"NSE:INFY", "NSE:NIFTY 50"}


def test_only_what_was_asked_for_is_played() -> None:
    machine = Replay(1, 5_000 * S, DAY, 1.0, frozenset({"NSE:INFY"}))
    assert {tick.instrument for tick in Reader(machine).play(records_of(day()))} == {"NSE:INFY"}
    machine = Replay(1, 5_000 * S, DAY, 1.0, frozenset(), ("NSE:N",))
    assert {tick.instrument for tick in Reader(machine).play(records_of(day()))} == {"NSE:NIFTY 50"}


def test_what_comes_twice_in_the_recording_is_played_once() -> None:
    feed = Writes()
    items: list[tuple[int, Any]] = [(T0, feed.chunk(T0, {INFY: 1500_00, NIFTY: 7}))]
    items += [(T0 + S, frame) for frame in feed.snapshot(T0 + S)]
    items += [(T0 + 2 * S, feed.chunk(T0 + 2 * S, {INFY: 1501_00}))]
    ticks = Reader(Replay(1, 5_000 * S, DAY)).play(records_of(items))
    assert [(t.instrument, t.raw.last_price) for t in ticks] == [
        ("NSE:INFY", 1500_00), ("NSE:NIFTY 50", 7), ("NSE:INFY", 1501_00)
    ]  # fmt: skip


def test_after_a_gap_nobody_vouches_for_what_was_before_it() -> None:
    feed = Writes()
    at_ns = T0 + 600 * S
    items: list[tuple[int, Any]] = [(T0, feed.heartbeat(T0)), (T0 + 1, feed.chunk(T0, {INFY: 7}))]
    gap = records_of([(at_ns, Gap(T0 + 1, at_ns, "killed"))])
    reader = Reader(Replay(1, 5_000 * S, DAY))
    (tick,) = reader.play(records_of(items))
    assert tick.is_fresh
    reader.read(reader.machine.play(gap[0], reader.now_ns, reader.utc_ns))
    assert not tick.is_fresh
    assert reader.view.status(reader.now_ns).reason.endswith("600 s are missing: killed")


def test_while_it_stands_still_nothing_grows_old() -> None:
    reader = Reader(Replay(1, 5_000 * S, DAY, None))
    items = day(3)
    ticks = reader.play(records_of(items))
    reader.machine.is_still = True
    reader.wait(600 * S)
    assert ticks[-1].is_fresh
    assert reader.view.status(reader.now_ns).feed == "replay"


def test_rubbish_in_a_recording_is_counted_and_passed_over() -> None:
    machine = Replay(1, 5_000 * S, DAY)
    for data in (b"", b"ticks/all\0\x91\x01", b"hb/feed\0", b"x\0\xc1"):
        assert machine.play(Record(Type.FRAME, T0, data), 1, 1) == []
    assert machine.play(Record(Type.GAP, T0, b"\x90"), 1, 1) == []
    assert machine.play(Record(77, T0, b""), 1, 1) == []
    assert machine.bad_batches == 5


def test_records_come_at_their_times() -> None:
    pace = Pacer(2.0)
    assert pace.wait_ns(T0, 100) == 0
    assert pace.wait_ns(T0 + 4 * MS, 100) == 2 * MS
    assert pace.wait_ns(T0 + 4 * MS, 100 + 5 * MS) == 0  # late
    assert pace.wait_ns(T0 + 12 * MS, 100 + 5 * MS) == MS  # and in time again
    assert pace.wait_ns(T0 - S, 0) >= 0  # a clock that was set back
    assert Pacer(None).wait_ns(T0, 1) == 0


def test_what_was_not_recorded_is_passed_over_in_three_seconds() -> None:
    pace = Pacer(1.0)
    pace.wait_ns(T0, 0)
    assert pace.wait_ns(T0 + 7200 * S, 0) == PAUSE_NS_MAX
