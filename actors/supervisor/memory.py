"""The supervisor's file: what it must know again after a restart.

`supervisor.json`: `{"checksum": blake2b-256 of the next as it is written, "state": Persisted}`. The
checksum is there because a changed digit of an epoch, or letter of a name, is still good JSON.
"""

import hashlib

import msgspec

from kitefeed.actors.supervisor.facts import Persisted
from kitefeed.protocol.messages.instruments import LIST_MAX

FILE_NAME = "supervisor.json"
FILE_BYTES_MAX = LIST_MAX * 512  # a subscription is ~30 bytes
VERSION = 1


class _File(msgspec.Struct):
    checksum: str
    state: msgspec.Raw


def encode(persisted: Persisted) -> bytes:
    state = msgspec.json.encode(persisted)
    return msgspec.json.encode(_File(_checksum(state), msgspec.Raw(state)))


def decode(data: bytes) -> Persisted:
    """Decode the file. Raises ValueError when it cannot be used."""
    try:
        file = msgspec.json.decode(data, type=_File)
        state = bytes(file.state)
        if file.checksum != _checksum(state):
            raise ValueError("its checksum is wrong")
        persisted = msgspec.json.decode(state, type=Persisted)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"it is not a supervisor's state ({error})") from None
    if persisted.version != VERSION:
        raise ValueError(f"it has version {persisted.version}, this program knows {VERSION}")
    return persisted


def _checksum(state: bytes) -> str:
    return hashlib.blake2b(state, digest_size=32).hexdigest()
