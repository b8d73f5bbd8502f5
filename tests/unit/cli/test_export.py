"""Tests what `kitefeed export` shows while it works."""

import io
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kitefeed.cli.commands.export import export
from kitefeed.client import columns
from tests.recordings import DAY, INFY, NINE_FIFTEEN, S, Writes, put, segment


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    feed, blocks = Writes(), list[list[tuple[int, Any]]]()
    for n in range(40):
        at_ns = NINE_FIFTEEN + n * S
        blocks.append([(at_ns, feed.chunk(at_ns, {INFY: 1500_00 + n}))])
    put(tmp_path / "rec", segment(blocks))
    return tmp_path / "rec"


def shown(recordings: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(columns.batches, "__defaults__", (10,))
    monkeypatch.setattr(f"{export.callback.__module__}.TELL_NS", 0)
    terminal = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        export.callback(  # type: ignore[misc]
            DAY, (), "parquet", recordings.parent / "out", recordings, None, None, False, False
        )
    return [line.strip() for line in terminal.getvalue().split("\r") if line.strip()]


def test_a_terminal_shows_what_is_being_done_and_never_that_all_is_done_before_it_is(
    recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = shown(recordings, monkeypatch)
    assert lines[0] == "looking for damage"
    assert any(line.startswith("2") and line.endswith("% read  10 ticks") for line in lines)
    assert lines[-1] == "sorting and writing 40 ticks"
    assert not any("100%" in line for line in lines)


def test_a_file_or_pipe_is_shown_nothing(recordings: Path) -> None:
    words = [DAY, "--dir", str(recordings), "--to", str(recordings.parent / "out")]
    done = CliRunner().invoke(export, words)
    assert done.exit_code == 0
    assert done.stderr == ""
    assert done.stdout.startswith("40 ticks, ")
