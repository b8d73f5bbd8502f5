"""A notifier's machine on a virtual clock, one look a second. 30 November 2026 is a Monday."""

from datetime import datetime
from typing import Any

import msgspec

from kitefeed.actors.policy import market
from kitefeed.actors.policy.market import Hours, Market
from kitefeed.actors.runtime import calendar_file
from kitefeed.client.status import Status
from kitefeed.protocol.kite.units import IST
from kitefeed.protocol.messages.status import (
    ActorStatus,
    ListStatus,
    ShardStatus,
    StatusReport,
    SubscriptionCounts,
)
from kitefeed.services.notifier.alerts import Alert, Links
from kitefeed.services.notifier.conditions import Observation
from kitefeed.services.notifier.machine import Machine, Memory, Ping, Rules, Send

CALENDAR = calendar_file.load()
S = 1_000_000_000
LIVE = Status(feed="live", source="websocket", session="valid", reason="streaming")
GATEWAY = Links("http://127.0.0.1:8787", "box")


def ist(text: str) -> int:
    return market.to_utc_ns(datetime.fromisoformat(text).replace(tzinfo=IST))


def report(**changes: Any) -> StatusReport:
    """Of a daemon to which nothing lacks, on that Monday."""
    usual = {
        "feed": "live", "source": "websocket", "session": "valid", "override": "auto",
        "reason": "streaming", "since_utc_s": 0.0, "epoch": 1, "consecutive_403": 0,
        "retry_in_s": None, "user_id": None, "user_name": None, "standby": "absent",
        "market": {"NSE": "open"}, "next_open": None,
        "subscriptions": SubscriptionCounts(wanted=5, asked=5, confirmed=5), "subscribers": 1,
        "last_tick_age_s": 0.1, "last_outage": None, "endpoints": {},
        "actors": [ActorStatus("supervisor", "up"), ActorStatus("broadcaster", "up")],
        "version": "1", "shards": [ShardStatus(0, "live", "websocket", 1, 5, 5)],
        "instrument_list": ListStatus(rows=9, day_ist="2026-11-30", outcome="taken"),
    }  # fmt: skip
    return StatusReport(**{**usual, **changes})


class Day:
    """A notifier at a moment in India; the world stays as it is until `set` changes it."""

    def __init__(
        self,
        at: str,
        *,
        rules: Rules | None = None,
        links: Links = GATEWAY,
        hours: Hours = "calendar",
        memory: Memory | None = None,
    ) -> None:
        self.utc_ns = ist(at)
        self.machine = Machine(
            rules or Rules(), links, Market(hours, CALENDAR), self.utc_ns, memory
        )
        self.facts = Observation(LIVE, True, report(), 10_000.0)
        self.alerts: list[Alert] = []
        self.beats = 0
        self.is_delivered = True

    def set(self, feed: str = "", *, is_heard: bool = True, **status: Any) -> None:
        """Changes the feed's words, from now on."""
        words = {"feed": feed or self.facts.status.feed, "since_utc_ns": self.utc_ns, **status}
        found = msgspec.structs.replace(self.facts.status, **words)
        self.facts = self.facts._replace(status=found, is_heard=is_heard)

    def knows(self, **changes: Any) -> None:
        """Changes the supervisor's report."""
        self.facts = self.facts._replace(report=report(**changes))

    def silent(self) -> None:
        """The whole daemon is away."""
        self.set("lost", source="cache", session="unknown", reason="the daemon is silent")
        self.facts = self.facts._replace(report=None)

    def back(self, feed: str = "live") -> None:
        self.set(feed, source="websocket", session="valid", reason="")
        self.facts = self.facts._replace(report=report(feed=feed))

    def run(self, until: str = "", *, seconds: float = 0) -> list[str]:
        """Lets time go by, and returns the codes that were told meanwhile. Days go by minutes."""
        end_ns = ist(until) if until else self.utc_ns + int(seconds * S)
        step_ns = S if end_ns - self.utc_ns <= 2 * 3600 * S else 60 * S
        before = len(self.alerts)
        while self.utc_ns < end_ns:
            self.utc_ns = min(self.utc_ns + step_ns, end_ns)
            self.look()
        return [alert.code for alert in self.alerts[before:]]

    def look(self) -> None:
        for command in self.machine.look(self.facts, self.utc_ns, is_delivered=self.is_delivered):
            match command:
                case Send(alert):
                    self.alerts.append(alert)
                case Ping():
                    self.beats += 1
