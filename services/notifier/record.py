"""Keeps the notifier's memory over restarts, in a file that `kitefeed doctor` reads, too."""

from pathlib import Path

import msgspec

from kitefeed.actors.runtime.config import Settings
from kitefeed.protocol.feed import DECODE_ERRORS
from kitefeed.services.notifier.machine import Memory
from kitefeed.services.notifier.outbox import TargetState

FILE_NAME = "alerts.json"
FILE_BYTES_MAX = 262_144


class NotifierState(msgspec.Struct):
    """memory: what must not be told twice. targets: how each takes what it is sent, for people."""

    memory: Memory = msgspec.field(default_factory=Memory)
    targets: dict[str, TargetState] = {}


def path_of(settings: Settings) -> Path:
    return settings.state_dir / FILE_NAME


def decode(data: bytes) -> NotifierState:
    """Read a record. Raises ValueError for what is none."""
    try:
        return msgspec.json.decode(data, type=NotifierState)
    except DECODE_ERRORS as error:
        raise ValueError(str(error)) from None


def record_of(settings: Settings) -> NotifierState:
    """Read the record. Raises OSError when nothing was kept yet, ValueError when it is damaged."""
    return decode(path_of(settings).read_bytes())
