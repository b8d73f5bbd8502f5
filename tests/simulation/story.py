"""A simulated day, drawn from its seed: when the market truly trades, when tokens die and people
log in, and a few bad quarters of an hour, each ended by a demand: the faults are over, now be live.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from random import Random

from kitefeed.actors.supervisor.facts import Shard
from kitefeed.actors.supervisor.shards import WHOLE_KEY
from kitefeed.actors.ticker.machine import LinkId
from kitefeed.protocol.kite.ticks import mode_from_name
from kitefeed.protocol.kite.units import IST
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.control import FetchList, Retry, SetSource
from tests.simulation.alone import (
    CLOSED,
    EVENING_THINGS,
    THINGS,
    batches_lost,
    comes_again,
    held_up,
    hides,
    indices_stand,
    knocks,
    messages_lost,
    settles,
    things,
)
from tests.simulation.basket import (
    basket_of,
)
from tests.simulation.centre import Reader
from tests.simulation.exchange import LISTED, Exchange, Floor, S, at_ist
from tests.simulation.faults import FAULTS, OF_SHARDS, Fault, half_open
from tests.simulation.kite import DROPPED, Socket
from tests.simulation.life import Broken, require
from tests.simulation.setting import capacity_of, floors_of, sessions_of
from tests.simulation.world import World

LIVE_WITHIN_S = 75
MOMENTS = (
    (6, 5),
    (7, 35),
    (8, 45),
    (9, 0),
    (9, 15),
    (15, 15),
    (15, 30),
    (15, 40),
    (15, 50),
    (16, 0),
)
EVENING = ((17, 0), (23, 30), (23, 55))  # the same on days with commodities
ALERT_S = 5  # after a fault every timer counts for so long
QUARTERS = 2  # bad quarters of an hour in a day


class Story:
    """One day in one world. `trouble` draws the faults; everything comes from the world's rng."""

    def __init__(self, seed: int) -> None:
        rng = Random(seed)
        capacity = capacity_of(seed)
        self.basket = basket_of(seed, is_sharded=capacity != WHOLE_KEY)
        day, equity, commodity = floors_of(seed, self.basket, *sessions_of(rng))
        self.day, sessions = day, equity.sessions
        # One day in six is played from before the flush to the close; of the others only what
        # leads to trouble, in market hours if there are any.
        self.is_whole = seed % 6 == 0
        self.is_blind_night = seed % 12 == 0
        self.start_ns = at_ist(self.day, 5, 50)
        if not self.is_whole:
            opens, closes = (sessions[0][0], sessions[-1][1]) if sessions else (0, 0)
            early_ns, late_ns = opens - 300 * S, max(opens, closes - 3_600 * S)
            anywhere = at_ist(self.day, 8) + int(rng.uniform(0, 7 * 3_600) * S)
            self.start_ns = rng.randint(early_ns, late_ns) if sessions else anywhere
        self.is_early = bool(sessions) and not self.is_whole and rng.random() < 0.5
        if self.is_early:
            self.start_ns = sessions[0][0] - int(rng.uniform(1_300, 2_400) * S)
        self.opens_ns = self.start_ns if not sessions else sessions[0][0]
        exchange = Exchange(equity, commodity)
        if commodity is not None and not self.is_whole:
            self._begin_elsewhere(Random(f"hour {seed}"), exchange)
        self.opens_ns += 1_000 * S - self.start_ns  # boot time
        self.world = World(rng.getrandbits(48), self.start_ns, exchange, capacity, self.basket)
        self.rng = self.world.rng
        self.told: list[str] = []
        self.aside = Random(f"aside {seed}")  # for what may be drawn without another story
        # Neighbouring seeds together go through all that may happen.
        self._turn = seed * QUARTERS
        self._things = things(seed, rng, is_sharded=self.world.is_sharded)
        self.has_standby = self.rng.random() < 0.45
        self.converged_s: list[float] = []
        self.has_bad_lists = seed % 5 == 4

    def _begin_elsewhere(self, rng: Random, exchange: Exchange) -> None:
        """With commodities: around the close of one of the two, in the evening, or before one
        opens; now and then where equities alone would begin."""
        sessions = [session for floor in exchange.floors for session in floor.sessions]
        kinds = ["as drawn", "close", "evening", "open"]
        kind = rng.choices(kinds, [15, 35, 35, 15])[0]
        if kind == "as drawn" or not sessions:
            return
        self.is_early = kind == "open"
        if kind == "evening":
            self.start_ns = at_ist(self.day, 16) + int(rng.uniform(0, 6.5 * 3_600) * S)
        elif kind == "close":
            self.start_ns = rng.choice(sessions)[1] - int(rng.uniform(300, 2_000) * S)
        else:
            self.opens_ns = rng.choice(sessions)[0]
            self.start_ns = self.opens_ns - int(rng.uniform(1_300, 2_400) * S)

    # --- the day ------------------------------------------------------------------------------

    def run(self) -> None:
        world, rng = self.world, self.rng
        self._start()
        if self.is_whole:
            self._night()
        if self.is_early:
            self._one_thing(knocks)
            world.run(self.opens_ns + 20 * S)
        for _ in range(QUARTERS):
            self._bad_quarter()
            for _ in range(THINGS // QUARTERS):
                self._one_thing(self._things.pop())
            self.wait(rng.choice([60.0, rng.uniform(60, 1_200)]))
        if not self.is_whole and world.exchange.is_trading(world.true_utc_ns):
            self._one_thing(batches_lost)
            self._one_thing(messages_lost)
            self._one_thing(held_up)
            if any(world.is_quiet(socket) for socket in self.sockets):
                self._one_thing(hides)
                self._found_out()
            self._one_thing(comes_again)
            self._one_thing(indices_stand)
            self._one_thing(settles)
        if self.is_whole:
            self._until(15, 45)
            s = world.centre.machine.state
            is_polling = any(shard.rest.epoch for shard in s.shards)
            require(not is_polling or s.is_market_open, "the day is over")
            self._until(16, 5)
            self._one_thing(knocks)
            if self.basket.has_commodities:
                self._evening()
        elif self.basket.has_commodities:
            self._past_the_close()

    def _past_the_close(self) -> None:
        """The sockets are left alone until equities have closed, while commodities trade on: so the
        last prices of equities came as ticks, and no first packet of a new socket followed."""
        world = self.world
        equity, commodity = world.exchange.floors
        ends_ns = at_ist(self.day, 16, 2)
        if world.true_utc_ns < equity.ends_ns <= ends_ns and commodity.is_trading(ends_ns):
            self._until(16, 2)
            world.alert(ALERT_S)
            self.wait(ALERT_S)

    def _evening(self) -> None:
        for _ in range(2):
            self._one_thing(self.rng.choice(EVENING_THINGS))
        self._until(23, 58)
        s = self.world.centre.machine.state
        require(not any(shard.rest.epoch for shard in s.shards), "the evening is over")
        self._one_thing(knocks)

    def _start(self) -> None:
        """Yesterday's session is still good; whoever boots first boots first."""
        self.login(by_file=True)
        if self.has_standby:
            self.login("standby", by_file=True)
        for host in self.world.hosts:
            self.world.after(self.rng.uniform(0, 2), host.boot)
        moments = (*MOMENTS, *(EVENING if self.basket.has_commodities else ()))
        for hour, minute in moments:  # of the calendar and of the fixed validations
            at_ns = at_ist(self.day, hour, minute) - self.start_ns + self.world.now_ns
            if at_ns > self.world.now_ns:
                self.world.at(at_ns - S // 2, lambda: self.world.alert(2))
        self.world.alert(8)
        self.wait(5)
        if self.has_bad_lists:
            self._bad_lists()

    def _bad_lists(self) -> None:
        """Again and again Kite's list forgets what is in use. It is not believed, until it has been
        the same for long enough, or the operator says so; then comes the good one."""
        world, at_s = self.world, 0.0
        rng = Random(f"list {self.start_ns}")

        def ask(forgotten: frozenset[str], *, is_believed: bool) -> None:
            world.lists.forgotten = forgotten
            if world.centre.is_running:
                world.alert(ALERT_S)
                world.centre.operate(FetchList(is_believed))

        for _ in range(6):
            at_s += rng.uniform(60, 1_500)
            count = rng.choice([0, 1, len(self.basket.configured)])
            forgotten = frozenset(rng.sample(self.basket.configured, count))
            is_believed = rng.random() < 0.5
            world.after(at_s, partial(ask, forgotten, is_believed=is_believed))

    def _night(self) -> None:
        """The flush of all tokens between 06:00 and 07:30, and the login of the day."""
        world, rng = self.world, self.rng
        self._until(6, rng.uniform(0, 89))
        self.tell("token flush")
        world.kite.flush()
        if self.is_blind_night:
            self._nobody_tells_of_the_flush()
        if rng.random() < 0.2:  # a login inside the window: flushed as well
            self._until(7, rng.uniform(0, 25))
            self.login(by_file=True)
            self._until(7, 30)
            world.kite.flush()
        self._until(7, 31)
        self._until(7, 35 + rng.choice([rng.uniform(0, 80), rng.uniform(0, 140)]))
        self.login(by_file=True)
        if self.has_standby:
            self.login("standby", by_file=True)
        self._until(7, 35 + rng.uniform(110, 400))

    def _nobody_tells_of_the_flush(self) -> None:
        """REST is down until after it, and the sockets end: what was valid yesterday is not known
        to be valid today."""
        world = self.world
        world.kite.rest = "5xx"
        self._until(7, 32)
        self.tell("blind")
        world.alert(130)
        self.drop_all()
        self.wait(130)
        world.kite.rest = "ok"

    def _until(self, hour: int, minute: float) -> None:
        at_ns = at_ist(self.day, hour) + int(minute * 60 * S) - self.start_ns + 1_000 * S
        if at_ns > self.world.now_ns:
            self.world.run(at_ns)

    def wait(self, seconds: float) -> None:
        self.world.run(self.world.now_ns + int(seconds * S))

    def _found_out(self) -> None:
        """Until no socket is mute any more, or one has been for longer than it may."""
        world = self.world
        mute = [s for s in self.sockets if s.fault == "mute"]
        ends_ns = world.now_ns + max(map(world.mute_seen_ns, mute), default=0) + 5 * S
        while world.now_ns < ends_ns and any(s.fault == "mute" for s in self.sockets):
            self.wait(5)

    def _bad_quarter(self) -> None:
        """A few faults that overlap, an end to all of them, and the demand to recover."""
        world, rng = self.world, self.rng
        ends_ns = world.now_ns
        self._turn += 1
        first = FAULTS[self._turn % len(FAULTS)]
        others = rng.choices(FAULTS, k=rng.choice([0, 0, 0, 1, 1, 2]))
        if world.is_sharded:
            first, others = rng.choice(OF_SHARDS), [first, *others]
        for fault in (first, *others):
            lasts_s = self._let(fault)
            ends_ns = max(ends_ns, world.now_ns + int(lasts_s * S))
            self.wait(rng.choice([0.0, rng.uniform(0, 3), rng.uniform(3, 20)]))
        world.run(max(ends_ns, world.now_ns + 1))
        self.heal()
        self.converge()

    def _one_thing(self, thing: Fault) -> None:
        """Something in a feed that is well, and the same demand."""
        world = self.world
        if thing not in CLOSED and not world.exchange.is_trading(world.true_utc_ns):
            thing = self.rng.choice(CLOSED)
        self.wait(self._let(thing))
        self.heal()
        self.converge()

    def _let(self, fault: Fault) -> float:
        """It happens; returns how long it lasts from here, in seconds."""
        world = self.world
        self.tell(fault.__name__)
        world.alert(ALERT_S)
        if fault is not half_open:
            world.disturbed_ns = world.now_ns
        lasts_s = fault(self)
        if fault is not half_open:
            world.disturbed_ns = max(world.disturbed_ns, world.now_ns)
        return lasts_s

    # --- the demand ---------------------------------------------------------------------------

    def heal(self) -> None:
        world, rng = self.world, self.rng
        self.tell("healed")
        world.kite.heal()
        world.bus_delay_s, world.is_echoing, world.losing = (0.0003, 0.003), False, 0
        for host in world.hosts:
            if host.is_frozen:
                host.thaw()
            elif not host.is_up:
                host.boot()
        world.centre.crash_in = 0
        for socket in self.sockets:
            if socket.fault == "mute" and not world.mute_seen_ns(socket):
                socket.fault = ""  # it would be so all evening
                socket.faulty_since_ns = world.now_ns
        state = world.centre.machine.state
        if state.override != "auto":
            world.centre.operate(SetSource("auto"))
        if state.has_no_entitlement:
            world.centre.operate(Retry())  # else it is asked for every quarter of an hour
        current = world.files["primary"][0]
        if not world.kite.is_alive(current):
            self.login(by_file=True)
        if self.has_standby and rng.random() < 0.5:
            self.login("standby", by_file=True)
        world.alert(3)

    def converge(self) -> None:
        """Live within 75 s if the market trades, and nothing that was wanted is lost."""
        world = self.world
        start_ns, limit_ns = world.now_ns, LIVE_WITHIN_S * S
        while not self._is_well():
            if world.now_ns - start_ns > limit_ns:
                dial = world.centre.machine.state.dial
                raise Broken(f"healed, and not well after {LIVE_WITHIN_S} s: {self._ill()} {dial}")
            world.alert(1)
            self.wait(0.5)
        self.converged_s.append((world.now_ns - start_ns) / S)
        world.checker.on_recovery()
        self.wait(3)

    def _is_well(self) -> bool:
        return not self._ill()

    def _ill(self) -> str:
        world = self.world
        s = world.centre.machine.state
        if not all(host.is_running for host in world.hosts):
            return "a process is down"
        if not self._trading():
            return ""
        state = s.last_announced
        if state is None or state.feed != "live":
            return f"headline {state}"
        for reader in world.readers:
            missing = self._readable(reader) - reader.fresh
            if missing:
                return f"the reader has no fresh value of {missing}"
        is_moving = s.dial.is_move or s.dial.move_ns > s.now_ns
        is_awaited = is_moving or s.session.word == "unverified"  # asked in 300 s
        logins = {shard.link.fingerprint for shard in s.used}
        if logins != {world.files["primary"][0]} and not is_awaited:
            return "the new login is not in use"
        return self._lost() or self._untold()

    def _untold(self) -> str:
        untold = self.world.orders.untold()
        return f"orders whose last state was not told: {untold}" if untold else ""

    def _readable(self, reader: Reader) -> set[str]:
        """Return what must be fresh: of segments that trade, where no silent canary casts a doubt,
        and no mute socket goes unnoticed."""
        world, floors = self.world, self._trading()
        carried = {i.key: shard for shard in world.centre.machine.state.shards
                   for i in shard.instruments}  # fmt: skip
        wanted = {self.basket.anchor} | (carried.keys() & reader.keys)
        return {
            key for key in wanted
            if world.exchange.home_of(LISTED[key]) in floors
            and world.exchange.floor_of(LISTED[key]).is_trading(world.true_utc_ns)
            and (key not in carried or not world.is_in_doubt(carried[key]))
            and (key not in carried or not self._is_hidden(carried[key]))
        }  # fmt: skip

    def _is_hidden(self, shard: Shard) -> bool:
        """Whether its socket is mute, and may be so for a while yet without being found out."""
        world = self.world
        socket = world.kite.sockets.get(LinkId(shard.number, shard.link.epoch))
        if socket is None or socket.fault != "mute":
            return False
        return world.now_ns - socket.faulty_since_ns < world.mute_seen_ns(socket)

    def _trading(self) -> list[Floor]:
        """Those of which something can be demanded: later the session ends before it is met."""
        utc_ns = self.world.true_utc_ns
        return [
            floor for floor in self.world.exchange.floors
            if floor.is_trading(utc_ns) and utc_ns <= floor.ends_ns - 90 * S
        ]  # fmt: skip

    def _lost(self) -> str:
        """Every instrument that is wanted is asked for, at Kite too."""
        world = self.world
        s = world.centre.machine.state
        wanted = set(world.centre.subscriptions.wanted())
        missing = world.reader.keys - wanted
        if missing:
            return f"listened to and not wanted: {missing}"
        is_moving = s.dial.is_move or s.dial.move_ns > s.now_ns
        if len(world.kite.sockets) > sum(sh.is_open for sh in s.shards) and not is_moving:
            return f"sockets are left open: {list(world.kite.sockets)}"
        carried = {LISTED[key] for key in wanted if key in LISTED}
        if len(s.instruments) < min(len(carried), world.capacity.total):
            return f"only {len(s.instruments)} of {len(carried)} are carried"
        for shard in s.shards:
            asked = {i.token: mode_from_name(i.mode) for i in s.streamed(shard)}
            socket = world.kite.sockets.get(LinkId(shard.number, shard.link.epoch))
            modes = socket.modes if socket else {}
            streamed = {  # what was not asked for shows only when it ticks
                token: mode for token, mode in modes.items()
                if token in asked or (socket and world.kite.has_more(socket, token))
            }  # fmt: skip
            is_less = any(streamed.get(token, 0) < mode for token, mode in asked.items())
            if is_less or streamed.keys() != asked.keys():
                return f"shard {shard.number} streams {streamed}, not {asked}"
        return ""

    # --- people -------------------------------------------------------------------------------

    def login(self, slot: m.Slot = "primary", *, by_file: bool) -> None:
        account = self.world.kite.login(slot)
        if by_file:
            self.world.files[slot] = (account.fingerprint, None)
            self.tell(f"login {account.fingerprint}")
            self.world.alert(4)

    def tell(self, text: str) -> None:
        ist = datetime.fromtimestamp(self.world.true_utc_ns / S, IST)
        self.told.append(f"{ist:%H:%M:%S} {text}")
        self.world.note(f"--- {text}")

    @property
    def sockets(self) -> list[Socket]:
        return [s for s in self.world.kite.sockets.values() if s.is_open]

    def drop_all(self, code: int = 1006, reason: str = DROPPED) -> None:
        for socket in self.sockets:
            self.world.ticker.drop(socket.link, code, reason)
