"""Tests what the supervisor remembers when it is killed inside a write, or meets a full disk."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kitefeed.actors.supervisor import memory
from kitefeed.protocol.errors import Unavailable
from kitefeed.protocol.messages.control import (
    Answers,
    ControlReply,
    ControlRequest,
    GetStatus,
    Status,
    WantInstruments,
)
from kitefeed.protocol.sockets import request
from kitefeed.protocol.topology import CONTROL, endpoint
from tests.integration.broadcaster_kit import Stage, kill
from tests.integration.disk_faults import DIES, FULL, LOGS
from tests.support import eventually, slowness

pytestmark = pytest.mark.processes

MAIN = "from kitefeed.actors.supervisor.process import main; raise SystemExit(main())"
INFY, TCS = "NSE:INFY", "NSE:TCS"


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as made:
        yield made


@pytest.fixture
def flag(stage: Stage) -> Path:
    return stage.directory / "flag"


def ask(stage: Stage, message: ControlRequest, timeout_s: float = 3) -> ControlReply:
    return request(endpoint(stage.run, CONTROL), message, timeout_s=timeout_s, tries=1)


def wanted(stage: Stage) -> int:
    report = ask(stage, GetStatus())
    assert isinstance(report, Status)
    return report.report.subscriptions.wanted


def remembered(stage: Stage) -> set[str]:
    path = stage.state / memory.FILE_NAME
    return set(memory.decode(path.read_bytes()).subscriptions) if path.exists() else set()


@pytest.mark.parametrize(
    ("name", "is_after", "kept"),
    [("os.fsync", False, {INFY}), ("pathlib.Path.replace", False, {INFY}),
     ("pathlib.Path.replace", True, {INFY, TCS})],
)  # fmt: skip
def test_a_supervisor_killed_inside_a_write_remembers_all_of_the_old_or_of_the_new(
    stage: Stage, flag: Path, name: str, is_after: bool, kept: set[str]
) -> None:
    process = stage.start(DIES.format(name=name, flag=str(flag), is_after=is_after), MAIN)
    ask(stage, WantInstruments((INFY,), wait_s=0))
    assert remembered(stage) == {INFY}
    flag.touch()
    with pytest.raises(Unavailable):
        ask(stage, WantInstruments((TCS,), wait_s=0), timeout_s=1)
    process.wait(3 * slowness())
    assert remembered(stage) == kept
    flag.unlink()
    process = stage.start("", MAIN)
    assert wanted(stage) == len(kept)
    assert [name for name in os.listdir(stage.state) if "supervisor" in name] == [memory.FILE_NAME]


def test_a_full_disk_costs_the_supervisor_one_line_and_what_it_knows_is_written_later(
    stage: Stage, flag: Path
) -> None:
    flag.touch()
    log = stage.directory / "log"
    before = LOGS.format(log=str(log)) + FULL.format(flag=str(flag))
    process = stage.start(before, MAIN)
    for name in (INFY, TCS):
        reply = ask(stage, WantInstruments((name,), wait_s=0))
        assert isinstance(reply, Answers)
        assert reply.answers[0].outcome == "accepted"
    eventually(lambda: log.read_text().count("condition=disk") == 1, 3)
    flag.unlink()
    eventually(lambda: remembered(stage) == {INFY, TCS}, 3)
    eventually(lambda: log.read_text().count("condition=disk") == 2, 3)
    kill(process)
    stage.start("", MAIN)
    assert wanted(stage) == 2


def test_a_damaged_file_is_set_aside_and_the_supervisor_answers(stage: Stage) -> None:
    stage.state.mkdir()
    path = stage.state / memory.FILE_NAME
    path.write_bytes(b'{"checksum": "0", "state": {"epoch": 5}}')
    stage.start("", MAIN)
    assert wanted(stage) == 0
    assert path.with_name(f"{memory.FILE_NAME}.damaged").exists()
