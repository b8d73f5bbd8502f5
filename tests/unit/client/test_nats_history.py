"""Tests what a reader over NATS is given since some time: history, then live ticks, each once."""

from kitefeed.client.nats_history import NatsHistory, SinceView
from kitefeed.client.nats_values import answer_frames
from kitefeed.client.tick import Staleness, Tick
from kitefeed.protocol import feed as f
from kitefeed.protocol.feed import TickFrames
from kitefeed.protocol.kite.ticks import TickBody
from kitefeed.protocol.topics import tick_topic

S = 1_000_000_000
UTC_NS = 1_790_000_000 * S
INFY, TCS = "NSE:INFY", "NSE:TCS"
BODY = f.encode(TickBody(408065, 1, 100, 150005))


def frame(seq: int, key: str = INFY, gen: int = 7) -> bytes:
    return TickFrames(gen, 0, 3, 1, UTC_NS, UTC_NS).one(tick_topic(key), seq, 0, BODY)


class Anybody:
    def why_stale(self, tick: Tick) -> Staleness:
        return ""

    def has_source(self, tick: Tick) -> bool:
        return True


class Since:
    """The link's hands, and the program's."""

    def __init__(self) -> None:
        self.history = NatsHistory(UTC_NS)
        self.view = SinceView(self.history, Anybody(), None, (), None)

    def live(self, *frames: bytes) -> None:
        for each in frames:
            self.view.apply(each, 5 * S, UTC_NS)

    def take(self) -> list[int]:
        """Numbers of the ticks that the program gets now."""
        found = []
        while self.view.has_next:
            tick = self.view.take()
            if tick is None:
                break
            found.append(tick.seq)
        return found

    def join(self, *past: bytes) -> list[int]:
        """History was read to its end as it is now; what comes live is kept from here on."""
        self.history.frames.extend(past)
        self.history.is_read = True
        found = self.take()
        assert self.history.is_joined
        return found

    def end(self, *past: bytes) -> list[int]:
        self.history.frames.extend(past)
        self.history.is_over = True
        return self.take()


def test_history_comes_first_and_what_is_live_after_it_once_and_without_a_hole() -> None:
    since = Since()
    since.live(*map(frame, (1, 2, 3)))  # in history too: not kept before the two are joined
    assert since.join(*map(frame, (1, 2, 3))) == [1, 2, 3]
    since.live(*map(frame, (4, 5, 6)))
    assert since.end(*map(frame, (4, 5))) == [4, 5, 6]
    since.live(frame(7))
    assert since.take() == [7]
    assert since.view.gaps == 0


def test_what_neither_history_nor_the_stream_has_is_counted() -> None:
    for first_live, missing in ((4, 0), (5, 1), (6, 2)):
        since = Since()
        assert since.join(*map(frame, (1, 2))) == [1, 2]
        since.live(frame(first_live))
        assert since.end(frame(3)) == [3, first_live]
        assert since.view.gaps == missing


def test_each_instrument_has_numbers_of_its_own() -> None:
    since = Since()
    assert since.join(frame(8), frame(1, TCS)) == [8, 1]
    since.live(frame(8), frame(2, TCS), frame(9))
    assert since.end() == [2, 9]
    assert since.view.gaps == 0


def test_another_broadcaster_begins_to_number_anew_and_that_is_no_hole() -> None:
    since = Since()
    assert since.join(*map(frame, (8, 9))) == [8, 9]
    since.live(frame(1, gen=8), frame(2, gen=8))
    assert since.end() == [1, 2]
    assert since.view.gaps == 0


def test_of_history_the_last_alone_is_judged_as_the_live_value_that_it_is() -> None:
    since = Since()
    since.live(frame(2))
    since.history.frames.extend(map(frame, (1, 2)))
    ticks = [since.view.take(), since.view.take()]
    assert [tick and since.view.values.is_last(tick) for tick in ticks] == [False, True]


def test_an_answer_counts_its_values_and_one_that_is_not_whole_counts_too_many() -> None:
    def counted(is_whole: bool) -> int:
        *_, end = answer_frames(b"~snap!a!", [frame(1), frame(2)], 7, UTC_NS, is_whole)
        _, message = f.split_frame(end)
        body = f.decode_snapshot_chunk(f.decode_feed_message(message).body)
        assert isinstance(body, f.SnapshotEnd)
        return body.count

    assert counted(True) == 2
    assert counted(False) > 2
