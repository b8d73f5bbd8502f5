"""Checks what the supervisor owes beside safety, step by step: proofs before claims, questions in
time, waits that end, reasons for what it closes and polls, words that fit the facts. The numbers
are the design's own: a changed constant of the machines is found by them."""

from __future__ import annotations

from datetime import datetime, time
from typing import TYPE_CHECKING, Any, NamedTuple

from kitefeed.actors.supervisor.facts import (
    ActorLost,
    ActorUp,
    Clock,
    Command,
    DialState,
    Instruct,
    Operate,
    Persist,
    RetryNow,
    Say,
    Shard,
    SocketState,
)
from kitefeed.actors.supervisor.machine import Supervisor
from kitefeed.actors.supervisor.state import State
from kitefeed.protocol.kite.units import IST
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.envelope import Message
from tests.simulation.exchange import S, at_ist
from tests.simulation.life import require

if TYPE_CHECKING:
    from tests.simulation.world import World

DAY_NS = 86_400 * S
FIXED_CHECKS = (time(6, 5), time(7, 35), time(8, 45))  # IST
READY_AT = time(8, 45)
FLUSHED_BY = time(7, 30)
LIVE_CHECK_NS = (290 * S, 305 * S)  # a live feed's session is asked about every 300 s
FIXED_WINDOW_NS = 90 * S
UNVERIFIED_CHECK_NS = 15 * S
VALIDATION_LIMIT_NS = 4 * S
CONNECT_LIMIT_NS = 12 * S
CLASSIFY_LIMIT_NS = 10 * S
WAIT_LIMIT_NS = 60 * S
STABLE_NS = 10 * S
AT_ONCE_NS = S // 10
BRIDGE_AFTER_NS = 15 * S
REFUSALS_BEFORE_REST = 3
POLL_PERIOD_NS = 5 * S
POLLED_GRACE_NS = 2 * S
CLOCK_GAP_NS = 59 * S  # a clock that jumps further has missed the moment
TRYING = (DialState.PREFLIGHT, DialState.CONNECTING, DialState.CLASSIFYING)
BAD_WORDS = ("stale", "login_required", "no_entitlement")


class Found(NamedTuple):
    """The state that the step under way found."""

    stepped_ns: int  # when the machine last looked at the clock
    live_since: dict[int, int]  # epoch -> since when, of sockets that are live
    open_epochs: frozenset[int]
    logins: frozenset[str]  # whose sessions the open sockets use
    are_all_live: bool
    word: str  # of the session
    dialling: DialState
    dialled: int
    is_move: bool
    is_any_empty: bool
    consecutive_403: int
    clock_utc_ns: int
    rest_epochs: frozenset[int]
    feed: str


class Duties:
    """Of one supervisor's life: made anew with each."""

    def __init__(self, world: World, started_ns: int) -> None:
        self.world = world
        self._started_ns = started_ns
        self._proven: set[int] = set()  # epochs of sockets whose data were seen to be new
        self._asked_ns = started_ns  # when the primary session was last asked about
        self._may_ask = True  # something has happened since that is a reason to ask
        self._polled_ns: dict[int, int] = {}  # epoch -> last good poll, and
        self._sweep_ns: dict[int, int] = {}  # how long its sweeps take
        self._failed: dict[int, int] = {}  # polls in a row without an answer
        self._found: Found | None = None

    def before(self, machine: Supervisor, event: Any) -> None:
        s = machine.state
        self._found = Found(
            s.now_ns,
            {sh.link.epoch: sh.link.live_since_ns for sh in s.shards
             if sh.link.state is SocketState.LIVE},
            frozenset(sh.link.epoch for sh in s.shards if sh.is_open),
            frozenset(sh.link.fingerprint for sh in s.shards if sh.is_open),
            all(sh.link.state is SocketState.LIVE for sh in s.used),
            s.session.word, s.dial.state, s.dial.epoch, s.dial.is_move,
            any(sh.is_open and not sh.instruments for sh in s.shards), s.consecutive_403,
            s.clock_utc_ns, frozenset(sh.rest.epoch for sh in s.shards if sh.rest.epoch),
            s.last_announced.feed if s.last_announced else "",
        )  # fmt: skip
        self._hear(s, event)

    def _hear(self, s: State, event: Any) -> None:
        match event:
            case m.LinkFresh(_, epoch):
                self._proven.add(epoch)
            case m.Probed(_, "same" | "moved"):
                self._proven.add(s.probe.epoch)
            case ActorUp(hello, _):
                self._proven.update(link.epoch for link in hello.links if link.is_streaming)
                for link in hello.links:
                    if link.is_streaming:
                        self._polled_ns.setdefault(link.epoch, self.world.now_ns)
                self._may_ask = True
            case m.Polled(_, epoch, outcome):
                self._failed[epoch] = self._failed.get(epoch, 0) + 1 if outcome == "network" else 0
                self._sweep_ns[epoch] = event.sweep_ns or self._sweep_ns.get(epoch, 0)
                if outcome == "ok":
                    self._polled_ns[epoch] = self.world.now_ns
            case (
                m.SessionSeen() | Operate() | RetryNow() | ActorLost() | m.LinkClosed()
                | m.LinkSilent() | m.LinkRefused() | m.LinkDoubt()
            ):  # fmt: skip
                self._may_ask = True

    def after(self, machine: Supervisor, event: Any, commands: list[Command]) -> None:
        s, found = machine.state, self._found
        assert found is not None
        sent = [command.message for command in commands if isinstance(command, Instruct)]
        self._check_proofs(s, event, found)
        self._check_count(s, event, found, sent)
        self._check_login(s, event, found)
        self._check_memory(s, event, commands)
        self._check_questions(s, event, found, sent)
        self._check_waits(s, event, found)
        self._check_closing(s, event, found, sent)
        self._check_polling(s, event, found)
        for message in sent:
            if isinstance(message, m.StartPolling):
                self._check_order(s, message)
        self._check_ready(s, event, found, commands)
        if s.is_settled and s.last_announced is not None:
            self._check_words(s)

    # --- proofs and counts --------------------------------------------------------------------

    def _check_proofs(self, s: State, event: Any, found: Found) -> None:
        """A handshake proves nothing: live is what has had a fresh tick, or is quiet by a quote. A
        socket that takes over from a live one needs no proof of its own."""
        is_take_over = (
            isinstance(event, m.LinkOpened) and found.is_move and event.epoch == found.dialled
        )
        for shard in s.shards:
            if shard.link.state is SocketState.LIVE and shard.link.epoch not in self._proven:
                require(is_take_over and found.live_since, "live is what was seen to be new")
                self._proven.add(shard.link.epoch)

    def _check_count(self, s: State, event: Any, found: Found, sent: list[Message]) -> None:
        is_login = isinstance(event, m.SessionSeen)
        has_proof = any(
            shard.link.state is SocketState.LIVE and shard.link.epoch not in found.live_since
            for shard in s.shards
        )
        is_less = s.consecutive_403 < found.consecutive_403
        require(not is_less or is_login or has_proof, "only a fresh tick or a login ends a series")
        if s.consecutive_403 > found.consecutive_403:
            is_asked = any(isinstance(message, m.Probe) for message in sent)
            require(is_asked, "a 403 is classified before the next attempt")

    def _check_login(self, s: State, event: Any, found: Found) -> None:
        """Neither a new login nor the refusal of one costs a socket that streams."""
        is_login = isinstance(event, m.SessionSeen) and s.session.word != "absent"
        is_verdict = isinstance(event, m.Validated)
        if (is_login or is_verdict) and s.override in ("auto", "websocket"):
            kept = {shard.link.epoch for shard in s.shards if shard.is_open}
            is_full = len(found.open_epochs) + len(s.closing) >= s.capacity.sockets
            is_kept = found.live_since.keys() <= kept or (is_full and not is_login)
            is_refusal = is_verdict and s.session.word == "refused"
            require(is_kept and (not is_refusal or found.live_since.keys() <= kept),
                    "a login costs no socket that streams")  # fmt: skip

    def _check_memory(self, s: State, event: Any, commands: list[Command]) -> None:
        persisted = s.persisted
        if isinstance(event, Operate):
            is_written = any(isinstance(command, Persist) for command in commands)
            is_kept = is_written and persisted.override == event.override
            require(is_kept, "what the operator says is remembered")
        if s.session.word == "refused" and persisted.valid_fingerprint == s.session.fingerprint:
            require(not persisted.valid_utc_ns, "a refused session is not remembered as a good one")

    # --- questions ----------------------------------------------------------------------------

    def _check_questions(
        self, s: State, event: Any, found: Found, sent: list[Message]
    ) -> None:  # fmt: skip
        """The session is asked about every 300 s while live, at fixed times, and not in a storm."""
        facts = s.session
        asked = any(isinstance(q, m.Validate) and q.slot == "primary" for q in sent)
        are_live = all(shard.link.state is SocketState.LIVE for shard in s.used)
        logins = {shard.link.fingerprint for shard in s.shards if shard.is_open}
        is_settling = logins != {facts.fingerprint} or facts.word != "valid"
        self._may_ask |= not are_live or is_settling or self._is_fixed_time(s.utc_ns)
        if asked:
            apart_ns = s.now_ns - self._asked_ns
            is_due = self._may_ask or apart_ns >= LIVE_CHECK_NS[0]
            require(is_due or not found.are_all_live, "a session that is good is left alone")
            self._asked_ns, self._may_ask = s.now_ns, is_settling
        if are_live and facts.word == "valid":
            since_ns = max(self._asked_ns, *(sh.link.live_since_ns for sh in s.used))
            is_recent = s.now_ns - since_ns <= LIVE_CHECK_NS[1]
            require(is_recent, "the session of a live feed is asked about every 300 s")
        if facts.word == "unverified" and s.is_any_open and not facts.request_id:
            wait_ns = facts.next_check_ns - s.now_ns
            require(0 < wait_ns <= UNVERIFIED_CHECK_NS, "a login that nobody judged is asked about")
        if isinstance(event, Clock) and facts.fingerprint and s.is_any_open:
            is_due = any(_is_passed(at, found.clock_utc_ns, event.utc_ns) for at in FIXED_CHECKS)
            require(not is_due or facts.request_id, "the session is asked about at fixed times")

    def _is_fixed_time(self, utc_ns: int) -> bool:
        return any(0 <= utc_ns - last_utc_ns(utc_ns, at) < FIXED_WINDOW_NS for at in FIXED_CHECKS)

    def _check_ready(self, s: State, event: Any, found: Found, commands: list[Command]) -> None:
        if not isinstance(event, Clock) or s.market.opens_today(s.segments, s.utc_ns) is None:
            return
        if _is_passed(READY_AT, found.clock_utc_ns, event.utc_ns):
            said = [command.text for command in commands if isinstance(command, Say)]
            is_said = any("ready for the open" in text for text in said)
            require(is_said, "before the open it is said whether all is ready")

    # --- waits --------------------------------------------------------------------------------

    def _check_waits(self, s: State, event: Any, found: Found) -> None:
        limit_ns = {
            DialState.WAITING: WAIT_LIMIT_NS,
            DialState.CONNECTING: CONNECT_LIMIT_NS,
        }.get(s.dial.state)
        if limit_ns is not None:
            require(s.dial.until_ns - s.now_ns <= limit_ns, f"{s.dial.state} does not last")
        if s.dial.state is DialState.CLASSIFYING:
            is_short = s.probe.until_ns - s.now_ns <= CLASSIFY_LIMIT_NS
            require(is_short, "a refusal is classified within seconds")
        for facts in (s.session, s.standby):
            is_short = facts.request_until_ns - s.now_ns <= VALIDATION_LIMIT_NS
            require(is_short, "a validation has three seconds")
        if isinstance(event, m.LinkClosed) and event.epoch in found.live_since:
            is_old = found.stepped_ns - max(found.live_since.values()) > STABLE_NS
            is_idle = found.dialling is DialState.IDLE and found.are_all_live
            is_free = is_idle and s.is_market_open and s.consecutive_403 < REFUSALS_BEFORE_REST
            is_at_once = s.dial.state in TRYING or s.dial.until_ns - s.now_ns <= AT_ONCE_NS
            require(is_at_once or not (is_old and is_free), "a lost socket is tried again at once")

    # --- what is closed, and what is polled ---------------------------------------------------

    def _check_closing(self, s: State, event: Any, found: Found, sent: list[Message]) -> None:
        """A socket that streams is closed for a reason."""
        closed = {order.epoch for order in sent if isinstance(order, m.CloseLink)}
        if not closed & found.live_since.keys():
            return
        has_reason = (
            s.override not in ("auto", "websocket")
            or s.session.word == "absent"
            or isinstance(event, m.LinkSilent | ActorUp | ActorLost | m.Granted | m.Probed)
            or (isinstance(event, m.LinkOpened) and found.is_move)
            or found.is_any_empty
            or found.logins != {s.session.fingerprint}  # they move to another login
        )
        if not has_reason or isinstance(event, m.Probed):
            self._check_given_up(s, closed & found.live_since.keys())

    def _check_given_up(self, s: State, epochs: set[int]) -> None:
        """Because of a quote, or for want of one."""
        is_doubt = s.probe.kind in ("unproven", "canary", "quiet")
        require(is_doubt, "a socket that streams is closed for a reason")
        for link, socket in self.world.kite.sockets.items():
            is_lively = link.epoch in epochs and self.world.is_lively(socket)
            require(not is_lively, "no socket is given up while something on it ticks")

    def _check_order(self, s: State, order: m.StartPolling) -> None:
        require(order.period_ns == POLL_PERIOD_NS, "quotes are polled every 5 s")
        is_standby = order.fingerprint == s.standby.fingerprint != s.session.fingerprint
        is_refused = s.session.word != "valid"
        require(is_refused or not is_standby, "the standby is for when the first is refused")

    def _check_polling(self, s: State, event: Any, found: Found) -> None:
        """Polling begins for a reason. What a poller says that it does is another's."""
        word, is_new = s.session.word, not isinstance(event, ActorUp)
        for shard in s.shards:
            if not shard.rest.epoch or shard.rest.epoch in found.rest_epochs or not is_new:
                continue
            since_ns = max(shard.fresh_ns, shard.used_since_ns, s.started_ns, s.session_since_ns)
            is_unfed = s.now_ns - since_ns >= BRIDGE_AFTER_NS
            is_known = word in ("refused", "absent") or s.override == "rest"
            is_socket = s.consecutive_403 >= REFUSALS_BEFORE_REST
            is_bridge = is_unfed and (not s.is_socket_refusal or shard.limited_until_ns > 0)
            is_another = bool(found.rest_epochs)  # of a session that has taken another's place
            require(is_known or is_socket or is_bridge or is_another,
                    "quotes are polled where the socket fails, and not before")  # fmt: skip

    # --- words --------------------------------------------------------------------------------

    def _check_words(self, s: State) -> None:
        state = s.last_announced
        assert state is not None
        judged = s.judged
        fresh = {shard.number for shard in s.shards if self._is_fresh(s, shard)}
        doubtful = {shard.number for shard in s.shards if self._is_doubtful(s, shard)}
        told = set(state.fresh_shards or ())
        require(told - doubtful == fresh - doubtful, "the fresh shards are those that are fresh")
        streaming = {shard.number for shard in s.shards if shard.is_streaming}
        if not doubtful and not any(shard.link.unproven_since_ns for shard in judged):
            word = self._word(s, {shard.number for shard in judged}, streaming, fresh)
            require(state.feed == word, f"the word for it is {word}")
            source = ("websocket" if fresh <= streaming else "rest") if fresh else ""
            has_values = s.values_held or s.fresh_ns
            source = source or ("cache" if has_values else "none")
            require(state.source == source, f"the values come from {source}")
        is_waiting = s.dial.state is DialState.WAITING and s.dial.until_ns > 0
        require((state.retry_in_s is not None) == is_waiting, "the next attempt is told")
        if state.feed in ("live", "rest"):
            is_over = s.outage is None or s.outage.restored_utc_s is not None
            require(is_over, "an outage that is over has an end")
        elif state.feed in BAD_WORDS and self._found is not None:
            is_begun = s.outage is not None and s.outage.restored_utc_s is None
            is_new = self._found.feed in ("live", "rest")
            require(is_begun or not is_new, "an outage that begins is noted")

    def _word(self, s: State, judged: set[int], streaming: set[int], fresh: set[int]) -> str:
        """The headline, by the order of precedence that is published."""
        if s.override == "paused":
            return "paused"
        if not s.is_market_open:
            return "closed"
        is_streaming = judged <= streaming
        if s.session.word in ("absent", "refused") and not is_streaming:
            return "login_required"
        if s.has_no_entitlement and not judged & fresh:
            return "no_entitlement"
        if is_streaming:
            return "live"
        return "rest" if judged <= fresh else "stale"

    def _is_fresh(self, s: State, shard: Shard) -> bool:
        return shard.is_streaming or (shard.rest.epoch > 0 and self._polled_age_ns(s, shard) >= 0)

    def _polled_age_ns(self, s: State, shard: Shard) -> int:
        """Of the last good poll; negative when it has none, or the last ones had no answer."""
        at_ns = self._polled_ns.get(shard.rest.epoch)
        is_failing = self._failed.get(shard.rest.epoch, 0) >= REFUSALS_BEFORE_REST
        age_ns = -1 if at_ns is None or is_failing else s.now_ns - at_ns
        return age_ns if age_ns <= self._fresh_for_ns(shard) else -1

    def _is_doubtful(self, s: State, shard: Shard) -> bool:
        """Polled, and about to be no longer fresh: the very moment is the machine's own."""
        age_ns = self._polled_age_ns(s, shard) if shard.rest.epoch else -1
        at_ns = self._polled_ns.get(shard.rest.epoch, -DAY_NS)
        is_border = age_ns < 0 and s.now_ns - at_ns < self._fresh_for_ns(shard) + POLLED_GRACE_NS
        is_late = age_ns > self._fresh_for_ns(shard) - POLLED_GRACE_NS
        return bool(shard.rest.epoch) and not shard.is_streaming and (is_border or is_late)

    def _fresh_for_ns(self, shard: Shard) -> int:
        return 2 * max(POLL_PERIOD_NS, self._sweep_ns.get(shard.rest.epoch, 0)) + S


def last_utc_ns(utc_ns: int, at: time) -> int:
    """The latest occurrence of `at` (IST) that is not after `utc_ns`."""
    day = datetime.fromtimestamp(utc_ns / S, IST)
    at_ns = at_ist(day, at.hour, at.minute)
    return at_ns if at_ns <= utc_ns else at_ns - DAY_NS


def _is_passed(at: time, before_ns: int, after_ns: int) -> bool:
    """Whether the clock has gone over `at`, and not in a jump."""
    return before_ns < last_utc_ns(after_ns, at) and 0 < after_ns - before_ns < CLOCK_GAP_NS
