"""A bench for the supervisor's machine that checks every order and every line when it is given."""

import re
from collections import Counter

from kitefeed.actors.policy.market import Hours
from kitefeed.actors.supervisor.facts import (
    ActorUp,
    Command,
    Instruct,
    Persist,
    Persisted,
    Say,
)
from kitefeed.actors.supervisor.machine import Event
from kitefeed.actors.supervisor.shards import WHOLE_KEY, Capacity
from kitefeed.protocol.kite.ticks import segment_of
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.envelope import Message
from kitefeed.protocol.topology import Role
from tests.unit.actors.supervisor.bench import Bench, S

VALID_FOR_NS = 5 * S  # one validation lets all sockets in, one after the other
SECRET_LIKE = re.compile(r"access_token|api_secret|enctoken|[A-Za-z0-9]{32}")
CONDITION = re.compile(r"condition=(\w+)$")


class Watched(Bench):
    """A bench that checks every command at the moment it is given."""

    def __init__(
        self,
        hours: Hours,
        persisted: Persisted | None = None,
        capacity: Capacity = WHOLE_KEY,
    ) -> None:
        self.orders: list[tuple[Role, Message]] = []  # not yet answered by the world
        self.valid_ns: dict[str, int] = {}
        self.unverified_ns: dict[str, int] = {}
        self.granted: set[tuple[str, int]] = set()
        self.adopted: set[int] = set()
        self.begun: Counter[str] = Counter()
        self.highest_epoch = 0
        super().__init__(hours=hours, persisted=persisted, capacity=capacity)

    def feed(self, *events: Event) -> list[Command]:
        commands: list[Command] = []
        for event in events:
            before_403 = self.machine.state.consecutive_403
            done = super().feed(event)
            self._hear(event)
            is_refusal = isinstance(event, m.LinkRefused) and event.status == 403
            assert self.machine.state.consecutive_403 <= before_403 + is_refusal
            has_persisted = False
            for command in done:
                has_persisted |= isinstance(command, Persist)
                self._check(command, has_persisted=has_persisted)
            commands += done
        return commands

    def _hear(self, event: Event) -> None:
        match event:
            case m.Granted(_, epoch, source):
                self.granted.add((source, epoch))
            case ActorUp(hello) if hello.role is Role.REST_POLLER:
                self.adopted |= {running.epoch for running in hello.links}
            case m.Validated(request_id, fingerprint, "primary", "valid"):
                if request_id in {v.request_id for v in self.all(m.Validate)}:
                    self.valid_ns[fingerprint] = self.now_ns
            case _:
                pass

    def _check(self, command: Command, *, has_persisted: bool) -> None:
        match command:
            case Instruct(role, message):
                if role in self.machine.state.actors_up:  # the shell drops the rest
                    self.orders.append((role, message))
                self._check_order(message, has_persisted=has_persisted)
            case Say(level, text):
                assert not SECRET_LIKE.search(text)
                self._check_line(level, text)
            case Persist():
                pass

    def _check_order(self, message: Message, *, has_persisted: bool) -> None:
        s = self.machine.state
        match message:
            case m.OpenLink(_, epoch, fingerprint):
                assert has_persisted
                assert epoch > self.highest_epoch
                self.highest_epoch = epoch
                assert fingerprint == s.session.fingerprint
                self._check_attempt(fingerprint)
            case m.Grant(shard, epoch, "websocket"):
                assert s.shards[shard].is_open
                assert epoch == s.shards[shard].link.epoch
            case m.StartPolling(shard, epoch):
                assert epoch in self.adopted or ("rest", epoch) in self.granted
                assert s.is_market_open
                assert all(s.is_open(segment_of(i.token)) for i in message.instruments)
                assert s.override in ("auto", "rest")
                assert not s.shards[shard].is_open
            case _:
                pass

    def _check_attempt(self, fingerprint: str) -> None:
        is_valid = self.now_ns - self.valid_ns.get(fingerprint, -VALID_FOR_NS) <= VALID_FOR_NS
        s = self.machine.state
        was_valid = s.session.word == "valid" and fingerprint in self.valid_ns
        was_valid |= s.persisted.valid_fingerprint == fingerprint and s.persisted.valid_utc_ns > 0
        assert is_valid or (was_valid and s.session.detail), "no validation before the attempt"

    def _check_line(self, level: str, text: str) -> None:
        found = CONDITION.search(text)
        if found is None:
            return
        key = found.group(1)
        self.begun[key] += -1 if level == "info" else 1
        assert self.begun[key] in (0, 1), f"{key}: a condition is said once, and ended once"
