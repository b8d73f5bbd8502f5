"""The events of the broadcaster's machine, and its orders. Events that lead to publishing carry the
wall clock, which the machine has no other way to know."""

from typing import NamedTuple

from kitefeed.actors.broadcaster.store import Saved
from kitefeed.actors.policy.machine import Welcomed
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.envelope import Message


class Ingest(NamedTuple):
    """One frame of the ingest wire."""

    frame: bytes
    utc_ns: int


class Subscription(NamedTuple):
    """A report of the XPUB: 1 and a topic prefix, or 0 and one that is no longer wanted."""

    frame: bytes
    utc_ns: int


class Told(NamedTuple):
    """A command of the supervisor."""

    message: m.BusMessage
    utc_ns: int


class Wake(NamedTuple):
    """The deadline came. `supervisor_age_ns`: since the supervisor was last heard."""

    utc_ns: int
    supervisor_age_ns: int


class SaveFailed(NamedTuple):
    """The last values could not be written: they are due again."""


Event = Ingest | Subscription | Told | Welcomed | Wake | SaveFailed


class Publish(NamedTuple):
    """Send these frames on the feed, in order."""

    frames: list[bytes]


class Tell(NamedTuple):
    """Send this to the supervisor; nothing is queued when it is away."""

    message: Message


class Save(NamedTuple):
    """Write the last values to disk, without blocking."""

    rows: list[Saved]


class SaveOrders(NamedTuple):
    """Write what is known of the orders to disk, without blocking, because it has changed."""


Command = Publish | Tell | Save | SaveOrders
