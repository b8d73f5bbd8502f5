"""Every wire of the system, in one table. Nothing else names an endpoint.

Exactly one process binds each wire; everything that is often restarted only connects. High-water
marks count messages. Libzmq's `ipc` bind never fails on a live address but silently replaces it,
so whoever binds holds the lock of its role first (`actors.runtime.locks`).
"""

from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

IPC_PATH_BYTES_MAX = 107  # sockaddr_un; one more and bind answers ENAMETOOLONG


class Role(StrEnum):
    SUPERVISOR = "supervisor"
    TOKEN_VALIDATOR = "token_validator"
    AUTH_WATCHER = "auth_watcher"
    TICKER = "ticker"
    REST_POLLER = "rest_poller"
    BROADCASTER = "broadcaster"


# Messages that may wait for a reader of `ticks/all`, 47 kB each at most: some ten seconds of it.
CHUNKS_QUEUED_MAX = 2_000


class Wire(NamedTuple):
    """One wire. `*_hwm` in messages; `message_bytes_max`: what the binder accepts in one frame."""

    name: str
    path: str  # "data" may drop (and counts); "control" may not
    binder: Role
    binder_type: str
    peer_type: str
    peers: str
    binder_hwm: int
    peer_hwm: int
    message_bytes_max: int
    when_full: str


BUS = Wire(
    "bus", "control", Role.SUPERVISOR, "ROUTER", "DEALER", "the other five actors",
    500, 100, 2_097_152,  # ListenersWant of 9,000 keys with modes is up to 1.9 MB
    "nothing is queued for an absent peer; a lost command is repeated as desired state",
)  # fmt: skip
CONTROL = Wire(
    "control", "control", Role.SUPERVISOR, "ROUTER", "DEALER", "commands and Feed clients",
    500, 100, 262_144,
    "the request times out and is sent again with the same id",
)  # fmt: skip
INGEST = Wire(
    "ingest", "data", Role.BROADCASTER, "SUB", "XPUB", "ticker and rest_poller",
    1_000, 200, 1_048_576,
    "whole batches are dropped; readers are told (loss_age_ns), and all values are asked for anew",
)  # fmt: skip
FEED = Wire(
    "feed", "data", Role.BROADCASTER, "XPUB", "SUB", "any number of programs",
    # The reader's 30,000 are 14 MB at most (470 bytes each): a second of all instruments.
    10_000, 30_000, 512,
    "the newest messages of the slow subscriber are dropped; it sees the gap in seq, and "
    "full_queues rises in heartbeats",
)  # fmt: skip

WIRES: tuple[Wire, ...] = (BUS, CONTROL, INGEST, FEED)


def endpoint(runtime_dir: Path, wire: Wire) -> str:
    """Return the ZeroMQ endpoint of `wire` in `runtime_dir`."""
    return f"ipc://{socket_path(runtime_dir, wire)}"


def socket_path(runtime_dir: Path, wire: Wire) -> Path:
    """Return the socket file of `wire`."""
    return runtime_dir / f"{wire.name}.sock"


def endpoints(runtime_dir: Path) -> dict[str, str]:
    """Return endpoint by wire name, for `status --json`."""
    return {wire.name: endpoint(runtime_dir, wire) for wire in WIRES}


def has_room(runtime_dir: Path) -> bool:
    """Whether every socket path of `runtime_dir` fits into a socket address."""
    return all(len(bytes(socket_path(runtime_dir, w))) <= IPC_PATH_BYTES_MAX for w in WIRES)
