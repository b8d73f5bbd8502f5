"""The messages by which an actor joins the supervisor's bus, stays on it, and leaves."""

from typing import Literal

import msgspec

from kitefeed.protocol.messages.envelope import Message
from kitefeed.protocol.topology import Role

# --- any actor -> supervisor ------------------------------------------------------------------


class Hello(Message, frozen=True):
    """First message of an actor's life, and the answer to `Challenge`.

    What it holds lets a restarted supervisor adopt running links: for the ticker `links`, for the
    broadcaster `grants`, for the poller `links` (source "rest").
    """

    role: Role
    boot_id: str
    pid: int
    start_ticks: int  # field 22 of /proc/<pid>/stat; 0 where there is none
    version: str
    highest_epoch: int = 0
    links: tuple["LinkReport", ...] = ()
    grants: tuple["GrantReport", ...] = ()
    misconfigured: str | None = None


class LinkReport(msgspec.Struct, frozen=True):
    """One running source: `is_streaming` once it delivered a fresh tick (or a good poll).
    `fresh_boot_ns`: when its shard last had a fresh tick, by the boot clock; 0 for never."""

    shard: int
    epoch: int
    fingerprint: str
    is_streaming: bool
    source: Literal["websocket", "rest"]
    tokens: tuple[int, ...] = ()  # what a websocket streams: a new supervisor leaves it there
    fresh_boot_ns: int = 0


class GrantReport(msgspec.Struct, frozen=True):
    shard: int
    epoch: int
    source: Literal["websocket", "rest", "none"]


class Beat(Message, frozen=True):
    """A sign of life, once a second from the actor's main loop: a hung loop is silent."""

    lag_ns: int = 0  # how late the loop ran its timer
    values: int = 0  # broadcaster: instruments with a last value
    subscribers: int = 0  # broadcaster
    last_tick_age_ns: int = -1  # ticker: since any tick
    fresh_tick_age_ns: int = -1  # ticker: since a fresh tick, see LinkFresh
    counters: dict[str, int] = msgspec.field(default_factory=dict)
    # ticker: shard -> age of its last fresh tick
    fresh_ages_ns: dict[int, int] = msgspec.field(default_factory=dict)
    losses: dict[int, int] | None = None  # broadcaster: shard -> batches that never reached it
    held: tuple["Held", ...] | None = None  # ticker: what it holds stale although it streams
    # broadcaster: shards whose source it calls alive; in others every value reads stale
    alive_shards: list[int] | None = None


HeldScope = Literal["stream", "segment", "itself"]


class Held(msgspec.Struct, frozen=True, array_like=True):
    """Values of a link that read stale while it streams. scope "stream": all of them, because these
    always-active instruments and everything else are silent; "segment": those of `segment` (low
    byte of a token), because these canaries of it are silent and others tick; "itself": those of
    `tokens`, because quotes say another price."""

    shard: int
    epoch: int
    scope: HeldScope
    tokens: tuple[int, ...]
    segment: int = 0


# --- supervisor -> any actor ------------------------------------------------------------------


class Welcome(Message, frozen=True):
    """Answer to Hello. A later one from the same supervisor (same boot_id) is a repetition."""

    boot_id: str


class Challenge(Message, frozen=True):
    """The supervisor does not know this peer: say Hello again."""


class BeatAck(Message, frozen=True):
    """Answer to Beat, so that an actor knows whether anybody decides."""


class Leave(Message, frozen=True):
    """Order to exit: another process holds this role."""

    reason: str
