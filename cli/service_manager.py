"""Tells the service manager how the daemon is, if there is one that asks: sd_notify(3), of
systemd."""

import socket
from collections.abc import Callable

from kitefeed.protocol.messages.status import StatusReport

STATUS_CHARS_MAX = 200

Ask = Callable[[], StatusReport | None]
"""One question to the supervisor actor; None when it does not answer. It blocks, but not long."""


class ServiceManager:
    """The service manager at its socket: a path, or a name that starts with `@` (Linux's abstract
    ones). Without an address everything that is told goes nowhere."""

    def __init__(self, address: str) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._status = ""

    @property
    def is_there(self) -> bool:
        return self._address != ""

    def tell(self, *words: str, status: str) -> bool:
        """Tell the manager `words` as sd_notify(3) has them, and `status`, a sentence, when it has
        changed. Return whether the manager took it: one that is gone, or whose queue is full, is to
        be told again."""
        if status != self._status:
            words = (*words, f"STATUS={status}")
        if not words:
            return True
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(words).encode(), self._address)
        except OSError:
            return False
        self._status = status
        return True


class ManagerHealth:
    """Tells the service manager, each time `look` is called: READY once, what the daemon is doing
    in a sentence, and WATCHDOG while a restart of the whole would help nobody.

    can_restart: whether a new `kitefeed up` could start, which it cannot on a broken configuration.
    """

    def __init__(self, manager: ServiceManager, ask: Ask, can_restart: Callable[[], bool]) -> None:
        self._manager = manager
        self._ask = ask
        self._can_restart = can_restart
        self._is_ready = False

    def look(self) -> None:
        if not self._manager.is_there:
            return
        report = self._ask()
        if report is None:
            self._manager.tell(status="the supervisor actor does not answer")
        elif (silent := silent_actors(report)) and self._can_restart():
            self._manager.tell(status=f"not heard: {', '.join(silent)}")
        else:
            words = ["WATCHDOG=1"] if self._is_ready else ["READY=1", "WATCHDOG=1"]
            is_told = self._manager.tell(*words, status=sentence(report))
            self._is_ready = self._is_ready or is_told


def silent_actors(report: StatusReport) -> list[str]:
    """Return the actors that do not beat, for whose sake the whole may be started anew. While
    prices come there are none, because a restart would interrupt them: supervisord sees to the
    single process. Neither the session nor the market is asked for: a restart brings no login."""
    if report.source in ("websocket", "rest"):
        return []
    return [str(actor.role) for actor in report.actors if actor.state == "absent"]


def sentence(report: StatusReport) -> str:
    """Write one line, whatever Kite or a file said."""
    text = f"{report.feed}: {report.reason}" if report.reason else report.feed
    return " ".join(text.split())[:STATUS_CHARS_MAX]
