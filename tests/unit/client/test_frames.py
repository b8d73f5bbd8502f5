"""Ticks as data frames: the numbers of the ticks, and no others."""

from pathlib import Path
from typing import Any

import pandas
import polars
import pytest

from kitefeed import Recording, Tick
from kitefeed.client import columns
from kitefeed.client.frames import Snapshot, to_pandas, to_polars
from kitefeed.client.tick import Arrival, Verdict
from kitefeed.protocol.feed import Source
from kitefeed.protocol.kite.ticks import LTP, TickBody
from tests.recordings import DAY, INFY, NIFTY, NINE_FIFTEEN, S, Writes, put, segment


def recording(directory: Path) -> Recording:
    feed = Writes()
    blocks: list[list[tuple[int, Any]]] = [
        [(at_ns, feed.heartbeat(at_ns)), (at_ns, feed.chunk(at_ns, {INFY: 1500_05 + n, NIFTY: 7}))]
        for n, at_ns in enumerate(range(NINE_FIFTEEN, NINE_FIFTEEN + 5 * S, S))
    ]
    put(directory, segment(blocks))
    return Recording(DAY, dir=directory)


def ltp_tick() -> Tick:
    body = TickBody(INFY, LTP, 100, 1500_05)
    arrival = Arrival(7, 0, 3, Source.REST, NINE_FIFTEEN, 5, 1 << 62, Verdict("", has=True), 0)
    return Tick("NSE:INFY", body, 9, 0, arrival)


def value_of(tick: Tick, name: str) -> object:
    """Return what a tick itself says of the column `name`."""
    if name in columns.DEPTH:
        side, what, level = name.split("_")
        if tick.depth is None:
            return None
        found = (tick.depth.buy if side == "bid" else tick.depth.sell)[int(level)]
        return {"px": found.price, "sz": found.quantity, "ct": found.orders}[what]
    if name == "published_at":
        return tick.received_at.timestamp() + tick.arrival.age_ns / 1e9
    found = getattr(tick, "origin" if name == "source" else name)
    return found.timestamp() if hasattr(found, "timestamp") else found


def test_pandas_has_what_the_ticks_say(tmp_path: Path) -> None:
    ticks = [*recording(tmp_path), ltp_tick()]
    frame = to_pandas(ticks)
    assert len(frame) == 11
    for name in frame.columns:
        for tick, value in zip(ticks, frame[name], strict=True):
            expected = value_of(tick, name)
            found = None if pandas.isna(value) else value
            found = found.timestamp() if isinstance(found, pandas.Timestamp) else found
            assert found == (pytest.approx(expected) if isinstance(expected, float) else expected)
    assert str(frame["received_at"].dt.tz) == "IST"
    assert frame["received_at"][0].isoformat() == "2026-11-30T09:14:59.999000+05:30"


def test_polars_has_what_pandas_has(tmp_path: Path) -> None:
    ticks = [*recording(tmp_path), ltp_tick()]
    one, other = to_polars(ticks), to_pandas(ticks)
    assert one.columns == list(other.columns)
    for name in one.columns:
        for a, b in zip(one[name], other[name], strict=True):
            same = None if pandas.isna(b) else b
            if isinstance(same, pandas.Timestamp):  # polars gives Python's, which has no ns
                same = same.floor("us").to_pydatetime()
            assert a == same, name
    assert one.schema["received_at"] == polars.Datetime("ns", "Asia/Kolkata")
    assert one["volume_traded"].to_list()[-1] is None


def test_exact_frames_have_whole_numbers_and_the_divisor(tmp_path: Path) -> None:
    found = recording(tmp_path)
    for frame in (found.to_pandas(exact=True), found.to_polars(exact=True)):
        assert frame["last_price"].to_list()[0] == 1500_05
        assert frame["divisor"].to_list()[0] == 100
        assert frame["bid_px_00"].to_list()[0] == 1500_00
        assert frame["bid_sz_00"].to_list()[0] == 10


def test_a_frame_without_ticks_has_its_columns() -> None:
    assert len(to_pandas([])) == len(to_polars([])) == 0
    assert list(to_pandas([]).columns) == to_polars([]).columns
    assert "last_price" in to_polars([]).columns


def test_a_large_one_is_made_in_parts_that_are_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = [*recording(tmp_path), ltp_tick()]
    whole = to_polars(ticks)
    monkeypatch.setattr(columns.batches, "__defaults__", (4,))
    assert to_polars(ticks).equals(whole)
    assert len(to_pandas(ticks)) == 11


def test_a_snapshot_is_a_dict_and_a_frame() -> None:
    snapshot = Snapshot({"NSE:INFY": ltp_tick()})
    assert snapshot == {"NSE:INFY": snapshot["NSE:INFY"]}
    assert snapshot.to_pandas()["last_price"][0] == 1500.05
    assert snapshot.to_polars()["source"][0] == "rest"


@pytest.mark.parametrize("name", ["pandas", "polars", "numpy"])
def test_without_a_package_the_sentence_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def without(wanted: str) -> Any:
        if wanted == name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(wanted)

    real = columns.import_module
    monkeypatch.setattr(columns, "import_module", without)
    make = to_polars if name == "polars" else to_pandas
    with pytest.raises(ImportError, match=rf"needs {name}, .* pip install 'kitefeed\[record\]'"):
        make([])
