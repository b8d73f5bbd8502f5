"""Judges the feed for `/health`. Pure.

The feed is healthy while data arrives wherever the calendar says that it should. That a process is
up, a port open or somebody logged in proves nothing of the kind, and is never asked here.
"""

import msgspec

from kitefeed.client.status import Status
from kitefeed.protocol.feed import Heartbeat
from kitefeed.protocol.messages.status import Outage, StatusReport
from kitefeed.services.freshness import is_fed

# The headlines, and the words of `/health/websocket` for them.
_STATUS_OF = {
    "live": "connected",
    "rest": "fallback",
    **{
        word: word
        for word in (
            "stale", "closed", "paused", "login_required", "no_entitlement", "misconfigured", "lost"
        )
    },
}  # fmt: skip
FEEDS = tuple(_STATUS_OF)
LOST = "lost"  # no heartbeat is heard
_MODE_OF = {"websocket": "websocket", "rest": "rest_api", "cache": "cache", "none": "none"}


class Health(msgspec.Struct, frozen=True):
    """The feed as a monitor asks for it. Ages in seconds, None where nothing is known; times are
    UTC epoch seconds.

    is_healthy: every wanted segment that is open has fresh values, or the market is closed.
    """

    is_healthy: bool
    feed: str
    source: str
    session: str
    reason: str
    since_utc_s: float | None
    heartbeat_age_s: float | None
    retry_in_s: float | None
    consecutive_403: int
    user_id: str | None


class FullHealth(Health, frozen=True):
    """Body of `/health`: with the last login, and what only the supervisor knows; None and empty
    while it is silent."""

    last_tick_age_s: float | None = None
    last_login_utc_s: float | None = None
    next_open: str | None = None
    market: dict[str, str] = {}
    actors: dict[str, str] = {}
    last_outage: Outage | None = None
    version: str | None = None


class WebsocketHealth(msgspec.Struct, frozen=True):
    """Body of `/health/websocket`."""

    status: str
    mode: str
    consecutive_errors: int
    retry_delay: float | None


def judge(status: Status, heartbeat: Heartbeat | None) -> Health:
    """Judge the feed. `status`: as a program reads it now; "lost" without a recent heartbeat."""
    is_live = status.feed in ("live", "rest") and heartbeat is not None and is_fed(heartbeat)
    age_s = status.heartbeat_age_s
    return Health(
        is_healthy=is_live or status.feed == "closed",
        feed=status.feed,
        source=status.source,
        session=status.session,
        reason=status.reason,
        since_utc_s=status.since_utc_ns / 1e9 if status.since_utc_ns else None,
        heartbeat_age_s=None if age_s is None else round(age_s, 3),
        retry_in_s=status.retry_in_s,
        consecutive_403=status.consecutive_403,
        user_id=status.user_id,
    )


def in_full(
    health: Health, report: StatusReport | None, last_login_utc_s: float | None = None
) -> FullHealth:
    """Add what the supervisor knows. `last_login_utc_s`: of the session in use, by its file."""
    known = {**msgspec.structs.asdict(health), "last_login_utc_s": last_login_utc_s}
    if report is None:
        return FullHealth(**known)
    return FullHealth(
        **known,
        last_tick_age_s=report.last_tick_age_s,
        next_open=report.next_open,
        market=report.market,
        actors={actor.role: actor.state for actor in report.actors},
        last_outage=report.last_outage,
        version=report.version,
    )


def of_websocket(health: Health) -> WebsocketHealth:
    return WebsocketHealth(
        status=_STATUS_OF.get(health.feed, health.feed),
        mode=_MODE_OF.get(health.source, "none"),
        consecutive_errors=health.consecutive_403,
        retry_delay=health.retry_in_s,
    )
