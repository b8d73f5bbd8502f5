"""Instruments are divided among sockets, and each socket has a life of its own."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitefeed.actors.supervisor.facts import DialState, Instruments
from kitefeed.actors.supervisor.shards import WHOLE_KEY, Capacity, assign
from kitefeed.actors.supervisor.state import CROWD
from kitefeed.protocol.kite.units import IST
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.instruments import Instrument
from kitefeed.protocol.messages.membership import Beat, LinkReport
from kitefeed.protocol.topology import Role
from tests.unit.actors.supervisor.bench import CRUDE, INFY, NIFTY, Bench

Places = dict[int, int]


def named(*tokens: int, canaries: tuple[int, ...] = ()) -> list[Instrument]:
    return [Instrument(t, f"NSE:A{t}", "full", t in canaries) for t in tokens]


def loads(places: Places, sockets: int = 3) -> list[int]:
    return [list(places.values()).count(socket) for socket in range(sockets)]


# --- which socket carries what --------------------------------------------------------------------


def test_instruments_use_one_socket_until_it_is_full_then_all_are_spread_evenly() -> None:
    def first(count: int) -> list[int]:
        return loads(assign(named(*range(count)), (), {}, WHOLE_KEY))

    assert first(3_000) == [3_000, 0, 0]
    assert first(4_000) == [2_000, 2_000, 0]
    assert first(7_501) == [2_501, 2_500, 2_500]
    assert first(9_000) == [3_000, 3_000, 3_000]
    assert first(9_001) == [3_000, 3_000, 3_000]


def test_a_socket_more_takes_what_is_new_and_nothing_that_streams() -> None:
    before = assign(named(*range(3_000)), (), {}, WHOLE_KEY)
    after = assign(named(*range(3_100)), (before,), {}, WHOLE_KEY)
    assert loads(after) == [3_000, 100, 0]
    assert after.items() >= before.items()


def test_what_comes_back_returns_to_its_socket_while_that_is_open_or_used() -> None:
    small = Capacity(3, 2)
    homes = {1: 0, 2: 1, 3: 2}
    assert assign(named(3, 1), ({1: 0},), homes, small) == {1: 0, 3: 0}
    assert assign(named(3, 1), ({1: 0},), homes, small, opened=[0, 2]) == {1: 0, 3: 2}
    assert assign(named(1, 4, 3), ({1: 0, 4: 2},), homes, small) == {1: 0, 4: 2, 3: 2}
    assert assign(named(4, 5, 3), ({4: 2, 5: 2},), homes, small) == {4: 2, 5: 2, 3: 0}


def test_of_two_that_say_where_an_instrument_is_the_surer_one_is_believed() -> None:
    reported, believed = {1: 1, 2: 1}, {1: 0, 3: 1, 4: 1}
    places = assign(named(3, 4, 1, 2), (reported, believed), {}, Capacity(2, 2))
    assert places == {1: 1, 2: 1, 3: 0, 4: 0}


def test_every_socket_gets_an_always_active_instrument_where_there_are_enough() -> None:
    places = assign(named(*range(9), canaries=(6, 7, 8)), (), {}, Capacity(3, 3))
    assert {places[6], places[7], places[8]} == {0, 1, 2}


def test_a_place_that_is_no_socket_any_more_counts_for_nothing() -> None:
    assert assign(named(1), ({1: 2},), {1: 2}, Capacity(2, 5), opened=[2]) == {1: 0}


@given(st.data())
def test_through_all_changes_each_is_in_one_socket_and_what_stays_wanted_never_moves(
    data: st.DataObject,
) -> None:
    capacity = Capacity(data.draw(st.integers(1, 3)), data.draw(st.integers(1, 4)))
    before: Places = {}
    homes: Places = {}
    for _ in range(6):
        wanted = data.draw(st.lists(st.integers(0, 15), unique=True))
        opened = data.draw(st.sets(st.integers(0, 2)))
        after = assign(named(*wanted), (before,), homes, capacity, opened)
        assert set(after) == set(wanted[: capacity.total])
        assert max(loads(after)) <= capacity.per_socket
        stayed = before.keys() & after.keys()
        assert all(after[token] == before[token] for token in stayed)
        homes |= after
        before = after


# --- sockets of one key ---------------------------------------------------------------------------


def three(**options: object) -> Bench:
    """Three sockets, each with one instrument, all live."""
    bench = Bench(instruments=(NIFTY, INFY, CRUDE), capacity=Capacity(3, 1), **options)  # type: ignore[arg-type]
    bench.live()
    bench.forget()
    return bench


def sockets_in_use(bench: Bench) -> int:
    s = bench.machine.state
    return sum(sh.is_open for sh in s.shards) + len(s.closing) + bool(s.dial.epoch)


def test_the_end_of_one_socket_takes_freshness_from_its_instruments_only() -> None:
    bench = three()
    epoch = bench.machine.state.shards[1].link.epoch
    bench.feed(m.LinkClosed(1, epoch, 1006, "reset"))
    assert bench.state.feed == "stale"
    assert bench.state.reason.startswith("2 of 3 sockets stream; ")
    assert bench.state.fresh_shards == [0, 2]
    assert not bench.all(m.Subscribe)
    bench.wait(0.1)
    bench.validate("valid")
    assert bench.last(m.OpenLink).shard == 1
    bench.feed(m.LinkFresh(1, bench.open()))
    assert bench.state.feed == "live"
    assert bench.state.fresh_shards == [0, 1, 2]


def test_a_socket_without_instruments_is_closed_after_half_a_minute_and_not_before() -> None:
    bench = three()
    epoch = bench.machine.state.shards[1].link.epoch
    kept = [each for sh in bench.machine.state.shards[::2] for each in sh.instruments]
    everything = [each for sh in bench.machine.state.shards for each in sh.instruments]
    bench.feed(Instruments(kept))
    bench.wait(29, fresh=True)
    bench.feed(Instruments(everything))  # whoever wants them was started again
    bench.wait(29, fresh=True)
    bench.feed(Instruments(kept))
    bench.wait(29, fresh=True)
    assert not bench.all(m.CloseLink)
    bench.wait(2, fresh=True)
    assert bench.all(m.CloseLink) == [m.CloseLink(1, epoch)]
    assert not bench.machine.state.shards[1].is_open
    assert bench.state.feed == "live"


def test_a_socket_that_comes_alive_after_a_refused_login_asks_for_no_other_validation() -> None:
    bench = three()
    bench.feed(m.LinkClosed(1, bench.machine.state.shards[1].link.epoch, 1006, "reset"))
    bench.wait(0.1)
    bench.validate("valid")
    epoch = bench.open()
    bench.login("second")
    bench.validate("refused")
    asked = len(bench.all(m.Validate))
    bench.feed(m.LinkFresh(1, epoch))
    assert bench.machine.state.shards[1].is_open
    assert len(bench.all(m.Validate)) == asked


def test_three_sockets_move_to_a_new_login_one_by_one_and_never_are_four() -> None:
    bench = three()
    bench.login("second")
    bench.validate("valid")
    moved: list[int] = []
    while len(moved) < 3:
        assert sockets_in_use(bench) <= 3
        closed = bench.all(m.CloseLink)[len(moved) :]
        assert len(closed) == 1
        assert len(bench.all(m.OpenLink)) == len(moved)
        bench.feed(m.LinkClosed(closed[0].shard, closed[0].epoch, 1000, ""))
        assert bench.last(m.OpenLink).fingerprint == "second"
        moved.append(bench.last(m.OpenLink).shard)
        bench.feed(m.LinkFresh(moved[-1], bench.open()))
    assert sorted(moved) == [0, 1, 2]
    bench.wait(2, fresh=True)
    assert bench.state.feed == "live"
    assert len(bench.all(m.CloseLink)) == 3


def test_a_socket_that_ends_while_its_move_is_prepared_waits_as_any_other_that_ends() -> None:
    evening = datetime(2026, 11, 23, 20, 0, tzinfo=IST)
    bench = Bench(hours="calendar", at=evening, capacity=Capacity(2, 1))
    bench.up()
    bench.login()
    bench.validate("valid")
    epoch = bench.open()
    bench.refuse(429)
    bench.login("second")
    bench.validate("valid")
    bench.refuse(429)
    last_s = bench.times(m.OpenLink)[-1]
    bench.wait(1)  # the session is validated anew: the open one could move to it
    bench.feed(m.LinkClosed(0, epoch, 1006, "reset"))
    bench.validate("valid")
    assert bench.times(m.OpenLink)[-1] == last_s
    bench.until(m.Validate)
    bench.validate("valid")
    assert bench.times(m.OpenLink)[-1] - last_s >= 60


def test_a_socket_that_waits_for_its_slot_keeps_its_rung_beside_stable_ones() -> None:
    bench = three()
    s = bench.machine.state
    bench.wait(11)  # the others have been live long enough to be stable
    bench.feed(m.LinkClosed(1, s.shards[1].link.epoch, 1006, "reset"))
    while not s.shards[1].rest.epoch:  # each attempt is lost after a second, until REST bridges
        bench.wait(1)
        if s.dial.state is DialState.CONNECTING:
            bench.feed(m.LinkClosed(1, s.dial.epoch, None, "no route"))
            bench.until(m.Validate)
        bench.validate("valid")
    taken = s.ladders.network.taken
    bench.validate("valid")  # the attempt that REST's epoch outdated begins again
    assert s.closing
    assert s.dial.state is DialState.IDLE
    bench.wait(1)
    assert s.ladders.network.taken == taken > 0
    bench.feed(m.LinkRefused(1, next(iter(s.closing)), 502))  # its end: the slot is free
    assert s.dial.state is DialState.CONNECTING


def test_a_socket_that_ends_late_is_counted_until_it_has_ended() -> None:
    bench = three()
    bench.login("second")
    bench.validate("valid")
    bench.wait(2.9)
    assert not bench.all(m.OpenLink)
    bench.wait(0.2)
    assert len(bench.all(m.OpenLink)) == 1


def test_a_login_takes_no_more_sockets_than_the_configuration_allows() -> None:
    bench = Bench(capacity=Capacity(1, 3_000))
    bench.live()
    bench.forget()
    bench.login("second")
    bench.validate("valid")
    assert not bench.all(m.OpenLink)
    (closed,) = bench.all(m.CloseLink)
    bench.feed(m.LinkClosed(0, closed.epoch, 1000, ""))
    assert bench.last(m.OpenLink).fingerprint == "second"


def test_a_restarted_supervisor_leaves_every_instrument_on_its_socket() -> None:
    before = three()
    shards = before.machine.state.shards
    links = tuple(
        LinkReport(sh.number, sh.link.epoch, "first", True, "websocket", (i.token,))
        for sh, i in zip(shards, (CRUDE, NIFTY, INFY), strict=True)
    )
    after = Bench(
        persisted=before.machine.state.persisted,
        instruments=(NIFTY, INFY, CRUDE),
        capacity=Capacity(3, 1),
    )
    after.up(Role.TICKER, links=links)
    carried = [[i.key for i in shard.instruments] for shard in after.machine.state.shards]
    assert carried == [[CRUDE.key], [NIFTY.key], [INFY.key]]
    after.wait(3)
    assert not after.all(m.CloseLink)


def test_a_full_socket_without_an_always_active_instrument_is_watched_as_a_whole() -> None:
    crowd = tuple(Instrument(1_000 * 256 + t * 256 + 1, f"NSE:A{t}", "ltp") for t in range(3_000))
    bench = Bench(instruments=(NIFTY, *crowd))
    s = bench.machine.state
    mixed, rest_of = s.shards[0], s.shards[1]
    assert [i.is_canary for i in s.streamed(mixed)].count(True) == 1
    guarded = s.streamed(rest_of)
    assert [(i.key, i.is_guard) for i in guarded if i.is_canary] == [(NIFTY.key, True)]
    alone = Bench(instruments=crowd)
    watched = alone.machine.state.streamed(alone.machine.state.shards[0])
    assert all(i.is_canary for i in watched)
    few = Bench(instruments=crowd[: CROWD - 1])
    assert not any(i.is_canary for i in few.machine.state.streamed(few.machine.state.shards[0]))


# --- one quote at a time --------------------------------------------------------------------------


def doubt(bench: Bench, *numbers: int, last_price: int = 100, volume: int | None = None) -> None:
    """Nothing tells whether those sockets stream."""
    for number in numbers:
        epoch = bench.machine.state.shards[number].link.epoch
        bench.feed(m.LinkDoubt(number, epoch, "canary", NIFTY.token, last_price, volume))


def is_ended_by(bench: Bench, outcome: m.ProbeOutcome) -> bool:
    """Whether this answer to the last quote ends a socket, after the next beat."""
    before = len(bench.all(m.CloseLink))
    bench.feed(m.Probed(bench.last(m.Probe).request_id, outcome))
    bench.wait(2)
    return len(bench.all(m.CloseLink)) > before


@pytest.mark.parametrize("has_moved", [True, False], ids=["moved", "under way"])
def test_a_doubt_is_asked_again_once_a_refused_socket_has_been_asked_about(has_moved: bool) -> None:
    bench = three()
    bench.feed(m.LinkClosed(2, bench.machine.state.shards[2].link.epoch, 1006, "reset"))
    bench.until(m.Validate)
    bench.validate("valid")
    doubt(bench, 0)
    if has_moved:  # which counts after the next beat only
        bench.feed(m.Probed(bench.last(m.Probe).request_id, "moved"))
    bench.refuse(403)
    assert is_ended_by(bench, "moved")
    assert bench.last(m.CloseLink).shard == 0


def test_a_stream_that_ticks_while_its_doubt_waits_for_another_is_let_be() -> None:
    bench = three()
    doubt(bench, 0)
    doubt(bench, 1, last_price=101)
    bench.wait(1)
    bench.feed(Beat(fresh_ages_ns={1: 0}))
    bench.wait(1)
    assert not is_ended_by(bench, "same")
    assert not is_ended_by(bench, "moved")


def test_one_quote_settles_what_all_sockets_ask_about() -> None:
    bench = three()
    bench.wait(1)
    doubt(bench, 0, 1)
    doubt(bench, 2, last_price=101)  # it lags behind
    bench.feed(m.Probed(bench.last(m.Probe).request_id, "same"))
    assert [v.shard for v in bench.all(m.DoubtSettled)] == [0, 1]
    assert is_ended_by(bench, "moved")
    assert [closed.shard for closed in bench.all(m.CloseLink)] == [2]


@pytest.mark.parametrize("asked", [None, 6])
def test_a_quote_of_the_price_alone_settles_no_volume(asked: int | None) -> None:
    bench = three()
    bench.wait(1)
    doubt(bench, 0, volume=asked)
    doubt(bench, 1, volume=7)
    doubt(bench, 2)  # a guard, whose packets have no volume
    bench.feed(m.Probed(bench.last(m.Probe).request_id, "same"))
    assert [v.shard for v in bench.all(m.DoubtSettled)] == [0, 2]
    assert bench.last(m.Probe).volume_traded == 7


def test_what_a_quote_has_settled_is_not_asked_again() -> None:
    bench = three()
    doubt(bench, 0)
    assert not is_ended_by(bench, "same")
    assert len(bench.all(m.Probe)) == 1


def test_a_plan_without_data_found_by_a_shard_that_nobody_wants_any_more_ends_its_attempt() -> None:
    """Else the attempt is never over, and no socket is opened again until a new login."""
    bench = Bench(instruments=(NIFTY,), capacity=Capacity(2, 1))
    bench.live()
    bench.feed(Instruments((NIFTY, INFY)))
    bench.feed(m.LinkRefused(1, bench.last(m.OpenLink).epoch, 403))
    bench.feed(Instruments((NIFTY,)))
    bench.feed(m.Probed(bench.last(m.Probe).request_id, "permission"))
    assert bench.machine.state.dial.state is DialState.WAITING
    bench.feed(Instruments((NIFTY, INFY)))
    bench.wait(901, fresh=True)
    bench.feed(m.Probed(bench.last(m.Probe).request_id, "same"))
    bench.wait(1, fresh=True)
    bench.validate("valid")
    assert bench.last(m.OpenLink).shard == 1
