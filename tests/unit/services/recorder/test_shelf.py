"""The files of recordings: torn tails are cut, and nothing of anybody else's is touched."""

from pathlib import Path
from typing import Any

import pytest

from kitefeed.protocol import recording as r
from kitefeed.protocol.recording import Block, Damage, Kind
from kitefeed.services.recorder import shelf
from kitefeed.services.recorder.machine import Previous
from tests.recordings import DAY, INFY, NINE_FIFTEEN, S, Writes, put, segment

T0 = NINE_FIFTEEN


def parts(ended: str = "") -> list[bytes]:
    feed = Writes()
    blocks: list[list[tuple[int, Any]]] = [
        [(T0 + n * S, feed.chunk(T0 + n * S, {INFY: 1500_00 + n}))] for n in range(3)
    ]
    return segment(blocks, ended=ended)


def test_a_file_torn_at_any_byte_is_cut_to_its_whole_blocks_and_sealed(tmp_path: Path) -> None:
    pieces = parts()
    data, ends = b"".join(pieces), [sum(map(len, pieces[: n + 1])) for n in range(len(pieces))]
    for cut in range(len(data) + 1):
        path = put(tmp_path, [data[:cut]])
        found = shelf.recover(tmp_path)
        whole = sum(end <= cut for end in ends)
        if not whole:
            assert found is None
            assert not path.exists()
            continue
        last_ns = T0 if whole == 1 else T0 + (whole - 2) * S
        assert found == Previous(last_ns, "killed")
        blocks = list(r.blocks(path.read_bytes()))
        assert not any(isinstance(block, Damage) for block in blocks)
        assert path.read_bytes().startswith(b"".join(pieces[:whole]))
        assert [b.kind for b in blocks if isinstance(b, Block)][-1] == Kind.END
        assert shelf.recover(tmp_path) == found  # once


def test_a_sealed_file_is_left_as_it_is_whatever_is_damaged_in_it(tmp_path: Path) -> None:
    pieces = parts("stopped")
    pieces[2] = pieces[2][:-1] + bytes([pieces[2][-1] ^ 1])
    path = put(tmp_path, pieces)
    assert shelf.recover(tmp_path) == Previous(T0 + 2 * S, "stopped")
    assert path.read_bytes() == b"".join(pieces)


def test_damage_in_the_middle_stays_and_the_tail_is_cut(tmp_path: Path) -> None:
    pieces = parts()
    pieces[1] = pieces[1][:-1] + bytes([pieces[1][-1] ^ 1])
    path = put(tmp_path, [*pieces, b"torn"])
    assert shelf.recover(tmp_path) == Previous(T0 + 2 * S, "killed")
    assert path.read_bytes().startswith(b"".join(pieces))
    assert b"torn" not in path.read_bytes()


def test_the_newest_end_counts(tmp_path: Path) -> None:
    put(tmp_path, parts("stopped"))
    later_ns = T0 + 86_400 * S
    feed = Writes()
    blocks: list[list[tuple[int, Any]]] = [[(later_ns, feed.chunk(later_ns, {INFY: 1}))]]
    put(tmp_path, segment(blocks, started_ns=later_ns, ended=""), later_ns, "2026-12-01")
    assert shelf.recover(tmp_path) == Previous(later_ns, "killed")


def test_nothing_that_is_not_ours_is_touched(tmp_path: Path) -> None:
    names = [
        "notes.txt", f"{DAY}/091500-000.kfrec.bak", f"{DAY}/mine.kfrec",
        "2020-01-01x/090000-000.kfrec", "old/2020-01-01/090000-000.kfrec",
    ]  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"mine")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "090000-000.kfrec").write_bytes(b"mine")
    (tmp_path / "2020-01-02").symlink_to(elsewhere)
    assert shelf.recover(tmp_path) is None
    assert shelf.forget(tmp_path, "2026-12-30", 1) == []
    assert all((tmp_path / name).read_bytes() == b"mine" for name in names)
    assert (elsewhere / "090000-000.kfrec").exists()


@pytest.mark.parametrize(("keep_days", "left"), [(0, 3), (1, 1), (2, 2), (30, 3)])
def test_so_many_days_are_kept_today_included(tmp_path: Path, keep_days: int, left: int) -> None:
    for day in ("2026-11-28", "2026-11-29", "2026-11-30"):
        put(tmp_path, parts("hour"), day=day)
    shelf.forget(tmp_path, "2026-11-30", keep_days)
    assert len(list(shelf.segments(tmp_path))) == left
    assert len(list(tmp_path.iterdir())) == left


def test_a_directory_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert shelf.recover(tmp_path / "none") is None
    assert shelf.forget(tmp_path / "none", "2026-11-30", 1) == []
