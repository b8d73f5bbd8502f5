"""The frame that every control message travels in: version, id, and the message itself."""

import os
from typing import Annotated

import msgspec

VERSION = 1
ID_CHARS_MAX = 64


class Message(msgspec.Struct, frozen=True, tag_field="t", tag=True):
    """Base of all control messages; the tag is the class name."""


class Envelope(msgspec.Struct, frozen=True):
    """One control frame. The body stays raw until version and sender are known to be good."""

    v: int
    id: Annotated[str, msgspec.Meta(max_length=ID_CHARS_MAX)]
    body: msgspec.Raw
    re: str | None = None  # id of the request this answers


_encoder = msgspec.msgpack.Encoder()
_decode_envelope = msgspec.msgpack.Decoder(Envelope).decode


def new_id() -> str:
    return os.urandom(8).hex()


def seal(body: Message, *, id: str | None = None, re: str | None = None) -> bytes:
    """Seal `body` in one control frame."""
    raw = msgspec.Raw(_encoder.encode(body))
    return _encoder.encode(Envelope(v=VERSION, id=id or new_id(), body=raw, re=re))


def open_envelope(frame: bytes) -> Envelope:
    """Open a frame. Raises one of `feed.DECODE_ERRORS`, also for a higher major version."""
    envelope = _decode_envelope(frame)
    if envelope.v != VERSION:
        raise msgspec.ValidationError(f"version {envelope.v}; this side speaks {VERSION}")
    return envelope
