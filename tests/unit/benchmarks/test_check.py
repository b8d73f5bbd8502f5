"""The benchmark's own judgement: what it accepts, and above all what it does not."""

from array import array
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kiteconnect import KiteTicker
from rich.console import Console

from benchmarks import check, frames, mixes, read_feed, reading, report, subject, table
from benchmarks.asked import Asked
from benchmarks.check import Received, Verdict
from benchmarks.frames import BadShape, Builder, Plan, Shape, Universe, packets_of, token_of
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


def test_a_tick_from_before_the_run_is_told_and_has_no_latency(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "stamps").write_bytes(array("q", [0] * len(plan.frames)).tobytes())
    token, _, body = decoded(plan)[0]
    ticks = [(token, plan.first_price - 1_000_000, body), *decoded(plan)]
    times_ns = array("q", [5] * len(ticks))
    found = reading.compare(plan, tmp_path / "stamps", lambda *_: True, ticks, times_ns)
    assert found.verdict.strange == 1
    assert len(found.latencies_ns) == plan.ticks


def test_a_plan_is_read_back_as_it_was_saved(plan: Plan, tmp_path) -> None:
    plan.save(tmp_path / "plan")
    assert frames.load(tmp_path / "plan") == plan


def test_every_packet_of_a_run_can_be_told_from_all_others() -> None:
    builder, universe = Builder(), Universe(300)
    seen = set()
    kinds = (*mixes.KINDS, "mixed", "full:1,currency:1")
    for kind in kinds:
        for frame in builder.plan(Shape(kind, 10, 30), universe).frames:
            seen |= {packet[:8] for packet in packets_of(frame)}
    assert len(seen) == len(kinds) * 10 * 30


def test_the_kinds_of_a_mix_come_in_turn_by_their_weights() -> None:
    assert mixes.sequence("full:3,ltp:1") == ("full", "full", "ltp", "full")
    assert mixes.sequence("quote") == ("quote",)
    assert {len(body) for body in packets_of(one_frame("mixed", 60))} == {8, 28, 32, 44, 184}


def test_currencies_are_those_whose_prices_have_divisors_of_their_own() -> None:
    packets = list(packets_of(one_frame("currency", 20)))
    assert {len(packet) for packet in packets} == {184}
    assert {frames.divisor_of(token_of(packet)) for packet in packets} == {10_000_000, 10_000}


def one_frame(mix: str, count: int) -> bytes:
    return Builder().plan(Shape(mix, count, 1), Universe(600)).frames[0]


@pytest.mark.parametrize("mix", ["tick", "full:x", "full:0", "", "full:-1", "full:1001"])
def test_what_is_no_mix_is_refused(mix: str) -> None:
    with pytest.raises(mixes.BadMix):
        mixes.sequence(mix)


def test_a_frame_needs_an_instrument_for_each_packet() -> None:
    with pytest.raises(BadShape, match="20"):
        one_frame("index", 21)


def test_what_is_asked_for_keeps_the_length_of_a_run() -> None:
    base = Shape("full", 90, 150, 9_000)
    assert Asked().of(base) == base
    assert Asked(rate=3_000, frame=10, mix="ltp").of(base) == Shape("ltp", 10, 450, 3_000)
    assert Asked(seconds=0.5, burst=5).of(base) == Shape("full", 90, 50, 9_000, 5)
    unpaced = Shape("full", 300, 150)
    assert Asked(frame=100).of(unpaced) == Shape("full", 100, 450)


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
    less.others = {"a peer": Figure([20.0])}
    text = table.markdown(rows, ["commit: abc"])
    assert "- commit: abc\n" in text
    assert "| CPU | us/tick | 3 [2-4] | 10 | 3.75 [2.50-5] | 20 | >= 3: met |" in text
    assert "<= 0: MISSED" in text
    assert "instructions (valgrind is not installed)" in text
    console = Console(file=StringIO(), width=200)
    table.show(rows, "title", console)
    assert "MISSED" in console.file.getvalue()
    assert "a peer" in console.file.getvalue()


def test_a_peer_without_figures_leaves_the_others_theirs() -> None:
    row = compared("p", "CPU", "us/tick", [2.0, 4.0], [10.0], others={"gone": []}, goal=3)
    assert row.better == Figure([5.0])
    assert row.others == {}
    alone = compared("p", "CPU", "us/tick", [2.0], [], goal=3)
    assert alone.better is None
    assert alone.is_met is None


def test_the_table_takes_the_place_of_the_one_in_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}old\n{report.END}after\n")
    for value in (1.0, 2.0):
        report.insert([Row("p", "CPU", "us", Figure([value]))], ["commit: abc"], page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert text.count("| CPU |") == 1
    assert "| CPU | us | 2 |" in text


def test_the_page_of_the_docs_has_a_place_for_the_table() -> None:
    page = report.DOCS.read_text()
    assert 0 <= page.find(report.BEGIN) < page.find(report.END)


# --- losses that a reader tells -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("holes", "lost", "told", "misreported"),
    [
        (2, 2, (5, 0), 0),
        (2, 2, (0, 1), 0),
        (2, 3, (0, 0), 2),
        (0, 1, (0, 0), 0),
        (0, 0, (4, 0), 4),
        (0, 0, (0, 4), 0),
        (0, 0, (0, 0), 0),
    ],
    ids=[
        "told",
        "told of upstream",
        "silent",
        "the last of all, which nobody can know",
        "false alarm",
        "upstream, of others",
        "whole",
    ],
)
def test_a_reader_has_to_know_what_it_lost(
    holes: int, lost: int, told: tuple[int, int], misreported: int
) -> None:
    verdict = Verdict(10, 10 - lost, lost, holes=holes)
    verdict.hear_losses(check.LossesTold(*told))
    assert verdict.misreported == misreported
    assert verdict.is_right is not bool(misreported)


@pytest.mark.parametrize("lost_batches", [None, 0, 11])
def test_what_never_came_to_the_broadcaster_is_told_to_its_readers(
    lost_batches: int | None,
) -> None:
    heartbeat = None if lost_batches is None else SimpleNamespace(lost_batches=lost_batches)
    feed: Any = SimpleNamespace(gaps=1, skipped=2, overrun=4, heartbeat=heartbeat)
    assert read_feed.losses(feed) == (7, lost_batches or 0)
    assert read_feed.losses(feed, check.LossesTold(5, 0)) == (2, lost_batches or 0)
