"""The watchdog beside the programs, under a real supervisord."""

import contextlib
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kitefeed.actors.runtime import locks
from kitefeed.protocol.topology import Role
from tests.integration.cli_kit import KITEFEED, home_beside_simulator
from tests.support import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

KILLED_S = 20.0  # three looks, 5 s apart, and the restart
LOOKS_S = 11.0  # two of them


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


class Systemd:
    """The socket that a unit of Type=notify is given."""

    def __init__(self, directory: Path) -> None:
        self.address = str(directory / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self.lines: list[str] = []

    def next(self, within_s: float = 20.0) -> list[str]:
        """The lines of the next message. TimeoutError when there is none in time."""
        self._socket.settimeout(within_s)
        lines = self._socket.recv(4_096).decode().split("\n")
        self.lines += lines
        return lines

    def until(self, wanted: str) -> None:
        """Takes messages until a line starts so; the tests' own time limit ends it."""
        while not any(line.startswith(wanted) for line in self.next()):
            pass

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd() -> Iterator[Systemd]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="kf-") as short:
        found = Systemd(Path(short))
        yield found
        found.close()


def test_systemd_is_told_what_the_daemon_does_and_nothing_while_the_supervisor_hangs(
    tmp_path: Path, systemd: Systemd
) -> None:
    with home_beside_simulator(tmp_path) as (home, _):
        home.start(*KITEFEED, "up", env={**home.environment(), "NOTIFY_SOCKET": systemd.address})
        systemd.until("STATUS=login_required: ")
        home.log_in()
        systemd.until("STATUS=live")
        assert systemd.lines.count("READY=1") == 1
        systemd.until("WATCHDOG=1")

        hung = locks.live_holder(home.run_dir, Role.SUPERVISOR)
        assert hung is not None
        os.kill(hung.pid, signal.SIGSTOP)
        systemd.until("STATUS=the supervisor actor does not answer")
        systemd.until("WATCHDOG=1")
        now = locks.live_holder(home.run_dir, Role.SUPERVISOR)
        assert now is not None
        assert now.pid != hung.pid, "well again only with another one"
        assert systemd.lines.count("READY=1") == 1


def test_systemd_hears_nothing_of_a_supervisord_that_hangs(
    tmp_path: Path, systemd: Systemd
) -> None:
    with home_beside_simulator(tmp_path) as (home, _):
        env = {**home.environment(), "NOTIFY_SOCKET": systemd.address}
        supervisord = home.start(*KITEFEED, "up", env=env)
        systemd.until("WATCHDOG=1")
        os.kill(supervisord.pid, signal.SIGSTOP)
        try:
            with contextlib.suppress(TimeoutError):  # one look may be under way
                systemd.next(2)
            with pytest.raises(TimeoutError):
                systemd.next(LOOKS_S)
        finally:
            os.kill(supervisord.pid, signal.SIGCONT)
        systemd.until("WATCHDOG=1")
