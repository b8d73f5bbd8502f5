"""A tick as a plain value: copied, pickled, printed; with its feed and without."""

import copy
import pickle

import pytest

from kitefeed.client import tick as tick_module
from kitefeed.client.tick import Tick
from kitefeed.protocol import feed as f
from kitefeed.protocol.kite.repack import repack_frame
from kitefeed.protocol.kite.ticks import FULL, TickBody, encode_frame
from kitefeed.protocol.topics import tick_topic
from tests.unit.client.view_kit import DEPTH, Reader, S

RUN = 90  # packets of a frame, as many as the ticker writes plainly


@pytest.fixture
def reader() -> Reader:
    made = Reader()
    made.heartbeat()
    made.tick()
    return made


def pickled(tick: Tick) -> Tick:
    again: Tick = pickle.loads(pickle.dumps(tick))  # noqa: S301 (our own)
    return again


def test_a_copy_is_judged_by_the_same_feed(reader: Reader) -> None:
    for made in (copy.copy(reader.value()), copy.deepcopy(reader.value())):
        assert (made.is_fresh, made.source) == (True, "websocket")
        assert made.raw == reader.value().raw
    assert copy.deepcopy(reader.value()).raw is not reader.value().raw
    made = copy.deepcopy(reader.value())
    reader.tick(seq=2)
    assert not made.is_fresh


def test_a_pickled_tick_is_a_value_that_is_never_fresh(reader: Reader) -> None:
    tick = reader.value()
    again = pickled(pickled(tick))
    assert (again.is_fresh, again.source, again.origin) == (False, "cache", "websocket")
    assert (again.instrument, again.raw, again.seq) == (tick.instrument, tick.raw, tick.seq)
    assert (again.last_price, again.depth) == (tick.last_price, tick.depth)
    assert (again.epoch, again.received_at, repr(again)) == (7, tick.received_at, repr(tick))


def test_the_age_of_a_pickled_tick_goes_on_by_the_wall_clock_on_a_host_with_another_boot_time(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks = {"boot": reader.now_ns, "utc": reader.utc_ns}
    monkeypatch.setattr(tick_module, "boot_ns", lambda: clocks["boot"])
    monkeypatch.setattr(tick_module, "utc_ns", lambda: clocks["utc"])
    reader.tick(seq=2, t_rx_ns=reader.utc_ns - 3 * S)
    clocks["boot"] += 4 * S
    clocks["utc"] += 4 * S
    assert reader.value().age_s == 7
    packed = pickle.dumps(reader.value())
    clocks["boot"] = 5 * S
    clocks["utc"] += 10 * S
    again: Tick = pickle.loads(packed)  # noqa: S301 (our own)
    assert again.age_s == 17
    clocks["boot"] += 1 * S
    assert again.age_s == 18


def test_nothing_of_a_tick_can_be_changed(reader: Reader) -> None:
    with pytest.raises(AttributeError):
        reader.value().seq = 9  # type: ignore[misc]


# --- not decoded yet ----------------------------------------------------------------------------


def chunk(reader: Reader, damage: dict[int, bytes] | None = None) -> bytes:
    """A message of `ticks/all` as the broadcaster writes it. damage: bodies to be put in."""
    bodies = repack_frame(
        encode_frame(
            TickBody(
                1_000 + n << 8 | 1, FULL, 100, 150_000 + n, 5, 6, 7, 8, 9, 10, 11, 12, 13,
                1_790_000_000, 14, 15, 16, 1_790_000_001, DEPTH,
            )
            for n in range(RUN)
        )
    ).bodies  # fmt: skip
    for at, body in (damage or {}).items():
        bodies[at] = body
    frames = f.TickFrames(1, 0, 7, 1, reader.utc_ns, reader.utc_ns)
    names = [tick_topic(f"NSE:S{n}") for n in range(RUN)]
    return frames.chunk(1, names, [1] * RUN, bodies, [])


def test_a_tick_of_a_long_run_is_not_decoded_before_one_of_its_fields_is_read(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    decode = tick_module.decode_body
    monkeypatch.setattr(tick_module, "decode_body", lambda b: decoded.append(b) or decode(b))
    reader.view.arrived.clear()
    reader.apply(chunk(reader))
    ticks = list(reader.view.arrived)
    assert [tick.seq for tick in ticks] == [1] * RUN
    assert [tick.last_price for tick in ticks] == [1500 + n / 100 for n in range(RUN)]
    assert [tick.instrument_token for tick in ticks] == [1_000 + n << 8 | 1 for n in range(RUN)]
    assert all(tick.is_fresh for tick in ticks)
    assert not decoded
    tick = ticks[7]
    assert (tick.mode, tick.volume_traded, tick.oi, tick.open) == ("full", 7, 14, 0.1)
    assert tick.depth is not None
    assert tick.depth.buy[0].price == 1500
    assert tick.raw is tick.raw
    assert len(decoded) == 1


def test_a_tick_that_is_kept_keeps_its_own_bytes_and_not_those_of_its_chunk(
    reader: Reader,
) -> None:
    reader.view.arrived.clear()
    frame = chunk(reader)
    reader.apply(frame)
    held = reader.view.arrived[0]._held
    assert type(held) is bytes
    assert len(held) < len(frame) / RUN


def test_copies_of_a_tick_that_was_not_decoded_are_what_copies_of_a_decoded_one_are(
    reader: Reader,
) -> None:
    reader.view.arrived.clear()
    reader.apply(chunk(reader))
    for make in (copy.copy, copy.deepcopy, pickled):
        tick = reader.view.arrived.popleft()
        made = make(tick)
        assert (made.raw, made.seq, made.instrument) == (tick.raw, tick.seq, tick.instrument)
        assert repr(made) == repr(tick)
        assert made != tick  # as ever: one is another object
        assert (made.raw is tick.raw) == (make is copy.copy)


@pytest.mark.parametrize("at", [0, 44, RUN - 1])
def test_a_damaged_body_of_a_long_run_is_counted_and_never_becomes_a_tick(
    reader: Reader, at: int
) -> None:
    reader.view.arrived.clear()
    before = reader.view.bad_messages
    reader.apply(chunk(reader, {at: f.encode([1, 3, 0, 5])}))  # a divisor of zero
    assert (reader.view.bad_messages - before, len(reader.view.arrived)) == (1, 0)
    assert "NSE:S1" not in reader.view.values
    reader.apply(chunk(reader, {at: f.encode([1, 3, 100, 5])}))
    assert len(reader.view.arrived) == RUN
    assert reader.view.arrived[at].last_price == 0.05
