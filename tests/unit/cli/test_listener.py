import io
import os
import signal
from pathlib import Path

import pytest

from kitefeed.actors.runtime import locks
from kitefeed.cli.commands.listener import REVIVE_AFTER_NS, Watchdog, serve
from kitefeed.cli.service_manager import ManagerHealth, ServiceManager
from kitefeed.protocol.topology import Role

NOBODY_ASKS = ManagerHealth(ServiceManager(""), lambda: None, lambda: True)
FATAL = {"processname": "ticker", "groupname": "kitefeed"}


class Supervisord:
    """Takes note of what the watchdog asks for and says."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.said: list[str] = []
        self.is_broken = False

    def start(self, name: str) -> None:
        if self.is_broken:
            raise OSError("no socket")
        self.started.append(name)


@pytest.fixture
def supervisord() -> Supervisord:
    return Supervisord()


@pytest.fixture
def watchdog(tmp_path: Path, supervisord: Supervisord) -> Watchdog:
    return Watchdog(tmp_path, os.getppid(), supervisord.start, supervisord.said.append, NOBODY_ASKS)


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: calls.append((pid, number)))
    return calls


def tick(watchdog: Watchdog, times: int, now_ns: int = 0) -> None:
    for _ in range(times):
        watchdog.handle("TICK_5", {"when": "0"}, now_ns)


def test_a_program_that_was_given_up_is_started_again_after_a_minute(
    watchdog: Watchdog, supervisord: Supervisord
) -> None:
    watchdog.handle("PROCESS_STATE_FATAL", FATAL, 0)
    tick(watchdog, 1, REVIVE_AFTER_NS - 1)
    assert supervisord.started == []
    tick(watchdog, 2, REVIVE_AFTER_NS)
    assert supervisord.started == ["kitefeed:ticker"]


def test_it_says_so_once(watchdog: Watchdog, supervisord: Supervisord) -> None:
    for round_number in range(3):
        watchdog.handle("PROCESS_STATE_FATAL", FATAL, round_number * 2 * REVIVE_AFTER_NS)
        tick(watchdog, 1, (round_number * 2 + 1) * REVIVE_AFTER_NS)
    assert len(supervisord.started) == 3
    assert len(supervisord.said) == 1


def test_a_refusal_of_supervisord_does_not_end_it(
    watchdog: Watchdog, supervisord: Supervisord
) -> None:
    supervisord.is_broken = True
    watchdog.handle("PROCESS_STATE_FATAL", FATAL, 0)
    tick(watchdog, 1, REVIVE_AFTER_NS)
    assert "no socket" in supervisord.said[-1]


def test_a_supervisor_that_does_not_touch_its_lock_is_killed(
    tmp_path: Path, watchdog: Watchdog, killed: list[tuple[int, int]], supervisord: Supervisord
) -> None:
    lock = locks.RoleLock(tmp_path, Role.SUPERVISOR, "boot")
    tick(watchdog, 2)
    assert killed == []
    tick(watchdog, 1)
    assert killed == [(os.getpid(), signal.SIGKILL)]
    assert len(supervisord.said) == 1
    lock.release()


def test_a_supervisor_that_touches_its_lock_is_left_alone(
    tmp_path: Path, watchdog: Watchdog, killed: list[tuple[int, int]]
) -> None:
    lock = locks.RoleLock(tmp_path, Role.SUPERVISOR, "boot")
    for moment in range(10):
        os.utime(lock.path, (moment, moment))
        tick(watchdog, 2)
    assert killed == []
    lock.release()


def test_a_supervisor_of_another_supervisord_is_left_alone(
    tmp_path: Path, killed: list[tuple[int, int]], supervisord: Supervisord
) -> None:
    watchdog = Watchdog(
        tmp_path, os.getppid() + 1, supervisord.start, supervisord.said.append, NOBODY_ASKS
    )
    lock = locks.RoleLock(tmp_path, Role.SUPERVISOR, "boot")
    tick(watchdog, 5)
    assert killed == []
    lock.release()


def test_a_supervisor_that_is_not_there_is_nobodys_fault(
    watchdog: Watchdog, killed: list[tuple[int, int]]
) -> None:
    tick(watchdog, 5)
    assert killed == []


def test_it_speaks_the_protocol_of_supervisord(
    watchdog: Watchdog, supervisord: Supervisord
) -> None:
    payload = "processname:ticker groupname:kitefeed from_state:BACKOFF"
    common = "ver:3.0 server:s serial:1 pool:w poolserial:1"
    header = f"{common} eventname:PROCESS_STATE_FATAL len:{len(payload)}\n"
    tick_header = f"{common} eventname:TICK_5 len:6\n"
    sink = io.StringIO()
    serve(watchdog, io.StringIO(header + payload + tick_header + "when:5"), sink)
    assert sink.getvalue() == "READY\nRESULT 2\nOKREADY\nRESULT 2\nOKREADY\n"
    assert len(supervisord.said) == 1
