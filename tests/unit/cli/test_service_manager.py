"""Tests what systemd is told, at a real socket of the kind that it gives."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kitefeed.cli.service_manager import ManagerHealth, ServiceManager
from kitefeed.protocol.messages.status import ActorStatus, StatusReport
from kitefeed.protocol.topology import Role
from tests.unit.services.notifier_kit import report


class Systemd:
    """Its end of the socket."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(address)

    def told(self) -> list[str]:
        """Since the last call: the lines of all messages."""
        lines = []
        while True:
            try:
                lines += self._socket.recv(4_096).decode().split("\n")
            except BlockingIOError:
                return lines

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def address(tmp_path: Path) -> str:
    return str(tmp_path / "notify")


@pytest.fixture
def systemd(address: str) -> Iterator[Systemd]:
    found = Systemd(address)
    yield found
    found.close()


class Daemon:
    """Answers as it is told to; `health` looks at it."""

    def __init__(self, address: str) -> None:
        self.report: StatusReport | None = None
        self.can_restart = True
        manager = ServiceManager(address)
        self.health = ManagerHealth(manager, lambda: self.report, lambda: self.can_restart)

    def is_(self, feed: str, source: str, reason: str = "", silent: tuple[Role, ...] = ()) -> None:
        actors = [ActorStatus(role, "absent" if role in silent else "up") for role in Role]
        self.report = report(feed=feed, source=source, reason=reason, actors=actors)


@pytest.fixture
def daemon(address: str) -> Daemon:
    return Daemon(address)


def test_ready_is_told_once_when_the_supervisor_answers(systemd: Systemd, daemon: Daemon) -> None:
    daemon.health.look()
    assert systemd.told() == ["STATUS=the supervisor actor does not answer"]
    daemon.is_("live", "websocket")
    daemon.health.look()
    assert systemd.told() == ["READY=1", "WATCHDOG=1", "STATUS=live"]
    daemon.health.look()
    assert systemd.told() == ["WATCHDOG=1"]


def test_an_expired_token_and_a_closed_market_are_well(systemd: Systemd, daemon: Daemon) -> None:
    for feed in ("login_required", "closed", "no_entitlement", "paused", "misconfigured", "stale"):
        daemon.is_(feed, "none", "a reason\nof two lines")
        daemon.health.look()
        assert "WATCHDOG=1" in (told := systemd.told())
        assert f"STATUS={feed}: a reason of two lines" in told


def test_a_supervisor_that_does_not_answer_is_not_well(systemd: Systemd, daemon: Daemon) -> None:
    daemon.is_("live", "websocket")
    daemon.health.look()
    systemd.told()
    daemon.report = None
    daemon.health.look()
    daemon.health.look()
    assert systemd.told() == ["STATUS=the supervisor actor does not answer"]


def test_an_actor_that_does_not_beat_is_not_well_unless_prices_come(
    systemd: Systemd, daemon: Daemon
) -> None:
    daemon.is_("stale", "none", silent=(Role.TICKER, Role.AUTH_WATCHER))
    daemon.health.look()
    assert systemd.told() == ["STATUS=not heard: auth_watcher, ticker"]
    daemon.is_("rest", "rest", silent=(Role.TICKER,))
    daemon.health.look()
    assert "WATCHDOG=1" in systemd.told()


def test_a_daemon_that_could_not_start_again_is_not_ended(systemd: Systemd, daemon: Daemon) -> None:
    daemon.is_("stale", "none", silent=(Role.TICKER,))
    daemon.can_restart = False
    daemon.health.look()
    assert "WATCHDOG=1" in systemd.told()


def test_a_manager_that_is_gone_harms_nobody_and_is_told_all_when_it_is_back(
    address: str, daemon: Daemon
) -> None:
    daemon.is_("live", "websocket")
    daemon.health.look()
    systemd = Systemd(address)
    daemon.health.look()
    assert systemd.told() == ["READY=1", "WATCHDOG=1", "STATUS=live"]
    systemd.close()


def test_an_abstract_address_is_reached() -> None:
    systemd = Systemd("\0kitefeed-test-notify")
    ServiceManager("@kitefeed-test-notify").tell("READY=1", status="live")
    assert systemd.told() == ["READY=1", "STATUS=live"]
    systemd.close()


def test_without_a_manager_the_daemon_is_not_even_asked() -> None:
    def ask() -> StatusReport | None:
        raise AssertionError

    ManagerHealth(ServiceManager(""), ask, lambda: True).look()
