"""The feed in words, as a program reads it."""

import msgspec


class Status(msgspec.Struct, frozen=True):
    """The feed in words; `str(status)` is the headline.

    feed: misconfigured, paused, closed, login_required, no_entitlement, live, rest, stale, or lost
    (no heartbeat: the daemon has gone, or hangs). source: websocket, rest, cache, none. session:
    absent, unknown, valid, refused, unverified.
    """

    feed: str
    source: str
    session: str
    reason: str
    override: str = "auto"
    epoch: int = 0
    since_utc_ns: int = 0
    retry_in_s: float | None = None
    consecutive_403: int = 0
    user_id: str | None = None
    user_name: str | None = None
    subscribers: int = 0
    heartbeat_age_s: float | None = None

    def __str__(self) -> str:
        return self.feed
