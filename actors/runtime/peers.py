"""The connections of a server's socket in this process, as the kernel sees them. ZeroMQ tells
neither how much waits for a peer nor which one it is. Linux only: elsewhere none is found."""

import fcntl
import os
import socket
import struct
import sys
import termios

FULL_BYTES = 32_768  # ZeroMQ fills a buffer of some 200 kB again when a quarter of it is left
_FDS = "/proc/self/fd"
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_SIOCOUTQ = termios.TIOCOUTQ  # on Linux they are one


def full(address: str | int) -> dict[int, int]:
    """Descriptors of the peers that are connected to `address` (a socket file or a tcp port) and do
    not take what was written: how many bytes that is."""
    if sys.platform != "linux":
        return {}
    found = {}
    for name in os.listdir(_FDS):
        descriptor = int(name)
        try:
            waiting = _waiting(descriptor)
            if waiting >= FULL_BYTES and _is_at(descriptor, address):
                found[descriptor] = waiting
        except OSError:  # not a socket, or closed meanwhile
            continue
    return found


def cut(descriptor: int) -> int:
    """Ends the connection: whose descriptor it is closes it then. Returns the peer's pid, 0 where
    it is not known."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as peer:
            pid = _pid_of(peer)
            peer.shutdown(socket.SHUT_RDWR)
            return pid
    except OSError:  # it has ended by itself
        return 0


def _waiting(descriptor: int) -> int:
    (count,) = struct.unpack("i", fcntl.ioctl(descriptor, _SIOCOUTQ, b"\0" * 4))
    return int(count)


def _is_at(descriptor: int, address: str | int) -> bool:
    with socket.socket(fileno=os.dup(descriptor)) as peer:
        own = peer.getsockname()
        return bool((own[1] if isinstance(own, tuple) else own) == address)


def _pid_of(peer: socket.socket) -> int:
    if peer.family != socket.AF_UNIX or sys.platform != "linux":
        return 0
    told = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(told)[0])
