"""The connections of a server's sockets in this process, as the kernel sees them. ZeroMQ tells
neither how much waits for a peer nor which one it is."""

import fcntl
import os
import socket
import struct
import sys
import termios
from collections import Counter
from collections.abc import Callable, Collection

Address = str | int
"""A socket file, or a tcp port."""

FULL_BYTES = 32_768  # ZeroMQ fills a buffer of some 200 kB again when a quarter of it is left
_FDS = "/dev/fd"
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_SIOCOUTQ = termios.TIOCOUTQ  # on Linux both have one number


def full(is_ours: Callable[[Address], bool]) -> dict[int, int]:
    """Return descriptor -> bytes that wait, for peers at addresses of ours that do not take what
    was written. Linux only: elsewhere none is found."""
    if sys.platform != "linux":
        return {}
    found = {}
    try:
        descriptors = _descriptors()
    except OSError:  # looking takes a descriptor, too
        return {}
    for descriptor in descriptors:
        try:
            waiting = _waiting(descriptor)
            if waiting >= FULL_BYTES and is_ours(_own_address(descriptor)):
                found[descriptor] = waiting
        except OSError:  # not a socket, or closed meanwhile
            continue
    return found


def at(listeners: Collection[int]) -> Counter[Address]:
    """Count connections by our own address. `listeners`: descriptors that share an address with
    them, and are none. Raises OSError when nothing can be seen."""
    found: Counter[Address] = Counter()
    but = set(listeners)
    for descriptor in _descriptors():
        if descriptor not in but:
            try:
                found[_own_address(descriptor)] += 1
            except OSError:
                continue
    return found


def cut(descriptor: int, is_ours: Callable[[Address], bool] = lambda _: True) -> int:
    """End the connection, if it is at an address of ours; the owner of the descriptor then closes
    it. Return the peer's pid, 0 where it is not known."""
    peer = None
    try:
        peer = socket.socket(fileno=descriptor)
        if not is_ours(_address_of(peer)):
            return 0
        pid = _pid_of(peer)
        peer.shutdown(socket.SHUT_RDWR)
    except OSError:  # it has ended by itself
        return 0
    finally:
        if peer is not None:
            peer.detach()
    return pid


def _descriptors() -> list[int]:
    return [int(name) for name in os.listdir(_FDS)]


def _waiting(descriptor: int) -> int:
    (count,) = struct.unpack("i", fcntl.ioctl(descriptor, _SIOCOUTQ, b"\0" * 4))
    return int(count)


def _own_address(descriptor: int) -> Address:
    """Return its address without a duplicate, which would need a descriptor where none may be left.
    Raises OSError."""
    peer = socket.socket(fileno=descriptor)
    try:
        return _address_of(peer)
    finally:
        peer.detach()


def _address_of(peer: socket.socket) -> Address:
    own: str | tuple[str, int] = peer.getsockname()
    return own[1] if isinstance(own, tuple) else own


def _pid_of(peer: socket.socket) -> int:
    if peer.family != socket.AF_UNIX or sys.platform != "linux":
        return 0
    told = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(told)[0])
