"""Checks what must hold after every event. `Broken` names the promise; the design's section 4 has
the words, and each check says what it is about."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from kitefeed.actors.supervisor.facts import (
    GOOD_FOR_NS,
    Command,
    DialState,
    Instruct,
    Instruments,
    Persist,
    Say,
    Shard,
)
from kitefeed.actors.supervisor.machine import Supervisor
from kitefeed.actors.supervisor.state import State
from kitefeed.protocol.kite.ticks import segment_of
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.control import ControlRequest
from kitefeed.protocol.messages.envelope import Message
from kitefeed.protocol.messages.instruments import Instrument
from kitefeed.protocol.topology import Role
from tests.simulation.duties import FLUSHED_BY, Duties, last_utc_ns
from tests.simulation.exchange import S
from tests.simulation.kite import SOCKETS_MAX
from tests.simulation.life import (
    CLOSED_RETRY_NS,
    DIALLED,
    EPOCHS,
    PROBE,
    REQUEST,
    REST_EPOCHS,
    SESSION,
    STANDBY_REQUEST,
    Before,
    Life,
    picture_of,
    require,
)

if TYPE_CHECKING:
    from tests.simulation.world import World

VALID_FOR_NS = 11 * S // 2  # one validation lets all sockets in, within five seconds
QUOTES_APART_NS = S
SOCKET_RETRY_NS = 60 * S
LINES_MAX = 80  # from one recovery to the next
SECRET_LIKE = re.compile(r"access_token|api_secret|enctoken|[A-Za-z0-9]{32}")
# What may come late, or to another than it was meant for.
REPORTS = (
    m.LinkOpened, m.LinkFresh, m.LinkSilent, m.LinkRefused, m.LinkClosed, m.LinkDoubt, m.Polled,
    m.Validated, m.Probed, m.SessionSeen,
)  # fmt: skip
CONDITION = re.compile(r"condition=(\w+)$")


class Checker:
    def __init__(self, world: World) -> None:
        self.world = world
        self.epoch = 0  # the highest that was ever issued
        self.lines: Counter[str] = Counter()
        self.lines_told = 0
        self._valid_ns: dict[str, int] = {}
        self._valid_utc_ns: dict[str, int] = {}
        self._unverified_ns: dict[str, int] = {}
        self._life = Life()
        self._duties = Duties(world, 0)
        self._places: dict[int, int] = {}
        self._quoted_ns = -QUOTES_APART_NS
        self._before: Before | None = None

    # --- the supervisor's steps ---------------------------------------------------------------

    def on_supervisor_start(self, machine: Supervisor) -> None:
        self.lines.clear()
        self._life = Life()
        self._duties = Duties(self.world, self.world.now_ns)

    def before(self, machine: Supervisor, event: Any) -> None:
        s = machine.state
        is_report = isinstance(event, REPORTS)
        self._before = Before(
            picture_of(s) if is_report else (), s.consecutive_403,
            is_report and self._is_due(machine), bool(s.was_market_open),
            s.session.request_id, s.dial.epoch, s.dial.is_move, frozenset(s.closing),
        )  # fmt: skip
        self._places = _places_of(s) if isinstance(event, Instruments) else {}
        self._duties.before(machine, event)
        if isinstance(event, m.Validated):
            self._hear_verdict(s, event)

    def _is_due(self, machine: Supervisor) -> bool:
        """Whether time itself may change something in the step that begins."""
        s, due_ns = machine.state, machine.deadline_ns
        # A verdict that is too old by now is asked for again, whatever wakes the machine.
        is_outdated = self.world.now_ns - s.dial.good_ns > GOOD_FOR_NS >= s.now_ns - s.dial.good_ns
        return is_outdated or (due_ns is not None and due_ns <= self.world.now_ns)

    def after(self, machine: Supervisor, event: Any, commands: list[Command]) -> None:
        s, before, life = machine.state, self._before, self._life
        assert before is not None
        is_refusal = isinstance(event, m.LinkRefused) and event.status == 403
        require(
            s.consecutive_403 <= before.consecutive_403 + is_refusal, "only a 403 counts as a 403"
        )
        self._check_stale(s, event, before)
        life.hear(s, event, before)
        if s.consecutive_403 > before.consecutive_403 and s.consecutive_403 >= 3:
            life.blocked_until_ns = s.now_ns + SOCKET_RETRY_NS
        self._check_login(s, event, commands)
        if isinstance(event, Instruments):
            after = _places_of(s)
            moved = [token for token, at in self._places.items() if after.get(token, at) != at]
            require(not moved, "what streams stays on its socket")
        has_persisted = False
        for command in commands:
            has_persisted |= isinstance(command, Persist)
            if isinstance(command, Instruct) and not _is_taken_back(command.message, commands):
                self._check_order(s, command.message, has_persisted=has_persisted)
        self._check_state(s)
        self._check_waits(machine)
        self._duties.after(machine, event, commands)

    def _hear_verdict(self, s: State, event: m.Validated) -> None:
        if event.slot != "primary" or event.request_id != s.session.request_id:
            return
        if event.verdict == "valid":
            self._valid_ns[event.fingerprint] = self.world.now_ns
            self._valid_utc_ns[event.fingerprint] = s.utc_ns
        elif event.verdict == "refused":
            self._valid_utc_ns.pop(event.fingerprint, None)

    def _check_stale(self, s: State, event: Any, before: Before) -> None:
        """A report about another epoch, or the answer to another question, changes nothing."""
        has_turned = s.is_market_open != before.was_market_open
        if before.is_due or has_turned or not before.picture:
            return  # time itself may have changed something
        picture = before.picture
        epochs = {*picture[EPOCHS], picture[DIALLED], *before.closing}
        match event:
            case (
                m.LinkOpened(_, epoch) | m.LinkFresh(_, epoch) | m.LinkSilent(_, epoch)
                | m.LinkRefused(_, epoch) | m.LinkClosed(_, epoch)
            ):  # fmt: skip
                is_stale = epoch not in epochs
            case m.LinkDoubt(_, epoch):
                is_stale = epoch not in epochs
            case m.Polled(_, epoch):
                is_stale = epoch not in picture[REST_EPOCHS]
            case m.Validated(request_id):
                is_stale = request_id not in (picture[REQUEST], picture[STANDBY_REQUEST])
            case m.Probed(request_id):
                is_stale = request_id != picture[PROBE]
            case _:
                return
        require(
            not is_stale or picture_of(s) == picture,
            f"a late {type(event).__name__} changes nothing",
        )

    def _check_login(self, s: State, event: Any, commands: list[Command]) -> None:
        """A new login is validated in the very step in which it is seen."""
        if not isinstance(event, m.SessionSeen) or event.slot != "primary":
            return
        before = self._before
        is_new = before is not None and event.fingerprint not in (before.picture[SESSION], None)
        if is_new and not event.problem:
            asked = [
                c.message for c in commands
                if isinstance(c, Instruct) and isinstance(c.message, m.Validate)
            ]  # fmt: skip
            fingerprints = [question.fingerprint for question in asked]
            require(event.fingerprint in fingerprints, "a new login is validated at once")
            require(s.consecutive_403 == 0, "a new login begins at zero")
            require(s.dial.state is not DialState.WAITING, "a new login ends every wait")

    # --- orders -------------------------------------------------------------------------------

    def _check_order(self, s: State, message: Message, *, has_persisted: bool) -> None:
        if not isinstance(message, m.Announce):
            require(not SECRET_LIKE.search(repr(message)), "no secret in a command")
        match message:
            case m.OpenLink():
                require(has_persisted, "an epoch is written down before it is used")
                self._check_attempt(s, message)
            case m.Grant(number, epoch, source):
                self._check_grant(s.shards[number], epoch, source)
            case m.Subscribe(number, epoch, instruments):
                shard = s.shards[number]
                require(epoch == shard.link.epoch, "the order is the open socket's")
                own = [i for i in instruments if not i.is_guard]
                is_watched = any(self._is_canary(s, i) for i in instruments) or not own
                has_canary = any(self._is_canary(s, i) for i in s.instruments)
                require(is_watched or not has_canary, "every socket has a canary, if there is one")
                require(len(own) <= self.world.capacity.per_socket, "no socket is overfull")
                require(instruments == s.streamed(shard), "a socket carries its own instruments")
                self.world.observer.ordered(number, {i.key for i in own})
            case m.StartPolling(number, epoch, fingerprint):
                require(s.is_market_open, "no polling while the market is closed")
                require(s.override in ("auto", "rest"), "no polling against the operator")
                require(not s.shards[number].is_open, "no polling beside an open socket")
                require(fingerprint not in self._life.parked, "a refused poll parks its session")
                self.epoch = max(self.epoch, epoch)
            case m.Probe() if s.probe.kind == "entitlement":
                self._life.check_entitlement(s)
            case m.Validate(_, fingerprint, "primary"):
                self._life.check_validation(s, fingerprint)
            case _:
                pass

    def _is_canary(self, s: State, instrument: Instrument) -> bool:
        """Whether it ticks all the time, at this hour."""
        is_active = self.world.basket.is_canary(instrument.token)
        return is_active and s.is_trading(segment_of(instrument.token))

    def _check_attempt(self, s: State, order: m.OpenLink) -> None:
        fingerprint, life = order.fingerprint, self._life
        require(order.epoch > self.epoch, "epochs rise, over restarts too")
        self.epoch = order.epoch
        require(fingerprint == s.session.fingerprint, "the attempt uses the session in force")
        require(s.override in ("auto", "websocket"), "no socket against the operator")
        now_ns = s.now_ns
        is_valid = now_ns - self._valid_ns.get(fingerprint, -VALID_FOR_NS) < VALID_FOR_NS
        flush_ns = last_utc_ns(s.utc_ns, FLUSHED_BY)
        was_valid_today = self._valid_utc_ns.get(fingerprint, 0) >= flush_ns
        require(is_valid or was_valid_today, "no socket without a validated session")
        is_move = order.epoch == s.dial.epoch and s.dial.is_move
        require(not s.shards[order.shard].is_open or is_move, "one socket of a shard at a time")
        if not is_move:
            life.check_limit(s, order.shard)
            life.check_knocks(s)
            require(now_ns >= life.blocked_until_ns, "after three 403s one attempt in 60 s at most")
            is_too_soon = now_ns - life.closed_attempt_ns < CLOSED_RETRY_NS
            require(s.is_market_open or not is_too_soon, "market closed: attempts 60 s apart")
            life.closed_attempt_ns = now_ns if not s.is_market_open else -CLOSED_RETRY_NS
            if s.consecutive_403 >= 3:
                life.blocked_until_ns = now_ns + SOCKET_RETRY_NS

    def _check_grant(self, shard: Shard, epoch: int, source: str) -> None:
        if source == "websocket":
            is_its_own = shard.is_open and epoch == shard.link.epoch
            require(is_its_own, "the grant is that of the shard's open socket")
        elif source == "rest":
            is_its_own = not shard.is_open and epoch == shard.rest.epoch
            require(is_its_own, "the grant is that of the shard's poll")

    # --- state --------------------------------------------------------------------------------

    def _check_state(self, s: State) -> None:
        for shard in s.shards:
            if shard.grant.epoch or shard.is_open or shard.rest.epoch:
                self._check_shard(s, shard)
        tokens = [i.token for shard in s.shards for i in shard.instruments]
        require(sorted(tokens) == sorted(i.token for i in s.instruments), "each has one shard")
        if s.override == "paused":
            is_idle = s.dial.state is DialState.IDLE and not s.is_any_open
            require(is_idle and not any(sh.rest.epoch for sh in s.shards), "pause is a pause")
        sockets = sum(sh.is_open for sh in s.shards) + (s.dial.state is DialState.CONNECTING)
        require(sockets <= SOCKETS_MAX, "no fourth socket is ordered")
        state = s.last_announced
        if state is not None and state.feed == "live":
            require(s.is_streaming or not s.is_settled, "live means that all of it streams")

    def _check_shard(self, s: State, shard: Shard) -> None:
        if s.is_settled:
            self._check_grant(shard, shard.grant.epoch, shard.grant.source)
        require(not (shard.is_open and shard.rest.epoch), "one source of a shard at a time")
        require(not shard.rest.epoch or s.is_market_open, "market closed: no polling")
        is_parked = shard.rest.epoch and shard.rest.fingerprint in self._life.parked
        require(not is_parked, "a refused poll parks its session")
        highest = max(shard.link.epoch, shard.rest.epoch)
        require(highest <= s.persisted.epoch, "no epoch is in use that was not issued")

    def _check_waits(self, machine: Supervisor) -> None:
        """Every state that waits owns a deadline, and the machine asks to be woken for it."""
        s = machine.state
        dial, now_ns = s.dial, s.now_ns
        match dial.state:
            case DialState.WAITING:
                is_parked = dial.cause == "entitlement" and s.has_no_entitlement
                until_ns = dial.until_ns if not is_parked else now_ns + 1
            case DialState.CONNECTING:
                until_ns = dial.until_ns
            case DialState.PREFLIGHT:
                is_unheard = s.session.fingerprint is None and s.session.word == "unknown"
                until_ns = now_ns + 1 if is_unheard else s.session.request_until_ns
            case DialState.CLASSIFYING:
                until_ns = max(s.probe.until_ns, s.probe.moved_due_ns)
            case _ if s.closed and self._may_dial(s):
                until_ns = min(s.closing.values(), default=0)
            case _:
                return
        require(until_ns > now_ns, f"{dial.state} waits for something ({dial.cause})")
        if until_ns > now_ns + 1:
            deadline_ns = machine.deadline_ns
            require(deadline_ns is not None and deadline_ns <= until_ns, f"{dial.state} is woken")

    def _may_dial(self, s: State) -> bool:
        is_wanted = s.override in ("auto", "websocket") and Role.TICKER in s.actors_up
        return is_wanted and s.session.fingerprint is not None and s.session.word != "absent"

    # --- the others ---------------------------------------------------------------------------

    def on_said(self, line: Say) -> None:
        require(not SECRET_LIKE.search(line.text), "no secret in a log line")

    def on_line(self, line: Say) -> None:
        """Check what the machine says of trouble; requests and the like are lines beside it."""
        self.lines_told += 1
        require(self.lines_told <= LINES_MAX, "trouble is told in few lines")
        found = CONDITION.search(line.text)
        if found is not None:
            key = found.group(1)
            self.lines[key] += -1 if line.level == "info" else 1
            require(self.lines[key] in (0, 1), f"{key} is said once, and ended once")

    def on_recovery(self) -> None:
        self.lines_told = 0

    def on_verdict(self, verdict: m.Validated) -> None:
        account = self.world.kite.accounts.get(verdict.fingerprint)
        is_dead = account is not None and not account.is_alive
        require(verdict.verdict != "refused" or is_dead, "only Kite refuses a session")

    def on_connect(self, fingerprint: str) -> None:
        sockets = len(self.world.kite.sockets)
        require(sockets < SOCKETS_MAX, "three sockets of ours at once are the most")

    def on_quote(self, fingerprint: str) -> None:
        now_ns = self.world.now_ns
        require(
            now_ns - self._quoted_ns >= QUOTES_APART_NS or self.world.is_instant,
            "quote requests are a second apart",
        )
        self._quoted_ns = now_ns

    def on_operator(self, request: ControlRequest) -> None:
        self._life.reset()


def _places_of(s: State) -> dict[int, int]:
    return {i.token: shard.number for shard in s.shards for i in shard.instruments}


def _is_taken_back(message: Message, commands: list[Command]) -> bool:
    """Whether a socket gets an order and is closed in the same step, as when its market closes just
    when a new login is to be moved to."""
    closed = [
        c.message.epoch
        for c in commands
        if isinstance(c, Instruct) and isinstance(c.message, m.CloseLink)
    ]
    return isinstance(message, m.Subscribe) and message.epoch in closed
