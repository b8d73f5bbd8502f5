"""Decides who may connect to the tcp feed: ZeroMQ's authentication protocol
(rfc.zeromq.org/spec/27), pure.

Libzmq asks over an in-process socket about every client that has proven to own the key it shows. A
CURVE server that nobody answers for lets everybody in who knows its public key; the socket
therefore enforces a domain, which makes a missing answer a refusal.
"""

from collections.abc import Callable
from typing import NamedTuple

VERSION = b"1.0"
DOMAIN = b"kitefeed"
_FRAMES = 7  # version, request id, domain, address, identity, mechanism, client's public key


class ZapAnswer(NamedTuple):
    """An answer. `reply`: for libzmq. `name`: whom the key belongs to, None when it was refused."""

    reply: list[bytes]
    address: str
    name: str | None


def judge(frames: list[bytes], name_of: Callable[[bytes], str | None]) -> ZapAnswer:
    """Answer one request. `name_of` names the owner of a key of 32 bytes, None for a stranger."""
    request_id = frames[1] if len(frames) > 1 else b""
    address = frames[3].decode(errors="replace") if len(frames) > 3 else ""
    name = name_of(frames[6]) if _is_ours(frames) else None
    if name is None:
        status = [b"400", b"not a client of this feed", b""]
    else:
        status = [b"200", b"OK", name.encode()]
    return ZapAnswer([VERSION, request_id, *status, b""], address, name)


def _is_ours(frames: list[bytes]) -> bool:
    if len(frames) != _FRAMES:
        return False
    version, _, domain, _, _, mechanism, key = frames
    return (version, domain, mechanism, len(key)) == (VERSION, DOMAIN, b"CURVE", 32)
