"""Tests what the recorder decides: blocks, segments, gaps."""

import pytest

from kitefeed.protocol import recording as r
from kitefeed.protocol.recording import Described, Gap, Type
from kitefeed.services.recorder import machine as rec
from kitefeed.services.recorder.machine import Ask, Command, Open, Previous, Recorder, Seal, Write
from tests.recordings import GOLD, INFY, NIFTY, NINE_FIFTEEN, S, Writes

MS = 1_000_000


class Bench:
    """A recorder on a clock of its own, before a feed that answers requests."""

    def __init__(self, previous: Previous | None = None, at_ns: int = NINE_FIFTEEN) -> None:
        self.now_ns, self.utc_ns = 1_000 * S, at_ns
        self.feed = Writes()
        self.commands: list[Command] = []
        self.requests: list[bytes] = []
        self.machine = Recorder("ab", "test", list, previous)
        self._take(self.machine.begin(self.now_ns))

    def _take(self, commands: list[Command]) -> list[Command]:
        self.requests += [each.request for each in commands if isinstance(each, Ask)]
        self.commands += [each for each in commands if not isinstance(each, Ask)]
        return commands

    def wait(self, ns: int) -> None:
        """Time passes without a frame; the machine is looked at every 200 ms."""
        end_ns = self.now_ns + ns
        while self.now_ns < end_ns:
            step = min(200 * MS, end_ns - self.now_ns)
            self.now_ns += step
            self.utc_ns += step
            self._take(self.machine.turn(self.now_ns, self.utc_ns))

    def hear(self, *frames: bytes) -> None:
        for frame in frames:
            self._take(self.machine.frame(frame, self.now_ns, self.utc_ns))

    def beat(self, seconds: int = 1) -> None:
        """So many seconds of a feed that is well."""
        for _ in range(seconds):
            self.wait(S)
            self.hear(self.feed.heartbeat(self.utc_ns))
            self.hear(self.feed.chunk(self.utc_ns, {INFY: 1500_00}))

    def answer(self) -> None:
        self.hear(*self.feed.snapshot(self.utc_ns, self.requests[-1]))

    def up(self) -> None:
        """Recording, with everything known."""
        self.hear(self.feed.heartbeat(self.utc_ns), self.feed.state(self.utc_ns))
        self.feed.chunk(self.utc_ns, {INFY: 1500_00, NIFTY: 24_000_00})  # nobody reads it
        self.feed.seqs.pop(b"ticks/all")
        self.answer()
        self.beat()

    def records(self) -> list[r.Record]:
        found = []
        for command in self.commands:
            if isinstance(command, Write):
                block = r.encode_block(2, command.payload, 0, 0, 0)
                (read,) = r.blocks(r.HEAD + block)
                assert isinstance(read, r.Block)
                found += list(r.records(read))
        return found

    def gaps(self) -> list[Gap]:
        return [r.decode_gap(x.data) for x in self.records() if x.type == Type.GAP]

    def kinds(self) -> list[str]:
        return [type(each).__name__ for each in self.commands]


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.up()
    return made


def test_a_segment_begins_with_the_last_values_and_its_header_names_them(bench: Bench) -> None:
    opened, block, *_ = bench.commands
    assert isinstance(opened, Open)
    assert [each.key for each in opened.header.instruments] == ["NSE:INFY", "NSE:NIFTY 50"]
    assert opened.header.day == "2026-11-30"
    assert isinstance(block, Write)
    topics = [x.data.partition(b"\0")[0] for x in bench.records()]
    assert topics[:4] == [b"hb/feed", b"state/feed", b"~snap!ab1!", b"~snap!ab1!"]


def test_without_an_answer_it_begins_all_the_same() -> None:
    bench = Bench()
    bench.beat(4)
    assert bench.kinds()[:2] == ["Open", "Write"]
    assert len(bench.requests) > 1


def test_nothing_is_begun_while_nothing_comes() -> None:
    bench = Bench()
    bench.wait(7200 * S)
    assert bench.commands == []


def test_a_block_is_given_out_within_a_second() -> None:
    bench = Bench()
    bench.up()
    before = len(bench.commands)
    bench.hear(bench.feed.chunk(bench.utc_ns, {INFY: 1500_00}))
    bench.wait(1 * S)
    assert bench.kinds()[before:] == ["Write"]


def test_a_block_is_given_out_before_it_is_large(bench: Bench) -> None:
    before = len(bench.commands)
    prices = dict.fromkeys(range(1, 250), 150000)
    for _ in range(30):
        bench.hear(bench.feed.chunk(bench.utc_ns, prices))
    sizes = [len(each.payload) for each in bench.commands[before:] if isinstance(each, Write)]
    assert sizes
    assert max(sizes) < 1_000_000


def test_an_instrument_that_comes_later_is_described_in_its_block(bench: Bench) -> None:
    bench.hear(bench.feed.chunk(bench.utc_ns, {GOLD: 70_000_00}))
    bench.beat()
    (found,) = [x for x in bench.records() if x.type == Type.INSTRUMENTS]
    assert r.decode_instruments(found.data) == [
        Described(GOLD, "MCX:GOLD26DECFUT", 100, GOLD & 255)
    ]
    flags = [each.flags for each in bench.commands if isinstance(each, Write)]
    assert flags.count(r.HAS_NOTES) == 1


def test_each_hour_has_a_segment_that_begins_with_the_last_values(bench: Bench) -> None:
    bench.beat(45 * 60)  # 09:15 to 10:00 IST, and one second more
    asked = bench.requests[-1]
    assert bench.requests.count(asked) == 1
    assert "Seal" not in bench.kinds()
    bench.answer()
    bench.beat(2)
    assert bench.kinds().count("Open") == 2
    seal = bench.kinds().index("Seal")
    assert bench.commands[seal] == Seal(r.End("hour", *_counted(bench.commands[:seal])))
    del bench.commands[: seal + 1]
    topics = [x.data.partition(b"\0")[0] for x in bench.records()]
    assert topics[:3] == [b"hb/feed", b"state/feed", asked]
    assert bench.gaps() == []
    opened = bench.commands[0]
    assert isinstance(opened, Open)
    assert [each.key for each in opened.header.instruments] == ["NSE:INFY", "NSE:NIFTY 50"]


def _counted(commands: list[Command]) -> tuple[int, int]:
    bench = Bench()
    bench.commands = commands
    records = bench.records()
    return len(records), sum(x.type == Type.FRAME for x in records)


def test_no_frame_is_in_two_segments_or_in_none(bench: Bench) -> None:
    for _ in range(3):
        bench.beat(3600)
        bench.answer()
    bench.beat(2)
    bench._take(bench.machine.end())
    seqs = [x.data for x in bench.records() if x.data.startswith(b"ticks/all")]
    assert len(seqs) == len(set(seqs)) == bench.machine.ticks


def test_an_hour_in_which_nothing_comes_has_no_segment(bench: Bench) -> None:
    bench.wait(5 * 3600 * S)
    assert bench.kinds().count("Open") == 1
    assert bench.kinds()[-1] == "Seal"


def test_a_hole_in_the_numbers_is_a_gap_that_heals_with_the_next_values(bench: Bench) -> None:
    before_ns = bench.utc_ns
    for _ in range(3):
        bench.feed.chunk(bench.utc_ns, {INFY: 1501_00})  # never come
    bench.wait(100 * MS)
    bench.hear(bench.feed.chunk(bench.utc_ns, {INFY: 1502_00}))
    lost_ns = bench.utc_ns
    asked = len(bench.requests)
    bench.beat(3)
    assert len(bench.requests) > asked
    assert bench.gaps() == [Gap(before_ns, lost_ns, "lost", lost=3)]
    bench.answer()
    bench.beat()
    assert bench.gaps()[-1] == Gap(before_ns, lost_ns, "lost", healed=True, lost=3)


def test_an_answer_that_is_not_whole_heals_nothing(bench: Bench) -> None:
    bench.feed.chunk(bench.utc_ns, {INFY: 1501_00})
    bench.hear(bench.feed.chunk(bench.utc_ns, {INFY: 1502_00}))
    bench.beat(3)
    bench.hear(bench.feed.snapshot(bench.utc_ns, bench.requests[-1])[-1])
    bench.beat()
    assert not any(gap.healed for gap in bench.gaps())
    asked = len(bench.requests)
    bench.beat(10)
    assert len(bench.requests) > asked
    bench.answer()
    bench.beat()
    assert bench.gaps()[-1].healed


def test_a_silence_is_a_gap_from_the_last_frame_to_the_next(bench: Bench) -> None:
    last_ns = bench.utc_ns
    bench.wait(30 * S)
    assert bench.gaps() == []
    bench.hear(bench.feed.heartbeat(bench.utc_ns))
    back_ns = bench.utc_ns
    bench.beat(2)
    assert bench.gaps()[0] == Gap(last_ns, back_ns, "silence")


def test_another_broadcaster_is_a_gap(bench: Bench) -> None:
    last_ns = bench.utc_ns
    bench.feed = Writes(gen=8, epoch=4)
    bench.wait(S)
    bench.hear(bench.feed.heartbeat(bench.utc_ns))
    back_ns = bench.utc_ns
    bench.answer()  # ZeroMQ repeats the request by itself
    bench.beat()
    assert bench.gaps() == [
        Gap(last_ns, back_ns, "restart"), Gap(last_ns, back_ns, "restart", healed=True)
    ]  # fmt: skip


def test_what_was_missed_before_this_life_is_the_first_record() -> None:
    bench = Bench(Previous(NINE_FIFTEEN - 60 * S, "killed"))
    bench.up()
    first, *_ = bench.records()
    assert r.decode_gap(first.data) == Gap(NINE_FIFTEEN - 60 * S, NINE_FIFTEEN, "killed")
    assert bench.gaps()[-1].healed


def test_a_disk_that_does_not_keep_up_costs_a_gap_and_no_memory(bench: Bench) -> None:
    bench.beat(2)
    bench.machine.backlog_bytes = rec.BACKLOG_BYTES_MAX + 1
    bench.machine.trouble = "/rec: No space left on device"
    written = len(bench.commands)
    bench.beat(60)
    assert bench.kinds()[written:] == []
    bench.machine.backlog_bytes, bench.machine.trouble = 0, ""
    bench.beat(3)
    bench.answer()
    bench.beat(2)
    gaps = bench.gaps()
    assert gaps[0].reason == "disk"
    assert gaps[0].detail == "/rec: No space left on device"
    assert 59 * S <= gaps[0].to_ns - gaps[0].from_ns <= 62 * S
    assert gaps[-1].healed
    after = [x for x in bench.records() if x.t_ns >= gaps[0].from_ns]
    assert r.decode_gap(after[0].data) == gaps[0]


def test_an_instrument_that_came_while_the_disk_was_full_is_described_later(bench: Bench) -> None:
    bench.machine.backlog_bytes = rec.BACKLOG_BYTES_MAX + 1
    bench.hear(bench.feed.chunk(bench.utc_ns, {GOLD: 70_000_00}))
    bench.beat(2)
    bench.machine.backlog_bytes = 0
    bench.beat(4)
    found = [x for x in bench.records() if x.type == Type.INSTRUMENTS]
    assert [each.token for each in r.decode_instruments(found[0].data)] == [GOLD]


def test_an_orderly_end_writes_what_is_there_and_seals(bench: Bench) -> None:
    bench.hear(bench.feed.chunk(bench.utc_ns, {INFY: 1503_00}))
    bench._take(bench.machine.end())
    assert bench.kinds()[-2:] == ["Write", "Seal"]


@pytest.mark.parametrize("frame", [b"", b"\0", b"ticks/all\0", b"ticks/all\0\x91\x01", b"x" * 99])
def test_what_cannot_be_read_is_recorded_and_counted(bench: Bench, frame: bytes) -> None:
    bench.hear(frame)
    bench.beat()
    assert bench.machine.bad == 1
    assert frame in [x.data for x in bench.records()]


def test_what_a_newer_daemon_sends_is_recorded(bench: Bench) -> None:
    frame = b"new/topic\0" + bench.feed.heartbeat(bench.utc_ns).partition(b"\0")[2]
    bench.hear(frame)
    bench.beat()
    assert frame in [x.data for x in bench.records()]
