"""Tests the check that does without decoding: it refuses whatever the decoder refuses, and nothing
else."""

from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kitefeed.client.tick import NOBODY, Arrival, Tick
from kitefeed.protocol import feed as f
from kitefeed.protocol.kite.repack import repack_frame
from kitefeed.protocol.kite.ticks import TickBody, frame_of_packets
from kitefeed.protocol.tick_bodies import Held, bodies_of, decode_chunk, is_plain
from tests.property.test_kite_ticks import PACKETS

COUNTS = st.integers(45, 60)  # a run so long is written plainly, and may hold damage anywhere


class Message(f.FeedMessage):
    """A message of `ticks/all` whose bodies are decoded at once."""

    body: f.TickChunk  # type: ignore[assignment]


decode_at_once = msgspec.msgpack.Decoder(Message).decode


def message_of(encoded_bodies: bytes, count: int) -> bytes:
    head = b"".join(map(f.encode, (f.VERSION, 1, 0, 7, 9, 1, 0, 5, 6)))
    names = f.encode([b"tick/NSE:X"] * count)
    seqs = f.encode([1] * count)
    return b"\x9a" + head + b"\x94" + names + seqs + encoded_bodies + f.encode([])


def list_of(bodies: list[bytes]) -> bytes:
    return b"\xdc" + len(bodies).to_bytes(2, "big") + b"".join(bodies)


def by_decoder(message: bytes, count: int) -> list[TickBody] | None:
    try:
        found: list[TickBody] = list(decode_at_once(message).body.bodies)
    except f.DECODE_ERRORS:
        return None
    return found if len(found) == count else None


def by_check(message: bytes, count: int) -> list[TickBody] | None:
    try:
        encoded, held = bodies_of(decode_chunk(message).body.bodies, count)
    except f.DECODE_ERRORS:
        return None
    assert [f.decode_body(each) for each in encoded] == [*map(decoded, held)]
    return [*map(decoded, held)]


def decoded(held: Held) -> TickBody:
    return f.decode_body(held) if isinstance(held, bytes) else held


def plain_of(packet: bytes, count: int) -> list[bytes]:
    return repack_frame(frame_of_packets([packet] * count)).bodies


def damaged(whole: bytes, random: Random) -> bytes:
    """One byte changed, one taken out, one put in, or the end cut off."""
    at = random.randrange(len(whole))
    some = bytes([random.choice((0, 1, 0x7F, 0xC0, 0xC4, 0xCE, 0xCF, 0xD2, random.randrange(256)))])
    kind = random.randrange(4)
    if kind == 0:
        return whole[:at] + some + whole[at + 1 :]
    if kind == 1:
        return whole[:at] + whole[at + 1 :]
    return whole[:at] + some + whole[at:] if kind == 2 else whole[:at]


@settings(max_examples=150)
@given(st.lists(st.tuples(PACKETS, COUNTS), min_size=1, max_size=3))
def test_whatever_the_ticker_writes_is_read_as_the_decoder_reads_it(
    runs: list[tuple[bytes, int]],
) -> None:
    bodies = [body for packet, count in runs for body in plain_of(packet, count)]
    message = message_of(list_of(bodies), len(bodies))
    assert by_check(message, len(bodies)) == by_decoder(message, len(bodies))
    assert by_check(message, len(bodies)) is not None


@settings(max_examples=100)
@given(PACKETS, COUNTS, st.randoms(use_true_random=False))
def test_what_the_decoder_refuses_is_refused_and_nothing_else(
    packet: bytes, count: int, random: Random
) -> None:
    whole = list_of(plain_of(packet, count))
    for _ in range(20):
        message = message_of(damaged(whole, random), count)
        assert by_check(message, count) == by_decoder(message, count)


@settings(max_examples=100)
@given(PACKETS, st.randoms(use_true_random=False))
def test_a_body_that_is_called_plain_decodes(packet: bytes, random: Random) -> None:
    plain = plain_of(packet, 45)[0]
    assert is_plain(plain)
    for _ in range(50):
        body = damaged(plain, random)
        if is_plain(body):
            f.decode_body(body)


@settings(max_examples=100)
@given(PACKETS)
def test_what_is_read_of_a_body_without_decoding_it_is_what_it_decodes_to(packet: bytes) -> None:
    body = plain_of(packet, 45)[0]
    arrival = Arrival(1, 0, 1, 1, 0, 0, 0, NOBODY, 0)
    early, late = Tick("NSE:X", body, 1, 0, arrival), Tick("NSE:X", body, 1, 0, arrival)
    assert late.raw == f.decode_body(body)
    assert early.last_price == late.last_price
    assert early.instrument_token == late.instrument_token


@pytest.mark.parametrize("count", [0, 44, 46, 1 << 16])
def test_another_number_of_bodies_than_was_told_is_refused(count: int) -> None:
    bodies = plain_of(bytes(7) + b"\x01", 45)
    with pytest.raises(msgspec.DecodeError):
        bodies_of(msgspec.Raw(list_of(bodies)), count)


def test_a_divisor_of_zero_is_refused_as_the_decoder_refuses_it() -> None:
    bodies = plain_of(bytes(7) + b"\x01", 45)
    bodies[44] = bodies[44].replace((100).to_bytes(4, "big"), bytes(4))
    message = message_of(list_of(bodies), 45)
    assert by_decoder(message, 45) is None
    assert by_check(message, 45) is None
