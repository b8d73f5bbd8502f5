"""The life of an actor, in processes of its own."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kitefeed.actors.runtime import locks
from kitefeed.protocol.exits import Exit
from kitefeed.protocol.topology import Role
from tests.support import Processes, eventually

pytestmark = pytest.mark.processes

ACTOR = """
import asyncio
import sys
from kitefeed.actors.runtime import process
from kitefeed.protocol.topology import Role

def boom():
    raise ZeroDivisionError("a bug")

async def main(runtime):
    if "callback" in sys.argv:
        for _ in range(3):
            asyncio.get_running_loop().call_soon(boom)
    if "main" in sys.argv:
        boom()
    print("up", runtime.misconfigured, flush=True)
    await runtime.stopped.wait()
    print("down", flush=True)

sys.exit(process.run(Role(sys.argv[1]), main))
"""
# Starts an actor and waits until it is told to die without taking care of it.
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], *sys.argv[2:]])
child.wait()
"""


class Stage:
    def __init__(self, directory: Path, processes: Processes) -> None:
        self.directory = directory
        self.config = directory / "kitefeed.toml"
        self.run_dir = directory / "run"
        self.log = directory / "log"
        self.processes = processes
        self.supervisord = 0
        self.configure()

    def configure(self, more: str = "") -> None:
        self.config.write_text(f'runtime_dir = "{self.run_dir}"\n{more}\n')

    def start(self, code: str, *arguments: str) -> subprocess.Popen[bytes]:
        env = {"KITEFEED_CONFIG": str(self.config)}
        if self.supervisord:
            env["KITEFEED_SUPERVISORD"] = str(self.supervisord)
        with self.log.open("ab") as log:
            return self.processes.start(
                "-c", code, *arguments, env=env, stdout=log.fileno(), stderr=log.fileno()
            )

    def actor(self, role: Role, *arguments: str) -> subprocess.Popen[bytes]:
        return self.start(ACTOR, role, *arguments)

    def wait_logged(self, text: str) -> None:
        eventually(lambda: text in self.logged(), 10)

    def logged(self) -> str:
        return self.log.read_text()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Processes() as processes:
        yield Stage(tmp_path, processes)


def test_an_actor_holds_on_a_broken_configuration_and_goes_on_when_it_is_repaired(
    stage: Stage,
) -> None:
    stage.configure("no_such_setting = 1")
    actor = stage.actor(Role.TICKER)
    stage.wait_logged("waiting for a usable configuration")
    assert actor.poll() is None
    stage.configure()
    stage.wait_logged("up None")
    assert locks.live_holder(stage.run_dir, Role.TICKER) is not None


def test_the_supervisor_speaks_on_a_broken_configuration_and_starts_anew_when_it_is_repaired(
    stage: Stage,
) -> None:
    stage.configure("no_such_setting = 1")
    actor = stage.actor(Role.SUPERVISOR)
    stage.wait_logged("no_such_setting: is not a setting")
    stage.wait_logged("up ")
    assert actor.poll() is None
    stage.configure()
    assert actor.wait(10) == Exit.OK
    assert "the configuration is usable now" in stage.logged()


@pytest.mark.parametrize("is_broken", [False, True], ids=["running", "holding"])
def test_an_actor_goes_when_its_parent_has_gone(stage: Stage, is_broken: bool) -> None:
    if is_broken:
        stage.configure("no_such_setting = 1")
    parent = stage.start(PARENT, ACTOR, Role.TICKER)
    stage.wait_logged("waiting for" if is_broken else "up None")
    holder = locks.live_holder(stage.run_dir, Role.TICKER)
    parent.kill()
    parent.wait(5)
    stage.wait_logged("the parent process has gone")
    if holder is not None:
        eventually(lambda: locks.start_ticks(holder.pid) != holder.start_ticks, 5)
        assert locks.live_holder(stage.run_dir, Role.TICKER) is None


@pytest.mark.parametrize("is_broken", [False, True])
def test_an_actor_goes_whose_supervisord_died_before_it_first_looked(
    stage: Stage, is_broken: bool
) -> None:
    if is_broken:
        stage.configure("mode = 7")
    gone = subprocess.Popen(["true"])
    gone.wait()
    stage.supervisord = gone.pid
    assert stage.actor(Role.TICKER).wait(10) == Exit.TRY_LATER
    assert "the parent process has gone" in stage.logged()


def test_a_role_that_is_held_is_left_to_its_holder_with_exit_75(stage: Stage) -> None:
    first = stage.actor(Role.TICKER)
    stage.wait_logged("up None")
    second = stage.actor(Role.TICKER)
    assert second.wait(10) == 75
    assert f"held by process {first.pid}" in stage.logged()
    assert first.poll() is None


@pytest.mark.parametrize("where", ["callback", "main"])
def test_a_bug_ends_the_actor_with_one_traceback(stage: Stage, where: str) -> None:
    actor = stage.actor(Role.TICKER, where)
    assert actor.wait(10) == Exit.BUG
    assert stage.logged().count("Traceback (most recent call last)") == 1
    assert "ZeroDivisionError: a bug" in stage.logged()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_ends_the_actor_in_order_within_two_seconds(
    stage: Stage, number: signal.Signals
) -> None:
    actor = stage.actor(Role.TICKER)
    stage.wait_logged("up None")
    actor.send_signal(number)
    assert actor.wait(2) == Exit.OK
    assert "down" in stage.logged()
    assert "Traceback" not in stage.logged()


def test_a_running_actor_shows_life_on_its_lock(stage: Stage) -> None:
    stage.actor(Role.TICKER)
    stage.wait_logged("up None")
    path = locks.path_of(stage.run_dir, Role.TICKER)
    os.utime(path, (1, 1))
    eventually(lambda: path.stat().st_mtime > 1, 5)


def test_an_actor_that_cannot_be_watched_any_more_exits(stage: Stage) -> None:
    code = ACTOR.replace('print("up"', 'runtime.lock.touch = boom; print("up"')
    actor = stage.start(code, Role.TICKER)
    assert actor.wait(10) == Exit.BUG
    assert "the watch over this actor failed" in stage.logged()


def test_an_actor_leaves_no_core_dump_and_no_readable_file(stage: Stage) -> None:
    code = ACTOR.replace(
        'print("up"',
        'import os, resource; print("limits", resource.getrlimit(resource.RLIMIT_CORE), '
        'oct(os.umask(0o077))); print("up"',
    )
    stage.start(code, Role.TICKER)
    stage.wait_logged("up None")
    assert "limits (0, 0) 0o77" in stage.logged()
