import pytest

from kitefeed.cli import output


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.05, "₹0.05"),
        (999.0, "₹999.00"),
        (1_000.0, "₹1,000.00"),
        (23_480.55, "₹23,480.55"),
        (123_456.05, "₹1,23,456.05"),
        (9_999_999.999, "₹1,00,00,000.00"),
        (12_345_678_901.5, "₹12,34,56,78,901.50"),
        (-1_234.5, "-₹1,234.50"),
        (None, "-"),
    ],
)
def test_rupees_are_grouped_as_india_counts(value: float | None, text: str) -> None:
    assert output.rupees(value) == text


def test_currencies_have_four_decimals() -> None:
    assert output.rupees(88.4725, 4) == "₹88.4725"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (-0.01, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (99.0, "99 s"),
        (120.0, "2 min"),
        (7_200.0, "2 h"),
        (200_000.0, "2 d"),
        (None, "-"),
    ],
)
def test_ages_have_a_unit_that_fits(seconds: float | None, text: str) -> None:
    assert output.age(seconds) == text


def test_changes_are_signed() -> None:
    assert output.percent(1.254) == "+1.25%"
    assert output.percent(-0.5) == "-0.50%"
    assert output.percent(None) == "-"


def test_times_are_shown_in_india() -> None:
    assert output.clock_time(0) == "01 Jan 05:30:00 IST"
    assert output.time_of_day(1_250_000_000) == "05:30:01.250"
