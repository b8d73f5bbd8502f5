"""The benchmark's own judgement: what it accepts, and above all what it does not."""

from collections.abc import Callable
from io import StringIO

import pytest
from kiteconnect import KiteTicker
from rich.console import Console

from benchmarks import check, frames, subject, table
from benchmarks.check import Received, Verdict
from benchmarks.frames import Builder, Plan, Shape, Universe, packets_of
from benchmarks.measure import Figure, percentile
from benchmarks.table import Row, compared
from kitefeed.protocol.kite.ticks import TickBody

SHAPE = Shape("mixed", 20, 12)


@pytest.fixture
def plan() -> Plan:
    return Builder().plan(SHAPE, Universe(120))


def made(frame: bytes) -> list[TickBody]:
    return subject.read(subject.recode(frame))


def decoded(plan: Plan) -> list[Received]:
    bodies = [body for frame in plan.frames for body in made(frame)]
    return [(body.instrument_token, body.last_price, subject.wire_values(body)) for body in bodies]


def test_what_was_sent_and_decoded_is_right_and_complete(plan: Plan) -> None:
    verdict = check.check(plan, decoded(plan), check.is_wire)
    assert verdict == Verdict(sent=SHAPE.ticks, received=SHAPE.ticks)
    assert verdict.is_complete


def drop(ticks: list[Received]) -> list[Received]:
    return ticks[:7] + ticks[8:]


def alter(ticks: list[Received]) -> list[Received]:
    token, price, values = ticks[7]
    return [*ticks[:7], (token, price, (*values[:-1], b"other depth")), *ticks[8:]]


def repeat(ticks: list[Received]) -> list[Received]:
    return [*ticks, ticks[-1]]


def swap(ticks: list[Received]) -> list[Received]:
    """Two ticks of one instrument in the wrong order."""
    token = ticks[0][0]
    first, second = [n for n, tick in enumerate(ticks) if tick[0] == token][:2]
    ticks[first], ticks[second] = ticks[second], ticks[first]
    return ticks


def invent(ticks: list[Received]) -> list[Received]:
    token, _, values = ticks[0]
    return [(token, 1, values), *ticks]


@pytest.mark.parametrize(
    ("damage", "field"),
    [(drop, "lost"), (alter, "altered"), (repeat, "repeated"), (swap, "disordered"),
     (invent, "strange")],
)  # fmt: skip
def test_one_damaged_tick_is_found(
    plan: Plan, damage: Callable[[list[Received]], list[Received]], field: str
) -> None:
    verdict = check.check(plan, damage(decoded(plan)), check.is_wire)
    assert getattr(verdict, field) == 1
    assert not verdict.is_complete


def test_the_official_client_agrees_with_the_benchmark_on_every_kind(plan: Plan) -> None:
    parse = KiteTicker("key", "token")._parse_binary
    pairs = [
        (packet, tick)
        for frame in plan.frames
        for packet, tick in zip(packets_of(frame), parse(frame), strict=True)
    ]
    assert all(check.is_official(packet, tick) for packet, tick in pairs)
    for field, wrong in (("mode", "none"), ("last_price", 1.0), ("change", 5.0)):
        with_change = [(packet, tick) for packet, tick in pairs if field in tick]
        assert not any(check.is_official(p, {**tick, field: wrong}) for p, tick in with_change)


def test_a_plan_is_read_back_as_it_was_saved(plan: Plan, tmp_path) -> None:
    plan.save(tmp_path / "plan")
    assert frames.load(tmp_path / "plan") == plan


def test_every_packet_of_a_run_can_be_told_from_all_others() -> None:
    builder, universe = Builder(), Universe(300)
    seen = set()
    for kind in (*frames.KINDS, "mixed"):
        for frame in builder.plan(Shape(kind, 10, 30), universe).frames:
            seen |= {packet[:8] for packet in packets_of(frame)}
    assert len(seen) == 5 * 10 * 30


def test_a_burst_is_due_at_once_and_the_next_when_the_rate_says() -> None:
    plan = Builder().plan(Shape("full", 10, 4, per_s=100, burst=2), Universe(60))
    assert plan.due_ns == [0, 0, 200_000_000, 200_000_000]


def test_percentiles_are_nearest_ranks_of_all_values() -> None:
    assert [percentile(list(range(1, 101)), p) for p in (0, 50, 99, 100)] == [1, 51, 100, 100]
    assert percentile([], 99) == 0


def test_the_table_says_by_how_much_and_whether_the_goal_is_met() -> None:
    less = compared("p", "CPU", "us/tick", [2.0, 4.0], [10.0, 10.0], goal=3)
    more = compared("p", "rate", "ticks/s", [30.0, 30.0], [10.0, 20.0], goal=6, is_more_better=True)
    lost = Row("p", "lost", "ticks", Figure([0.0, 2.0]), limit=0)
    missing = Row("p", "instructions", "per packet", goal=25, note="valgrind is not installed")
    assert less.better == Figure([5.0, 2.5])
    assert more.better == Figure([3.0, 1.5])
    assert [row.is_met for row in (less, more, lost, missing)] == [True, False, False, None]
    rows = [less, more, lost, missing]
    text = table.markdown(rows, "title")
    assert "| CPU | us/tick | 3 [2-4] | 10 | 3.75 [2.50-5] |  | >= 3: met |" in text
    assert "<= 0: MISSED" in text
    assert "instructions (valgrind is not installed)" in text
    console = Console(file=StringIO(), width=200)
    table.show(rows, "title", console)
    assert "MISSED" in console.file.getvalue()
