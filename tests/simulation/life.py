"""Keeps what the checker remembers of one supervisor, and what it compares before and after a
step."""

from __future__ import annotations

from typing import Any, NamedTuple

from kitefeed.actors.policy import market
from kitefeed.actors.supervisor.facts import (
    ActorLost,
    ActorUp,
    Clock,
    Operate,
    RetryNow,
    Shard,
    SocketState,
)
from kitefeed.actors.supervisor.state import State
from kitefeed.protocol.messages import bus as m
from tests.simulation.exchange import S

CLOSED_RETRY_NS = 60 * S
ENTITLEMENT_RETRY_NS = 900 * S
LIMIT_NS = 30 * S
# The first rung is 5 s, counted from the first refusal; another answer may come up to 3 s later.
REFUSED_APART_NS = 3 * S // 2
KNOCKS_NS, KNOCKS_MAX = 60 * S, 8


class Broken(AssertionError):
    """A promise is broken."""


def require(holds: object, promise: str) -> None:
    if not holds:
        raise Broken(promise)


class Before(NamedTuple):
    """The state that the step under way found."""

    picture: tuple[object, ...]
    consecutive_403: int
    is_due: bool
    was_market_open: bool  # when the clock was last read
    request_id: int
    dialled: int
    is_move: bool
    closing: frozenset[int]


class Life:
    """The memory of one supervisor's life: moments before which nothing may be tried."""

    def __init__(self) -> None:
        self.reset()
        self.parked: set[str] = set()

    def reset(self) -> None:
        """The operator's word, or a new login: everything may be tried at once."""
        self.blocked_until_ns = 0
        self.closed_attempt_ns = -CLOSED_RETRY_NS
        self.refused_ns: dict[str, int] = {}
        self.entitlement_ns = -ENTITLEMENT_RETRY_NS
        self.parked = set()
        self.limited_ns: dict[int, int] = {}  # shard -> when Kite answered 429
        self.knocks_ns: list[int] = []  # attempts of which none was let in

    def hear(self, s: State, event: Any, before: Before) -> None:
        match event:
            case m.SessionSeen(slot="primary") | Operate() | RetryNow() | ActorLost():
                self.reset()
            case m.LinkRefused(shard, epoch, 429) if epoch == before.dialled and not before.is_move:
                self.limited_ns[shard] = s.now_ns
                self.refused_ns.clear()
            case m.LinkClosed() | m.LinkSilent() | m.LinkRefused() | m.Probed(_, "token"):
                self.refused_ns.clear()  # another reason to ask
            case ActorUp(_, True):
                self.closed_attempt_ns = -CLOSED_RETRY_NS
                self.refused_ns.clear()
            case m.SessionSeen():
                self.parked.discard(event.fingerprint or "")
            case m.Polled(shard, epoch, "token" | "permission") if (
                epoch and epoch == s.shards[shard].rest.epoch
            ):
                self.parked.add(s.shards[shard].rest.fingerprint)
            case m.LinkOpened(_, epoch) if epoch == before.dialled:
                self.blocked_until_ns = 0  # the next of its sockets may follow at once
                self.knocks_ns = []
                self.closed_attempt_ns = -CLOSED_RETRY_NS
            case m.Probed(_, "same" | "moved"):
                self.parked.clear()
            case m.Validated(request_id, fingerprint, "primary", "refused") if (
                request_id == before.request_id
            ):
                self.refused_ns[fingerprint] = s.now_ns
            case Clock():
                self.refused_ns.clear() if _is_check(s) else None
        is_opening = s.is_market_open and not before.was_market_open
        if is_opening or all(shard.link.state is SocketState.LIVE for shard in s.used):
            self.blocked_until_ns = 0
            self.refused_ns.clear()
        if is_opening:  # which is tried for at once
            self.knocks_ns = []

    def check_validation(self, s: State, fingerprint: str) -> None:
        """A refused session is asked about again on the ladder, not in a storm."""
        refused_ns = self.refused_ns.get(fingerprint)
        if refused_ns is not None:
            require(s.now_ns - refused_ns >= REFUSED_APART_NS, "a refused session is left alone")

    def check_limit(self, s: State, shard: int) -> None:
        is_over = s.now_ns - self.limited_ns.get(shard, -LIMIT_NS) >= LIMIT_NS
        require(is_over, "a socket that Kite answered with 429 is left alone for 30 s")

    def check_knocks(self, s: State) -> None:
        """Kite is not knocked at in a storm, whatever its answer: on the ladder six in a minute."""
        self.knocks_ns = [at_ns for at_ns in self.knocks_ns if s.now_ns - at_ns < KNOCKS_NS]
        self.knocks_ns.append(s.now_ns)
        require(len(self.knocks_ns) <= KNOCKS_MAX, "attempts become rarer")

    def check_entitlement(self, s: State) -> None:
        require(
            s.now_ns - self.entitlement_ns >= ENTITLEMENT_RETRY_NS,
            "a plan without data is asked about every quarter of an hour",
        )
        self.entitlement_ns = s.now_ns


def _is_check(s: State) -> bool:
    """Around the fixed validations of the day."""
    return any(s.utc_ns - market.last_utc_ns(s.utc_ns, at) < 90 * S for at in market.CHECKS)


EPOCHS, DIALLED, REST_EPOCHS, REQUEST, STANDBY_REQUEST, PROBE, SESSION = range(7)


def picture_of(s: State) -> tuple[Any, ...]:
    """Everything a late report might wrongly move."""
    dial, probe = s.dial, s.probe
    return (
        tuple(shard.link.epoch for shard in s.shards if shard.is_open), dial.epoch,
        tuple(shard.rest.epoch for shard in s.shards if shard.rest.epoch),
        s.session.request_id, s.standby.request_id,
        probe.request.request_id if probe.request else None, s.session.fingerprint,
        dial.state, dial.cause, dial.until_ns, dial.move_ns, dial.is_move, dial.shard,
        s.session.word, s.standby.word, s.consecutive_403, s.has_no_entitlement,
        probe.moved_due_ns, len(s.parked), tuple(_shard_picture(shard) for shard in s.shards),
    )  # fmt: skip


def _shard_picture(shard: Shard) -> tuple[object, ...]:
    return (
        shard.link.state, shard.link.is_subscribed, shard.grant.source, shard.grant.epoch,
        shard.rest.ok_ns, shard.limited_until_ns,
    )  # fmt: skip
