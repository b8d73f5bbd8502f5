import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

CHILD_OF_SUPERVISORD = """
import os, signal, time
from kitefeed.cli.supervisord import let_children_end
signal.signal(signal.SIGTERM, lambda *_: None)
let_children_end()
reading, writing = os.pipe()
child = os.fork()
if not child:
    os.write(writing, b".")
    time.sleep(30)
    os._exit(0)
os.read(reading, 1)
os.kill(child, signal.SIGTERM)
_, status = os.waitpid(child, 0)
assert os.WIFSIGNALED(status), status
signal.raise_signal(signal.SIGTERM)  # ours is handled as before
"""


def test_a_child_that_is_not_yet_its_program_ends_when_it_is_told_to() -> None:
    subprocess.run([sys.executable, "-c", CHILD_OF_SUPERVISORD], check=True, timeout=20)


WAKES_SUPERVISORD = """
import signal
from supervisor.options import ServerOptions
from kitefeed.cli.supervisord import Waker
waker = Waker()
waker.install()
signal.signal(signal.SIGUSR1, lambda *_: None)
waited_for = ServerOptions.get_socket_map(None)  # what its loop waits for beside its programs
[(descriptor, found)] = [item for item in waited_for.items() if item[1] is waker]
poller = ServerOptions().poller
assert found.readable() and not found.writable()
poller.register_readable(descriptor)
assert poller.poll(0) == ([], [])
signal.raise_signal(signal.SIGUSR1)
for _ in range(2):  # the dead are collected in one round, and started again in the next
    assert poller.poll(0) == ([descriptor], [])
    found.handle_read_event()
assert poller.poll(0) == ([], [])
found.handle_error()
assert descriptor not in waited_for
signal.raise_signal(signal.SIGUSR1)
assert poller.poll(0) == ([], [])
"""


def test_a_signal_ends_two_waits_of_the_loop_that_supervisord_has_until_one_fails() -> None:
    subprocess.run([sys.executable, "-c", WAKES_SUPERVISORD], check=True, timeout=20)


# It ends without Python's own end, which from 3.13 on says of every file what could not be written.
LOGS_INTO_A_FULL_DISK = """
import os
from supervisor.loggers import getLogger, handle_file
from kitefeed.cli.supervisord import say_once_that_the_log_is_lost
say_once_that_the_log_is_lost()
logger = getLogger()
handle_file(logger, "/dev/full", "%(message)s")
for _ in range(3):
    logger.warn("x")
os._exit(0)
"""


def test_a_full_disk_behind_the_log_is_one_sentence_and_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOGS_INTO_A_FULL_DISK], capture_output=True, text=True, check=True
    )
    assert done.stderr.startswith("kitefeed: the log cannot be written ([Errno 28]")
    assert done.stderr.count("\n") == 1


# In a process of its own, as far as it goes before it starts the first program.
WHAT_SUPERVISORD_STARTS = """
import json, sys
from supervisor.options import ServerOptions
from supervisor.supervisord import Supervisor
from kitefeed.cli.supervisord import leave_out_services_that_are_off
options = ServerOptions()
options.realize(["-c", sys.argv[1]])
supervisord = Supervisor(options)
for group in options.process_group_configs:
    supervisord.add_process_group(group)
leave_out_services_that_are_off(supervisord)
print(json.dumps(sorted(
    name
    for group in supervisord.process_groups.values()
    for name, process in group.processes.items()
    if process.config.autostart and not process.laststart
)))
print(json.dumps(supervisord.diff_to_active()))
"""
ROOT = Path(__file__).parents[3]
ACTORS = {
    "auth_watcher", "broadcaster", "rest_poller", "supervisor", "ticker", "token_validator",
    "watchdog",
}  # fmt: skip
SERVICES = {"gateway", "kite_endpoint", "login", "nats_bridge", "notifier", "recorder"}


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="kf-") as made:  # sockets: a short name
        (Path(made) / "supervisor.conf").symlink_to(ROOT / "supervisor.conf")
        yield Path(made)


def started(home: Path, *, where: str = "/", **environment: str) -> set[str]:
    """Return what supervisord starts by itself with the configuration in `home`, when it is started
    in `where`."""
    others = {name: value for name, value in os.environ.items() if "KITEFEED" not in name}
    done = subprocess.run(
        [sys.executable, "-P", "-c", WHAT_SUPERVISORD_STARTS, str(home / "supervisor.conf")],
        cwd=where,
        env={**others, "HOME": str(home / "nowhere"), "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    names, changes = done.stdout.splitlines()
    assert json.loads(changes) == [[], [], []], "an update would start the group anew"
    return set(json.loads(names))


def test_services_that_are_off_are_not_started(home: Path) -> None:
    (home / "kitefeed.toml").write_text('[gateway]\nlisten = ""\n')
    assert started(home) == ACTORS
    (home / "kitefeed.toml").write_text('[record]\ndir = "record"\n[kite_endpoint]\n[nats]\n')
    assert started(home) == {*ACTORS, "gateway", "kite_endpoint", "nats_bridge", "recorder"}


def test_a_service_that_the_environment_switches_on_is_started(home: Path) -> None:
    (home / "kitefeed.toml").write_text('[gateway]\nlisten = ""\n')
    assert started(home, KITEFEED_RECORD__DIR="record") == {*ACTORS, "recorder"}


def test_the_configuration_is_the_one_that_the_programs_find(home: Path, tmp_path: Path) -> None:
    """They start in the directory of `supervisor.conf`, wherever supervisord was started."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kitefeed.toml").write_text('[gateway]\nlisten = ""\n')
    (home / "kitefeed.toml").write_text('[login]\nat = "08:00"\n')
    expected = {*ACTORS, "gateway", "login"}
    assert started(home, where=str(elsewhere)) == expected
    relative = {"KITEFEED_CONFIG": "kitefeed.toml"}
    assert started(home, where=str(elsewhere), **relative) == expected


@pytest.mark.parametrize("text", ["mode = 7\n", "[gateway\n", None])
def test_all_are_started_while_no_configuration_can_be_used(home: Path, text: str | None) -> None:
    if text is not None:
        (home / "kitefeed.toml").write_text(text)
    assert started(home) == ACTORS | SERVICES


def test_programs_that_are_given_settings_by_their_owner_look_for_themselves(home: Path) -> None:
    (home / "kitefeed.toml").write_text('[gateway]\nlisten = ""\n')
    shipped = (ROOT / "supervisor.conf").read_text()
    own = home / "supervisor.conf"
    own.unlink()
    own.write_text(
        shipped.replace("[supervisord]\n", '[supervisord]\nenvironment=KITEFEED_LOGIN__AT="8:00"\n')
    )
    assert started(home) == ACTORS | SERVICES
