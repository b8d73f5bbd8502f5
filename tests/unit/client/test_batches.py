"""Ticks as arrays: the numbers of the ticks themselves, with numpy and without."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kitefeed.client import batches
from kitefeed.client.batches import Batch, batch_of
from kitefeed.client.tick import NOBODY, Arrival, Tick, Verdict
from kitefeed.protocol.feed import decode_body
from kitefeed.protocol.kite.repack import repack_frame
from kitefeed.protocol.kite.ticks import FULL, TickBody, frame_of_packets
from kitefeed.protocol.tick_bodies import Held, is_plain
from tests.property.test_kite_ticks import PACKETS
from tests.unit.client.test_tick import RUN, chunk
from tests.unit.client.view_kit import Reader

ARRAYS = (
    "instrument_token", "last_price", "volume_traded", "last_trade_time", "exchange_timestamp",
    "t_rx_ns",
)  # fmt: skip


@pytest.fixture(params=["numpy", "the standard library"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "numpy":
        return pytest.importorskip("numpy")
    monkeypatch.setattr(batches, "_numpy", lambda: None)
    return None


def rows_of(batch: Batch) -> list[tuple[Any, ...]]:
    return list(zip(batch.instrument, *(getattr(batch, name) for name in ARRAYS), strict=True))


def row_of(tick: Tick) -> tuple[Any, ...]:
    raw = tick.raw
    volume = -1 if raw.volume_traded is None else raw.volume_traded
    times = raw.last_trade_time or 0, raw.exchange_timestamp or 0
    token, price = raw.instrument_token, raw.last_price / raw.divisor
    return (tick.instrument, token, price, volume, *times, tick.t_rx_ns)


def checked(body: bytes) -> Held:
    return body if is_plain(body) else decode_body(body)


def ticks_of(runs: list[tuple[bytes, int]], *, judge: Any = NOBODY) -> list[Tick]:
    """Of runs of packets; of the short ones the bodies are decoded, as a reader's are."""
    bodies = [
        body for packet, count in runs
        for body in repack_frame(frame_of_packets([packet] * count)).bodies
    ]  # fmt: skip
    arrival = Arrival(1, 0, 1, 1, 1_790_000_000 * 10**9, 0, 0, judge, 0)
    return [Tick(f"NSE:S{n}", checked(body), 1, 0, arrival) for n, body in enumerate(bodies)]


@settings(max_examples=60)
@given(st.lists(st.tuples(PACKETS, st.sampled_from([1, 3, 45, 50])), min_size=1, max_size=5))
def test_every_row_is_what_its_tick_says(runs: list[tuple[bytes, int]]) -> None:
    ticks = ticks_of(runs)
    expected = [row_of(tick) for tick in ticks_of(runs)]
    assert rows_of(batch_of(ticks)) == expected
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "_numpy", lambda: None)
        assert rows_of(batch_of(ticks_of(runs))) == expected


def test_ticks_of_a_long_run_are_not_decoded_for_it(library: Any) -> None:
    reader = Reader()
    reader.apply(chunk(reader))
    batch = batch_of(list(reader.view.arrived))
    assert [type(tick._held) for tick in batch.ticks] == [bytes] * RUN
    assert list(batch.last_price) == [1500 + n / 100 for n in range(RUN)]
    assert len(batch) == RUN


def test_the_arrays_are_those_of_numpy_where_it_is_installed(library: Any) -> None:
    batch = batch_of(ticks_of([(bytes(7) + b"\x01", 45)]))
    kinds = {type(getattr(batch, name)) for name in ARRAYS}
    assert kinds == ({library.ndarray} if library else {batches.array})
    if library:
        types = {name: getattr(batch, name).dtype for name in ARRAYS}
        assert types.pop("last_price") == library.float64
        assert set(types.values()) == {library.dtype("int64")}
        assert batch.is_fresh.dtype == bool


def test_what_is_fresh_is_judged_when_it_is_read(library: Any) -> None:
    reader = Reader()
    reader.heartbeat()
    reader.tick("NSE:INFY", seq=1)
    reader.tick("NSE:INFY", seq=2)
    reader.tick("NSE:TCS", seq=1)
    batch = batch_of(list(reader.view.arrived))
    assert list(batch.is_fresh) == [False, True, True]
    reader.tick("NSE:TCS", seq=2)
    assert list(batch.is_fresh) == [False, True, False]
    reader.now_ns += 10**10
    assert list(batch.is_fresh) == [False, False, False]


def test_recorded_ticks_keep_the_verdict_of_their_time(library: Any) -> None:
    batch = batch_of(ticks_of([(bytes(7) + b"\x01", 2)], judge=Verdict("", has=True)))
    assert list(batch.is_fresh) == [True, True]


def test_a_number_beyond_any_of_kites_ends_no_program(library: Any) -> None:
    arrival = Arrival(1, 0, 1, 1, 0, 0, 0, NOBODY, 0)
    body = TickBody(1, FULL, 100, 5, volume_traded=(1 << 64) - 1)
    batch = batch_of([Tick("NSE:X", body, 1, 0, arrival)])
    assert list(batch.volume_traded) == [(1 << 63) - 1]


def test_no_ticks_are_empty_columns(library: Any) -> None:
    assert rows_of(batch_of([])) == []
