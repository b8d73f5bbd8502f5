"""Tests that reports of programs are kept, bounded and forgotten."""

from kitefeed.actors.supervisor.readers import FORGET_NS, READERS_MAX, Readers
from kitefeed.protocol.messages.control import ReaderReport

S = 1_000_000_000


def told(reader: str, name: str = "strategy.py", **fields: int) -> ReaderReport:
    return ReaderReport(reader, name, **fields)


def test_the_last_report_of_each_is_shown_with_its_age() -> None:
    readers = Readers()
    readers.note(told("a", gaps=1), 100, 0)
    readers.note(told("b", "other.py"), None, 0)
    readers.note(told("a", gaps=7), 100, 2 * S)
    rows = readers.report(3 * S)
    assert [(row.name, row.pid, row.heard_age_s, row.gaps) for row in rows] == [
        ("other.py", None, 3.0, 0),
        ("strategy.py", 100, 1.0, 7),
    ]


def test_one_that_is_silent_is_shown_silent_and_then_forgotten() -> None:
    readers = Readers()
    readers.note(told("a"), 100, 0)
    assert [row.heard_age_s for row in readers.report(FORGET_NS)] == [30.0]
    assert readers.report(FORGET_NS + 1) == []


def test_a_flood_of_reports_keeps_those_that_were_heard_last() -> None:
    readers = Readers()
    for number in range(READERS_MAX + 10):
        readers.note(told(f"{number}"), number, number)
        readers.note(told("0", gaps=number), 0, number)
    rows = readers.report(READERS_MAX + 10)
    assert len(rows) == READERS_MAX
    assert 0 in {row.pid for row in rows}
    assert 5 not in {row.pid for row in rows}
