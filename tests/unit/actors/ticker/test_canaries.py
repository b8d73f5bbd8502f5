"""Tests what the silence of an always-active instrument says of its like, and of the stream."""

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
import pytest

from kitefeed.actors.ticker.canaries import (
    CROWD_MIN,
    PRESUMED_NS,
    QUICK_NS,
    QUICK_TICKS,
    VOUCHED_NS,
    Pace,
)
from kitefeed.actors.ticker.machine import Ended, LinkId
from kitefeed.protocol.feed import Flag, IngestBatch
from kitefeed.protocol.kite.ticks import FULL, QUOTE, TickBody
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.instruments import Instrument
from kitefeed.protocol.messages.membership import Held
from tests.unit.actors.ticker.test_machine import (
    INFY,
    LINK,
    NIFTY,
    TCS,
    S,
    Stage,
    batches,
    crowd,
    doubts_in,
)

CANARY_STALE_S = 5  # of the broadcaster
BANK = Instrument(260105, "NSE:NIFTY BANK", "full", is_canary=True)
BOND = Instrument(271113, "NSE:NIFTY GS 10YR", "full", is_canary=True)  # never ticks
GOLD = Instrument(112_418_567, "MCX:GOLD26DECFUT", "full", is_canary=True)
INDICES = 9


@pytest.fixture
def stage() -> Stage:
    return Stage()


class Trading:
    """A link whose instruments tick, each so often."""

    def __init__(self, stage: Stage, *, link: LinkId = LINK) -> None:
        self.stage, self.link = stage, link
        self.price = 1_000
        self.said: list[object] = []  # while it was looked whether the stream is believed

    def open(self, *instruments: Instrument) -> None:
        """With the cached packets of all."""
        self.stage.open(*instruments, link=self.link)
        self._frame(instruments)
        if moded := [i for i in instruments if i.mode == "full"]:
            self._frame(moded)  # again, in the mode that was asked for

    def _frame(self, instruments: Sequence[Instrument]) -> None:
        modes = {"full": FULL, "quote": QUOTE}
        packets = [
            TickBody(i.token, modes[i.mode], 100, self.price, volume_traded=7) for i in instruments
        ]
        self.stage.frame(*packets, link=self.link)

    def run(self, seconds: float, **ticking: tuple[Instrument, float]) -> list[m.LinkDoubt]:
        """Lets these tick, each at its pace (seconds); returns the doubts."""
        said, self.said = self.said, []
        due = dict.fromkeys(ticking, self.stage.at_ns)
        until_ns = self.stage.at_ns + int(seconds * S)
        while True:
            next_ns = min([*due.values(), until_ns])
            said += self.stage.run((next_ns - self.stage.at_ns) / S)
            if next_ns >= until_ns:
                return doubts_in(said)
            now = [name for name, at_ns in due.items() if at_ns <= next_ns]
            self.price += 1
            self._frame([ticking[name][0] for name in now])
            for name in now:
                due[name] += int(ticking[name][1] * S)

    def rest(self, seconds: int) -> list[m.LinkDoubt]:
        """Heartbeats, on whichever link."""
        said: list[object] = []
        for _ in range(seconds):
            said += self.stage.run(1)
            self.stage.frame(link=self.link)
        return doubts_in(said)

    @property
    def held(self) -> tuple[Held, ...]:
        return self.stage.ticker.held(self.stage.at_ns)

    @property
    def is_believed(self) -> bool:
        """Whether the stream as a whole is not in doubt."""
        beats: list[IngestBatch] = []
        keep = self.stage.tell

        def tell(event: object) -> list[object]:
            commands = keep(event)
            beats.extend(batches(commands))
            return commands

        self.stage.tell = tell  # type: ignore[method-assign]
        self.said += self.stage.run(0.4)
        self.stage.tell = keep  # type: ignore[method-assign]
        proven_ns = beats[-1].canary_boot_ns
        return not proven_ns or self.stage.at_ns - proven_ns <= CANARY_STALE_S * S

    @property
    def held_segments(self) -> list[int]:
        (link,) = self.stage.ticker._open.values()
        return link.liveness.canaries.held


@pytest.fixture
def trading(stage: Stage) -> Trading:
    return Trading(stage)


def index_and_share(trading: Trading) -> None:
    """Both tick, and the index is seen to be quick."""
    trading.open(NIFTY, INFY)
    assert trading.run(10, nifty=(NIFTY, 1), infy=(INFY, 0.5)) == []
    assert (trading.held, trading.held_segments) == ((), [])


def test_a_frozen_index_holds_indices_stale_and_nothing_else(trading: Trading) -> None:
    index_and_share(trading)
    assert trading.run(120, infy=(INFY, 0.5)) == []  # nobody needs to be asked
    assert trading.is_believed
    assert trading.held_segments == [INDICES]
    assert trading.held == (Held(0, 1, "segment", (NIFTY.token,), INDICES),)
    trading.run(1, nifty=(NIFTY, 1), infy=(INFY, 0.5))
    assert (trading.held, trading.held_segments) == ((), [INDICES])  # the others have to tick, too
    trading.run(1.5, nifty=(NIFTY, 1), infy=(INFY, 0.5))
    assert (trading.held, trading.held_segments) == ((), [])


def test_what_is_held_is_told_with_every_batch(trading: Trading) -> None:
    index_and_share(trading)
    trading.run(6, infy=(INFY, 0.5))
    (batch,) = batches(trading.stage.frame(TickBody(INFY.token, QUOTE, 100, 5)))
    assert batch.held_segments == [INDICES]
    trading.run(3, nifty=(NIFTY, 1))
    (batch,) = batches(trading.stage.frame(TickBody(NIFTY.token, FULL, 100, 5)))
    assert batch.held_segments == []


def test_an_index_holds_its_like_within_six_seconds(trading: Trading) -> None:
    index_and_share(trading)
    trading.run(3.5, infy=(INFY, 0.5))
    assert trading.held_segments == []
    trading.run(2, infy=(INFY, 0.5))
    assert trading.held_segments == [INDICES]


def test_what_ticks_faster_than_the_timers_does_not_keep_them_from_looking(
    trading: Trading,
) -> None:
    index_and_share(trading)
    trading.run(6, infy=(INFY, 0.05))
    assert trading.held_segments == [INDICES]


def test_one_frozen_index_beside_one_that_ticks_holds_nothing(trading: Trading) -> None:
    trading.open(NIFTY, BANK, INFY)
    trading.run(10, nifty=(NIFTY, 1), bank=(BANK, 1), infy=(INFY, 2))
    assert trading.run(30, bank=(BANK, 1)) == []
    assert trading.held_segments == []
    assert trading.is_believed


def test_a_mute_stream_is_in_doubt_after_five_seconds_and_asked_about_after_ten(
    trading: Trading,
) -> None:
    index_and_share(trading)
    assert trading.run(4) == []  # the last tick is half a second old
    assert trading.is_believed
    trading.run(1)
    assert not trading.is_believed
    assert [held.scope for held in trading.held] == ["stream"]
    (doubt,) = trading.run(5)
    assert (doubt.kind, doubt.token, doubt.is_alone) == ("canary", NIFTY.token, False)


def test_an_index_that_never_ticks_casts_no_doubt_on_shares_that_do(trading: Trading) -> None:
    trading.open(BOND, INFY)
    for _ in range(30):
        doubts = trading.run(1, infy=(INFY, 0.5))
        assert all(doubt.is_alone and doubt.token == BOND.token for doubt in doubts)
        assert trading.is_believed


@pytest.mark.parametrize("outcome", ["same", "lacking"])
def test_an_index_that_never_ticks_holds_itself_until_a_quote_or_its_time_tells(
    trading: Trading, outcome: Literal["same", "lacking"]
) -> None:
    trading.open(BOND, INFY)
    (doubt,) = trading.run(11, infy=(INFY, 0.5))
    assert (doubt.token, doubt.last_price, doubt.is_alone) == (BOND.token, 1_000, True)
    assert trading.held_segments == [INDICES]
    trading.stage.tell(m.DoubtSettled(0, 1, BOND.token, outcome))
    seconds = 30 if outcome == "same" else PRESUMED_NS / S
    trading.run(seconds, infy=(INFY, 0.5))
    assert trading.held_segments == []
    assert trading.run(300, infy=(INFY, 0.5)) == []  # never again
    assert trading.held_segments == []


def test_an_index_that_never_ticked_and_whose_quote_says_otherwise_is_stale_until_it_ticks(
    trading: Trading,
) -> None:
    trading.open(NIFTY, INFY)
    (doubt,) = trading.run(11, infy=(INFY, 0.5))
    (ended,) = batches(trading.stage.tell(m.DoubtSettled(0, 1, doubt.token, "moved")))
    assert [(i.topic, i.flags) for i in ended.items] == [(b"tick/NSE:NIFTY 50", Flag.STALE)]
    segment = Held(0, 1, "segment", (NIFTY.token,), INDICES)
    assert trading.held == (segment, Held(0, 1, "itself", (NIFTY.token,)))
    trading.run(PRESUMED_NS / S, infy=(INFY, 0.5))
    assert trading.held == (Held(0, 1, "itself", (NIFTY.token,)),)
    trading.run(2, nifty=(NIFTY, 1), infy=(INFY, 0.5))
    assert trading.held == ()


def test_a_quote_that_says_otherwise_is_no_excuse_for_what_is_silent_like_it(
    trading: Trading,
) -> None:
    """A new ticker meets an index segment that stands still in the stream alone."""
    bank = msgspec.structs.replace(BANK, is_canary=False)
    trading.open(NIFTY, bank, INFY)
    (doubt,) = trading.run(11, infy=(INFY, 0.5))
    trading.stage.tell(m.DoubtSettled(0, 1, doubt.token, "moved"))
    trading.run(30, infy=(INFY, 0.5))
    assert trading.held_segments == [INDICES]
    trading.run(3, nifty=(NIFTY, 1), bank=(bank, 1), infy=(INFY, 0.5))
    assert trading.held_segments == []


def test_a_verdict_about_what_has_ticked_since_changes_nothing(trading: Trading) -> None:
    trading.open(NIFTY, INFY)
    (doubt,) = trading.run(11, infy=(INFY, 0.5))
    trading.run(1, nifty=(NIFTY, 1))
    assert batches(trading.stage.tell(m.DoubtSettled(0, 1, doubt.token, "moved"))) == []
    assert trading.held == ()


@pytest.mark.parametrize("period_s", [6, 20, 45])
def test_an_index_that_ticks_rarely_is_no_canary(trading: Trading, period_s: float) -> None:
    trading.open(BOND, INFY)
    trading.run(3 * period_s, bond=(BOND, period_s), infy=(INFY, 3))
    for _ in range(200):
        doubts = trading.run(1, infy=(INFY, 1))
        assert not doubts
        assert trading.is_believed
        assert trading.held_segments == []


def test_a_list_with_an_index_that_ticks_rarely_is_asked_about_as_a_quiet_one(
    trading: Trading,
) -> None:
    trading.open(BOND, INFY)
    trading.run(90, bond=(BOND, 30), infy=(INFY, 1))
    first, second = trading.run(45)
    assert {first.kind, second.kind} == {"quiet"}
    assert trading.is_believed


def test_an_index_that_becomes_quick_is_a_canary_again(trading: Trading) -> None:
    trading.open(BOND, INFY)
    trading.run(90, bond=(BOND, 30), infy=(INFY, 1))
    trading.run(10, bond=(BOND, 1), infy=(INFY, 1))
    trading.run(6)
    assert not trading.is_believed


def test_a_quick_index_that_paused_once_is_still_a_canary(trading: Trading) -> None:
    index_and_share(trading)
    trading.run(8, infy=(INFY, 1))
    trading.run(1, nifty=(NIFTY, 1), infy=(INFY, 1))
    trading.run(6)
    assert not trading.is_believed


def test_while_a_quote_says_that_nothing_is_missing_nothing_is_held(trading: Trading) -> None:
    """A halt: nothing ticks, and there is nothing to tick for."""
    index_and_share(trading)
    trading.run(10)
    for _ in range(6):
        while not (doubts := trading.run(1)):
            pass
        assert [doubt.token for doubt in doubts] == [NIFTY.token]
        trading.stage.tell(m.DoubtSettled(0, 1, NIFTY.token, "same"))
        assert trading.is_believed
        assert trading.held == ()
    trading.run(VOUCHED_NS / S + 0.6)
    assert not trading.is_believed


def test_a_quote_of_an_index_that_idles_vouches_for_no_other(trading: Trading) -> None:
    """A new ticker meets a stream that stands still; one of its indices never ticks anyway."""
    trading.open(BOND, NIFTY, INFY)
    trading.run(9.5)
    asked = []
    for _ in range(2):
        assert not trading.is_believed
        (doubt,) = trading.run(1)
        asked.append(doubt.token)
        trading.stage.tell(m.DoubtSettled(0, 1, doubt.token, "same"))
    assert set(asked) == {BOND.token, NIFTY.token}
    assert trading.is_believed  # each of them was asked about
    assert trading.held == ()


def test_a_quote_before_the_silence_vouches_for_nothing_after_it(trading: Trading) -> None:
    trading.open(*(msgspec.structs.replace(i, mode="quote") for i in (BOND, NIFTY, INFY)))
    (doubt,) = trading.rest(4)
    assert doubt.kind == "unproven"
    trading.stage.tell(m.DoubtSettled(0, 1, doubt.token, "same"))
    trading.run(2)
    assert not trading.is_believed


def test_each_silent_index_of_a_held_segment_is_asked_about(trading: Trading) -> None:
    trading.open(BOND, NIFTY, INFY)
    (first,) = trading.run(11, infy=(INFY, 0.5))
    trading.stage.tell(m.DoubtSettled(0, 1, first.token, "same"))
    (second,) = trading.run(1, infy=(INFY, 0.5))
    assert {first.token, second.token} == {BOND.token, NIFTY.token}
    assert trading.held_segments == [INDICES]
    trading.stage.tell(m.DoubtSettled(0, 1, second.token, "moved"))
    trading.run(30, infy=(INFY, 0.5))
    assert trading.held_segments == [INDICES]


def test_what_idle_indices_held_is_free_at_once_when_each_was_asked_about(
    trading: Trading,
) -> None:
    trading.open(BOND, NIFTY, INFY)
    for seconds in (11, 1):
        (doubt,) = trading.run(seconds, infy=(INFY, 0.5))
        assert trading.held_segments == [INDICES]
        trading.stage.tell(m.DoubtSettled(0, 1, doubt.token, "same"))
    assert trading.held_segments == []


def test_in_a_halt_one_of_each_segment_is_asked_about_and_none_is_held(trading: Trading) -> None:
    trading.open(NIFTY, GOLD, INFY)
    trading.run(10, nifty=(NIFTY, 1), gold=(GOLD, 1), infy=(INFY, 0.5))
    (first,) = trading.run(10)
    trading.stage.tell(m.DoubtSettled(0, 1, first.token, "same"))
    assert not trading.is_believed
    (second,) = trading.run(1)
    assert {first.token, second.token} == {NIFTY.token, GOLD.token}
    trading.stage.tell(m.DoubtSettled(0, 1, second.token, "same"))
    for _ in range(200):
        assert trading.is_believed
        assert trading.held == ()
        for doubt in trading.run(1):
            trading.stage.tell(m.DoubtSettled(0, 1, doubt.token, "same"))


def test_in_a_halt_one_quote_that_cannot_be_had_changes_nothing(trading: Trading) -> None:
    index_and_share(trading)
    trading.run(11)
    for _ in range(10):
        trading.stage.tell(m.DoubtSettled(0, 1, NIFTY.token, "same"))
        assert len(trading.run(6)) == 1  # not answered
        while not trading.run(1):
            assert trading.is_believed


def test_a_crowd_is_asked_about_one_after_another(trading: Trading) -> None:
    many = [msgspec.structs.replace(each, is_canary=True) for each in crowd(CROWD_MIN)]
    trading.open(*many)
    trading.run(5, one=(many[0], 1), two=(many[1], 1))
    asked = []
    for _ in range(3):
        while not (doubts := trading.run(1)):
            pass
        asked.append(doubts[0].token)
        trading.stage.tell(m.DoubtSettled(0, 1, asked[-1], "same"))
        assert trading.is_believed
    assert len(set(asked[:2])) == 2


def test_a_stream_that_is_mute_soon_after_a_halt_is_in_doubt_after_five_seconds(
    trading: Trading,
) -> None:
    index_and_share(trading)
    trading.run(11)
    trading.stage.tell(m.DoubtSettled(0, 1, NIFTY.token, "same"))
    trading.run(2, nifty=(NIFTY, 1), infy=(INFY, 0.5))
    trading.run(6)
    assert not trading.is_believed


def test_a_quote_of_one_that_is_silent_alone_vouches_for_nothing_else(trading: Trading) -> None:
    trading.open(NIFTY, INFY)
    trading.run(10, nifty=(NIFTY, 1), infy=(INFY, 0.5))
    trading.run(11, infy=(INFY, 0.5))
    trading.stage.tell(m.DoubtSettled(0, 1, NIFTY.token, "same"))
    trading.run(1, nifty=(NIFTY, 1), infy=(INFY, 0.5))
    trading.run(6)
    assert not trading.is_believed


def test_slow_shares_beside_a_frozen_index_are_believed_between_their_ticks(
    trading: Trading,
) -> None:
    index_and_share(trading)
    trading.run(16, infy=(INFY, 8))
    for _ in range(20):
        trading.run(2, infy=(INFY, 8))
        assert trading.is_believed
        assert trading.held_segments == [INDICES]


def test_a_stream_that_ends_beside_a_frozen_index_is_asked_about(trading: Trading) -> None:
    index_and_share(trading)
    trading.run(60, infy=(INFY, 0.5))
    (doubt,) = trading.run(11)
    assert (doubt.kind, doubt.token, doubt.is_alone) == ("quiet", INFY.token, False)


def test_what_proved_nothing_is_not_asked_about_again_before_the_others(trading: Trading) -> None:
    index_and_share(trading)
    (doubt,) = trading.run(11)
    trading.stage.tell(m.DoubtSettled(0, 1, doubt.token, "lacking"))  # quotes lack the index
    (doubt,) = trading.run(30)
    assert (doubt.kind, doubt.token) == ("quiet", INFY.token)


def test_a_silent_canary_of_shares_holds_only_what_is_silent_like_it(trading: Trading) -> None:
    share = msgspec.structs.replace(TCS, is_canary=True)
    trading.open(share, INFY, GOLD)
    trading.run(10, tcs=(share, 1), infy=(INFY, 3), gold=(GOLD, 1))
    trading.run(60, infy=(INFY, 3), gold=(GOLD, 1))
    assert trading.held_segments == []
    trading.run(6, gold=(GOLD, 1))
    assert trading.held_segments == [1]


def test_the_silence_of_a_guard_holds_nothing_of_which_nothing_is_read(trading: Trading) -> None:
    guard = Instrument(NIFTY.token, NIFTY.key, "full", is_canary=True, is_guard=True)
    trading.open(guard, INFY)
    trading.run(10, nifty=(guard, 1), infy=(INFY, 0.5))
    assert trading.run(60, infy=(INFY, 0.5)) == []
    assert (trading.held, trading.held_segments) == ((), [])
    assert trading.is_believed


def test_a_guard_that_is_silent_with_all_else_puts_the_stream_in_doubt(trading: Trading) -> None:
    guard = Instrument(NIFTY.token, NIFTY.key, "full", is_canary=True, is_guard=True)
    trading.open(guard, INFY)
    trading.run(10, nifty=(guard, 1), infy=(INFY, 0.5))
    trading.run(6)
    assert not trading.is_believed


def test_of_a_crowd_all_have_to_be_silent(trading: Trading) -> None:
    many = [msgspec.structs.replace(each, is_canary=True) for each in crowd(CROWD_MIN)]
    trading.open(*many)
    assert trading.run(30, one=(many[0], 4)) == []
    assert trading.is_believed
    trading.run(6)
    assert not trading.is_believed
    assert trading.held_segments == []


def test_what_a_link_learned_of_its_canaries_the_next_one_knows(trading: Trading) -> None:
    trading.open(BOND, INFY)
    trading.run(90, bond=(BOND, 30), infy=(INFY, 1))
    trading.stage.tell(Ended(LINK, 1006, "gone"))
    after = Trading(trading.stage, link=LinkId(0, 2))
    after.open(BOND, INFY)
    assert after.run(20, infy=(INFY, 1)) == []
    assert after.held_segments == []


@pytest.mark.parametrize(
    ("change", "is_unchanged"), [(lambda price: price, True), (lambda price: price + 1, False)]
)
def test_a_doubt_tells_whether_the_link_before_said_the_same(
    trading: Trading, change: Callable[[int], int], is_unchanged: bool
) -> None:
    trading.open(INFY)
    trading.run(3, infy=(INFY, 1))
    trading.stage.tell(m.CloseLink(0, 1))
    after = Trading(trading.stage, link=LinkId(0, 2))
    after.price = change(trading.price)
    trading.stage.tell(Ended(LINK, 1000, ""))
    after.open(INFY)
    (doubt,) = after.rest(4)
    assert (doubt.kind, doubt.is_unchanged) == ("unproven", is_unchanged)


def test_of_many_instruments_their_first_packets_are_compared(trading: Trading) -> None:
    many = crowd(CROWD_MIN)
    trading.open(*many)
    trading.stage.tell(Ended(LINK, 1006, ""))
    after = Trading(trading.stage, link=LinkId(0, 2))
    after.open(*many)
    (doubt,) = after.rest(4)
    assert doubt.is_unchanged


def test_a_quick_canary_that_falls_silent_twice_before_it_is_quick_again_is_one_no_more() -> None:
    pace = Pace()

    def quick() -> None:
        for _ in range(QUICK_TICKS):
            pace.ticked(QUICK_NS, was_silent=False)

    quick()
    pace.ticked(QUICK_NS + 1, was_silent=True)
    assert pace.word == "quick"
    quick()
    pace.ticked(QUICK_NS + 1, was_silent=True)
    assert pace.word == "quick"
    pace.ticked(QUICK_NS + 1, was_silent=True)
    assert pace.word == "slow"
