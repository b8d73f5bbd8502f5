"""Each instrument follows the hours of its segment. Monday is 23 November 2026; Tuesday is a
holiday on which MCX has an evening."""

import msgspec

from kitefeed.actors.supervisor import report
from kitefeed.actors.supervisor.facts import Instruments, Operate
from kitefeed.actors.supervisor.roster import Roster
from kitefeed.actors.supervisor.shards import Capacity
from kitefeed.actors.supervisor.state import CROWD
from kitefeed.actors.supervisor.subscriptions import Subscriptions
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.instruments import Instrument
from kitefeed.protocol.messages.membership import Beat, LinkReport
from kitefeed.protocol.messages.status import StatusReport
from kitefeed.protocol.topology import Role
from tests.unit.actors.supervisor.bench import CRUDE, INFY, MONDAY, NIFTY, Bench

GOLD_CANARY = Instrument(109_129_735, "MCX:GOLD26DECFUT", "full", True)
USD = Instrument(1_041_155, "CDS:USDINR26DECFUT", "full")
MIXED = (NIFTY, INFY, USD, CRUDE)


def at(
    hour: int, minute: int = 0, second: int = 0, *, day: int = 23,
    instruments: tuple[Instrument, ...] = MIXED,
) -> Bench:  # fmt: skip
    when = MONDAY.replace(day=day, hour=hour, minute=minute, second=second)
    return Bench(hours="calendar", at=when, instruments=instruments)


def connected(bench: Bench) -> int:
    bench.up()
    bench.login()
    bench.validate("valid")
    return bench.open()


def poll(bench: Bench) -> m.StartPolling:
    bench.up()
    bench.login()
    bench.feed(Operate("rest"))
    bench.validate("valid")
    bench.grant()
    return bench.last(m.StartPolling)


def keys(order: m.StartPolling | m.Subscribe) -> list[str]:
    return [instrument.key for instrument in order.instruments]


def status(bench: Bench) -> StatusReport:
    wants = Subscriptions((), (), "full", {})
    around = report.Surroundings()
    return report.status(bench.machine.state, wants, Roster(0), around, bench.now_ns)


def test_a_stream_is_not_ordered_anew_because_other_programs_read_it() -> None:
    bench = at(11)
    connected(bench)
    bench.grant()
    orders = len(bench.all(m.Subscribe))
    read = tuple(msgspec.structs.replace(i, has_listeners=True) for i in MIXED)
    bench.feed(Instruments(read))
    assert len(bench.all(m.Subscribe)) == orders
    deep = tuple(msgspec.structs.replace(i, mode="ltp") for i in read)
    bench.feed(Instruments(deep))
    assert [i.mode for i in bench.last(m.Subscribe).instruments] == ["ltp"] * len(MIXED)


def test_a_poller_is_told_what_programs_read() -> None:
    bench = at(11)
    poll(bench)
    read = tuple(msgspec.structs.replace(i, has_listeners=True) for i in MIXED)
    bench.feed(Instruments(read))
    assert all(i.has_listeners for i in bench.last(m.StartPolling).instruments)


def test_a_list_of_commodities_is_open_at_ten_in_the_evening() -> None:
    bench = at(22, instruments=(CRUDE,))
    epoch = connected(bench)
    bench.feed(m.LinkFresh(0, epoch))
    assert bench.state.feed == "live"
    bench.wait(120)
    assert bench.state.feed == "live"  # by the calendar, without a fresh tick for two minutes


def test_a_list_of_shares_is_closed_at_ten_in_the_evening() -> None:
    bench = at(22, instruments=(NIFTY, INFY))
    connected(bench)
    assert bench.state.feed == "closed"
    assert "25 Nov at 09:00" in bench.state.reason


def test_only_open_instruments_are_polled() -> None:
    assert keys(poll(at(16, 30))) == [USD.key, CRUDE.key]
    assert keys(poll(at(22))) == [CRUDE.key]
    assert keys(poll(at(12))) == [i.key for i in MIXED]


def test_a_segment_that_closes_leaves_the_polling_and_one_that_opens_joins_it() -> None:
    bench = at(16, 59, 50)
    first = poll(bench)
    bench.wait(20)
    order = bench.last(m.StartPolling)
    assert (keys(first), keys(order)) == ([USD.key, CRUDE.key], [CRUDE.key])
    assert order.epoch == first.epoch
    assert not bench.all(m.StopPolling)
    evening = at(16, 59, 50, day=24)
    evening.up()
    evening.login()
    evening.feed(Operate("rest"))
    evening.validate("valid")
    assert not evening.machine.state.shards[0].rest.epoch
    evening.wait(20)
    evening.grant()
    assert keys(evening.last(m.StartPolling)) == [CRUDE.key]


def test_the_last_segment_that_closes_ends_the_polling() -> None:
    bench = at(23, 54, 50)
    poll(bench)
    bench.wait(20)
    assert bench.all(m.StopPolling)
    assert bench.state.feed == "closed"


def test_everything_wanted_is_streamed_whatever_is_open() -> None:
    bench = at(22)
    connected(bench)
    order = bench.last(m.Subscribe)
    assert keys(order) == [i.key for i in MIXED]
    assert [i.is_closed for i in order.instruments] == [True, True, True, False]


def test_canaries_sing_only_while_their_segment_trades_continuously() -> None:
    bench = at(15, 14, 55, instruments=(NIFTY, GOLD_CANARY))
    bench.live()
    assert [i.is_canary for i in bench.last(m.Subscribe).instruments] == [True, True]
    bench.wait(10, fresh=True)
    assert [i.is_canary for i in bench.last(m.Subscribe).instruments] == [False, True]
    assert not any(i.is_closed for i in bench.last(m.Subscribe).instruments)
    before = len(bench.all(m.Subscribe))
    bench.wait(60, fresh=True)
    assert len(bench.all(m.Subscribe)) == before


def test_canaries_sing_again_at_the_open() -> None:
    bench = at(9, 14, 50, instruments=(NIFTY,))
    bench.live()
    assert not bench.last(m.Subscribe).instruments[0].is_canary
    bench.wait(10, fresh=True)
    assert bench.last(m.Subscribe).instruments[0].is_canary


def test_silence_in_the_closing_auction_is_no_doubt() -> None:
    bench = at(15, 20, instruments=(NIFTY,))
    epoch = bench.live()
    bench.feed(m.LinkDoubt(0, epoch, "canary", NIFTY.token, 100))
    assert not bench.all(m.Probe)


def test_a_quote_that_moved_in_the_closing_auction_is_no_reason_to_reconnect() -> None:
    bench = at(15, 20, instruments=(NIFTY,))
    epoch = connected(bench)
    bench.feed(m.LinkDoubt(0, epoch, "unproven", NIFTY.token, 100))
    bench.feed(m.Probed(bench.last(m.Probe).request_id, "moved"))
    bench.wait(3)
    assert not bench.all(m.CloseLink)


def test_a_quiet_stream_is_live_before_the_open_once_a_quote_says_so() -> None:
    bench = at(9, 5, instruments=(INFY,))
    epoch = connected(bench)
    bench.feed(m.LinkDoubt(0, epoch, "unproven", INFY.token, 100))
    bench.feed(m.Probed(bench.last(m.Probe).request_id, "same"))
    assert bench.state.feed == "live"


def test_a_quote_of_a_closed_segment_proves_nothing() -> None:
    bench = at(22)
    epoch = connected(bench)
    bench.feed(m.LinkDoubt(0, epoch, "unproven", INFY.token, 100))
    assert not bench.all(m.Probe)


def test_ticks_on_a_holiday_open_every_wanted_segment() -> None:
    bench = at(12, day=24, instruments=(NIFTY, INFY))
    epoch = connected(bench)
    assert bench.state.feed == "closed"
    assert status(bench).market == {"NSE": "closed", "INDICES": "closed"}
    bench.feed(m.LinkFresh(0, epoch))
    assert bench.state.feed == "live"
    assert bench.state.closed_segments == []
    assert status(bench).market == {"NSE": "open", "INDICES": "open"}
    bench.wait(61)
    assert bench.state.feed == "closed"


def test_the_feed_is_told_which_segments_are_closed() -> None:
    bench = at(15, 59, 55)
    bench.live()
    assert not {1, 3, 7, 9} & set(bench.state.closed_segments)
    bench.wait(10, fresh=True)
    assert bench.state.feed == "live"
    assert {1, 4, 9} <= set(bench.state.closed_segments)
    assert not {3, 7} & set(bench.state.closed_segments)


def test_the_report_has_a_word_for_each_wanted_segment_and_the_earliest_open() -> None:
    found = status(at(15, 20))
    assert found.market == {
        "NSE": "closing_auction", "CDS": "open", "MCX": "open", "INDICES": "closing_auction",
    }  # fmt: skip
    assert status(at(8)).next_open == "2026-11-23T09:00:00+05:30"
    assert status(at(22)).next_open == "2026-11-24T17:00:00+05:30"
    assert status(at(22, instruments=())).market == {"NSE": "closed"}


def test_another_list_is_judged_by_its_own_segments() -> None:
    bench = at(22, instruments=(INFY,))
    connected(bench)
    assert bench.state.feed == "closed"
    bench.feed(Instruments((INFY, CRUDE)))
    assert bench.state.feed == "stale"


def test_a_table_that_runs_out_is_said_once() -> None:
    when = MONDAY.replace(month=12, day=31, hour=23, minute=59, second=30)
    bench = Bench(hours="calendar", at=when)
    bench.up()
    bench.login()
    bench.wait(60)
    said = [say for say in bench.said if "condition=calendar" in say.text]
    assert [say.level for say in said] == ["warning"]
    assert "ends with 2026" in said[0].text


def test_a_mute_stream_is_doubted_in_a_session_the_calendar_does_not_know() -> None:
    bench = at(10, day=22)  # a Sunday
    epoch = connected(bench)
    bench.feed(m.LinkFresh(0, epoch))
    assert NIFTY in bench.last(m.Subscribe).instruments  # its silence counts
    bench.wait(11)
    bench.feed(m.LinkDoubt(0, epoch, "canary", NIFTY.token, 100))
    bench.feed(m.Probed(bench.last(m.Probe).request_id, "moved"))
    bench.wait(3)
    assert bench.last(m.CloseLink).epoch == epoch


def test_a_stream_that_is_adopted_after_the_close_opens_no_market() -> None:
    """That it once streamed is no news: how old its last fresh tick is, it says itself."""
    evening = at(20, instruments=(NIFTY, INFY))
    evening.up(Role.BROADCASTER, Role.REST_POLLER, Role.TOKEN_VALIDATOR, Role.AUTH_WATCHER)
    evening.up(Role.TICKER, links=(LinkReport(0, 7, "first", True, "websocket"),))
    assert "live" not in [announced.state.feed for announced in evening.all(m.Announce)]
    evening.feed(Beat(last_tick_age_ns=0, fresh_tick_age_ns=15_000_000_000))
    assert evening.state.feed == "live"  # an evening session that the calendar does not know


def test_a_stream_that_is_adopted_in_a_session_the_calendar_does_not_know_keeps_its_canaries() -> (
    None
):
    evening = at(20, instruments=(NIFTY, INFY))
    evening.up(Role.BROADCASTER, Role.REST_POLLER, Role.TOKEN_VALIDATOR, Role.AUTH_WATCHER)
    just_now_ns = evening.now_ns - 15_000_000_000
    report = LinkReport(0, 7, "first", True, "websocket", (NIFTY.token,), just_now_ns)
    evening.up(Role.TICKER, links=(report,))
    evening.feed(m.Granted(0, 7, "websocket"))
    assert evening.state.feed == "live"
    assert [i.key for i in evening.last(m.Subscribe).instruments if i.is_canary] == [NIFTY.key]


def evening_on_three_sockets() -> Bench:
    """Shares on one, the commodity that always ticks on another, one that need not on the third."""
    when = MONDAY.replace(hour=21)
    bench = Bench(
        hours="calendar", at=when, instruments=(NIFTY, GOLD_CANARY, CRUDE), capacity=Capacity(3, 1)
    )
    bench.up()
    bench.login()
    bench.validate("valid")
    for _ in range(3):
        bench.open()
    return bench


def test_in_the_evening_sockets_are_watched_by_what_ticks_then() -> None:
    orders = {order.shard: order for order in evening_on_three_sockets().all(m.Subscribe)}
    watched = {n: [i.key for i in order.instruments if i.is_canary] for n, order in orders.items()}
    assert watched == {n: [GOLD_CANARY.key] for n in range(3)}


def test_a_canary_whose_market_is_closed_watches_over_nothing_beside_it() -> None:
    mixed = (NIFTY, CRUDE, GOLD_CANARY, INFY)
    when = MONDAY.replace(hour=21)
    bench = Bench(hours="calendar", at=when, instruments=mixed, capacity=Capacity(2, 2))
    s = bench.machine.state
    for shard in s.shards:
        assert [i.key for i in s.streamed(shard) if i.is_canary] == [GOLD_CANARY.key]


def test_a_few_that_trade_among_a_thousand_that_do_not_are_no_crowd() -> None:
    shares = [Instrument(n << 8 | 1, f"NSE:A{n}", "full") for n in range(CROWD)]
    bench = at(21, instruments=(*shares, CRUDE))
    s = bench.machine.state
    assert not any(i.is_canary for i in s.streamed(s.shards[0]))


def test_a_socket_of_a_closed_segment_moves_to_a_new_login_without_a_proof() -> None:
    """Nothing proves it before its market opens; until then its login would be the old one."""
    bench = evening_on_three_sockets()
    for shard in bench.machine.state.shards[1:]:
        bench.feed(m.LinkFresh(shard.number, shard.link.epoch))
    assert bench.state.feed == "live"
    bench.login("second")
    bench.validate("valid")
    for _ in range(3):
        closed = bench.last(m.CloseLink)
        bench.feed(m.LinkClosed(closed.shard, closed.epoch, 1000, ""))
        bench.feed(m.LinkFresh(closed.shard, bench.open()))
    logins = {shard.link.fingerprint for shard in bench.machine.state.shards}
    assert logins == {"second"}
