"""Tests what `kitefeed top` computes and how it is laid out; no daemon."""

import io
import os

import pytest
from rich.console import Console

from kitefeed.cli import top_sample as t
from kitefeed.cli.process_stats import usage_of
from kitefeed.cli.top_screen import render
from kitefeed.protocol.messages.status import ReaderStatus
from kitefeed.protocol.topology import Role

LONG = "NFO:BANKNIFTY26DEC48500CE"


def sample(readers: int = 3, instruments: int = 20) -> t.Sample:
    """A busy day, with the longest words there are."""
    actors = [t.ActorRow(role, "suspect", 4_194_304, 99.9, 1_234.5, 1_500.0, 4.4) for role in Role]
    sources = [
        t.SourceRow(n, "websocket", True, 10**12, 3_000, 12_345.6, 0.1, 0.1, 0.3, None)
        for n in range(3)
    ]
    programs = [
        ReaderStatus(f"strategy-{n}.py", 4_194_304, 1.9, 9_000, 9_123.4, 2_345.0, 10_000, 123_456)
        for n in range(readers)
    ]
    row = t.InstrumentRow(LONG, 12.3, 7_200.0, 1_500.05, "websocket", True)
    told = t.Broadcast(27_000.0, 18_000.0, 123.4, 10**9, 64, 9_000, 123, 45, 6, 7)
    rows = [row] * instruments
    reason = "the market is open and the feed streams as it should do, at length" * 3
    return t.Sample(
        "login_required", "websocket", "unverified", reason, 10**12, actors, sources, told,
        programs, rows, rows,
    )  # fmt: skip


def lines(shown: t.Sample, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(render(shown, width, height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 30), (120, 40), (200, 60)])
@pytest.mark.parametrize("readers", [0, 1, 3, 40])
def test_the_screen_fits_and_fills_the_terminal(width: int, height: int, readers: int) -> None:
    found = lines(sample(readers), width, height)
    assert max(map(len, found)) <= width
    assert len(found) <= height
    if readers == 40:
        assert len(found) == height


def test_at_80_columns_nothing_that_counts_is_cut() -> None:
    found = "\n".join(lines(sample(), 80, 30))
    words = ("123,456", "10,000", "12,346", "27,000", "4194304", "1,234 MB", LONG, "9,000 values")
    for word in (*words, "strategy-2.py"):
        assert word in found, word


def test_programs_in_trouble_are_shown_when_not_all_can_be() -> None:
    shown = sample(40)
    shown.readers[37].heard_age_s = 12.0
    shown.readers[38].lag_ms = 60_000.0
    found = "\n".join(lines(shown, 80, 24))
    assert "strategy-37.py" in found
    assert "strategy-38.py" in found
    assert " more" in found


def test_a_daemon_that_has_just_started_can_be_shown() -> None:
    actors = [t.ActorRow(role, "absent", None, None, None, None, None) for role in Role]
    empty = t.Sample("stale", "none", "unknown", "", 0, actors, [], None, [], [], [])
    found = "\n".join(lines(empty, 80, 24))
    assert "no heartbeat" in found
    assert "none reports itself" in found


# --- rates ------------------------------------------------------------------------------------


def test_a_rate_is_a_mean_over_the_last_looks() -> None:
    rates = t.Rates()
    assert rates.of("x", 0, 0.0) is None
    assert rates.of("x", 100, 1.0) == 100
    for second in range(2, 20):
        rates.of("x", 100 + 10 * (second - 1), float(second))
    assert rates.of("x", 300, 20.0) == pytest.approx((300 - 240) / 5)


def test_a_counter_that_was_not_told_anew_does_not_count_twice() -> None:
    rates = t.Rates()
    rates.of("x", 0, 0.0)
    rates.of("x", 100, 1.0)
    assert rates.of("x", 100, 1.0) == 100


def test_a_counter_that_began_anew_gives_no_negative_rate() -> None:
    rates = t.Rates()
    rates.of("x", 1_000, 0.0)
    assert rates.of("x", 5, 1.0) is None
    assert rates.of("x", 15, 2.0) == 10


# --- the kernel -------------------------------------------------------------------------------


def test_this_process_uses_cpu_and_memory() -> None:
    found = usage_of(os.getpid())
    assert found is not None
    assert found.cpu_s > 0
    assert 5 < found.rss_mb < 5_000


@pytest.mark.parametrize("pid", [None, 2**22 + 1])
def test_a_process_that_is_not_there_uses_nothing(pid: int | None) -> None:
    assert usage_of(pid) is None
