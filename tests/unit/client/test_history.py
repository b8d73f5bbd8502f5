"""The seam between the recording and the feed: no hole, and no tick twice."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kitefeed.client.history import SEAM_NS, History
from kitefeed.client.tick import Tick, Verdict
from kitefeed.client.view import View
from kitefeed.protocol import recording as r
from kitefeed.protocol.recording import Codec, Kind
from tests.recordings import DAY, INFY, NIFTY, NINE_FIFTEEN, S, Writes, put, record_of, segment

T0 = NINE_FIFTEEN
NOBODY = Verdict("no_feed", has=False)


class Day:
    """A feed that is recorded with a delay, and read by a program that came later."""

    def __init__(self, directory: Path, since_ns: int = T0) -> None:
        self.feed = Writes()
        self.view = View(NOBODY, frozenset({"NSE:INFY", "NSE:NIFTY 50"}), (), None)
        self.view.holes.is_wanted = True
        self.unwritten: list[tuple[int, bytes | r.Gap]] = []
        self.at_ns = T0
        self.path = put(directory, segment([], ended=""))
        self.history = History(directory, since_ns, None, ())
        self.got: list[Tick] = []
        self.is_reading = False

    def publish(self, count: int = 1, *tokens: int) -> None:
        for _ in range(count):
            self.at_ns += S // 10
            frame = self.feed.chunk(self.at_ns, dict.fromkeys(tokens or (INFY, NIFTY), 1500_00))
            self.unwritten.append((self.at_ns, frame))
            if self.is_reading:
                self.view.apply(frame, self.at_ns, self.at_ns)

    def write(self) -> None:
        """The recorder writes its block."""
        if not self.unwritten:
            return
        payload = b"".join(record_of(item, at_ns) for at_ns, item in self.unwritten)
        first_ns, last_ns = self.unwritten[0][0], self.unwritten[-1][0]
        self.unwritten.clear()
        with self.path.open("ab") as file:
            file.write(r.encode_block(Kind.RECORDS, payload, first_ns, last_ns, Codec.NONE))

    def come(self) -> None:
        """The program connects, and is sent the last values."""
        self.is_reading = True
        for frame in self.feed.snapshot(self.at_ns):
            self.view.apply(frame, self.at_ns, self.at_ns)

    def read(self) -> None:
        """Whatever can be read now."""
        while not self.history.is_empty:
            tick = self.history.take(self.view, self.at_ns)
            if tick is None:
                break
            self.got.append(tick)
        if self.history.is_empty:
            self.got += iter(self.view.take, None)

    def miss(self, gap: r.Gap) -> None:
        """The recorder tells what it missed."""
        self.unwritten.append((self.at_ns, gap))

    def told(self) -> list[tuple[float, float | None, dict[str, int], str, bool]]:
        """Return what `on_gap` would be called with; times in seconds of the day's recording."""
        found = []
        while (gap := self.view.holes.take()) is not None:
            end = None if gap.end is None else round(gap.end.timestamp() - T0 / S, 1)
            start = round(gap.start.timestamp() - T0 / S, 1)
            found.append((start, end, dict(gap.instruments), gap.reason, gap.healed))
        return found

    def numbers(self, key: str) -> list[int]:
        return [tick.seq for tick in self.got if tick.instrument == key]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(["publish", "quiet", "write", "read"]), max_size=40))
def test_whatever_comes_when_each_tick_is_given_out_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    day = Day(tmp_path_factory.mktemp("day"))
    day.publish(3)
    day.write()
    day.publish(2)
    day.come()
    for step in steps:
        match step:
            case "publish":
                day.publish(2)
            case "quiet":
                day.publish(1, NIFTY)
            case "write":
                day.write()
            case "read":
                day.read()
    day.write()
    day.read()
    day.publish(2)
    day.write()
    day.read()
    for key in ("NSE:INFY", "NSE:NIFTY 50"):
        found = day.numbers(key)
        assert found == [*range(1, len(found) + 1)]
        assert len(found) == day.feed.seqs[b"tick/" + key.encode()]
    assert day.history.is_empty
    assert day.history.unrecorded == ()
    assert day.told() == []


def test_a_recorder_that_is_dead_costs_what_it_missed_and_a_sentence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    day = Day(tmp_path)
    day.publish(3)
    day.write()
    day.publish(4)  # never written
    day.come()
    day.read()
    day.publish(2)
    day.read()
    assert day.numbers("NSE:INFY") == [1, 2, 3]
    day.at_ns += SEAM_NS
    day.read()
    day.publish(1)
    day.read()
    assert day.numbers("NSE:INFY") == [1, 2, 3, 8, 9, 10]
    assert day.history.unrecorded == ("NSE:INFY", "NSE:NIFTY 50")
    assert "the recording does not reach the present" in caplog.text
    (gap,) = day.told()
    assert gap[2:] == ({"NSE:INFY": 4, "NSE:NIFTY 50": 4}, "unrecorded", True)


def test_the_last_value_that_nobody_recorded_is_held_and_not_missing(tmp_path: Path) -> None:
    day = Day(tmp_path)
    day.publish(3)
    day.write()
    day.publish(1)  # never written
    day.publish(2, NIFTY)
    day.come()
    day.read()
    day.at_ns += SEAM_NS
    day.read()
    assert day.numbers("NSE:INFY") == [1, 2, 3, 4]
    assert day.numbers("NSE:NIFTY 50") == [1, 2, 3, 6]
    assert day.told() == [(0.3, 0.6, {"NSE:NIFTY 50": 2}, "unrecorded", True)]


def test_where_nothing_was_recorded_the_whole_time_is_told(tmp_path: Path) -> None:
    day = Day(tmp_path, since_ns=T0 - 60 * S)
    day.path.unlink()
    day.publish(3)
    day.come()
    day.read()
    day.at_ns += SEAM_NS
    day.read()
    names = {"NSE:INFY": 0, "NSE:NIFTY 50": 0}
    assert day.told() == [(-60.0, 0.3, names, "unrecorded", True)]


def test_a_recording_that_begins_later_than_since_says_so(tmp_path: Path) -> None:
    day = Day(tmp_path, since_ns=T0 - 600 * S)
    day.publish(3)
    day.write()
    day.come()
    day.read()
    assert day.told() == [(-600.0, 0.1, {}, "unrecorded", True)]


def test_what_the_recorder_missed_is_told_before_the_tick_that_follows(tmp_path: Path) -> None:
    day = Day(tmp_path)
    day.publish(2)
    day.write()
    day.publish(3)
    day.unwritten.clear()
    gap = r.Gap(T0 + S // 5, T0 + S // 2, "killed")
    day.miss(gap)
    day.publish(1)
    day.miss(r.Gap(gap.from_ns, gap.to_ns, "killed", healed=True))
    day.publish(1)
    day.write()
    day.come()
    take = lambda: day.history.take(day.view, day.at_ns)  # noqa: E731
    before = [take() for _ in range(4)]
    assert [tick.seq for tick in before if tick] == [1, 1, 2, 2]
    assert day.told() == []
    assert take() is not None
    assert day.told() == [(0.2, 0.5, {}, "unrecorded", False)]
    day.read()
    names = {"NSE:INFY": 3, "NSE:NIFTY 50": 3}
    assert day.told() == [(0.2, 0.5, names, "unrecorded", True)]
    assert day.numbers("NSE:INFY")[-1] == 7


def test_what_was_missed_before_since_is_nobodys_business(tmp_path: Path) -> None:
    day = Day(tmp_path, since_ns=T0 + 2 * S)
    day.publish(2)
    day.miss(r.Gap(T0, T0 + S, "killed", healed=True))
    day.publish(30)
    day.write()
    day.come()
    day.read()
    assert day.told() == []


def test_what_lies_damaged_is_told(tmp_path: Path) -> None:
    day = Day(tmp_path)
    day.publish(2)
    day.write()
    begin = day.path.stat().st_size
    day.publish(2)
    day.write()
    end = day.path.stat().st_size
    day.publish(2)
    day.write()
    whole = bytearray(day.path.read_bytes())
    whole[begin:end] = bytes(end - begin)
    day.path.write_bytes(whole)
    day.come()
    day.read()
    assert day.numbers("NSE:INFY") == [1, 2, 5, 6]
    assert day.told() == [(0.2, 0.5, {}, "unrecorded", True)]


def test_a_recorder_that_goes_on_in_another_file_is_followed(tmp_path: Path) -> None:
    day = Day(tmp_path)
    day.publish(3)
    day.write()
    day.come()
    day.publish(2)
    day.path = put(tmp_path, segment([], started_ns=day.at_ns, ended=""), day.at_ns)
    day.read()
    day.write()
    day.read()
    assert day.numbers("NSE:INFY") == [1, 2, 3, 4, 5]


def test_another_broadcaster_at_the_seam_begins_anew_after_the_old_one(tmp_path: Path) -> None:
    day = Day(tmp_path)
    day.publish(3)
    day.come()
    day.read()
    day.feed = Writes(gen=8, epoch=4)
    day.publish(3)
    day.write()
    day.read()
    assert [(t.gen, t.seq) for t in day.got if t.instrument == "NSE:INFY"] == [
        (7, 1), (7, 2), (7, 3), (8, 1), (8, 2), (8, 3)
    ]  # fmt: skip


def test_only_what_came_since_is_given_out(tmp_path: Path) -> None:
    day = Day(tmp_path, since_ns=T0 + S // 10 * 3)
    day.publish(5)
    day.write()
    day.come()
    day.read()
    assert day.numbers("NSE:INFY") == [3, 4, 5]


def test_a_block_that_is_half_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    day = Day(tmp_path)
    day.publish(2)
    day.write()
    whole = day.path.read_bytes()
    day.come()
    day.path.write_bytes(whole[:-5])
    day.read()
    assert day.got == []
    day.path.write_bytes(whole)
    day.read()
    assert day.numbers("NSE:INFY") == [1, 2]


def test_a_day_that_ends_at_the_seam_goes_on_in_the_next(tmp_path: Path) -> None:
    day = Day(tmp_path)
    day.publish(2)
    day.write()
    day.come()
    day.publish(2)
    day.path = put(tmp_path, segment([], ended="", day="2026-12-01"), day="2026-12-01")
    day.write()
    day.read()
    assert day.numbers("NSE:INFY") == [1, 2, 3, 4]
    assert DAY < "2026-12-01"
