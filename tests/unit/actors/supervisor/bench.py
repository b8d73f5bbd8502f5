"""The supervisor's machine on a bench: virtual time, and the other actors played by hand."""

from datetime import datetime
from typing import TypeVar

from kitefeed.actors.policy.machine import Wake
from kitefeed.actors.policy.market import Hours, Market, to_utc_ns
from kitefeed.actors.runtime import calendar_file
from kitefeed.actors.supervisor.facts import (
    ActorLost,
    ActorUp,
    Clock,
    Command,
    Instruct,
    Instruments,
    Persist,
    Persisted,
    Say,
)
from kitefeed.actors.supervisor.machine import Event, Supervisor
from kitefeed.actors.supervisor.shards import WHOLE_KEY, Capacity
from kitefeed.protocol.feed import FeedState
from kitefeed.protocol.kite.units import IST
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.envelope import Message
from kitefeed.protocol.messages.instruments import Instrument
from kitefeed.protocol.messages.membership import Beat, Hello, LinkReport
from kitefeed.protocol.topology import Role

S = 1_000_000_000
NIFTY = Instrument(256265, "NSE:NIFTY 50", "full", True)
INFY = Instrument(408065, "NSE:INFY", "full")
CRUDE = Instrument(109_129_479, "MCX:CRUDEOIL26DECFUT", "full")
OTHERS = tuple(role for role in Role if role is not Role.SUPERVISOR)
CALENDAR = calendar_file.load()
MONDAY = datetime(2026, 11, 23, 10, 0, tzinfo=IST)

M = TypeVar("M", bound=Message)


class Bench:
    def __init__(
        self,
        *,
        hours: Hours = "always",
        at: datetime = MONDAY,
        persisted: Persisted | None = None,
        misconfigured: str | None = None,
        instruments: tuple[Instrument, ...] = (NIFTY, INFY),
        capacity: Capacity = WHOLE_KEY,
    ) -> None:
        self.now_ns = 1_000 * S
        self._utc_offset_ns = to_utc_ns(at) - self.now_ns
        self.sent: list[tuple[float, Role, Message]] = []
        self.said: list[Say] = []
        self.persisted = 0
        self.machine = Supervisor(
            now_ns=self.now_ns,
            utc_ns=self.utc_ns,
            market=Market(hours, CALENDAR),
            backoff_s=[5, 15, 30, 60],
            persisted=persisted or Persisted(),
            jitter=lambda: 0.5,
            misconfigured=misconfigured,
            capacity=capacity,
        )
        if instruments:
            self.feed(Instruments(instruments))

    @property
    def utc_ns(self) -> int:
        return self.now_ns + self._utc_offset_ns

    def step_clock(self, seconds: float) -> None:
        """The wall clock is set; boot time goes on."""
        self._utc_offset_ns += int(seconds * S)

    def follow(self, other: "Bench") -> None:
        """Takes both clocks from `other`: a restart happens at its time."""
        self.now_ns, self._utc_offset_ns = other.now_ns, other._utc_offset_ns

    @property
    def state(self) -> FeedState:
        """The last picture that was announced to the feed."""
        return self.all(m.Announce)[-1].state

    def feed(self, *events: Event) -> list[Command]:
        commands: list[Command] = []
        for event in events:
            commands += self.machine.handle(event, self.now_ns)
        for command in commands:
            match command:
                case Instruct(role, message):
                    self.sent.append((self.now_ns / S, role, message))
                case Say():
                    self.said.append(command)
                case Persist():
                    self.persisted += 1
        return commands

    def wait(self, seconds: float, *, fresh: bool = False) -> None:
        """Lets time pass: the machine gets its wakes and the clock. `fresh`: the ticker's beats say
        that fresh ticks arrive all the while."""
        end_ns = self.now_ns + int(seconds * S)
        clock_ns = self.now_ns + S
        while True:
            deadline_ns = self.machine.deadline_ns or end_ns + 1
            next_ns = min(deadline_ns, clock_ns)
            if next_ns > end_ns:
                break
            self.now_ns = max(next_ns, self.now_ns)
            if next_ns == clock_ns:
                clock_ns += S
                if fresh:
                    self.feed(Beat(fresh_tick_age_ns=0, last_tick_age_ns=0))
                self.feed(Clock(self.utc_ns))
            else:
                self.feed(Wake())
        self.now_ns = end_ns

    def until(self, kind: type[Message], within_s: float = 120) -> float:
        """Lets time pass until one more `kind` is sent; returns the seconds it took."""
        before, start_ns = len(self.all(kind)), self.now_ns
        while len(self.all(kind)) == before:
            assert self.now_ns - start_ns < within_s * S, f"no {kind.__name__} in {within_s} s"
            self.wait(0.05)
        return (self.now_ns - start_ns) / S

    # --- what was ordered ---------------------------------------------------------------------

    def all(self, kind: type[M]) -> list[M]:
        return [message for _, _, message in self.sent if isinstance(message, kind)]

    def last(self, kind: type[M]) -> M:
        return self.all(kind)[-1]

    def times(self, kind: type[Message]) -> list[float]:
        return [when for when, _, message in self.sent if isinstance(message, kind)]

    def errors(self) -> list[str]:
        return [say.text for say in self.said if say.level == "error"]

    def forget(self) -> None:
        """Only what comes from now on is looked at."""
        self.sent = [(t, r, x) for t, r, x in self.sent if isinstance(x, m.Announce)]
        self.said.clear()

    # --- the other actors ---------------------------------------------------------------------

    def up(self, *roles: Role, links: tuple[LinkReport, ...] = (), is_new: bool = True) -> None:
        for role in roles or OTHERS:
            hello = Hello(role, "boot", 7, 7, "1", links=links if role is Role.TICKER else ())
            self.feed(ActorUp(hello, is_new))

    def restart(self, role: Role) -> None:
        self.feed(ActorLost(role))
        self.up(role)

    def login(self, fingerprint: str = "first", slot: m.Slot = "primary") -> None:
        self.feed(m.SessionSeen(slot, fingerprint))

    def validate(self, verdict: m.Verdict, slot: m.Slot = "primary") -> None:
        """Answers the last validation that was asked for this slot."""
        asked = [v for v in self.all(m.Validate) if v.slot == slot][-1]
        name = "Asha" if verdict == "valid" else None
        self.feed(m.Validated(asked.request_id, asked.fingerprint, slot, verdict, "AB1", name))

    def open(self) -> int:
        """The ordered socket opens and its grant is acknowledged; returns its epoch."""
        order = self.last(m.OpenLink)
        self.feed(m.LinkOpened(order.shard, order.epoch))
        self.grant()
        return order.epoch

    def grant(self) -> None:
        grant = self.last(m.Grant)
        self.feed(m.Granted(grant.shard, grant.epoch, grant.source))

    def refuse(self, status: int = 403, quote: m.ProbeOutcome = "same") -> None:
        """The ordered socket is refused; a quote, if it is asked for, ends like this."""
        order = self.last(m.OpenLink)
        self.feed(m.LinkRefused(order.shard, order.epoch, status))
        if status == 403:
            self.feed(m.Probed(self.last(m.Probe).request_id, quote))

    def poll(self, outcome: m.RestOutcome = "ok") -> None:
        self.feed(m.Polled(0, self.last(m.StartPolling).epoch, outcome, sweep_ns=S))

    def live(self) -> int:
        """Everything up, logged in, streaming; returns the epoch of the last socket."""
        self.up()
        self.login()
        self.validate("valid")
        for shard in self.machine.state.used:
            epoch = self.open()
            self.feed(m.LinkFresh(shard.number, epoch))
        self.wait(2, fresh=True)
        assert self.state.feed == "live"
        return epoch
