"""`kitefeed market`, run in this process."""

import json
from pathlib import Path

import pytest

from kitefeed.cli.commands import market
from kitefeed.cli.main import main
from kitefeed.protocol.exits import Exit

MONDAY_NOON_NS = 1_795_415_400_000_000_000  # 23 November 2026, 12:00 IST


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kitefeed.toml"
    path.write_text("")
    monkeypatch.setenv("KITEFEED_CONFIG", str(path))
    monkeypatch.setattr(market, "utc_ns", lambda: MONDAY_NOON_NS)
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["market", *words]) == Exit.OK
    return capsys.readouterr().out


def test_today_is_shown_with_its_phases_and_what_is_open_now(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = shown(capsys)
    assert text.startswith("Monday, 23 November 2026, times in IST\nNSE, BSE, INDICES: now open\n")
    assert "closing auction 15:15-15:35, post close 15:50-16:00" in text
    assert "MCX, NCO: now open\n    open 09:00-23:55" in text
    assert "uncertain" not in text


def test_a_holiday_has_its_name_and_a_half_day_its_doubt(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = shown(capsys, "2026-11-24")
    shares = "NSE, BSE, INDICES, NFO, BFO, CDS, BCD"
    assert f"{shares}: Guru Nanak Jayanti\n    closed all day\n" in text
    assert "MCX, NCO: Guru Nanak Jayanti, uncertain\n    open 17:00-23:55\n" in text
    assert "now" not in text


def test_a_year_without_holidays_is_warned_about(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "2027-01-26")
    assert "ends with 2026" in text
    assert "CDS, BCD: uncertain\n" in text


def test_programs_get_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(shown(capsys, "2024-03-02", "--json"))
    assert (found["date"], found["warning"]) == ("2024-03-02", "")
    assert found["segments"]["NSE"] == {
        "now": None,
        "name": "Disaster recovery drill",
        "is_certain": True,
        "sessions": [[["open", "09:15", "10:00"]], [["open", "11:30", "12:30"]]],
    }
    assert found["segments"]["MCX"]["sessions"] == []


@pytest.mark.parametrize("word", ["tomorrow", "2026-02-30", "24.11.2026", ""])
def test_what_is_no_date_is_refused_in_one_sentence(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["market", word]) == Exit.BAD_INPUT
    assert capsys.readouterr().err == (
        f"kitefeed: {word!r} is not a date: write it as 2026-11-24\n"
    )


def test_the_users_table_is_shown(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "kitefeed.toml").write_text('[market]\ncalendar = "mine.toml"\n')
    (home / "mine.toml").write_text(
        'years = [2027]\n[[day]]\ndate = 2027-01-26\nname = "Closed"\nsegments = ["equity"]\n'
    )
    text = shown(capsys, "2027-01-26")
    assert "Closed\n    closed all day" in text
    assert "ends with" not in text


@pytest.mark.parametrize("own", [None, "[[day]]\ndate = 5\n"])
def test_a_table_that_cannot_be_used_is_refused(
    home: Path, own: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "kitefeed.toml").write_text('[market]\ncalendar = "mine.toml"\n')
    if own is not None:
        (home / "mine.toml").write_text(own)
    assert main(["market"]) == Exit.CONFIG
    sentence = capsys.readouterr().err
    assert str(home / "mine.toml") in sentence
    assert "correct" in sentence


def test_without_a_configuration_the_shipped_table_is_shown(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KITEFEED_CONFIG")
    monkeypatch.setenv("HOME", str(home / "nobody"))
    monkeypatch.chdir(home.parent)
    assert "times in IST" in shown(capsys)
