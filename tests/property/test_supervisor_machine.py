"""The supervisor's machine in a small world where everything may happen at any moment.

The world plays the other actors: it answers late, twice, in another order, or not at all; sessions
come and go, actors die, the wall clock jumps, the operator plays with `source`. After every step
the promises of the design are checked; in the end the faults stop and the feed must become live.
"""

from typing import Literal

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kitefeed.actors.policy.machine import Wake
from kitefeed.actors.policy.market import Hours
from kitefeed.actors.supervisor.facts import (
    ActorLost,
    ActorUp,
    Clock,
    DialState,
    Instruments,
    Operate,
    Override,
    RetryNow,
    SocketState,
)
from kitefeed.actors.supervisor.machine import Event
from kitefeed.actors.supervisor.shards import WHOLE_KEY, Capacity
from kitefeed.protocol.kite.limits import SOCKETS_MAX
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.envelope import Message
from kitefeed.protocol.messages.instruments import Instrument
from kitefeed.protocol.messages.membership import Beat, Hello, LinkReport
from kitefeed.protocol.topology import Role
from tests.unit.actors.supervisor.bench import CRUDE, INFY, NIFTY, OTHERS, S
from tests.unit.actors.supervisor.watched import Watched

LIVE_WITHIN_S = 75
SESSIONS = ("f1", "f2", "f3")
Answer = m.Validated | m.Probed | m.Granted | m.LinkOpened | m.LinkFresh | m.Polled
Ending = Literal["opened", "refused", "limited", "closed"]


class World(RuleBasedStateMachine):
    """Rules are what may go wrong, and answers to what was ordered."""

    def __init__(self) -> None:
        super().__init__()
        self.bench: Watched
        self.down: set[Role] = set()
        self.deaf: set[Role] = set()  # orders do not reach them until their next hello
        self.files: dict[m.Slot, str | None] = {"primary": "f1", "standby": None}
        self.sent: list[Answer] = []  # what was answered before, to be heard twice
        self.polled: dict[int, m.StartPolling] = {}  # by shard
        self.links: dict[int, LinkReport] = {}  # what the ticker holds open, by epoch
        self.hours: Hours = "always"
        self.capacity = WHOLE_KEY

    @initialize(
        hours=st.sampled_from(["always", "always", "always", "calendar", "never"]),
        capacity=st.sampled_from([WHOLE_KEY, Capacity(3, 1), Capacity(2, 1), Capacity(1, 1)]),
    )
    def begin(self, hours: Hours, capacity: Capacity) -> None:
        self.hours, self.capacity = hours, capacity
        self.bench = Watched(hours, capacity=capacity)
        self.bench.up()
        self.bench.login("f1")
        self._take_orders()

    # --- the other actors answer --------------------------------------------------------------

    def _take_orders(self) -> None:
        """Do what the actors do at once when they are told to; answers are left to the rules."""
        for role, order in self.bench.orders:
            if role in self.deaf:
                continue
            match order:
                case m.CloseLink(_, epoch):
                    self.links.pop(epoch, None)
                case m.Subscribe(_, epoch, instruments) if epoch in self.links:
                    tokens = tuple(i.token for i in instruments if not i.is_guard)
                    self.links[epoch] = msgspec.structs.replace(self.links[epoch], tokens=tokens)
                case m.StartPolling(shard):
                    self.polled[shard] = order
                case m.StopPolling(shard):
                    self.polled.pop(shard, None)
                case _:
                    pass
        self.bench.orders.clear()

    def _tell(self, *events: Event) -> None:
        self.bench.feed(*events)
        self._take_orders()

    def _answer(self, answer: Answer) -> None:
        self.sent = [*self.sent[-20:], answer]
        self._tell(answer)

    def _last(self, kind: type[Message]) -> Message | None:
        found = self.bench.all(kind)
        return found[-1] if found else None

    @rule(
        verdict=st.sampled_from(["valid", "valid", "valid", "refused", "unverified"]),
        back=st.integers(1, 3),
    )
    def validator_answers(self, verdict: m.Verdict, back: int) -> None:
        asked = self.bench.all(m.Validate)[-back:]
        if asked and Role.TOKEN_VALIDATOR not in self.down:
            ask = asked[0]
            detail = "" if verdict == "valid" else "said so"
            answer = m.Validated(ask.request_id, ask.fingerprint, ask.slot, verdict, detail=detail)
            self._answer(answer)

    @rule(ending=st.sampled_from(["opened", "opened", "refused", "refused", "limited", "closed"]))
    def attempt_ends(self, ending: Ending) -> None:
        order = self._last(m.OpenLink)
        if not isinstance(order, m.OpenLink) or Role.TICKER in self.down:
            return
        match ending:
            case "opened" if order.epoch in self.links or len(self.links) < SOCKETS_MAX:
                self._open(order)
            case "refused" | "limited":
                status = 403 if ending == "refused" else 429
                self._tell(m.LinkRefused(order.shard, order.epoch, status))
            case _:
                self.links.pop(order.epoch, None)
                self._tell(m.LinkClosed(order.shard, order.epoch, 1006, "reset by peer"))

    def _open(self, order: m.OpenLink) -> None:
        report = LinkReport(order.shard, order.epoch, order.fingerprint, True, "websocket")
        self.links.setdefault(order.epoch, report)
        self._answer(m.LinkOpened(order.shard, order.epoch))

    @rule(what=st.sampled_from(["fresh", "silent", "unproven", "canary", "quiet", "beat"]))
    def stream_reports(self, what: str) -> None:
        if Role.TICKER in self.down:
            return
        for epoch, link in list(self.links.items()):
            match what:
                case "fresh":
                    self._answer(m.LinkFresh(link.shard, epoch))
                case "silent":
                    self._tell(m.LinkSilent(link.shard, epoch))
                case "unproven" | "canary" | "quiet" as kind:
                    self._tell(m.LinkDoubt(link.shard, epoch, kind, NIFTY.token, 100))
                case _:
                    self._tell(Beat(fresh_tick_age_ns=0, fresh_ages_ns={link.shard: 0}))

    @precondition(lambda self: len(self.links) > 1)
    @rule(which=st.integers(0, 2))
    def one_of_several_closes(self, which: int) -> None:
        if Role.TICKER not in self.down:
            link = self.links.pop(list(self.links)[which % len(self.links)])
            self._tell(m.LinkClosed(link.shard, link.epoch, 1006, "reset by peer"))

    @rule(turns=st.integers(3, 30))
    def all_goes_well_for_a_while(self, turns: int) -> None:
        for _ in range(turns):
            self._answer_well()
            self.bench.wait(0.1)
            self._take_orders()

    @rule(
        outcome=st.sampled_from(["same", "same", "moved", "token", "permission", "rate", "network"])
    )
    def quote_answers(self, outcome: m.ProbeOutcome) -> None:
        probe = self._last(m.Probe)
        if isinstance(probe, m.Probe) and Role.REST_POLLER not in self.down:
            self._answer(m.Probed(probe.request_id, outcome))

    @rule(outcome=st.sampled_from(["ok", "ok", "token", "permission", "network"]))
    def sweep_ends(self, outcome: m.RestOutcome) -> None:
        if Role.REST_POLLER not in self.down:
            for order in list(self.polled.values()):
                self._answer(m.Polled(order.shard, order.epoch, outcome, sweep_ns=S))

    @rule(is_other=st.integers(0, 9), back=st.integers(1, 3))
    def broadcaster_answers(self, is_other: int, back: int) -> None:
        grants = self.bench.all(m.Grant)[-back:]
        if not grants or Role.BROADCASTER in self.down:
            return
        grant = grants[0]
        if is_other == 0:
            self._answer(m.Granted(grant.shard, grant.epoch + 3, "none"))
        else:
            self._answer(m.Granted(grant.shard, grant.epoch, grant.source))

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def an_old_report_comes_again(self, data: st.DataObject) -> None:
        again = data.draw(st.sampled_from(self.sent))
        if not isinstance(again, m.LinkOpened):
            self._tell(again)
        elif again.epoch in self.links:
            before = len(self.bench.all(m.CloseLink))
            was_ours = self.bench.machine.state.shard_of(again.epoch) is not None
            self._tell(again)
            assert not was_ours or len(self.bench.all(m.CloseLink)) == before

    # --- things that happen -------------------------------------------------------------------

    @rule(fingerprint=st.sampled_from([*SESSIONS, None]), problem=st.sampled_from([None, "torn"]))
    def session_file_changes(self, fingerprint: str | None, problem: str | None) -> None:
        seen = None if problem else fingerprint
        if not problem:
            self.files["primary"] = fingerprint
        self._tell(m.SessionSeen("primary", seen, problem))

    @rule(fingerprint=st.sampled_from(["s1", "s2", None]))
    def standby_changes(self, fingerprint: str | None) -> None:
        self.files["standby"] = fingerprint
        self._tell(m.SessionSeen("standby", fingerprint))

    @rule(seconds=st.sampled_from([0.05, 0.5, 2, 4, 9, 16, 61, 310]))
    def time_passes(self, seconds: float) -> None:
        self.bench.wait(seconds)
        self._take_orders()

    @rule(step_s=st.sampled_from([-90_000, -3_600, -30, 30, 3_600, 20_000]))
    def wall_clock_jumps(self, step_s: int) -> None:
        self.bench.step_clock(step_s)
        self._tell(Clock(self.bench.utc_ns))

    @rule(role=st.sampled_from(OTHERS))
    def actor_is_lost(self, role: Role) -> None:
        if role not in self.down:
            self.down.add(role)
            self._forget(role)
            self._tell(ActorLost(role))

    @rule(role=st.sampled_from([Role.TICKER, Role.REST_POLLER]))
    def orders_get_lost(self, role: Role) -> None:
        self.deaf.add(role)

    @rule(role=st.sampled_from(OTHERS))
    def actor_says_hello(self, role: Role) -> None:
        """A new process after a loss; else the same one again, as after a challenge."""
        is_new = role in self.down
        self.down.discard(role)
        self._hello(role, is_new=is_new)

    @rule()
    def supervisor_restarts(self) -> None:
        """All that survives is the state file, and what the actors report."""
        before = self.bench
        self.bench = Watched(self.hours, before.machine.state.persisted, self.capacity)
        self.bench.follow(before)
        self.bench.valid_ns = before.valid_ns
        self.bench.highest_epoch = before.highest_epoch
        self.sent = []
        self._tell(Clock(self.bench.utc_ns))
        for role in OTHERS:
            if role not in self.down:
                self._hello(role, is_new=True)
        if Role.AUTH_WATCHER not in self.down:
            for slot, fingerprint in self.files.items():
                self._tell(m.SessionSeen(slot, fingerprint))

    @rule(override=st.sampled_from(["auto", "auto", "websocket", "rest", "paused"]))
    def operator_chooses(self, override: Override) -> None:
        self._tell(Operate(override))

    @rule()
    def operator_retries(self) -> None:
        self._tell(RetryNow())

    @rule(wanted=st.sampled_from([(), (NIFTY,), (NIFTY, INFY), (INFY, CRUDE), (CRUDE,)]))
    def wants_change(self, wanted: tuple[Instrument, ...]) -> None:
        self._tell(Instruments(wanted))

    def _forget(self, role: Role) -> None:
        if role is Role.TICKER:
            self.links.clear()
        elif role is Role.REST_POLLER:
            self.polled.clear()

    def _hello(self, role: Role, *, is_new: bool) -> None:
        self.deaf.discard(role)
        links: tuple[LinkReport, ...] = ()
        if role is Role.TICKER:
            links = tuple(self.links.values())
        elif role is Role.REST_POLLER:
            links = tuple(
                LinkReport(shard, order.epoch, order.fingerprint, True, "rest")
                for shard, order in self.polled.items()
            )
        highest = max((running.epoch for running in links), default=0)
        self._tell(ActorUp(Hello(role, "b", 7, 7, "1", highest, links), is_new))

    # --- what holds at any moment -------------------------------------------------------------

    @invariant()
    def every_wait_has_an_end(self) -> None:
        s = self.bench.machine.state
        dial, probe = s.dial, s.probe
        match dial.state:
            case DialState.WAITING:
                assert dial.until_ns > s.now_ns or dial.cause == "entitlement"
                assert dial.until_ns or s.has_no_entitlement
            case DialState.CONNECTING:
                assert dial.until_ns > s.now_ns
            case DialState.PREFLIGHT:
                is_unheard = s.session.fingerprint is None and s.session.word == "unknown"
                assert s.session.request_until_ns > s.now_ns or is_unheard
            case DialState.CLASSIFYING:
                assert probe.kind == "classify"
                assert max(probe.until_ns, probe.moved_due_ns) > s.now_ns
            case _:
                pass
        if dial.state in (DialState.WAITING, DialState.CONNECTING) and dial.until_ns:
            assert self.bench.machine.deadline_ns is not None
            assert self.bench.machine.deadline_ns <= dial.until_ns

    @invariant()
    def one_source_at_most_holds_the_grant_of_a_shard(self) -> None:
        for shard in self.bench.machine.state.shards:
            if shard.grant.source == "websocket":
                assert shard.is_open
                assert shard.grant.epoch == shard.link.epoch
            elif shard.grant.source == "rest":
                assert not shard.is_open
                assert shard.grant.epoch == shard.rest.epoch
            assert not (shard.is_open and shard.rest.epoch)

    @invariant()
    def every_instrument_is_in_one_shard(self) -> None:
        s = self.bench.machine.state
        placed = [i for shard in s.shards for i in shard.instruments]
        assert {*placed} == {*s.instruments[: self.capacity.total]}
        assert len(placed) == len({*placed})
        assert all(len(shard.instruments) <= self.capacity.per_socket for shard in s.shards)

    @invariant()
    def there_are_never_more_sockets_than_allowed(self) -> None:
        s = self.bench.machine.state
        is_dialling = s.dial.state is DialState.CONNECTING
        assert sum(shard.is_open for shard in s.shards) + is_dialling <= SOCKETS_MAX

    @invariant()
    def nobody_polls_who_should_not(self) -> None:
        """Also a poller that a former supervisor started."""
        s = self.bench.machine.state
        if not {Role.REST_POLLER} & (self.down | self.deaf):
            for shard, order in self.polled.items():
                assert s.shards[shard].rest.epoch == order.epoch
                assert s.is_market_open
                assert s.override in ("auto", "rest")

    @invariant()
    def nothing_works_while_paused(self) -> None:
        s = self.bench.machine.state
        if s.override == "paused":
            assert s.dial.state is DialState.IDLE
            assert not any(shard.is_open or shard.rest.epoch for shard in s.shards)

    @invariant()
    def a_step_leaves_nothing_to_be_done(self) -> None:
        """The regions have had their turns until none had news for another."""
        assert self.bench.machine.handle(Wake(), self.bench.now_ns) == []

    # --- and in the end -----------------------------------------------------------------------

    def teardown(self) -> None:
        """The faults stop and everything answers well: the feed is live within 75 s."""
        if not hasattr(self, "bench"):
            return
        bench = self.bench
        for role in OTHERS:
            self._hello(role, is_new=role in self.down)
        self.down.clear()
        self._tell(Operate("auto"), m.SessionSeen("primary", "f1"), Instruments((NIFTY, INFY)))
        self._tell(Clock(bench.utc_ns))
        start_ns = bench.now_ns
        while not bench.machine.state.is_streaming:
            took_s = (bench.now_ns - start_ns) / S
            dial = bench.machine.state.dial
            assert took_s <= self._patience_s(), f"not live after {took_s} s: {dial}"
            self._answer_well()
            bench.wait(0.1)
        assert self.hours != "always" or bench.state.feed == "live"

    def _patience_s(self) -> float:
        """A plan without data is asked for every quarter of an hour only."""
        return 1_000 if self.bench.machine.state.has_no_entitlement else LIVE_WITHIN_S

    def _answer_well(self) -> None:
        """One turn of a world without faults; who is down or deaf says nothing."""
        s = self.bench.machine.state
        away = self.down | self.deaf
        if Role.TOKEN_VALIDATOR not in away:
            for facts in (s.session, s.standby):
                if facts.request_id and facts.fingerprint:
                    args = (facts.request_id, facts.fingerprint, facts.slot)
                    self._tell(m.Validated(*args, "valid"))
        if Role.BROADCASTER not in away:
            for shard in s.shards:
                if not shard.grant.is_acknowledged and shard.grant.sent_ns:
                    self._answer(m.Granted(shard.number, shard.grant.epoch, shard.grant.source))
        if Role.REST_POLLER not in away:
            if s.probe.request is not None:
                self._answer(m.Probed(s.probe.request.request_id, "same"))
            for order in list(self.polled.values()):
                self._tell(m.Polled(order.shard, order.epoch, "ok"))
        if Role.TICKER not in away:
            self._stream_well()

    def _stream_well(self) -> None:
        s = self.bench.machine.state
        if s.dial.state is DialState.CONNECTING:
            order = self._last(m.OpenLink)
            assert isinstance(order, m.OpenLink)
            assert order.epoch == s.dial.epoch
            self._open(order)
        for shard in s.shards:
            if shard.link.state is SocketState.PRIMING and shard.link.is_subscribed:
                self._answer(m.LinkFresh(shard.number, shard.link.epoch))


World.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestSupervisorInASmallWorld = World.TestCase
