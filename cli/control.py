"""Finds the daemon, and asks it one request, for every command that talks to it."""

from pathlib import Path
from typing import TypeVar

from kitefeed.actors.runtime import toml_file
from kitefeed.actors.runtime.locks import live_holders
from kitefeed.protocol import location
from kitefeed.protocol.errors import BadInput, KitefeedError, LoginNeeded, TryLater, Unavailable
from kitefeed.protocol.messages.control import (
    Answers,
    ControlRequest,
    Done,
    GetStatus,
    Refused,
    Status,
)
from kitefeed.protocol.messages.status import StatusReport
from kitefeed.protocol.topology import CONTROL, endpoint

ANSWER_S = 3.0  # the supervisor answers from memory: a second is long, three mean it is not there

Reply = TypeVar("Reply", Status, Answers, Done)

_REMEDY: dict[str, type[KitefeedError]] = {
    "bad_request": BadInput,
    "unknown_type": BadInput,
    "version": BadInput,
    "forbidden": LoginNeeded,
    "conflict": TryLater,
    "not_ready": TryLater,
}


def runtime_dir() -> Path:
    """Return the directory of the daemon's sockets and locks.

    Raises ConfigError when the configuration in force is missing or no TOML: falling back to the
    default directory would speak to (or stop) another daemon than the one that was meant.
    """
    path = location.find_config()
    if path is not None:
        toml_file.read(path)
    return location.runtime_dir(path)


def ask(message: ControlRequest, wanted: type[Reply], *, timeout_s: float = ANSWER_S) -> Reply:
    """Ask the daemon once. A refusal is raised as the error whose remedy it names.

    Without any actor it fails at once; while the supervisor alone is away, it is waited for.
    """
    # Imported here: `--help` and the session commands do without ZeroMQ.
    from kitefeed.protocol.sockets import request

    directory = runtime_dir()
    if not live_holders(directory):
        raise Unavailable(f"No kitefeed daemon runs in {directory}: start it with `kitefeed up`")
    reply = request(endpoint(directory, CONTROL), message, timeout_s=timeout_s)
    if isinstance(reply, Refused):
        raise _REMEDY.get(reply.code, TryLater)(reply.text)
    if not isinstance(reply, wanted):
        raise TryLater("The daemon answered something else: is it another version? `kitefeed down`")
    return reply


def get_status() -> StatusReport:
    return ask(GetStatus(), Status).report
