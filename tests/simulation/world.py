"""One machine, one Kite, one virtual clock: everything that happens is an event of one heap.

Two paces. Where something is going on, every timer fires when it is due. Where nothing is (all
processes run, no socket is sick, no alert), the clock jumps to the next moment at which a machine
or the world wants something, and everybody catches up there: sources first, so that the stretch
reads as what it was, a quiet one.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from random import Random

from kitefeed.actors.broadcaster.events import Ingest
from kitefeed.actors.policy.machine import Wake
from kitefeed.actors.policy.market import Market
from kitefeed.actors.runtime import calendar_file
from kitefeed.actors.supervisor.core import Send
from kitefeed.actors.supervisor.facts import Clock, DialState, Shard, SocketState
from kitefeed.actors.supervisor.shards import WHOLE_KEY, Capacity
from kitefeed.actors.ticker.canaries import QUICK_TICKS, SILENT_NS
from kitefeed.actors.ticker.link_state import BEAT_NS, LinkState
from kitefeed.actors.ticker.machine import LinkId
from kitefeed.protocol.feed import IngestBatch, encode
from kitefeed.protocol.kite.ticks import segment_of
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.envelope import Message
from kitefeed.protocol.messages.membership import Beat, BeatAck, Hello
from tests.simulation.basket import Basket
from tests.simulation.centre import Centre, Mouth, Reader, Screen
from tests.simulation.checker import Checker
from tests.simulation.exchange import PERIODS_NS, Exchange, S
from tests.simulation.hosts import NEVER, Host, Poller, Ticker, Validator, Watcher
from tests.simulation.kite import Kite, Socket
from tests.simulation.life import require
from tests.simulation.lists import Lists
from tests.simulation.observer import Observer
from tests.simulation.orders import Orders

MINUTE_NS = 60 * S
SKIP_NS = 240 * S  # the longest jump
CALM_GAP_NS = 1_500_000_000  # a jump longer than this is a skipped stretch
GRID_NS = S // 4  # timers of the sources fire on it, up to this late: a loop that is a bit busy
BOOT_NS = 1_000 * S
EVENTS_KEPT = 50
ECHOES_S = ((0.3, 2.0), (1.0, 8.0))
LATE_S = 0.7  # after a grant: the one before it comes again, and what its source had still to say
HUNG_NS = 8 * S  # a process that hangs is killed after five seconds without a beat
CALENDAR = calendar_file.load()
# Ten seconds without a canary, a quote, a second's grace; three sockets are asked about in turn.
CANARY_SEEN_NS = 25 * S
THAWED_NS = 16 * S
QUICK_NS = 5 * S // 2  # what ticks more seldom is no canary
# A silent canary is found out, and a quote had, within so long: then others are believed.
IDLE_SEEN_NS = 25 * S
QUIET_NS = 10 * S
QUIET_SEEN_NS = 55 * S  # without any of them a quote is asked after ten seconds, and after thirty
QUIET_AGAIN_NS = 30 * S  # about another: what trades in an auction proves nothing
MISSED_NS = 900 * S  # what moves more seldom is not waited for: its socket may say nothing all day
UNSETTLED = (DialState.CONNECTING, DialState.CLASSIFYING, DialState.PREFLIGHT)


def make_calendar() -> Market:
    """Return what the supervisor believes about market hours."""
    return Market("calendar", CALENDAR)


class World:
    def __init__(
        self, seed: int, start_utc_ns: int, exchange: Exchange, capacity: Capacity, basket: Basket
    ) -> None:
        self.basket = basket
        self.capacity = capacity
        self.is_sharded = capacity != WHOLE_KEY
        self.rng = Random(seed)
        self.now_ns = BOOT_NS
        self._true_offset_ns = start_utc_ns - BOOT_NS
        self.step_ns = 0  # by how much the host's wall clock is wrong
        self.has_stepped = False  # today
        self.exchange = exchange
        self.calendar = make_calendar()
        self.kite = Kite(exchange, self.rng, lambda: self.true_utc_ns)
        self.files: dict[m.Slot, tuple[str | None, str | None]] = {
            "primary": (None, None), "standby": (None, None),
        }  # fmt: skip
        self.lists = Lists()
        self.events: deque[tuple[int, object]] = deque(maxlen=EVENTS_KEPT)
        self.steps = 0
        self.is_instant = False
        self.disturbed_ns = 0  # when something last went wrong that may hide something else
        self.bus_delay_s = (0.0003, 0.003)
        self.is_echoing = False  # old reports come again
        self.losing = 0  # so many more batches of ticks never reach the broadcaster
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._number = 0
        self._alert_until_ns = 0
        self._held_ns = 0  # since when canaries hold something
        self._unanswered_ns = 0  # when a quote could last not be had
        self._grants: dict[int, m.Grant] = {}  # shard -> the last that was sent
        self._batches: dict[int, IngestBatch] = {}  # shard -> the last with ticks
        self.stood_ns = 0  # when the supervisor was last hindered from looking after the others
        self._sent: dict[str, int] = {}  # peer and direction -> last delivery: pipes keep order
        self.checker, self.observer = Checker(self), Observer(self)
        self.reader = Reader(self)
        self.orders = Orders(self, seed)
        self.screen = Screen(self) if basket.per_second else None
        self.readers = [self.reader, *([self.screen] if self.screen else [])]
        self.centre = Centre(self)
        self.mouth = Mouth(self)
        self.ticker = Ticker(self)
        self.poller = Poller(self)
        self.validator = Validator(self)
        self.watcher = Watcher(self)
        self.actors: list[Host] = [
            self.ticker, self.poller, self.validator, self.watcher, self.mouth,
        ]  # fmt: skip
        self.hosts: list[Host] = [*self.actors, self.centre]
        for at_ns in exchange.moments():  # no quiet stretch goes on over one of these
            if at_ns > start_utc_ns:
                self.at(at_ns - self._true_offset_ns, lambda: self.alert(2))

    @property
    def true_utc_ns(self) -> int:
        return self.now_ns + self._true_offset_ns

    @property
    def utc_ns(self) -> int:
        """The wall clock of the host."""
        return self.true_utc_ns + self.step_ns

    def number(self) -> int:
        self._number += 1
        return self._number

    def note(self, what: object) -> None:
        """For the story that is printed when a promise is broken."""
        self.steps += 1
        is_announcement = isinstance(what, Send) and isinstance(what.message, m.Announce | BeatAck)
        if not isinstance(what, Beat | Clock | Wake) and not is_announcement:
            self.events.append((self.now_ns, what))

    # --- time ---------------------------------------------------------------------------------

    def at(self, now_ns: int, act: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (now_ns, self.number(), act))

    def after(self, delay_s: float, act: Callable[[], None]) -> None:
        self.at(self.now_ns + int(delay_s * S), act)

    def alert(self, seconds: float) -> None:
        """Something happens: every timer counts for a while."""
        self._alert_until_ns = max(self._alert_until_ns, self.now_ns + int(seconds * S))

    def run(self, until_ns: int) -> None:
        while self.now_ns < until_ns:
            self._move(min(self._next_ns(), until_ns))

    def _move(self, next_ns: int) -> None:
        gap_ns = next_ns - self.now_ns
        if gap_ns < CALM_GAP_NS or self._is_before_boot():
            self.now_ns = next_ns
            self.observer.look()
        else:
            self.now_ns = next_ns
            self._catch_up()
            self.observer.skipped()
        while self._heap and self._heap[0][0] <= self.now_ns:
            heapq.heappop(self._heap)[2]()
        for socket in list(self.kite.sockets.values()):
            if socket.is_open and socket.frame_due_ns <= self.now_ns:
                self._stream(socket.link)
        for host in self.hosts:
            if host.is_running and host.due_ns <= self.now_ns:
                host.tick()

    def _is_before_boot(self) -> bool:
        """Whether nothing is skipped yet."""
        return any(host.life == 0 for host in self.hosts)

    def _next_ns(self) -> int:
        dues = [self._heap[0][0]] if self._heap else []
        if self.is_calm():
            dues += [self.now_ns + SKIP_NS, self.centre.deadline_ns, self.validator.deadline_ns]
        else:
            dues += [h.due_ns for h in (self.centre, self.validator) if h.is_running]
            timers = [host.due_ns for host in self.actors if host.is_running]
            timers += [s.frame_due_ns for s in self.kite.sockets.values() if s.is_open]
            dues.append(-(-min(timers, default=NEVER) // GRID_NS) * GRID_NS)
        return max(min(dues, default=self.now_ns + S), self.now_ns + 1)

    def is_calm(self) -> bool:
        if self.now_ns < self._alert_until_ns or not all(h.is_running for h in self.hosts):
            return False
        s = self.centre.machine.state
        is_settled = s.dial.state not in UNSETTLED and not s.probe.moved_due_ns and not s.closing
        is_priming = any(
            shard.link.state is SocketState.PRIMING and not self._is_shut(shard)
            for shard in s.shards
        )
        is_primed = not is_priming or not s.is_market_open
        is_sound = not any(map(self._is_sick, self.kite.sockets.values()))
        is_settled &= not self._is_doubting()
        return is_settled and is_primed and self._is_known() and is_sound and self._is_steady()

    def _is_doubting(self) -> bool:
        """Whether a silent canary holds something until a quote about it, which is had soon. What
        is still held then is frozen, or its market is closed: that may last all night."""
        if not any(running.liveness.canaries.held for running in self._running()):
            self._held_ns = 0
            return False
        self._held_ns = self._held_ns or self.now_ns
        return self.now_ns - self._held_ns < IDLE_SEEN_NS and self.is_answering_for(0)

    def _running(self) -> Iterable[LinkState]:
        return self.ticker.machine._open.values()

    def _is_shut(self, shard: Shard) -> bool:
        """Whether nothing is expected of it while another segment is open."""
        return bool(shard.instruments) and not self.centre.machine.state.has_hours(shard)

    def _is_sick(self, socket: Socket) -> bool:
        """While nothing of it trades, one that sends no ticks is like any other."""
        if socket.fault != "mute":
            return bool(socket.fault)
        floors = {self.exchange.floor_of(token) for token in socket.modes} or self.exchange.floors
        return any(floor.is_trading(self.true_utc_ns) for floor in floors)

    def _is_steady(self) -> bool:
        """Nobody waits for an acknowledgement, or for a poll that fails or for its turn."""
        s = self.centre.machine.state
        if sum(shard.rest.epoch > 0 for shard in s.shards) > 1:
            return False
        is_answering = self.kite.rest == "ok" and self.kite.net == "ok"
        for shard in s.shards:
            grant, rest = shard.grant, shard.rest
            is_polling_well = is_answering and self.kite.is_alive(rest.fingerprint)
            is_granted = grant.is_acknowledged or not grant.epoch
            if not is_granted or (rest.epoch and not is_polling_well):
                return False
        return True

    def is_open_hours(self, token: int) -> bool:
        """Trading for a while, and the calendar knows it; and streamed."""
        if self.is_frozen(token):
            return False
        moments = (self.true_utc_ns - seconds * S for seconds in (0, 8, 16))
        is_known = self.centre.machine.state.market.is_open(segment_of(token), self.utc_ns)
        return is_known and all(map(self.exchange.floor_of(token).is_trading, moments))

    def is_frozen(self, token: int) -> bool:
        """In the stream alone, or just now."""
        thawed_ns = self.kite.thawed_ns.get(token, -THAWED_NS)
        return token in self.kite.frozen or self.true_utc_ns - thawed_ns < THAWED_NS

    def is_held(self, socket: Socket, token: int) -> bool:
        """Whether an always-active one of its segment is frozen on its socket, and so ought to hold
        it: the silence of any other proves nothing, nor does one on another socket."""
        segment = segment_of(token)
        frozen = (t for t in socket.modes if segment_of(t) == segment and self.is_frozen(t))
        return self.calendar.is_trading(segment, self.utc_ns) and any(
            map(self.basket.is_canary, frozen)
        )

    def may_pause(self, token: int, for_ns: int) -> bool:
        """Whether it is taken for a canary, and may be silent for so long all the same."""
        return self.basket.is_canary(token) and PERIODS_NS[token] > for_ns

    def _canaries(self, tokens: Iterable[int], utc_ns: int) -> list[int]:
        """Those of which the calendar says that they tick at that time; not those that are slow, or
        stand still."""
        canaries = [t for t in tokens if self.basket.is_canary(t) and self._is_quick(t, utc_ns)]
        return [t for t in canaries if self.calendar.is_trading(segment_of(t), utc_ns)]

    def _is_quick(self, token: int, utc_ns: int) -> bool:
        is_own = self.exchange.floor_of(token) is not self.exchange.home_of(token)
        is_standing = is_own and not self.exchange.floor_of(token).is_trading(utc_ns)
        return PERIODS_NS[token] <= QUICK_NS and token not in self.kite.frozen and not is_standing

    def is_lively(self, socket: Socket) -> bool:
        """Whether something on it ticks all the time, and has done so for a while."""
        is_old = self.now_ns - socket.faulty_since_ns > 10 * S
        quick = [token for token in socket.modes if self._is_quick(token, self.true_utc_ns)]
        return is_old and not socket.fault and any(map(self.is_open_hours, quick))

    def is_watched(self, socket: Socket) -> bool:
        """Whether its silence would be noticed: something on it truly ticks, and is known to, also
        by the clock of this machine."""
        canaries = self._canaries(socket.modes, self.true_utc_ns)
        known = self._canaries(socket.modes, self.utc_ns)
        return any(self.is_open_hours(token) for token in canaries if token in known)

    def mute_seen_ns(self, socket: Socket) -> int:
        """Within which time its silence is noticed, 0 for never: when nothing on it is due to tick
        at this hour."""
        if self.is_watched(socket):
            return CANARY_SEEN_NS
        if not self.is_quiet(socket):
            return 0
        periods_ns = [PERIODS_NS[token] for token in filter(self.is_open_hours, socket.modes)]
        first_ns = min(periods_ns)  # before it, nothing was missed
        if first_ns > MISSED_NS:
            return 0
        lively = sum(period_ns <= QUIET_NS for period_ns in periods_ns)
        others = min(len(socket.modes) - lively, len(socket.modes) - 1)
        return first_ns + QUIET_SEEN_NS + others * QUIET_AGAIN_NS

    def is_quiet(self, socket: Socket) -> bool:
        """Whether something on it trades, but nothing that is always active."""
        has_canaries = bool(self._canaries(socket.modes, self.true_utc_ns))
        return not has_canaries and any(map(self.is_open_hours, socket.modes))

    def is_in_doubt(self, shard: Shard) -> bool:
        """Whether only such are on its socket, or were just now, as ought to tick and do not, as in
        a halt, or in a session of one segment that the calendar does not know: then all of it is in
        doubt, until others tick on, or a quote tells."""
        moments = (self.true_utc_ns - seconds * S for seconds in range(0, IDLE_SEEN_NS // S + 1, 3))
        idle = [self._has_idle_canaries(shard, utc_ns) for utc_ns in moments]
        if not any(idle):
            return False
        socket = self.kite.sockets.get(LinkId(shard.number, shard.link.epoch))
        is_lively = socket is not None and self.is_lively(socket)
        is_long = self.true_utc_ns - self.kite.frozen_ns > IDLE_SEEN_NS
        if self.kite.frozen and not is_lively:
            return True  # the market moves, and nothing on it ticks
        return not (all(idle) and is_long and (is_lively or self.is_answering_for(IDLE_SEEN_NS)))

    def _has_idle_canaries(self, shard: Shard, utc_ns: int) -> bool:
        state = self.centre.machine.state
        own, others = (
            [i.token for i in instruments if self.basket.is_canary(i.token)]
            for instruments in (shard.instruments, state.instruments)
        )
        due = [t for t in own if self.calendar.is_trading(segment_of(t), utc_ns)]
        due = due or [t for t in others if self.calendar.is_trading(segment_of(t), utc_ns)][:1]
        if state.is_overruled:
            due = own or others[:1]
        ticking = [t for t in due if self.exchange.floor_of(t).is_trading(utc_ns)]
        return bool(due) and not any(self._is_quick(token, utc_ns) for token in ticking)

    def is_answering_for(self, for_ns: int) -> bool:
        """Whether Kite has answered quotes for so long."""
        kite, s = self.kite, self.centre.machine.state
        is_answered = kite.rest == "ok" and kite.net == "ok" and kite.lacking is None
        is_good = is_answered and kite.is_alive(s.session.fingerprint) and not kite.more
        if not is_good or kite.latency_s != 1.0:
            self._unanswered_ns = self.now_ns
        return self.now_ns - self._unanswered_ns > for_ns

    def is_steady_machine(self) -> bool:
        """All processes run and know each other; the clock is right; reports come at once."""
        if not all(host.is_running for host in self.hosts) or self.step_ns or self.is_echoing:
            return False
        return self._is_known()

    def _is_known(self) -> bool:
        """Every actor was welcomed by the supervisor that runs."""
        boot_id = self.centre.boot_id
        return all(host.supervisor == boot_id for host in self.actors)

    def _catch_up(self) -> None:
        """A quiet stretch is over: all beats, frames and polls that it held come down to one."""
        self.is_instant = True
        for host in self.actors:
            host.membership.heard_ns = self.now_ns
        for running in self._running():
            running.liveness.last_frame_ns = self.now_ns  # a heartbeat a second came all the while
            running._beat_due_ns = self.now_ns
            for token, canary in running.liveness.canaries._all.items():
                # Between two ticks of such it would have been seen to pause, or to be quick.
                is_long = self.now_ns - canary.ticked_ns >= SILENT_NS
                canary.is_silent |= is_long and PERIODS_NS[token] > SILENT_NS
                if is_long and self.is_open_hours(token) and PERIODS_NS[token] <= QUICK_NS:
                    canary.pace.quick_ticks = QUICK_TICKS
                    canary.ticked_ns = self.now_ns - PERIODS_NS[token]
            if self.is_answering_for(0):  # what was silent was asked about all the while
                for segment in running.liveness.canaries._segments.values():
                    if segment.vouched_ns:
                        segment.vouched_ns = self.now_ns + SILENT_NS
        for socket in list(self.kite.sockets.values()):
            if socket.is_open:
                self._stream(socket.link)
        self.poller.tick()
        self.ticker.tick()  # its beats reach the broadcaster before that tells who is alive
        for host in (self.ticker, self.mouth):
            host.turn()
        self.mouth.tick()
        self.centre.tick()
        self.is_instant = False

    def suspend(self, seconds: float) -> None:
        """The lid is closed: boot time goes on, nobody runs, connections die meanwhile."""
        self.note(f"suspended for {seconds:.0f} s")
        streams = [s for s in self.kite.sockets.values() if s.is_open and s.modes]
        buffered = [(s.link, self.kite.everything(s)) for s in streams]
        self.now_ns += int(seconds * S)
        self.stood_ns = self.now_ns
        self.observer.shaken()
        for socket in self.kite.sockets.values():
            self.sicken(socket.link, "half_open")
        for link, frame in buffered:  # what the kernel held while nobody read it
            self.ticker.do(lambda link=link, frame=frame: self.ticker.frame(link, frame))  # type: ignore[misc]
        self.rng.shuffle(self.hosts)
        self.alert(15)

    def hold_up(self, socket: Socket, seconds: float) -> None:
        """The network stands still, and then brings what Kite sent before and after."""
        before = self.kite.everything(socket)
        self.sicken(socket.link, "half_open")

        def release() -> None:
            if socket.fault == "half_open" and socket.link in self.kite.sockets:
                self.alert(2)
                self.observer.shaken()
                socket.fault, socket.faulty_since_ns = "", self.now_ns
                socket.frame_due_ns = self.now_ns + S // 20
                self.ticker.do(lambda: self.ticker.frame(socket.link, before))

        self.after(seconds, release)

    # --- the wires ----------------------------------------------------------------------------

    def report(self, host: Host, message: Message) -> None:
        """An actor speaks to the supervisor."""
        peer, centre = host.boot_id, self.centre
        if not centre.is_up:
            return  # nothing is queued for an absent peer

        def deliver() -> None:
            host.told_ns = self.now_ns
            centre.hear(message, peer)  # type: ignore[arg-type]

        self._deliver(f"{peer}>", centre, deliver, message)
        is_final = isinstance(message, Hello | m.SessionSeen | m.ListenersWant)
        if self.is_echoing and not is_final:
            for low_s, high_s in ECHOES_S:
                centre.later(self.rng.uniform(low_s, high_s), deliver)

    def command(self, peer: str, message: Message) -> None:
        """The supervisor speaks to the actor that has this boot id."""
        host = next((h for h in self.actors if h.boot_id == peer), None)
        if host is None or not host.is_up:
            return
        if isinstance(message, m.OpenLink | m.CloseLink | m.Grant | m.StartPolling | m.Subscribe):
            self.alert(3)
        self._deliver(f">{peer}", host, lambda: host.receive(message), message)
        if isinstance(message, m.Grant):
            self._come_late(message)

    def _come_late(self, grant: m.Grant) -> None:
        """Bring late what stood in other pipes: ticks of the source before, and now and then its
        grant."""
        mouth, before = self.mouth, self._grants.get(grant.shard, grant)
        self._grants[grant.shard] = grant
        if self.is_echoing and before.epoch < grant.epoch:
            mouth.later(LATE_S, lambda: mouth.receive(before))
        batch = self._batches.get(grant.shard)
        if batch is not None and batch.epoch < grant.epoch:
            mouth.later(LATE_S, lambda: self._ingest_late(batch, grant))

    def _ingest_late(self, batch: IngestBatch, grant: m.Grant) -> None:
        if (grant.shard, grant.epoch) in self.mouth.granted:
            self.mouth.feed(Ingest(encode(batch), self.utc_ns))

    def _deliver(self, pipe: str, host: Host, act: Callable[[], None], message: Message) -> None:
        if self.is_instant:
            host.do(act)
            return
        is_of_orders = isinstance(message, m.ReadOrders | m.OrdersUnread | m.OrdersHealed)
        rng = self.orders.rng if is_of_orders else self.rng
        delay_ns = int(rng.uniform(*self.bus_delay_s) * S)
        at_ns = max(self.now_ns + delay_ns, self._sent.get(pipe, 0))
        self._sent[pipe] = at_ns
        self.at(at_ns, host.in_this_life(lambda: host.do(act)))

    def beat(self, host: Host, beat: Beat) -> None:
        peer = host.boot_id
        self.centre.do(lambda: self.centre.hear(beat, peer))

    def acknowledge(self, peer: str) -> None:
        for host in self.actors:
            if host.boot_id == peer and host.is_running:
                host.membership.heard_ns = self.now_ns

    def ingest(self, batch: IngestBatch) -> None:
        if self.losing and batch.topics:
            self.losing -= 1
            self.observer.lost(batch)
            return
        mouth, frame = self.mouth, encode(batch)
        if batch.topics:
            self._batches[batch.shard] = batch

        def take() -> None:
            mouth.feed(Ingest(frame, self.utc_ns))
            self.observer.taken(batch)

        mouth.do(take)

    def _stream(self, link: object) -> None:
        socket = self.kite.sockets[link]  # type: ignore[index]
        socket.frame_due_ns = self.now_ns + S
        if socket.fault != "half_open":
            frame = self.kite.frame(socket)
            self.ticker.do(lambda: self.ticker.frame(socket.link, frame))

    # --- processes ----------------------------------------------------------------------------

    def killed(self, host: Host, back_in_s: float) -> None:
        """Ends a process; supervisord starts another."""
        self.note(f"{host.boot_id} is killed")
        self.disturbed_ns = self.now_ns
        if host is self.centre:
            self.stood_ns = self.now_ns
        host.kill()
        self.alert(back_in_s + 3)
        self.after(back_in_s / 2, self.orders.change)
        self.after(back_in_s, host.in_this_life(host.boot))

    def kill_process(self, pid: int) -> None:
        """The supervisor actor kills one that hangs: proven to be that very process."""
        for host in self.actors:
            if host.pid == pid and host.is_up:
                self.killed(host, 1.2)

    def freeze(self, host: Host, seconds: float) -> None:
        if not host.is_running:
            return
        self.note(f"{host.boot_id} hangs for {seconds:.1f} s")
        host.is_frozen, life, since_ns = True, host.life, self.now_ns
        host.froze_ns = self.now_ns
        is_known = host.supervisor == self.centre.boot_id and self.centre.is_running
        self.alert(seconds + 3)
        if host is self.centre:
            self.stood_ns = self.now_ns + int(seconds * S)

        def back() -> None:
            if host.life == life and host.is_up:
                silent_ns = self.now_ns - max(since_ns, host.told_ns)  # old reports still come
                is_long = silent_ns > HUNG_NS and is_known and host.is_frozen
                require(not is_long or self.stood_ns >= since_ns, "a process that hangs is killed")
                self.note(f"{host.boot_id} runs again")
                host.thaw()

        self.after(seconds, back)

    @property
    def oldest_unread_ns(self) -> int:
        """Since when what the ticker reads next was received, as it says itself: after it stood
        still, since its last beat was due, and nobody looks so closely in a quiet stretch."""
        ticker = self.ticker
        is_behind = ticker.is_frozen or self.now_ns - ticker.thawed_ns < BEAT_NS
        return ticker.froze_ns - CALM_GAP_NS if is_behind else self.now_ns

    def is_undisturbed(self, for_ns: int) -> bool:
        return self.now_ns - self.disturbed_ns > for_ns

    def sicken(self, link: object, fault: str) -> None:
        socket = self.kite.sockets[link]  # type: ignore[index]
        if fault == "mute" and not self.mute_seen_ns(socket):
            return
        socket.fault, socket.faulty_since_ns = fault, self.now_ns  # type: ignore[assignment]
