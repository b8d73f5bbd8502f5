"""`make bench` in small: its runs are real, and a run in which a tick is wrong fails."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.frames import Builder, Plan, Shape, Universe
from benchmarks.parts import Context, decode
from benchmarks.processes import Daemon
from benchmarks.stage import OFFICIAL, OURS, Result, Stage, WrongTick

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

SHAPE = Shape("mixed", 10, 8, 800)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage(60) as stage:
        yield stage


@pytest.fixture(scope="module")
def daemon(stage: Stage) -> Daemon:
    return stage.daemon("main", stage.universe)


@pytest.mark.parametrize("kind", [*OURS, OFFICIAL])
def test_every_reader_gets_every_tick_as_it_was_sent(
    stage: Stage, daemon: Daemon, kind: str
) -> None:
    result = stage.run(kind, SHAPE, stage.universe, None if kind == OFFICIAL else daemon)
    assert result.verdict.is_complete, result.verdict
    assert result.verdict.received == SHAPE.ticks
    assert 0 < result.reader <= result.cpu
    assert 0 < result.p50_ms <= result.p99_ms


def run_against_another_plan(
    stage: Stage, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, other: Path
) -> Result:
    """A run whose reader compares with `other` instead of what was sent."""
    spec = stage.spec
    told: Any = lambda *args: {**spec(*args), "plan": str(other)}  # noqa: E731
    monkeypatch.setattr(stage, "spec", told)
    return stage.run("each", SHAPE, stage.universe, daemon)


def next_plan(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """The plan of the next run, known beforehand."""
    plan = stage.builder.plan(SHAPE, stage.universe)
    monkeypatch.setattr(stage.builder, "plan", lambda *_: plan)
    return plan


def test_a_run_with_one_altered_byte_fails(
    stage: Stage, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = next_plan(stage, monkeypatch)
    frame = plan.frames[3]
    altered = [*plan.frames[:3], frame[:40] + bytes([frame[40] ^ 1]) + frame[41:], *plan.frames[4:]]
    Plan(plan.first_price, altered, plan.due_ns).save(tmp_path / "altered")
    with pytest.raises(WrongTick, match="altered=1"):
        run_against_another_plan(stage, daemon, monkeypatch, tmp_path / "altered")


def test_a_tick_that_does_not_come_is_counted_as_lost(
    stage: Stage, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = next_plan(stage, monkeypatch)
    one_more = Builder().plan(Shape("ltp", 1, 1), Universe(60)).frames[0]
    frames = [*plan.frames, one_more]
    Plan(plan.first_price, frames, [*plan.due_ns, 0]).save(tmp_path / "longer")
    result = run_against_another_plan(stage, daemon, monkeypatch, tmp_path / "longer")
    assert result.verdict.lost == 1


def test_the_decoders_are_timed_and_compared(
    stage: Stage, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "CASES", (("mixed", 10),))
    monkeypatch.setattr(decode, "SAMPLE_NS", 1_000_000)
    rows = decode.measure(Context(stage, daemon, 2, has_js=False, progress=lambda _: None))
    assert len(rows) == 2
    assert all(row.better is not None for row in rows)
    assert all(row.ours is not None and min(row.ours.values) > 0 for row in rows)


def test_an_unknown_part_is_refused_with_the_names_of_all() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "everything"],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "decode" in done.stderr
