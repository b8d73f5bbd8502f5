"""The service `login` beside a whole daemon: it takes the session back by the user's command."""

import json
import os
import signal
import stat
import sys
from pathlib import Path

import pytest

from kitefeed.protocol.clock import utc_ns
from tests.integration.rig import Rig
from tests.integration.test_notifier import Receiver
from tests.support import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]


def command(rig: Rig, body: str) -> Path:
    """A program of the user's; each run leaves a line in `runs`."""
    path = rig.root / "get-token"
    path.write_text(
        f"#!{sys.executable}\nimport json, sys, urllib.request\n"
        f"open({str(rig.root / 'runs')!r}, 'a').write('run\\n')\n{body}\n"
    )
    path.chmod(stat.S_IRWXU)
    return path


def runs(rig: Rig) -> int:
    path = rig.root / "runs"
    return len(path.read_text().splitlines()) if path.exists() else 0


SETTINGS = '[login]\ncommand = "./get-token"\n[session]\nelsewhere = "command"\n'
LOG_IN = """\
print("hunter2", file=sys.stderr)
request = urllib.request.Request({url!r}, b'{{"app": 1}}', {{"Content-Type": "application/json"}})
print(json.load(urllib.request.urlopen(request))["access_token"])
"""


def rig_with(settings: str) -> Rig:
    rig = Rig()
    rig.config.write_text(rig.config.read_text() + settings)
    return rig


def test_a_session_that_somebody_else_ended_is_taken_back_by_the_command() -> None:
    with rig_with(SETTINGS) as rig:
        command(rig, LOG_IN.format(url=f"{rig.simulator.ready['rest']}/_sim/login"))
        rig.start()
        rig.simulator.login()  # somebody else: our session is dead, our socket streams on
        rig.simulator.fault("drop_ws", "1000")
        eventually(lambda: runs(rig) == 1, 40)
        rig.until("live", 40)
        eventually(lambda: "logged in by login.command" in rig.output(), 5)
        report = rig.status()
        assert report["elsewhere_utc_s"] is None
        assert "somebody else logged in with this app" in rig.output()
        token = json.loads((rig.root / "state" / "session.json").read_text())["access_token"]
        assert token not in rig.output()
        assert "hunter2" not in rig.output()
        assert runs(rig) == 1


def test_a_command_that_fails_is_told_without_its_output_and_the_count_is_kept() -> None:
    with rig_with(SETTINGS) as rig:
        command(rig, "print('hunter2hunter2'); sys.exit(5)")
        rig.start()
        rig.simulator.post("fault", {"name": "kill", "app": 1})
        eventually(lambda: "login.command failed, 1 of 3: it ended with 5" in rig.output(), 40)
        kept = json.loads((rig.root / "state" / "login.json").read_text())
        assert kept["failures"] == 1
        assert "hunter2" not in rig.output()
        assert rig.status()["feed"] == "login_required"
        assert "login.command is asked for a new one" in rig.status()["reason"]


# Waits until the service that started it is gone.
WAIT = """\
import os, time
parent = os.getppid()
while os.getppid() == parent: time.sleep(0.05)
"""


def test_a_login_service_that_is_killed_inside_its_command_comes_back_with_its_count() -> None:
    """The next try waits its minute."""
    with rig_with(SETTINGS) as rig:
        command(rig, WAIT)
        rig.start()
        rig.simulator.post("fault", {"name": "kill", "app": 1})
        rig.simulator.fault("drop_ws", "1000")
        eventually(lambda: runs(rig) == 1, 60)
        before = rig.pid_of("login")
        os.kill(before, signal.SIGKILL)
        eventually(lambda: rig.pid_of("login") not in (0, before), 20)
        eventually(lambda: rig.output().count("ready, logs in when somebody else") == 2, 20)
        kept = json.loads((rig.root / "state" / "login.json").read_text())
        assert kept["failures"] == 1
        assert kept["not_before_utc_ns"] > utc_ns()
        assert runs(rig) == 1


def test_a_login_that_is_needed_is_told_once_by_the_notifier_and_the_service_only_logs_it() -> None:
    with Receiver() as receiver:
        tables = f'[login]\nat = "00:00"\n[alerts]\nwebhook = "http://{receiver.address}/hook/"\n'
        with rig_with(tables) as rig:
            rig.start()
            rig.simulator.fault("kill")
            eventually(lambda: "KF-LOGIN" in receiver.codes(), 40)
            eventually(lambda: rig.output().count("login needed, ") == 1, 40)
            rig.simulator.fault("clear")
            rig.log_in(rig.simulator.login())
            rig.until("live", 40)
            eventually(lambda: "KF-RECOVERED" in receiver.codes(), 40)
            assert receiver.codes().count("KF-LOGIN") == 1
            assert rig.output().count("login needed, ") == 1
