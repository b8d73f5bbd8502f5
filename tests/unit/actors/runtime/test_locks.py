import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kitefeed.actors.runtime import locks
from kitefeed.protocol.errors import TryLater
from kitefeed.protocol.topology import Role


def test_a_role_is_held_once_and_free_again_after_release(tmp_path: Path) -> None:
    lock = locks.RoleLock(tmp_path, Role.TICKER, "boot")
    with pytest.raises(TryLater, match=f"process {os.getpid()}"):
        locks.RoleLock(tmp_path, Role.TICKER, "other")
    lock.release()
    locks.RoleLock(tmp_path, Role.TICKER, "third").release()


def test_roles_do_not_exclude_each_other(tmp_path: Path) -> None:
    held = [locks.RoleLock(tmp_path, role, "boot") for role in Role]
    assert {holder.role for holder in locks.live_holders(tmp_path)} == set(Role)
    for lock in held:
        lock.release()
    assert locks.live_holders(tmp_path) == []


def test_the_file_says_who_holds_it(tmp_path: Path) -> None:
    lock = locks.RoleLock(tmp_path, Role.SUPERVISOR, "boot")
    holder = locks.live_holder(tmp_path, Role.SUPERVISOR)
    assert holder == lock.holder
    assert holder.pid == os.getpid()
    assert holder.parent_pid == os.getppid()
    assert locks.is_same_process(holder.pid, holder.start_ticks)
    lock.release()


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from kitefeed.actors.runtime.locks import RoleLock\n"
        "from kitefeed.protocol.topology import Role\n"
        f"lock = RoleLock(pathlib.Path({str(tmp_path)!r}), Role.TICKER, 'b')\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        holder = locks.live_holder(tmp_path, Role.TICKER)
        assert holder is not None
        assert holder.pid == child.pid
        child.kill()
    assert locks.live_holder(tmp_path, Role.TICKER) is None


def test_touching_shows_life(tmp_path: Path) -> None:
    lock = locks.RoleLock(tmp_path, Role.SUPERVISOR, "boot")
    os.utime(lock.path, (1_000, 1_000))
    lock.touch()
    assert lock.path.stat().st_mtime > 1_000
    lock.release()


def test_a_pid_alone_proves_nothing() -> None:
    assert not locks.is_same_process(os.getpid(), locks.start_ticks(os.getpid()) + 1)
    assert not locks.is_same_process(1, locks.start_ticks(1))
    nobody = 2**22 + 1  # above Linux's highest pid
    assert not locks.is_same_process(nobody, locks.start_ticks(nobody))


def test_a_damaged_lock_file_is_nobody(tmp_path: Path) -> None:
    path = locks.path_of(tmp_path, Role.TICKER)
    path.write_text("{")
    assert locks.read_holder(path) is None
    assert locks.live_holder(tmp_path, Role.TICKER) is None


def test_an_api_key_is_used_by_one_ticker_at_a_time(tmp_path: Path) -> None:
    ours, theirs = (locks.KeyLocks(tmp_path / "keys", boot) for boot in ("ours", "theirs"))
    assert ours.take("key", "wss://kite") is None
    assert ours.take("key", "wss://kite") is None
    refusal = theirs.take("key", "wss://kite")
    assert refusal is not None
    assert f"process {os.getpid()}" in refusal
    assert theirs.take("other", "wss://kite") is None
    assert theirs.take("key", "ws://simulator") is None  # another world
    ours.release()
    assert theirs.take("key", "wss://kite") is None
    theirs.release()
    assert list((tmp_path / "keys").iterdir()) == []
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


def test_who_holds_a_key_is_named_with_what_would_start_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPERVISOR_ENABLED", "1")
    ours, theirs = (locks.KeyLocks(tmp_path, boot) for boot in ("ours", "theirs"))
    ours.take("key", "wss://kite")
    refusal = theirs.take("key", "wss://kite") or ""
    assert f"process {os.getpid()} of another daemon, started by process {os.getppid()}" in refusal
    assert "`kitefeed down`" in refusal
    ours.release()


def test_the_lock_of_a_key_does_not_tell_the_key(tmp_path: Path) -> None:
    held = locks.KeyLocks(tmp_path, "boot")
    held.take("abcdef0123456789", "wss://kite")
    (path,) = tmp_path.iterdir()
    assert "abcdef" not in path.name
    assert b"abcdef" not in path.read_bytes()
    held.release()


def asking(directory: Path, role: Role) -> int:
    """A look at whether `role` is held, in the moment of looking."""
    handle = os.open(locks.path_of(directory, role), os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_SH)
    return handle


def test_who_starts_while_somebody_looks_gets_the_role(tmp_path: Path) -> None:
    locks.RoleLock(tmp_path, Role.TICKER, "before").release()
    handle = asking(tmp_path, Role.TICKER)
    threading.Timer(0.03, os.close, [handle]).start()
    locks.RoleLock(tmp_path, Role.TICKER, "now").release()


def test_two_who_look_at_once_do_not_take_each_other_for_the_holder(tmp_path: Path) -> None:
    locks.RoleLock(tmp_path, Role.TICKER, "before").release()
    handle = asking(tmp_path, Role.TICKER)
    assert locks.live_holder(tmp_path, Role.TICKER) is None
    os.close(handle)
