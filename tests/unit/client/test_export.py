"""A recorded day as Parquet and CSV: read by others, it says what the ticks say."""

import csv
import os
from pathlib import Path
from typing import Any

import duckdb
import pandas
import polars
import pytest

from kitefeed import BadInput, Recording, Tick
from kitefeed.client import columns, export
from kitefeed.protocol.errors import TryLater
from kitefeed.protocol.recording import Gap
from tests.recordings import (
    DAY,
    GOLD,
    INFY,
    NIFTY,
    NINE_FIFTEEN,
    S,
    Writes,
    described,
    put,
    segment,
)

T0 = NINE_FIFTEEN
GAP = Gap(T0 - 60 * S, T0, "killed", healed=True, detail="it's over")


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    feed = Writes()
    blocks: list[list[tuple[int, Any]]] = [[(T0, GAP), (T0, feed.heartbeat(T0))]]
    for n in range(20):
        at_ns = T0 + n * S // 4
        prices = {INFY: 1500_00 + n % 7, NIFTY: 24_000_00 - n, GOLD: 70_000_00 + n}
        blocks.append([(at_ns, feed.chunk(at_ns, prices))])
    put(tmp_path / "rec", segment(blocks, instruments=described(INFY, NIFTY, GOLD)))
    return Recording(DAY, dir=tmp_path / "rec")


def exact(tick: Tick) -> dict[str, object]:
    return {name: column.values[0] for name, column in columns.columns([tick]).items()}


def as_exported(recording: Recording) -> list[dict[str, object]]:
    rows = [exact(tick) for tick in recording]
    return sorted(rows, key=lambda row: (str(row["instrument"]), str(row["t_rx_ns"])))


def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v.item() if hasattr(v, "item") else v for k, v in row.items()} for row in rows]


def test_each_segment_of_the_market_has_a_file_sorted_by_instrument_and_time(
    recording: Recording, tmp_path: Path
) -> None:
    files = export.to_parquet(recording, tmp_path / "out")
    assert [str(path.relative_to(tmp_path / "out")) for path in files] == [
        f"gaps/date={DAY}/day.parquet",
        f"instruments/date={DAY}/day.parquet",
        f"ticks/date={DAY}/segment=INDICES/day.parquet",
        f"ticks/date={DAY}/segment=MCX/day.parquet",
        f"ticks/date={DAY}/segment=NSE/day.parquet",
    ]
    for path in files[2:]:
        rows = duckdb.sql(f"select instrument, t_rx_ns from '{path}'").fetchall()  # noqa: S608
        assert rows == sorted(rows)
        assert len(rows) == 20
    codecs = duckdb.sql(f"select distinct compression from parquet_metadata('{files[4]}')")  # noqa: S608
    assert codecs.fetchall() == [("ZSTD",)]


def test_duckdb_polars_and_pandas_read_the_numbers_of_the_ticks(
    recording: Recording, tmp_path: Path
) -> None:
    export.to_parquet(recording, tmp_path)
    expected = plain(as_exported(recording))
    every = tmp_path / "ticks/**/*.parquet"
    by_duckdb = duckdb.sql(
        f"select * exclude (date, segment) from read_parquet('{every}', hive_partitioning = true)"  # noqa: S608
        " order by instrument, t_rx_ns"
    )
    names = by_duckdb.columns
    assert [dict(zip(names, row, strict=True)) for row in by_duckdb.fetchall()] == expected
    by_polars = polars.scan_parquet(every, hive_partitioning=True).collect()
    assert by_polars["segment"].unique().sort().to_list() == ["INDICES", "MCX", "NSE"]
    rows = by_polars.drop("date", "segment").sort("instrument", "t_rx_ns").to_dicts()
    assert rows == expected
    by_pandas = pandas.read_parquet(tmp_path / "ticks").sort_values(["instrument", "t_rx_ns"])
    found = by_pandas.drop(columns=["date", "segment"]).to_dict("records")
    assert plain(found) == expected


def test_gaps_and_instruments_stand_beside(recording: Recording, tmp_path: Path) -> None:
    export.to_parquet(recording, tmp_path)
    gaps = polars.read_parquet(tmp_path / "gaps", hive_partitioning=False).to_dicts()
    assert [Gap(**row) for row in gaps] == [GAP]
    tokens = polars.read_parquet(tmp_path / "instruments", hive_partitioning=False)["token"]
    assert sorted(tokens.to_list()) == sorted([INFY, NIFTY, GOLD])


def test_rupees_are_floats_and_a_part_is_what_was_asked_for(
    recording: Recording, tmp_path: Path
) -> None:
    part = Recording(DAY, "NSE:INFY", dir=recording.dir, since="09:15:01", until="09:15:02")
    export.to_parquet(part, tmp_path, rupees=True)
    frame = polars.read_parquet(tmp_path / "ticks")
    assert frame["last_price"].to_list() == [tick.last_price for tick in part]
    assert len(frame) == 4
    assert "divisor" not in frame.columns


def test_csv_has_the_same_rows_in_the_order_of_time(recording: Recording, tmp_path: Path) -> None:
    files = export.to_csv(recording, tmp_path)
    assert [path.name for path in files] == [
        f"{DAY}.csv", f"{DAY}.gaps.csv", f"{DAY}.instruments.csv"
    ]  # fmt: skip
    with files[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected = [{k: str(v) for k, v in row.items()} for row in plain([*map(exact, recording)])]
    assert rows == expected
    with files[1].open(newline="") as file:
        assert next(csv.DictReader(file))["detail"] == "it's over"


def test_what_the_mode_does_not_carry_is_empty(tmp_path: Path) -> None:
    feed = Writes()
    full = feed.body
    feed.body = lambda token, price, volume=0: type(full(token, price))(token, 1, 100, price)  # type: ignore[method-assign]
    put(tmp_path / "rec", segment([[(T0, feed.chunk(T0, {INFY: 1500_00}))]]))
    recording = Recording(DAY, dir=tmp_path / "rec")
    export.to_parquet(recording, tmp_path)
    (row,) = polars.read_parquet(tmp_path / "ticks").to_dicts()
    assert (row["mode"], row["last_price"]) == ("ltp", 1500_00)
    assert row["volume_traded"] is row["bid_px_00"] is row["exchange_timestamp"] is None
    (path, *_) = export.to_csv(recording, tmp_path, rupees=True)
    with path.open(newline="") as file:
        row = next(csv.DictReader(file))
    assert (row["volume_traded"], row["last_price"]) == ("", "1500.0")


def test_a_day_without_ticks_is_files_without_rows(tmp_path: Path) -> None:
    put(tmp_path / "rec", segment([[(T0, Writes().heartbeat(T0))]]))
    recording = Recording(DAY, dir=tmp_path / "rec")
    export.to_parquet(recording, tmp_path)
    (path, *_) = export.to_csv(recording, tmp_path)
    assert path.read_text().startswith("instrument,instrument_token,")


def test_what_is_there_is_replaced_only_when_that_is_asked_for(
    recording: Recording, tmp_path: Path
) -> None:
    for write in (export.to_parquet, export.to_csv):
        files = write(recording, tmp_path)
        with pytest.raises(BadInput, match="is there already"):
            write(recording, tmp_path)
        assert write(recording, tmp_path, replace=True) == files


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("write", [export.to_parquet, export.to_csv])
def test_an_interrupted_export_leaves_nothing(
    recording: Recording, tmp_path: Path, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns.batches, "__defaults__", (10,))
    out = tmp_path / "out"

    def stop(part: float, ticks: int) -> None:
        assert 0 < part <= 1
        assert list(out.iterdir()) != []
        if ticks >= 30:
            raise Interrupted

    with pytest.raises(Interrupted):
        write(recording, out, progress=stop)
    assert list(out.iterdir()) == []


def test_what_a_killed_export_left_goes_with_the_next_and_what_another_makes_stays(
    recording: Recording, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    left = [out / f".kitefeed-export.{name}" for name in (f"{DAY}.csv", "2026-11-27.day", "123")]
    made = out / ".kitefeed-export.2026-11-26.day"
    for directory in (*left, made):
        directory.mkdir(parents=True)
        (directory / "ticks.parquet").write_text("half")
    with export._locked(made):
        export.to_csv(recording, out)
        assert not any(directory.exists() for directory in left)
        assert made.exists()
    export.to_csv(recording, out, replace=True)
    assert not made.exists()


def test_two_that_would_write_the_same_files_are_one_and_a_refusal(
    recording: Recording, tmp_path: Path
) -> None:
    tried = []

    def meanwhile(part: float, ticks: int) -> None:
        for write, is_replacing in ((export.to_csv, False), (export.to_csv, True)):
            with pytest.raises(TryLater, match="another export writes the same files"):
                write(recording, tmp_path, replace=is_replacing)
        tried.append(export.to_parquet(recording, tmp_path, replace=True))  # other files

    files = export.to_csv(recording, tmp_path, progress=meanwhile)
    assert all(path.exists() for path in [*files, *tried[0]])
    assert not list(tmp_path.glob(".kitefeed-export.*"))


def test_an_export_that_ends_while_its_files_are_moved_leaves_none(
    recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = []

    def replace(path: Path, target: Path) -> None:
        if moved:
            raise Interrupted
        moved.append(target)
        os.rename(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(Interrupted):
        export.to_parquet(recording, tmp_path / "out")
    assert moved
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["duckdb", "numpy"])
def test_without_a_package_the_sentence_says_how_to_get_it(
    recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def without(wanted: str) -> Any:
        raise ModuleNotFoundError(f"No module named {wanted!r}", name=wanted)

    monkeypatch.setattr(columns, "import_module", without)
    write = export.to_parquet if name == "duckdb" else export.to_csv
    with pytest.raises(ImportError, match=rf"needs {name}.*pip install 'kitefeed\[record\]'"):
        write(recording, tmp_path)
