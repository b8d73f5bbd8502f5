"""Last values, in memory and as a file."""

import msgspec
import pytest

from kitefeed.actors.broadcaster import store
from kitefeed.actors.broadcaster.sequences import Sequences
from kitefeed.actors.broadcaster.store import Damaged, LastValues, Origin, Saved
from kitefeed.protocol.feed import Flag, Source
from kitefeed.protocol.messages.instruments import LIST_MAX

HOUR_NS = 3_600 * 1_000_000_000
UTC = 1_790_000_000 * 1_000_000_000
NOW = 500 * HOUR_NS
INFY = b"tick/NSE:INFY"


def put(values: LastValues, topic: bytes, received_ns: int = NOW, flags: int = 0) -> int:
    """One tick as the machine takes it in; the seq it got."""
    origin = Origin(0, 7, Source.WEBSOCKET, received_ns)
    value = values.get(topic) or values.admit(topic, origin)
    value.seq += 1
    value.origin, value.flags, value.body = origin, flags, b"\x91\x01"
    values.changed(None if flags & Flag.FIRST_PACKET else received_ns)
    return value.seq


def saved(age_ns: int, topic: bytes = INFY) -> Saved:
    return Saved(topic, 0, 7, Source.REST, 0, UTC - age_ns, b"\x91\x02")


def test_a_file_comes_back_as_it_was_written() -> None:
    rows = [saved(5), saved(9, b"tick/NSE:TCS")]
    assert store.decode_file(store.encode_file(3, rows)) == (3, rows)


@pytest.mark.parametrize("position", [0, 1, 5, 30, -1])
def test_a_changed_byte_is_noticed(position: int) -> None:
    data = bytearray(store.encode_file(3, [saved(5)]))
    data[position] ^= 0x55
    with pytest.raises(Damaged):
        store.decode_file(bytes(data))


@pytest.mark.parametrize("cut", [0, 1, 10, 40])
def test_a_short_file_is_damaged(cut: int) -> None:
    with pytest.raises(Damaged):
        store.decode_file(store.encode_file(3, [saved(5)])[:cut])


def test_another_version_is_not_guessed_at() -> None:
    with pytest.raises(Damaged, match="version 9"):
        store.decode_file(msgspec.msgpack.encode([9, 1, b"", b""]))


def test_a_loaded_value_is_cached_with_its_age_and_uncounted() -> None:
    values = LastValues()
    values.load([saved(3 * HOUR_NS)], now_ns=NOW, utc_ns=UTC)
    loaded = values.get(INFY)
    assert loaded is not None
    assert loaded.origin.received_boot_ns == NOW - 3 * HOUR_NS
    assert (loaded.seq, loaded.flags, loaded.origin.source) == (0, Flag.CACHED, Source.REST)
    assert put(values, INFY) == 1
    newer = values.get(INFY)
    assert newer is not None
    assert newer.flags == 0


def test_a_loaded_value_never_replaces_one_of_this_life() -> None:
    values = LastValues()
    put(values, INFY)
    values.load([saved(-HOUR_NS)], now_ns=NOW, utc_ns=UTC)
    kept = values.get(INFY)
    assert kept is not None
    assert not kept.flags & Flag.CACHED


def test_old_values_stay_until_the_next_session_brings_one() -> None:
    values = LastValues()
    values.load([saved(60 * HOUR_NS)], now_ns=NOW, utc_ns=UTC)
    values.expire()
    assert values.get(INFY)
    put(values, b"tick/NSE:TCS", flags=Flag.FIRST_PACKET)
    values.expire()
    assert values.get(INFY)  # the exchange's cached packet is no new session
    put(values, b"tick/NSE:TCS")
    values.expire()
    assert values.get(INFY) is None


def test_a_quiet_instrument_outlives_a_day_without_a_session() -> None:
    values = LastValues()
    put(values, INFY, NOW)
    put(values, b"tick/NSE:TCS", NOW + 5 * HOUR_NS)
    values.expire()  # however late it is called: nobody traded since
    assert values.get(INFY)


def test_the_seq_of_an_expired_topic_never_falls() -> None:
    values = LastValues()
    for _ in range(3):
        put(values, INFY, NOW)
    put(values, b"tick/NSE:TCS", NOW + 25 * HOUR_NS)
    values.expire()
    assert values.get(INFY) is None
    assert put(values, INFY, NOW + 26 * HOUR_NS) == 4


def test_a_full_table_passes_values_on_uncounted() -> None:
    values = LastValues()
    for n in range(LIST_MAX):
        put(values, b"tick/NSE:%d" % n)
    assert put(values, INFY) == 0
    assert (values.get(INFY), values.refused) == (None, 1)


def test_a_forgotten_counter_goes_on_above_every_forgotten_number() -> None:
    sequences = Sequences(limit=2)
    assert [sequences.next(b"a") for _ in range(5)] == [1, 2, 3, 4, 5]
    sequences.next(b"b")
    sequences.next(b"c")
    assert sequences.next(b"a") == 6
