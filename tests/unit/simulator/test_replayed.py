"""Kite playing a recorded day: its values, each of them, and no others."""

from kitefeed.kite_server.subscriptions import Subscriptions
from kitefeed.protocol.kite.ticks import FULL, LTP, QUOTE, TickBody, encode_packet
from kitefeed.simulator.listings import Listing
from kitefeed.simulator.replayed import PAUSE_NS_MAX, RecordedMarket, TickBatch
from tests.recordings import INFY, NIFTY, NINE_FIFTEEN, S, Writes

T0 = NINE_FIFTEEN
LISTINGS = [
    Listing(INFY, "NSE", "INFY", "INFOSYS", "EQ", "NSE", 1.0),
    Listing(NIFTY, "NSE", "NIFTY 50", "NIFTY 50", "EQ", "INDICES", 1.0),
]


def body(price: int, token: int = INFY) -> TickBody:
    return Writes().body(token, price)


def market(*messages: tuple[int, list[TickBody]], speed: float | None = 1.0) -> RecordedMarket:
    made = [TickBatch(T0 + at_ns, ticks) for at_ns, ticks in messages]
    return RecordedMarket(LISTINGS, made, speed)


def test_messages_are_due_at_the_pace_of_the_day() -> None:
    found = market((0, [body(1)]), (2 * S, [body(2)]), (7200 * S, [body(3)]), speed=2.0)
    assert found.due_ns(100) == 100
    list(found.play(100))
    assert found.due_ns(100) == 100 + S
    list(found.play(100 + S))
    assert found.due_ns(100 + S) == 100 + S + PAUSE_NS_MAX  # nothing was recorded in between
    list(found.play(100 + S))
    assert found.due_ns(0) is None


def test_at_full_speed_everything_is_due() -> None:
    found = market((0, [body(1)]), (3600 * S, [body(2)]), speed=None)
    for now_ns in (5, 6):
        assert found.due_ns(now_ns) == now_ns
        list(found.play(now_ns))


def test_each_tick_is_sent_also_two_of_one_message() -> None:
    found = market((0, [body(1), body(2), body(7, NIFTY), body(3)]), (S, [body(3)]))
    socket = Subscriptions(found)
    socket.handle(b'{"a": "subscribe", "v": [%d, %d]}' % (INFY, NIFTY), T0)
    sent = []
    for now_ns in (T0, T0 + S):
        found.due_ns(now_ns)
        for _ in found.play(now_ns):
            sent += [(d.body.instrument_token, d.body.last_price) for d in socket.changed()]
    assert sent == [(INFY, 1), (INFY, 2), (NIFTY, 7), (INFY, 3), (INFY, 3)]


def test_the_packet_of_a_mode_is_what_kite_would_have_sent() -> None:
    found = market((0, [body(1500_00), body(7, NIFTY)]))
    found.due_ns(T0)
    list(found.play(T0))
    for token in (INFY, NIFTY):
        security = found.read(token, T0)
        assert security is not None
        whole = encode_packet(security.body(FULL))
        assert whole == encode_packet(body(security.price, token))
        for mode in (QUOTE, LTP):
            packet = encode_packet(security.body(mode))
            assert whole.startswith(packet)
            assert len(packet) < len(whole)


def test_an_instrument_without_a_value_is_silent_until_it_has_one() -> None:
    found = market((0, [body(1)]), (S, [body(7, NIFTY)]))
    socket = Subscriptions(found)
    assert socket.handle(b'{"a": "subscribe", "v": [%d, 99]}' % NIFTY, T0).packets == []
    for now_ns in (T0, T0 + S):
        found.due_ns(now_ns)
        list(found.play(now_ns))
    (due,) = socket.changed()
    assert due.body.last_price == 7
    (first,) = socket.handle(b'{"a": "mode", "v": ["full", [%d]]}' % NIFTY, T0).packets
    assert first.body.mode == FULL


def test_orders_and_candles_see_the_recorded_prices() -> None:
    found = market((0, [body(1500_00)]))
    told = []
    found.listeners.append(lambda security, now_ns: told.append((security.price, now_ns)))
    found.due_ns(T0)
    list(found.play(T0))
    assert told == [(1500_00, T0)]
    security = found.find("NSE:INFY", T0)
    assert security is not None
    assert (security.price, security.volume, security.bids[0]) == (1500_00, 100, 10)
    assert found.prices(T0)[INFY].last_price == 1500_00
