"""Kite's frames out of the feed's ticks."""

import random
import struct

import pytest
from kiteconnect import KiteTicker

from kitefeed.protocol.kite.ticks import FULL, LTP, QUOTE, TickBody, encode_packet
from kitefeed.services.kite_endpoint.fan import Fan, packet_bytes

INFY, NIFTY = 408065, 256265


def body(token: int, price: int, mode: int = FULL, volume: int = 10) -> TickBody:
    if token == NIFTY:
        return TickBody(
            token, mode, 100, price, open=1, high=2, low=3, close=4, exchange_timestamp=9
        )
    return TickBody(
        token, mode, 100, price, 1, 2, volume, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, bytes(120)
    )


def packets(frame: bytes) -> list[bytes]:
    count, at, found = struct.unpack_from(">H", frame)[0], 2, []
    for _ in range(count):
        length = struct.unpack_from(">H", frame, at)[0]
        found.append(frame[at + 2 : at + 2 + length])
        at += 2 + length
    assert at == len(frame)
    return found


@pytest.mark.parametrize("token", [INFY, NIFTY])
@pytest.mark.parametrize("mode", [LTP, QUOTE, FULL])
def test_a_lower_mode_is_the_beginning_of_the_full_packet(token: int, mode: int) -> None:
    full = encode_packet(body(token, 500))
    lower = encode_packet(body(token, 500, mode))
    assert full[: packet_bytes(token, mode)] == lower


def test_sockets_that_want_the_same_share_one_frame() -> None:
    fan: Fan[str] = Fan()
    fan.place("a", {INFY: QUOTE})
    fan.place("b", {INFY: QUOTE})
    fan.place("c", {INFY: LTP})
    sent = list(fan.frames([body(INFY, 500)]))
    assert sorted((sorted(sockets), len(packets(frame)[0])) for sockets, frame in sent) == [
        (["a", "b"], 44),
        (["c"], 8),
    ]


def test_a_mode_hears_only_of_its_own_fields() -> None:
    fan: Fan[str] = Fan()
    fan.place("ltp", {INFY: LTP})
    fan.place("quote", {INFY: QUOTE})
    assert len(list(fan.frames([body(INFY, 500)]))) == 2
    assert [sockets for sockets, _ in fan.frames([body(INFY, 500, volume=11)])] == [["quote"]]
    assert list(fan.frames([body(INFY, 500, volume=11)])) == []


def test_of_several_ticks_the_newest_is_sent_once() -> None:
    fan: Fan[str] = Fan()
    fan.place("a", {INFY: LTP})
    list(fan.frames([body(INFY, 500)]))
    ((_, frame),) = fan.frames([body(INFY, 501), body(INFY, 502)])
    assert packets(frame) == [encode_packet(body(INFY, 502, LTP))]
    assert list(fan.frames([body(INFY, 503), body(INFY, 502)])) == []


def test_what_the_feed_does_not_have_yet_is_not_filled_with_zeros() -> None:
    fan: Fan[str] = Fan()
    fan.place("a", {INFY: FULL})
    ((_, frame),) = fan.frames([body(INFY, 500, QUOTE)])
    assert [len(packet) for packet in packets(frame)] == [44]


def test_one_who_left_is_sent_nothing() -> None:
    fan: Fan[str] = Fan()
    fan.place("a", {INFY: FULL})
    fan.place("a", {})
    assert list(fan.frames([body(INFY, 500)])) == []


@pytest.mark.parametrize("mode", [LTP, FULL])
def test_what_a_socket_wants_newly_is_sent_to_it_though_it_says_the_same(mode: int) -> None:
    fan: Fan[str] = Fan()
    fan.place("a", {INFY: QUOTE, NIFTY: QUOTE})
    same = [body(INFY, 500), body(NIFTY, 600)]
    assert len(list(fan.frames(same))) == 1
    fan.place("b", {INFY: mode})
    assert "b" in {socket for sockets, _ in fan.frames(same) for socket in sockets}
    assert list(fan.frames(same)) == []
    for socket in ("a", "b"):
        fan.place(socket, {})
    fan.place("c", {INFY: mode})
    ((sockets, _),) = fan.frames(same)
    assert sockets == ["c"]


def test_the_official_parser_reads_what_is_sent() -> None:
    rng = random.Random(7)
    ticker = KiteTicker("key", "token")
    fan: Fan[str] = Fan()
    tokens = [INFY, NIFTY, *range(1, 5_000, 256)]
    modes = {token: rng.choice([LTP, QUOTE, FULL]) for token in tokens}
    fan.place("a", modes)
    bodies = [body(token, rng.randrange(1, 10**6)) for token in tokens]
    read = {
        tick["instrument_token"]: tick
        for _, frame in fan.frames(bodies)
        for tick in ticker._parse_binary(frame)
    }
    assert read.keys() == modes.keys()
    for sent in bodies:
        tick = read[sent.instrument_token]
        assert round(tick["last_price"] * 100) == sent.last_price
        assert (
            tick["mode"] == {LTP: "ltp", QUOTE: "quote", FULL: "full"}[modes[sent.instrument_token]]
        )
