"""The feed in words, as a program reads it."""

from typing import Literal, cast

import msgspec

from kitefeed.protocol.feed import FeedState, Heartbeat

FeedWord = Literal[
    "misconfigured", "paused", "closed", "login_required", "no_entitlement", "live", "rest",
    "stale", "replay",  # a recorded day: nothing of it is live
    "lost",  # no heartbeat: the daemon has gone, or hangs
]  # fmt: skip
StatusSource = Literal["websocket", "rest", "cache", "none", "replay"]
SessionWord = Literal["absent", "unknown", "valid", "refused", "unverified"]
OverrideWord = Literal["auto", "websocket", "rest", "paused"]


class Status(msgspec.Struct, frozen=True):
    """The feed in words; `str(status)` is the headline.

    feed: misconfigured, paused, closed, login_required, no_entitlement, live, rest, stale, replay
    (a recorded day), or lost (no heartbeat: the daemon has gone, or hangs).
    source: websocket, rest, cache, none, replay: the least of those that give fresh values.
    session: absent, unknown, valid, refused, unverified.
    reason: why it is so, in a few words; empty where nothing is to be said.
    override: what the operator ordered: auto, websocket, rest, paused.
    epoch: of the newest connection or polling run.
    since_utc_ns: when `feed` took its value, UTC, nanoseconds since 1970.
    retry_in_s: seconds to the next attempt, None when none is due.
    consecutive_403: how often in a row Kite has refused the WebSocket.
    user_id, user_name: of the session at Kite, None while unknown.
    subscribers: programs that read the feed, this one included.
    heartbeat_age_s: seconds since the last heartbeat was sent, None before the first.
    clock_ahead_s: seconds by which this host's clock is ahead of the daemon's, as measured over
    NATS; None elsewhere.
    """

    feed: FeedWord
    source: StatusSource
    session: SessionWord
    reason: str
    override: OverrideWord = "auto"
    epoch: int = 0
    since_utc_ns: int = 0
    retry_in_s: float | None = None
    consecutive_403: int = 0
    user_id: str | None = None
    user_name: str | None = None
    subscribers: int = 0
    heartbeat_age_s: float | None = None
    clock_ahead_s: float | None = None

    def __str__(self) -> str:
        return self.feed


def status_of(
    state: FeedState,
    heartbeat: Heartbeat | None,
    age_ns: int | None,
    epochs: list[int],
    is_lost: bool,
) -> Status:
    """Build the status. `age_ns`: of the heartbeat; `epochs`: of its shards; `is_lost`: it is too
    old. Words are passed on as they came: a newer daemon may know more of them."""
    return Status(
        feed="lost" if is_lost else cast(FeedWord, state.feed),
        source="cache" if is_lost else cast(StatusSource, state.source),
        session="unknown" if is_lost else cast(SessionWord, state.session),
        reason="the daemon is silent" if is_lost else state.reason,
        override=cast(OverrideWord, state.override),
        epoch=max(epochs, default=state.epoch),
        since_utc_ns=state.since_utc_ns,
        retry_in_s=state.retry_in_s,
        consecutive_403=state.consecutive_403,
        user_id=state.user_id,
        user_name=state.user_name,
        subscribers=heartbeat.subscribers if heartbeat else 0,
        heartbeat_age_s=None if age_ns is None else age_ns / 1e9,
    )
