"""Tests that our parts of Twisted's reactor still fit into it."""

import asyncio
import socket
from collections.abc import Callable

from twisted.python import context
from twisted.python.log import ILogContext

from kitefeed.actors.ticker.reactor import _Reactor


class Connection:
    """A connection that a reactor reads: `on_read` is called when there is something."""

    def __init__(self, sock: socket.socket, on_read: Callable[[], Exception | None]) -> None:
        self.fileno = sock.fileno
        self.doRead = on_read
        self.lost: list[object] = []

    def connectionLost(self, reason: object) -> None:
        self.lost.append(reason)

    def logPrefix(self) -> str:
        return "its logging context"


def _turn(loop: asyncio.AbstractEventLoop) -> None:
    """Run what is ready now, and what that schedules."""
    for _ in range(3):
        loop.call_soon(loop.stop)
        loop.run_forever()


def test_a_socket_is_read_in_our_loop_and_without_a_logging_context_and_can_be_left() -> None:
    loop = asyncio.new_event_loop()
    reactor = _Reactor(loop)
    near, far = socket.socketpair()
    seen: list[str] = []

    def on_read() -> None:
        near.recv(100)
        seen.append(context.get(ILogContext)["system"])

    connection = Connection(near, on_read)
    with near, far:
        reactor.addReader(connection)
        assert connection in reactor.getReaders()
        far.send(b"x")
        _turn(loop)
        assert seen == ["-"]
        reactor.removeReader(connection)
        assert not loop.remove_reader(near)  # nothing of ours was left in it
    loop.close()


def test_a_connection_that_fails_is_lost_as_with_the_library_itself() -> None:
    loop = asyncio.new_event_loop()
    reactor = _Reactor(loop)
    near, far = socket.socketpair()
    with near, far:

        def on_read() -> Exception:
            return ConnectionError("gone")

        connection = Connection(near, on_read)
        reactor.addReader(connection)
        far.send(b"x")
        _turn(loop)
        assert len(connection.lost) == 1
        assert connection not in reactor.getReaders()
    loop.close()
