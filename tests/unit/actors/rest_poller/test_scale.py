"""Thousands of instruments, several shards, and Kite refusing a few of them."""

from collections.abc import Callable, Collection
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kitefeed.actors.policy.machine import Wake
from kitefeed.actors.rest_poller.machine import REFUSED_ALL, Answered
from kitefeed.actors.rest_poller.sweep import BEAT_NS, SPACING_NS
from kitefeed.actors.rest_poller.turns import ALONE_RETRY_NS
from kitefeed.protocol.feed import Flag
from kitefeed.protocol.kite.rest import QUOTE_COUNT_MAX, QUOTE_QUERY_BYTES_MAX
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.instruments import Instrument
from tests.unit.actors.rest_poller.stage import PERIOD_NS, S, Stage, batches, polled, quote

ALL = 9_000


def some(count: int, read: int = 0, first: int = 1) -> tuple[Instrument, ...]:
    """`count` instruments, of which `read` are read, evenly strewn."""
    return tuple(
        Instrument(
            first + n << 8 | 1,
            f"NSE:X{first + n}",
            "ltp",
            has_listeners=n * read // count != (n + 1) * read // count,
        )
        for n in range(count)
    )


class Kite:
    """Answers within 0.2 s, and refuses every request that `is_refused` says. `waits`: the longest
    time between two answered requests of each token."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.waits: dict[int, int] = {}
        self.answered_ns: dict[int, int] = {}
        self.is_refused: Callable[[Collection[int]], bool] = lambda tokens: False
        self._done = 0

    def run(self, seconds: float) -> list[object]:
        until_ns, said = self.stage.at_ns + int(seconds * S), []
        while self.stage.at_ns < until_ns:
            if len(self.stage.asked) > self._done:
                said += self._answer()
            due_ns = self.stage.poller.deadline_ns or until_ns
            self.stage.at_ns = min(until_ns, max(self.stage.at_ns, due_ns))
            said += self.stage.tell(Wake())
        return said

    def _answer(self) -> list[object]:
        sent_ns, ask = self.stage.asked[self._done]
        self._done += 1
        self.stage.at_ns = max(self.stage.at_ns, sent_ns + S // 5)
        if self.is_refused(ask.tokens):
            return self.stage.tell(Answered(ask.request, "input", detail="bad"))
        for token in ask.tokens:
            waited_ns = sent_ns - self.answered_ns.get(token, sent_ns)
            self.waits[token] = max(waited_ns, self.waits.get(token, 0))
            self.answered_ns[token] = sent_ns
        quotes = {token: quote(token) for token in ask.tokens}
        return self.stage.tell(Answered(ask.request, "ok", quotes))

    def longest_wait_ns(self, instruments: Collection[Instrument]) -> int:
        return max(self.waits[i.token] for i in instruments)


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def kite(stage: Stage) -> Kite:
    return Kite(stage)


# --- whose turn it is -----------------------------------------------------------------------------


def test_nine_thousand_take_eighteen_requests_and_the_batches_and_reports_say_so(
    stage: Stage, kite: Kite
) -> None:
    instruments = some(ALL)
    stage.start(*instruments)
    said = kite.run(60)
    assert kite.longest_wait_ns(instruments) == 18 * SPACING_NS
    assert {batch.period_ns for batch in batches(said)} == {18 * SPACING_NS}
    assert {report.sweep_ns for report in polled(said)} == {18 * SPACING_NS}


def test_those_that_are_read_are_the_first_of_those_never_asked(stage: Stage, kite: Kite) -> None:
    instruments = some(ALL, read=700)
    stage.start(*instruments)
    kite.run(1.1)
    read = {i.token for i in instruments if i.has_listeners}
    assert read <= {token for _, ask in stage.asked for token in ask.tokens}


def test_what_is_new_is_asked_before_what_is_only_old(stage: Stage, kite: Kite) -> None:
    stage.start(*some(ALL))
    kite.run(30)
    new = Instrument(256265, "NSE:NIFTY 50", "full")
    stage.start(*some(ALL), new)
    kite.run(1.1)
    assert stage.asked[-1][1].tokens[0] == new.token


def test_those_that_are_read_come_round_each_period_if_they_fit(stage: Stage, kite: Kite) -> None:
    instruments = some(ALL, read=100)
    stage.start(*instruments)
    kite.run(30)
    kite.waits.clear()
    kite.run(60)
    read = [i for i in instruments if i.has_listeners]
    assert kite.longest_wait_ns(read) <= PERIOD_NS + SPACING_NS


def test_more_readers_than_fit_share_by_weight(stage: Stage, kite: Kite) -> None:
    instruments = some(ALL, read=3_000)
    stage.start(*instruments)
    kite.run(100)
    kite.waits.clear()
    kite.run(100)
    read = [i for i in instruments if i.has_listeners]
    others = [i for i in instruments if not i.has_listeners]
    assert kite.longest_wait_ns(read) < kite.longest_wait_ns(others) / 2


@settings(max_examples=25)
@given(st.integers(1, 6_000), st.floats(0, 1), st.integers(1, 3))
def test_nobody_waits_longer_than_promised_nor_is_more_promised_than_two_plain_rounds(
    count: int, share: float, shards: int
) -> None:
    stage = Stage()
    kite = Kite(stage)
    instruments = some(count, read=int(count * share))
    for shard in range(shards):
        stage.start(*instruments[shard::shards], shard=shard)
    said = kite.run(40)
    promised_ns = max(batch.period_ns for batch in batches(said))
    assert len(kite.waits) == count
    assert kite.longest_wait_ns(instruments) <= promised_ns
    plain_ns = SPACING_NS * ceil(count / QUOTE_COUNT_MAX)
    assert promised_ns <= max(PERIOD_NS, 2 * plain_ns + 2 * SPACING_NS)


@settings(max_examples=15)
@given(st.sets(st.integers(1, 2**32 - 1), min_size=1, max_size=2_000), st.data())
def test_a_request_never_holds_more_than_kite_takes(tokens: set[int], data: st.DataObject) -> None:
    stage = Stage()
    kite = Kite(stage)
    read = data.draw(st.sets(st.sampled_from(sorted(tokens))))
    stage.start(
        *(Instrument(t, f"NSE:T{t}", "ltp", has_listeners=t in read) for t in sorted(tokens))
    )
    kite.run(12)
    for _, ask in stage.asked:
        assert 0 < len(ask.tokens) <= QUOTE_COUNT_MAX
        assert len("&".join(f"i={token}" for token in ask.tokens)) <= QUOTE_QUERY_BYTES_MAX


def test_a_request_is_filled_with_what_is_not_due_yet(stage: Stage, kite: Kite) -> None:
    """Instruments that came one by one end up in one request per period, not in one each."""
    for count in range(1, 6):
        stage.start(*some(count))
        kite.run(1.1)
    before = len(stage.asked)
    kite.run(60)
    assert len(stage.asked) - before <= 12
    assert {len(ask.tokens) for _, ask in stage.asked[before:]} == {5}


# --- several shards -------------------------------------------------------------------------------


def test_shards_of_one_session_share_a_request_and_have_their_own_batches(stage: Stage) -> None:
    stage.start(epoch=3)
    for shard in (0, 1, 2):
        stage.tell(
            m.StartPolling(shard, 3 + shard, "fp", PERIOD_NS, some(10, first=1 + 10 * shard))
        )
    stage.answer()
    stage.wait(1.1)
    assert len(stage.asked[1][1].tokens) == 30
    found = {(b.shard, b.epoch): len(b.topics) for b in batches(stage.answer()) if b.topics}
    assert found == {(0, 3): 10, (1, 4): 10, (2, 5): 10}


def test_an_instrument_between_two_shards_is_asked_once_and_given_to_both(stage: Stage) -> None:
    (moving,) = some(1)
    stage.start(moving, shard=0)
    stage.start(moving, shard=1, epoch=2)
    stage.answer()
    stage.wait(1.1)
    assert stage.asked[1][1].tokens == (moving.token,)
    assert [b.shard for b in batches(stage.answer()) if b.topics] == [0, 1]


def test_two_sessions_share_the_bucket_and_the_promise(stage: Stage, kite: Kite) -> None:
    first, second = some(1_000), some(4_000, first=5_000)
    stage.tell(m.StartPolling(0, 1, "fp", PERIOD_NS, first))
    stage.tell(m.StartPolling(1, 2, "other", PERIOD_NS, second))
    said = kite.run(60)
    assert {ask.fingerprint for _, ask in stage.asked} == {"fp", "other"}
    assert kite.longest_wait_ns([*first, *second]) <= 10 * SPACING_NS
    assert {batch.period_ns for batch in batches(said)[5:]} == {10 * SPACING_NS}


def test_a_refused_session_parks_all_its_shards_and_no_other(stage: Stage) -> None:
    for shard, fingerprint in ((0, "fp"), (1, "fp"), (2, "other")):
        order = m.StartPolling(shard, 1, fingerprint, PERIOD_NS, some(9, first=1 + 10 * shard))
        stage.tell(order)
    assert {(report.shard, report.outcome) for report in polled(stage.answer("token"))} == {
        (0, "token"),
        (1, "token"),
    }
    stage.wait(1.1)
    assert stage.asked[-1][1].fingerprint == "other"
    assert [link.shard for link in stage.poller.links] == [2]


# --- what Kite refuses ----------------------------------------------------------------------------


def test_one_bad_instrument_is_found_and_costs_its_neighbours_a_moment_only(
    stage: Stage, kite: Kite
) -> None:
    instruments = some(3_000)
    bad = instruments[777]
    kite.is_refused = lambda tokens: bad.token in tokens
    stage.start(*instruments)
    kite.run(50)
    assert kite.answered_ns.keys() == {i.token for i in instruments} - {bad.token}
    kite.waits.clear()
    said = kite.run(600)
    others = [i for i in instruments if i is not bad]
    assert kite.longest_wait_ns(others) <= max(batch.period_ns for batch in batches(said))
    alone = [at_ns for at_ns, ask in stage.asked if ask.tokens == (bad.token,)]
    assert len(alone) == pytest.approx(600 * S / ALONE_RETRY_NS, abs=3)


def test_an_instrument_that_kite_takes_again_is_polled_again(stage: Stage, kite: Kite) -> None:
    instruments = some(30)
    kite.is_refused = lambda tokens: instruments[7].token in tokens
    stage.start(*instruments)
    kite.run(60)
    kite.is_refused = lambda tokens: False
    kite.run(ALONE_RETRY_NS / S + 3)
    kite.waits.clear()
    kite.run(30)
    assert kite.longest_wait_ns(instruments) <= PERIOD_NS + SPACING_NS


def test_many_bad_instruments_take_at_most_every_second_request(stage: Stage, kite: Kite) -> None:
    instruments = some(2_000)
    bad = {i.token for i in instruments[:QUOTE_COUNT_MAX:10]}
    kite.is_refused = lambda tokens: not bad.isdisjoint(tokens)
    stage.start(*instruments)
    said = kite.run(120)
    others = instruments[QUOTE_COUNT_MAX:]
    assert kite.longest_wait_ns(others) <= max(batch.period_ns for batch in batches(said))
    kite.run(1_000)
    assert kite.answered_ns.keys() == {i.token for i in instruments} - bad


def test_when_kite_had_refused_everything_no_instrument_is_blamed(stage: Stage, kite: Kite) -> None:
    instruments = some(2_000)
    kite.is_refused = lambda tokens: True
    stage.start(*instruments)
    kite.run(2 * REFUSED_ALL)
    kite.is_refused = lambda tokens: False
    kite.run(8)
    assert len(kite.answered_ns) == 2_000


def test_trouble_that_stays_costs_the_turn_so_that_others_are_asked(stage: Stage) -> None:
    stage.start(*some(1_000))
    first = stage.asked[0][1].tokens
    stage.answer("network")
    stage.wait(5.1)
    assert stage.asked[1][1].tokens == first
    stage.answer("network")
    stage.wait(5.1)
    assert set(stage.asked[2][1].tokens).isdisjoint(first)


# --- what readers may believe ---------------------------------------------------------------------


def test_a_value_that_kite_gives_no_more_is_sent_as_stale_once(stage: Stage) -> None:
    one, two = some(2)
    stage.start(one, two)
    stage.answer()
    for expected in ([b"tick/NSE:X2"], []):
        stage.wait(5)
        ask = stage.asked[-1][1]
        said = batches(stage.tell(Answered(ask.request, "ok", {one.token: quote(one.token)})))
        assert [topic for batch in said for topic in batch.topics] == [b"tick/NSE:X1"]
        stale = [item for batch in said for item in batch.items if item.flags == Flag.STALE]
        assert [item.topic for item in stale] == expected
        assert all(bytes(item.body) == b"\xc0" for item in stale)
    stage.wait(5)
    assert m.Confirmed(0, 1, (two.token,)) in stage.answer()


def test_a_value_that_kite_refuses_alone_is_sent_as_stale(stage: Stage) -> None:
    (one,) = some(1)
    stage.start(one)
    stage.answer()
    stage.wait(5)
    batch = batches(stage.answer("input"))[-1]
    assert [(item.topic, item.flags) for item in batch.items] == [(b"tick/NSE:X1", Flag.STALE)]


def test_what_is_polled_no_more_is_sent_as_stale(stage: Stage) -> None:
    one, two = some(2)
    stage.start(one, two)
    stage.answer()
    (batch,) = batches(stage.start(one))
    assert [(item.topic, item.flags) for item in batch.items] == [(b"tick/NSE:X2", Flag.STALE)]


def test_polling_that_has_no_answers_beats_no_more_and_begins_again_with_one(stage: Stage) -> None:
    """However long a round is: with 9,000 instruments a value may be old and good, but not when
    nobody answers."""
    stage.start(*some(ALL))
    stage.answer()
    last_ns = stage.at_ns
    beats_ns = []
    while stage.at_ns < last_ns + 30 * S:
        stage.at_ns += BEAT_NS
        said = stage.tell(Wake())
        beats_ns += [stage.at_ns] * len(batches(said))
        if stage.poller.deadline_ns and len(stage.asked) > 1 and stage.asked[-1][0] == stage.at_ns:
            stage.answer("network")
    assert 9 * S < beats_ns[-1] - last_ns <= 2 * PERIOD_NS + BEAT_NS
    stage.wait(5)
    stage.answer()
    stage.at_ns += BEAT_NS
    assert batches(stage.tell(Wake()))
