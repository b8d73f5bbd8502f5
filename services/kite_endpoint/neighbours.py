"""Finds the user whose process is at the other end of a connection on this host, by the kernel's
own table."""

import ipaddress
import os
import sys
from collections.abc import Iterable
from pathlib import Path

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LOCAL, _REMOTE, _UID = 1, 2, 7  # columns

Address = tuple[str, int]


def user_of(peer: Address, own: Address) -> int | None:
    """Return the user id of the process that connected from `peer` to `own`; None where the kernel
    does not say (another host, no /proc)."""
    return find(peer, own, _lines())


def is_ours(peer: Address, own: Address) -> bool | None:
    """Whether that user is our own, or root; None where the kernel does not say."""
    uid = user_of(peer, own)
    return None if uid is None else uid in (os.geteuid(), 0)


def find(peer: Address, own: Address, lines: Iterable[str]) -> int | None:
    wanted = {(_packed(*peer, v6), _packed(*own, v6)) for v6 in (False, True)}
    for line in lines:
        fields = line.split()
        if len(fields) > _UID and (fields[_LOCAL], fields[_REMOTE]) in wanted:
            return int(fields[_UID])
    return None


def _lines() -> Iterable[str]:
    for table in _TABLES:
        try:
            yield from table.read_text().splitlines()[1:]
        except OSError:
            continue


def _packed(host: str, port: int, is_v6: bool) -> str:
    """Write an address as the table does: 32-bit words in the host's byte order, in hexadecimal."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if is_v6 and isinstance(address, ipaddress.IPv4Address):
        address = ipaddress.IPv6Address(f"::ffff:{address}")
    raw = address.packed
    words = [raw[start : start + 4] for start in range(0, len(raw), 4)]
    if sys.byteorder == "little":
        words = [word[::-1] for word in words]
    return f"{b''.join(words).hex().upper()}:{port:04X}"
