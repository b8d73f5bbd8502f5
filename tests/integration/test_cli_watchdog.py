"""The watchdog beside the programs, under a real supervisord."""

import os
import signal
from pathlib import Path

import pytest

from kitefeed.actors.runtime import locks
from kitefeed.protocol.topology import Role
from tests.integration.cli_kit import KITEFEED, home_beside_simulator
from tests.support import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

KILLED_S = 20.0  # three looks, 5 s apart, and the restart


def test_a_supervisor_that_hangs_is_killed_and_started_again(tmp_path: Path) -> None:
    with home_beside_simulator(tmp_path) as (home, _):
        home.start(*KITEFEED, "up")
        home.log_in()
        home.wait_for("live")
        hung = locks.live_holder(home.run_dir, Role.SUPERVISOR)
        assert hung is not None
        os.kill(hung.pid, signal.SIGSTOP)

        def is_replaced() -> bool:
            holder = locks.live_holder(home.run_dir, Role.SUPERVISOR)
            return holder is not None and holder.pid != hung.pid

        eventually(is_replaced, KILLED_S)
        home.wait_for("live")
        assert home.log_text().count("watchdog: the supervisor actor") == 1
