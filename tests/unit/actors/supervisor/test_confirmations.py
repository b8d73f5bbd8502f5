import pytest

from kitefeed.actors.supervisor.confirmations import LATE_NS, NAMED_MAX, Confirmations
from kitefeed.actors.supervisor.subscriptions import Subscriptions
from kitefeed.protocol.kite.instruments import Listed
from kitefeed.protocol.kite.ticks import FULL, LTP, QUOTE
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.instruments import Instrument, Mode
from kitefeed.protocol.messages.status import Unconfirmed

S = 1_000_000_000
INFY = 408065


def infy(mode: Mode) -> tuple[Instrument, ...]:
    return (Instrument(INFY, "NSE:INFY", mode),)


def told(mode: Mode, *, at_ns: int = 0, epoch: int = 1) -> Confirmations:
    orders = Confirmations()
    orders.told(m.Subscribe(0, epoch, infy(mode)), at_ns)
    return orders


def came(*modes: int, epoch: int = 1) -> m.Confirmed:
    return m.Confirmed(0, epoch, (INFY,) * len(modes), modes)


@pytest.mark.parametrize("mode", ["ltp", "quote", "full"])
@pytest.mark.parametrize("arrived", [LTP, QUOTE, FULL])
def test_a_packet_of_the_mode_that_was_asked_for_or_a_higher_one_confirms(
    mode: Mode, arrived: int
) -> None:
    orders = told(mode)
    assert not orders.is_confirmed(INFY)
    orders.confirm(came(arrived))
    assert orders.is_confirmed(INFY) == (
        arrived >= {"ltp": LTP, "quote": QUOTE, "full": FULL}[mode]
    )


def test_a_report_without_modes_is_of_what_was_asked_for() -> None:
    orders = told("full")
    orders.confirm(m.Confirmed(0, 1, (INFY,)))
    assert orders.is_confirmed(INFY)


def test_a_mode_that_is_raised_is_to_be_confirmed_again_and_counts_from_there() -> None:
    orders = told("quote")
    orders.confirm(came(QUOTE))
    orders.told(m.Subscribe(0, 1, infy("full")), 7 * S)
    orders.told(m.Subscribe(0, 1, infy("full")), 9 * S)  # it comes again with each change
    (lacking,) = orders.lacking()
    assert (lacking.mode, lacking.arrived, lacking.since_ns) == (FULL, QUOTE, 7 * S)
    orders.confirm(came(FULL))
    assert orders.lacking() == []


def test_a_mode_that_is_lowered_stays_confirmed_and_is_to_be_confirmed_when_raised_again() -> None:
    orders = told("full")
    orders.confirm(came(FULL))
    orders.told(m.Subscribe(0, 1, infy("quote")), S)
    assert orders.is_confirmed(INFY)
    orders.told(m.Subscribe(0, 1, infy("full")), 2 * S)
    assert not orders.is_confirmed(INFY)


def test_a_refresh_is_to_be_confirmed_anew() -> None:
    orders = told("full")
    orders.confirm(came(FULL))
    orders.told(m.Subscribe(0, 1, infy("full"), is_refresh=True), S)
    assert orders.lacking()[0].since_ns == S


def test_a_quote_confirms_every_mode() -> None:
    orders = Confirmations()
    for mode in ("ltp", "full"):
        orders.told(m.StartPolling(0, 3, "fp", 5 * S, infy(mode)), 0)  # type: ignore[arg-type]
        orders.confirm(m.Confirmed(0, 3, (INFY,)))
        assert orders.is_confirmed(INFY)
    orders = Confirmations()
    orders.told(m.StartPolling(0, 3, "fp", 5 * S, infy("ltp")), 0)
    orders.confirm(m.Confirmed(0, 3, (INFY,)))
    orders.told(m.StartPolling(0, 3, "fp", 5 * S, infy("full")), 0)
    assert orders.is_confirmed(INFY)


def test_what_ended_was_neither_asked_nor_confirmed() -> None:
    orders = told("full")
    orders.confirm(came(FULL))
    orders.retain({(0, 1), (1, 5)})
    assert orders.confirmed() == {INFY}
    orders.retain({(0, 2)})
    assert (orders.asked(), orders.confirmed(), orders.lacking()) == (set(), set(), [])


def test_what_moves_between_sockets_is_named_once() -> None:
    orders = told("full", at_ns=3 * S)
    orders.told(m.Subscribe(1, 2, infy("full")), 4 * S)
    assert [lacking.since_ns for lacking in orders.lacking()] == [3 * S]
    orders.confirm(m.Confirmed(1, 2, (INFY,), (FULL,)))
    assert orders.lacking() == []


def test_quotes_that_bridge_leave_what_the_socket_was_asked_for_and_has_confirmed() -> None:
    orders = told("full")
    orders.told(m.StartPolling(0, 2, "fp", 5 * S, infy("full")), 8 * S)
    assert orders.lacking()[0].since_ns == 0
    orders.confirm(m.Confirmed(0, 2, (INFY,)))
    assert orders.is_confirmed(INFY)
    orders.retain({(0, 1)})
    assert not orders.is_confirmed(INFY)
    orders.confirm(came(FULL))
    assert orders.is_confirmed(INFY)
    assert orders.confirmed_of(0) == 1


def test_a_guard_is_not_the_sockets_own() -> None:
    orders = Confirmations()
    guard = Instrument(INFY, "NSE:INFY", "ltp", is_canary=True, is_guard=True)
    orders.told(m.Subscribe(0, 1, (guard,)), 0)
    assert orders.asked() == set()


def test_what_has_not_come_for_5_s_is_named_with_the_mode_in_which_it_comes() -> None:
    made = Subscriptions(("NSE:INFY",), (), "full", {})
    made.resolved({"NSE:INFY": Listed(INFY)}, {})
    made.confirmations.told(m.Subscribe(0, 1, infy("full")), 0)
    assert made.counts(LATE_NS - 1).unconfirmed == []
    assert made.counts(LATE_NS).unconfirmed == [Unconfirmed("NSE:INFY", "full", None, 5.0)]
    made.confirmations.confirm(came(QUOTE))
    counts = made.counts(12 * S)
    assert counts.unconfirmed == [Unconfirmed("NSE:INFY", "full", "quote", 12.0)]
    assert (counts.asked, counts.confirmed) == (1, 0)


def test_a_hundred_are_named_the_longest_first() -> None:
    keys = [f"NSE:X{n}" for n in range(NAMED_MAX + 50)]
    made = Subscriptions(keys, (), "full", {})
    made.resolved({key: Listed(n << 8 | 1) for n, key in enumerate(keys)}, {})
    instruments = made.instruments()
    made.confirmations.told(m.Subscribe(0, 1, instruments[50:]), 0)
    made.confirmations.told(m.Subscribe(0, 1, instruments), S)
    named = made.counts(60 * S).unconfirmed
    assert {each.instrument for each in named} == set(keys[50:])
    assert {each.since_s for each in named} == {60.0}
