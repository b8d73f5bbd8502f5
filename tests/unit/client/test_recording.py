"""A recorded day as a program reads it: the same ticks, judged as they were then."""

import datetime
import pickle
from pathlib import Path
from typing import Any

import pytest

from kitefeed import BadInput, ConfigError, Recording, Tick
from kitefeed.client import recording as recordings
from kitefeed.client.view import View
from kitefeed.protocol import recording as r
from kitefeed.protocol.feed import Flag, Source
from kitefeed.protocol.recording import Codec, Gap
from tests.recordings import DAY, GOLD, INFY, NIFTY, NINE_FIFTEEN, S, Writes, put, segment

T0 = NINE_FIFTEEN


def frames_of(feed: Writes, seconds: int, *, at_ns: int = T0) -> list[list[tuple[int, Any]]]:
    """A block a second: a heartbeat and a chunk."""
    return [
        [
            (at_ns + n * S, feed.heartbeat(at_ns + n * S)),
            (at_ns + n * S + 5, feed.chunk(at_ns + n * S + 5, {INFY: 1500_00 + n, NIFTY: 1})),
        ]
        for n in range(seconds)
    ]


def facts(tick: Tick) -> tuple[object, ...]:
    return tick.instrument, tick.raw, tick.seq, tick.flags, tick.gen, tick.epoch, tick.t_rx_ns


class Live:
    """A reader that was there."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.view = View(self, None, (), None)

    def why_stale(self, tick: Tick) -> Any:
        return self.view.why_stale(tick, self.now_ns)

    def has_source(self, tick: Tick) -> bool:
        return self.view.has_source(tick, self.now_ns)

    def read(self, blocks: list[list[tuple[int, Any]]]) -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = []
        for block in blocks:
            for at_ns, frame in block:
                self.now_ns = at_ns
                self.view.apply(frame, at_ns, at_ns)
                while self.view.arrived:
                    tick = self.view.arrived.popleft()
                    found.append((*facts(tick), tick.is_fresh, tick.why_stale, tick.source))
        return found


def test_the_same_ticks_come_with_the_verdict_that_a_reader_had_then(tmp_path: Path) -> None:
    feed = Writes()
    blocks = frames_of(feed, 3)
    at_ns = T0 + 10 * S  # after seven seconds of silence: no heartbeat holds
    blocks.append([(at_ns, feed.chunk(at_ns, {INFY: 1510_00}))])
    blocks.append([(at_ns + 1, feed.heartbeat(at_ns + 1, "stale", fresh=False)),
                   (at_ns + 2, feed.chunk(at_ns + 2, {INFY: 1511_00}))])  # fmt: skip
    feed.source, feed.epoch = Source.REST, 4  # without a heartbeat that tells of it
    blocks.append([(at_ns + 3, feed.chunk(at_ns + 3, {INFY: 1512_00}))])
    blocks.append([(at_ns + 4, feed.heartbeat(at_ns + 4, "rest")),
                   (at_ns + 5, feed.chunk(at_ns + 5, {INFY: 1513_00}))])  # fmt: skip
    put(tmp_path, segment(blocks, codec=Codec.ZSTD))
    ticks = list(Recording(DAY, dir=tmp_path))
    replayed = [(*facts(t), t.is_fresh, t.why_stale, t.source) for t in ticks]
    assert replayed == Live().read(blocks)
    assert [t.why_stale for t in ticks[-4:]] == ["lost", "unproven", "cached", ""]
    assert [t.source for t in ticks[-4:]] == ["cache", "websocket", "cache", "rest"]


def test_a_verdict_and_an_age_do_not_change_afterwards(tmp_path: Path) -> None:
    put(tmp_path, segment(frames_of(Writes(), 3)))
    ticks = list(Recording(DAY, "NSE:INFY", dir=tmp_path))
    assert [tick.is_fresh for tick in ticks] == [True] * 3
    assert [tick.age_s for tick in ticks] == [0.001] * 3
    again = pickle.loads(pickle.dumps(ticks))  # noqa: S301
    assert [tick.age_s for tick in again] == [0.001] * 3
    assert [tick.is_fresh for tick in again] == [True] * 3
    assert [tick.source for tick in again] == ["websocket"] * 3


def test_it_can_be_iterated_again_and_by_two_at_once(tmp_path: Path) -> None:
    put(tmp_path, segment(frames_of(Writes(), 5)))
    recording = Recording(DAY, dir=tmp_path)
    pairs = list(zip(recording, recording, strict=True))
    assert len(pairs) == 10
    assert all(facts(a) == facts(b) for a, b in pairs)


def test_hours_are_one_day_and_the_values_between_them_are_no_second_ticks(tmp_path: Path) -> None:
    feed = Writes()
    put(tmp_path, segment(frames_of(feed, 5)))
    next_ns = T0 + 5 * S
    snapshot = [(next_ns, frame) for frame in feed.snapshot(next_ns)]
    put(tmp_path, segment([snapshot, *frames_of(feed, 5, at_ns=next_ns)], started_ns=next_ns),
        next_ns)  # fmt: skip
    ticks = list(Recording(DAY, "NSE:INFY", dir=tmp_path))
    assert [tick.seq for tick in ticks] == [*range(1, 11)]
    assert Recording(DAY, dir=tmp_path).gaps == []


def test_instruments_are_chosen_by_name_pattern_token_and_list(tmp_path: Path) -> None:
    put(tmp_path, segment(frames_of(Writes(), 1)))

    def names(*asked: Any) -> list[str]:
        return [tick.instrument for tick in Recording(DAY, *asked, dir=tmp_path)]

    assert names("NSE:INFY") == names(INFY) == names(["NSE:INFY"]) == ["NSE:INFY"]
    assert names("NSE:N*") == ["NSE:NIFTY 50"]
    assert names() == ["NSE:INFY", "NSE:NIFTY 50"]
    assert [each.key for each in Recording(DAY, INFY, dir=tmp_path).instruments] == ["NSE:INFY"]


@pytest.mark.parametrize("asked", ["NSE:TYPO", 99])
def test_what_was_not_recorded_is_refused_by_name(tmp_path: Path, asked: Any) -> None:
    put(tmp_path, segment(frames_of(Writes(), 1)))
    with pytest.raises(BadInput, match=f"{asked}: nothing is recorded of it on {DAY}"):
        Recording(DAY, asked, dir=tmp_path)


def test_an_instrument_that_came_later_in_the_day_is_known(tmp_path: Path) -> None:
    feed = Writes()
    more = r.encode([r.Described(GOLD, "MCX:GOLD26DECFUT", 100, 7)])
    parts = segment(frames_of(feed, 1), ended="")
    payload = r.encode_record(r.Type.INSTRUMENTS, T0 + S, more)
    payload += r.encode_record(1, T0 + S, feed.chunk(T0 + S, {GOLD: 70_000_00}))
    parts.append(r.encode_block(2, payload, T0 + S, T0 + S, 0, r.HAS_NOTES))
    put(tmp_path, parts)
    (tick,) = Recording(DAY, "MCX:GOLD26DECFUT", dir=tmp_path)
    assert tick.last_price == 70_000.0


def test_a_part_of_the_day_is_judged_by_what_was_before_it(tmp_path: Path) -> None:
    put(tmp_path, segment(frames_of(Writes(), 60)))
    part = Recording(DAY, "NSE:INFY", dir=tmp_path, since="09:15:10", until="09:15:20")
    ticks = list(part)
    assert [tick.seq for tick in ticks] == [*range(11, 21)]
    assert all(tick.is_fresh for tick in ticks)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"date": "30-11-2026"}, "write it as 2026-11-30"),
        ({"date": datetime.datetime(2026, 11, 30)}, "is a time"),
        ({"date": DAY, "since": "quarter past nine"}, "write it as 09:15"),
        ({"date": "2026-12-01"}, "Nothing is recorded of 2026-12-01 in .*2026-11-30 to 2026-11-30"),
    ],
)
def test_bad_input_is_a_sentence(tmp_path: Path, arguments: Any, sentence: str) -> None:
    put(tmp_path, segment(frames_of(Writes(), 1)))
    with pytest.raises(BadInput, match=sentence):
        Recording(dir=tmp_path, **arguments)


def test_dates_are_taken_as_dates(tmp_path: Path) -> None:
    put(tmp_path, segment(frames_of(Writes(), 1)))
    assert len(list(Recording(datetime.date(2026, 11, 30), dir=tmp_path))) == 2


def test_the_configuration_says_where_recordings_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "rec", segment(frames_of(Writes(), 1)))
    config = tmp_path / "kitefeed.toml"
    config.write_text('[record]\ndir = "rec"\n')
    monkeypatch.setenv("KITEFEED_CONFIG", str(config))
    assert len(list(Recording(DAY))) == 2
    config.write_text("")
    with pytest.raises(ConfigError, match=r"set record\.dir"):
        Recording(DAY)
    monkeypatch.setenv("KITEFEED_RECORD__DIR", "rec")
    assert len(list(Recording(DAY))) == 2


# --- what is missing ------------------------------------------------------------------------------


def test_a_gap_that_healed_is_told_once_and_ticks_in_it_are_not_counted_as_lost(
    tmp_path: Path,
) -> None:
    feed = Writes()
    blocks = frames_of(feed, 3)
    for _ in range(100):
        feed.chunk(T0, {INFY: 1})  # not recorded
    at_ns = T0 + 60 * S
    gap = Gap(T0 + 2 * S, at_ns, "killed")
    healed = Gap(T0 + 2 * S, at_ns, "killed", healed=True)
    later: list[tuple[int, Any]] = [(at_ns, gap), (at_ns, feed.heartbeat(at_ns))]
    later += [(at_ns, frame) for frame in feed.snapshot(at_ns)]
    later += [(at_ns + 1, healed), (at_ns + 2, feed.chunk(at_ns + 2, {INFY: 1600_00}))]
    put(tmp_path, segment(blocks, ended="killed"))
    put(tmp_path, segment([later], started_ns=at_ns), at_ns)
    recording = Recording(DAY, "NSE:INFY", dir=tmp_path)
    assert recording.gaps == [healed]
    ticks = list(recording)
    assert [tick.seq for tick in ticks] == [1, 2, 3, 103, 104]
    assert [tick.why_stale for tick in ticks] == ["", "", "", "", ""]
    assert ticks[3].flags & Flag.SNAPSHOT


def test_a_file_that_is_missing_between_two_hours_is_a_gap(tmp_path: Path) -> None:
    feed = Writes()
    put(tmp_path, segment(frames_of(feed, 3)))
    later_ns = T0 + 3600 * S
    put(tmp_path, segment(frames_of(feed, 3, at_ns=later_ns), started_ns=later_ns), later_ns)
    (gap,) = Recording(DAY, dir=tmp_path).gaps
    assert (gap.reason, gap.to_ns) == ("missing", later_ns)


# --- damage ---------------------------------------------------------------------------------------


def test_what_can_be_read_of_a_damaged_file_is_read_and_the_rest_is_named(tmp_path: Path) -> None:
    feed = Writes()
    parts = segment(frames_of(feed, 10))
    hurt = bytearray(parts[4])
    hurt[50] ^= 0xFF
    parts[4] = bytes(hurt)
    path = put(tmp_path, parts)
    recording = Recording(DAY, "NSE:INFY", dir=tmp_path)
    assert [tick.seq for tick in recording] == [1, 2, 3, 5, 6, 7, 8, 9, 10]
    start = sum(map(len, parts[:4]))
    assert recording.damage == [
        f"{path}: bytes {start} to {start + len(hurt)}: its checksum is wrong"
    ]
    (gap,) = recording.gaps
    assert gap == Gap(T0 + 2 * S + 5, T0 + 4 * S, "damaged", detail=gap.detail)
    assert path.name in gap.detail


@pytest.mark.parametrize("damaged", ["head", "header", "empty"])
def test_a_file_whose_beginning_is_damaged_costs_that_file(tmp_path: Path, damaged: str) -> None:
    feed = Writes()
    parts = segment(frames_of(feed, 3))
    first = bytearray(parts[0])
    first[0 if damaged == "head" else 60] ^= 1
    parts = [] if damaged == "empty" else [bytes(first), *parts[1:]]
    path = put(tmp_path, parts)
    later_ns = T0 + 10 * S
    put(tmp_path, segment(frames_of(feed, 2, at_ns=later_ns), started_ns=later_ns), later_ns)
    recording = Recording(DAY, "NSE:INFY", dir=tmp_path)
    seqs = [tick.seq for tick in recording]
    assert seqs == ([1, 2, 3, 4, 5] if damaged == "header" else [4, 5])
    assert len(recording.damage) == 1
    assert str(path) in recording.damage[0]


def test_a_file_cut_at_any_byte_gives_the_ticks_before_the_cut(tmp_path: Path) -> None:
    parts = segment(frames_of(Writes(), 4))
    data = b"".join(parts)
    for cut in range(0, len(data), 7):
        put(tmp_path, [data[:cut]])
        if cut < len(r.HEAD):
            with pytest.raises(BadInput, match="can be read"):
                Recording(DAY, dir=tmp_path)
            continue
        recording = Recording(DAY, dir=tmp_path)
        blocks = sum(cut >= sum(map(len, parts[: n + 1])) for n in range(1, 5))
        assert [tick.seq for tick in recording] == [n + 1 for n in range(blocks) for _ in range(2)]


def test_a_file_that_is_being_written_is_not_called_damaged_until_its_day_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "utc_ns", lambda: T0 + 60 * S)
    data = b"".join(segment(frames_of(Writes(), 3), ended=""))
    put(tmp_path, [data, r.MARK + bytes(5)])
    recording = Recording(DAY, dir=tmp_path)
    assert len(list(recording)) == 6
    assert recording.damage == []
    monkeypatch.setattr(recordings, "utc_ns", lambda: T0 + 86_400 * S)
    (named,) = recording.damage
    assert "its end is missing" in named


def test_a_file_without_its_end_before_another_one_is_a_gap(tmp_path: Path) -> None:
    feed = Writes()
    put(tmp_path, segment(frames_of(feed, 3), ended=""))
    later = frames_of(feed, 3, at_ns=T0 + 60 * S)
    put(tmp_path, segment(later, started_ns=T0 + 60 * S), T0 + 60 * S)
    recording = Recording(DAY, dir=tmp_path)
    assert len(list(recording)) == 12
    (gap,) = recording.gaps
    assert (gap.from_ns, gap.to_ns, gap.reason) == (T0 + 2 * S + 5, T0 + 60 * S, "damaged")
    (named,) = recording.damage
    assert "its end is missing" in named
