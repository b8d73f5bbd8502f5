"""Tests what watches a terminal: keys, and the table of prices."""

import os
import pty
import sys
import termios
from collections.abc import Iterator

import pytest
from rich.console import Console

from kitefeed.cli.commands.watch import render
from kitefeed.cli.prices import Row
from kitefeed.cli.screen import Keys
from kitefeed.client.status import Status


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A terminal is standard input; what is written to the descriptor is typed there."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r") as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        yield ours
    os.close(ours)


@pytest.mark.parametrize("typed", [b"q", b"Q", b"xyq", b"\x04"])
def test_q_ends_it_at_once_and_the_terminal_is_as_it_was(keyboard: int, typed: bytes) -> None:
    before = termios.tcgetattr(sys.stdin.fileno())
    with Keys() as keys:
        assert termios.tcgetattr(sys.stdin.fileno()) != before
        os.write(keyboard, typed)
        assert keys.is_over(30.0)
    assert termios.tcgetattr(sys.stdin.fileno()) == before


def test_any_other_key_does_nothing(keyboard: int) -> None:
    with Keys() as keys:
        os.write(keyboard, b"a \x1b[A\n")
        assert not keys.is_over(0.05)


def test_without_a_terminal_it_only_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with Keys() as keys:
            assert not keys.is_over(0.01)


def shown(status: Status, rows: list[Row], rows_max: int = 10) -> str:
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(render(status, rows, rows_max, "q ends"))
    return capture.get()


LIVE = Status("live", "websocket", "valid", "")
INFY = Row("NSE:INFY", 1520.5, 2, 1.25, "websocket", 0.4, True)


def test_a_price_that_is_not_current_says_so_in_words() -> None:
    stale = INFY._replace(symbol="NSE:TCS", source="cache", age_s=65.0, is_fresh=False)
    lines = shown(LIVE, [INFY, stale, Row("NSE:SBIN")]).splitlines()
    infy, tcs, sbin = (next(line for line in lines if name in line)
                       for name in ("INFY", "TCS", "SBIN"))  # fmt: skip
    assert "NOT CURRENT" not in infy
    assert "₹1,520.50" in infy
    assert "+1.25%" in infy
    assert "NOT CURRENT" in tcs
    assert "65 s" in tcs
    assert "no value yet" in sbin
    assert lines[0].startswith("LIVE")


def test_after_the_close_a_last_value_is_no_alarm() -> None:
    text = shown(Status("closed", "cache", "valid", ""), [INFY._replace(is_fresh=False)])
    assert "last value" in text
    assert "NOT CURRENT" not in text


def test_the_headline_says_what_is_wrong_and_when_it_is_tried_again() -> None:
    status = Status("login_required", "cache", "refused", "the token is refused", retry_in_s=12.0)
    text = shown(status, [])
    assert "LOGIN REQUIRED  source cache  next attempt in 12 s" in text
    assert "the token is refused" in text


def test_what_does_not_fit_is_counted() -> None:
    text = shown(LIVE, [INFY._replace(symbol=f"NSE:S{number}") for number in range(30)], 10)
    assert "20 more" in text
    assert len(text.splitlines()) <= 14
