"""Lets the threads of one feed wait for it: one sleeps at its socket, the others behind that one.

ZeroMQ's sockets belong to one thread at a time, but their descriptor may be looked at by any. So
the feed's lock is held to read the socket, and never to wait for it: whoever else asks something
meanwhile reads it himself, and wakes the sleeper when something came.
"""

import select
import socket
import threading
from contextlib import suppress


class Sign:
    """A descriptor that can be read while there is something to take."""

    def __init__(self) -> None:
        self._hand, self._face = socket.socketpair()
        self._is_up = False

    def fileno(self) -> int:
        return self._face.fileno()

    def show(self, is_up: bool) -> None:
        if is_up and not self._is_up:
            self._hand.send(b"\0")
        elif self._is_up and not is_up:
            self._face.recv(1)
        self._is_up = is_up

    def close(self) -> None:
        self._hand.close()
        self._face.close()


class Watch:
    """`lock`: held by each thread that touches the feed; all methods but `sleep` are called with
    it."""

    def __init__(self, lock: "threading.RLock") -> None:
        self.is_taken = False  # a thread sleeps at the socket
        self._news = threading.Condition(lock)
        self._poll = select.poll()
        self._bell, self._heard = socket.socketpair()
        self._poll.register(self._heard, select.POLLIN)
        self._descriptor = -1
        self._followers = 0  # threads that sleep behind it
        self._is_rung = False
        self._is_closed = False
        # For threads that wait elsewhere: both are made when somebody asks for them.
        self.sign: Sign | None = None
        self._all: select.epoll | None = None

    def descriptors(self) -> tuple[int, int]:
        """Return the descriptors to wait at: for messages, and for what other threads have read.
        `sign` must be shown as long as such messages may be there."""
        self.sign = self.sign or Sign()
        return self._descriptor, self.sign.fileno()

    def fileno(self) -> int:
        """Return one descriptor for both."""
        if self._all is None:
            if not hasattr(select, "epoll"):
                raise NotImplementedError("fileno() needs Linux's epoll: use kitefeed.wait instead")
            self._all = select.epoll()
            for descriptor in self.descriptors():
                self._all.register(descriptor, select.EPOLLIN)
        return self._all.fileno()

    def follow(self, within_s: float) -> None:
        """Sleeps, without the lock, until the thread at the socket awakes."""
        self._followers += 1
        try:
            self._news.wait(within_s)
        finally:
            self._followers -= 1

    def at(self, descriptor: int) -> None:
        """Watch another socket from now on."""
        if self._descriptor >= 0:
            self._poll.unregister(self._descriptor)
        self._poll.register(descriptor, select.POLLIN)
        if self._all is not None:
            with suppress(OSError):  # one that is closed has left it by itself
                self._all.unregister(self._descriptor)
            self._all.register(descriptor, select.EPOLLIN)
        self._descriptor = descriptor
        self.ring()

    def sleep(self, within_s: float) -> None:
        """Wait at the socket. Called without the lock, after `is_taken` was set with it; `leave` is
        to follow."""
        self._poll.poll(within_s * 1_000)

    def leave(self) -> None:
        """Note that the sleeper is awake. The others look what came, and one of them goes to the
        socket."""
        self.is_taken = False
        if self._is_rung:
            self._is_rung = False
            self._heard.recv(1)
        if self._followers:
            self._news.notify_all()
        if self._is_closed:
            self._heard.close()

    def ring(self) -> None:
        """Wake the sleeper: something came that it has not read itself."""
        if self.is_taken and not self._is_rung and not self._is_closed:
            self._is_rung = True
            self._bell.send(b"\0")

    def close(self) -> None:
        """Wakes all. Nobody may wait after this."""
        self.ring()
        self._is_closed = True
        self._news.notify_all()
        self._bell.close()
        if self.sign is not None:
            self.sign.show(True)
            self.sign.close()
        if self._all is not None:
            self._all.close()
        if not self.is_taken:
            self._heard.close()
