"""Tests an actor's memory on disk: losing it costs a memory, and one line."""

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kitefeed.actors.broadcaster import store
from kitefeed.actors.runtime import whole_file
from kitefeed.actors.runtime.state_file import StateFile
from kitefeed.actors.supervisor import memory
from kitefeed.actors.supervisor.facts import Persisted
from tests.crash import killed_at_every_step

log = logging.getLogger("test")
VALUES = store.encode_file(
    3, [store.Saved(b"tick/NSE:INFY", 0, 7, 1, 0, 1_790_000_000_000_000_000, b"\x91\x02")]
)
STATE = memory.encode(Persisted(epoch=1_790_000_000_123, subscriptions={"NSE:INFY": "full"}))
Decode = Callable[[bytes], object]
FILES: list[tuple[bytes, Decode]] = [(VALUES, store.decode_file), (STATE, memory.decode)]


def state_file(path: Path) -> StateFile:
    return StateFile(path, "values", 10_000, log)


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def is_damaged(data: bytes, decode: Decode) -> bool:
    try:
        decode(data)
    except ValueError:
        return True
    return False


@pytest.mark.parametrize(("data", "decode"), FILES)
def test_every_flipped_bit_is_noticed(data: bytes, decode: Decode) -> None:
    flips = [(offset, bit) for offset in range(len(data)) for bit in range(8)]
    unseen = [
        (offset, bit)
        for offset, bit in flips
        if not is_damaged(
            data[:offset] + bytes([data[offset] ^ 1 << bit]) + data[offset + 1 :], decode
        )
    ]
    assert unseen == []
    assert not is_damaged(data, decode)


@pytest.mark.parametrize(("data", "decode"), FILES)
def test_a_file_cut_at_any_byte_or_with_a_tail_is_noticed(data: bytes, decode: Decode) -> None:
    assert [cut for cut in range(len(data)) if not is_damaged(data[:cut], decode)] == []
    assert is_damaged(data + b"\0", decode)


@pytest.mark.parametrize(
    "rubbish", [b"", b"\xff" * 50, b"[" * 5_000, b'{"checksum":"","state":{}}']
)
def test_rubbish_is_damage_and_no_other_error(rubbish: bytes) -> None:
    for _, decode in FILES:
        assert is_damaged(rubbish, decode)


def test_what_the_supervisor_remembers_comes_back() -> None:
    assert memory.decode(STATE) == Persisted(
        epoch=1_790_000_000_123, subscriptions={"NSE:INFY": "full"}
    )
    with pytest.raises(ValueError, match="version 2"):
        memory.decode(memory.encode(Persisted(version=2)))


def test_the_supervisor_killed_at_any_step_remembers_all_of_the_old_or_of_the_new(
    tmp_path: Path,
) -> None:
    path = tmp_path / "supervisor.json"
    old, new = (Persisted(epoch=n, subscriptions={f"NSE:{n}": None}) for n in (1, 2))
    state_file(path).write(memory.encode(old))
    for _ in killed_at_every_step(lambda: state_file(path).write(memory.encode(new))):
        assert state_file(path).read(memory.decode) in (old, new)
        assert os.listdir(tmp_path) == ["supervisor.json"]
    assert state_file(path).read(memory.decode) == new


def test_a_damaged_file_is_set_aside_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "values"
    path.write_bytes(VALUES[:-1])
    for _ in range(3):
        assert state_file(path).read(store.decode_file) is None
    assert len(caplog.records) == 1
    assert (tmp_path / "values.damaged").read_bytes() == VALUES[:-1]
    assert not path.exists()


def test_a_file_that_cannot_be_opened_is_set_aside_too(tmp_path: Path) -> None:
    path = tmp_path / "values"
    path.mkdir()
    assert state_file(path).read(store.decode_file) is None
    assert state_file(path).write(VALUES)
    assert state_file(path).read(store.decode_file)


def test_a_file_beyond_its_limit_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "values"
    path.write_bytes(bytes(10_001))
    assert state_file(path).read(len) is None
    path.write_bytes(bytes(10_000))
    assert state_file(path).read(len) == 10_000


def test_a_file_that_cannot_be_set_aside_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "values"
    path.write_bytes(b"rubbish")
    monkeypatch.setattr(Path, "replace", full_disk)
    assert state_file(path).read(store.decode_file) is None


def test_a_full_disk_is_said_once_and_once_more_when_it_is_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    file = state_file(tmp_path / "values")
    assert file.write(b"old")
    with monkeypatch.context() as patched:
        patched.setattr(whole_file.os, "fsync", full_disk)
        assert [file.write(b"new") for _ in range(5)] == [False] * 5
        assert file.is_failing
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert file.read(bytes) == b"old"
    assert os.listdir(tmp_path) == ["values"]
    assert [file.write(b"new") for _ in range(3)] == [True] * 3
    assert not file.is_failing
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    assert all("condition=disk" in record.message for record in caplog.records)
