"""Checks what must hold between two events, as seen from outside: what a program reads, which
sockets exist at Kite, what the broadcaster holds. Each check says what it is about."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from kitefeed.actors.broadcaster.fence import FRAME_STALE_NS
from kitefeed.actors.supervisor.facts import SocketState
from kitefeed.actors.supervisor.state import State
from kitefeed.actors.ticker.machine import LinkId
from kitefeed.client.pipe import RESYNC_NS
from kitefeed.client.tick import Tick
from kitefeed.client.view import View
from kitefeed.protocol.feed import Flag, IngestBatch, Source, decode_body
from kitefeed.protocol.kite.ticks import segment_of
from kitefeed.protocol.topics import key_of
from tests.simulation.bounds import Bounds
from tests.simulation.exchange import MCX, S
from tests.simulation.life import require

if TYPE_CHECKING:
    from tests.simulation.centre import Reader, Screen
    from tests.simulation.world import World

HALF_OPEN_SEEN_NS = 12 * S
# A stream may be called fresh this long after the market has left its value behind: a canary's
# silence (5 s), the pace of heartbeats (1 s), a broadcaster that stands still (2.5 s).
FRESH_LAG_NS = {int(Source.WEBSOCKET): 9 * S, int(Source.REST): 14 * S}
# How much younger than it is a value may say it is: what the way from Kite may take. A quote is
# stamped with its request, before which nobody at Kite looked at the price.
AGE_SLACK_NS = {int(Source.WEBSOCKET): 1_500_000_000, int(Source.REST): 1_000_000}
TRADED_NS = 75 * S  # a tick keeps the market open for a minute
REST_DUE_NS = 40 * S  # three refusals (5 and 15 s apart), or 15 s without fresh data
LOOK_NS = 2 * S // 5
PACE_NS = 3 * S // 4  # between two looks, unless the clock jumps
TURN_LATE_NS = S // 2  # of a screen's turn: timers fire on a grid, and one may have just missed it
AGE_ROUND_NS = S // 100
BELIEVED_AFTER_NS = 15 * S
REPAIRED_AFTER_NS = RESYNC_NS + S
HEARTBEAT_NS = S
IDLE_SEEN_NS = 25 * S  # a quote about a slow canary is had within so long
HEARD_NS = FRAME_STALE_NS + HEARTBEAT_NS
CLOCK_READ_NS = 3 * S
IST_OFFSET_S, DAY_S = 19_800, 86_400
LACK_TOLD_NS = 2 * S
LISTENER_KEPT_NS = (29 * S, 35 * S)  # a wish outlives its last reader by 30 s
SHUT_UNTIL = 8 * 3_600 + 58 * 60  # seconds of a day in India
SHUT_FROM = {False: 16 * 3_600 + 30 * 60, True: 23 * 3_600 + 56 * 60}  # is it a commodity?
# Whoever trades no more reads fresh for a minute, and for what a tick may take and a clock.
SHUT_FRESH_NS = 70 * S
WANTED_WITHIN_NS = 6 * S  # the operator's notes come by the same way, up to seconds late
LISTED_WITHIN_NS = 10 * S  # a supervisor hears of a list when the poller is welcome
LEFT_OPEN_NS = 5 * S  # an order to close is followed within 3 s
GRANTED_WITHIN_NS = 2 * S  # a grant that is not acknowledged is repeated every second


STALE = int(Flag.STALE)


class Observer:
    def __init__(self, world: World) -> None:
        self.world = world
        self._bounds = Bounds(world)
        self._looked_ns = 0
        self._skipped_ns = 0
        self._shaken_ns = 0  # when the machine was last not steady
        # Mute sockets: since when Kite can be asked for a quote that proves something about each,
        # and how long that may take.
        self._asked_ns: dict[LinkId, tuple[int, int]] = {}
        self._unseen_ns: dict[LinkId, int] = {}  # mute sockets, and when nobody could last tell
        self._epochs_ns: dict[int, int] = {}  # epoch -> when its socket was first seen
        self._carried_ns: dict[str, int] = {}  # key -> since when some socket carries it
        self._ordered: dict[int, set[str]] = {}  # shard -> what its socket was last told to carry
        self._strays_ns: dict[LinkId, int] = {}  # sockets that nobody owns, and since when
        self._granted_ns: dict[tuple[int, str, int], int] = {}  # shard, source, epoch -> since when
        self._fences: dict[int, tuple[int, int]] = {}
        # What the broadcaster held lately of what a screen reads: since when, and received when.
        self._kept: dict[str, deque[tuple[int, int]]] = {}
        self._screened: dict[str, int] = {}  # when what the screen has was received
        self._screened_life = 0
        # Ticks that never reached the broadcaster: of which shard and key, the last price; and
        # those of which it can know, since a later batch of the shard came.
        self._lost: dict[tuple[int, str], int] = {}
        self._missed: dict[str, int] = {}

    def skipped(self) -> None:
        """A quiet stretch is over: all it held came at once, but for the last heartbeat."""
        self._skipped_ns = self.world.now_ns
        self._look_for_unseen()
        self._bounds.skipped()

    def _look_for_unseen(self) -> None:
        world = self.world
        for link, socket in world.kite.sockets.items():
            if socket.fault == "mute" and not world.is_watched(socket):
                self._unseen_ns[link] = world.now_ns

    def shaken(self) -> None:
        """Clocks have jumped: what is a matter of time begins anew."""
        self._shaken_ns = self.world.now_ns

    def lost(self, batch: IngestBatch) -> None:
        """A batch of ticks never reaches the broadcaster."""
        self.shaken()
        for topic, body in zip(batch.topics, batch.bodies, strict=True):
            self._lost[batch.shard, key_of(topic)] = decode_body(body).last_price

    def taken(self, batch: IngestBatch) -> None:
        """The broadcaster has a batch: it knows by its number what it lacks of this shard."""
        self._bounds.taken(batch)
        for place in [place for place in self._lost if place[0] == batch.shard]:
            self._missed[place[1]] = self._lost.pop(place)

    def restarted(self) -> None:
        """Another broadcaster: it begins with what is on disk, and lacks nothing."""
        self._lost.clear()
        self._missed.clear()

    def ordered(self, shard: int, keys: set[str]) -> None:
        """A socket carries these: what it was to carry before ends, if only for an instant."""
        for key in self._ordered.get(shard, keys) - keys:
            self._carried_ns.pop(key, None)
        self._ordered[shard] = keys

    def look(self) -> None:
        """Check what a program reads between two events, and whether the stream is watched."""
        world = self.world
        if world.now_ns - self._looked_ns < LOOK_NS:
            return
        is_at_pace = world.now_ns - self._looked_ns < PACE_NS
        self._looked_ns = world.now_ns
        if not world.mouth.is_running or not is_at_pace:
            self._kept.clear()
        if not world.is_steady_machine():
            self._shaken_ns = world.now_ns
        self._look_for_unseen()
        for reader in world.readers:
            for key, tick in reader.view.values.items():
                if key in reader.keys:
                    self._check_value(reader, tick)
        if world.screen is not None:
            self._check_screen(world.screen)
        self._check_fence()
        if world.mouth.is_running:
            self._bounds.check_alive()
        self._check_sockets()
        s = world.centre.machine.state if world.centre.machine else None
        if s is not None:
            self._check_belief(s)
            self._check_watch(s)
        if s is not None and world.centre.is_running:
            self._check_headline(s)
            self._check_strays(s)
            self._check_mutes(s)
            self._check_wishes(s)
            self._check_wanted(s)
            self._check_listed(s)
            self._check_hours(s)
            self._bounds.check(s, world.now_ns - self._shaken_ns)
            if world.mouth.is_running:
                self._check_grants(s)

    def _is_steady_for(self, for_ns: int) -> bool:
        return self.world.now_ns - self._shaken_ns > for_ns

    # --- what is read -------------------------------------------------------------------------

    def _check_value(self, reader: Reader, tick: Tick) -> None:
        world = self.world
        view, now_ns = reader.view, world.now_ns
        age_ns = tick.age_ns(now_ns)
        if tick.flags & int(Flag.CACHED):
            require(not view.is_fresh(tick, now_ns), "a value from disk is not fresh")
            if world.has_stepped:
                return  # the age of what is on disk is the wall clock's
        elif tick.arrival.gen == world.mouth.gen:
            self._check_origin(tick, age_ns)
        if view.is_fresh(tick, now_ns):
            require(not self._is_shut(tick.raw.instrument_token), "a closed segment is not fresh")
            self._check_words(view, tick)
            is_older = tick.raw.last_price < self._missed.get(tick.instrument, 0)
            require(not is_older, "what is older than a tick that was lost is not fresh")
        gone_ns = world.exchange.superseded_ns(tick.raw.instrument_token, tick.raw.last_price)
        if gone_ns is None or gone_ns > world.true_utc_ns:
            return
        lag_ns = world.true_utc_ns - gone_ns
        require(
            lag_ns <= age_ns + AGE_SLACK_NS[tick.source_code],
            f"a value is no older than it says ({tick.instrument}: {lag_ns / S:.1f} s after it "
            f"was superseded it says {age_ns / S:.1f} s)",
        )
        if lag_ns > 2 * S and view.is_fresh(tick, now_ns) and not self._is_unseen(tick):
            require(
                lag_ns <= FRESH_LAG_NS[tick.source_code] + reader.period_ns,
                f"{tick.instrument} reads fresh {lag_ns / S:.1f} s after it was superseded",
            )

    def _check_words(self, view: View, tick: Tick) -> None:
        """Whether the words of the heartbeat that makes it fresh are of the same mind."""
        beat = view.heartbeat
        is_told = beat is not None and tick.shard in (beat.fresh_shards or ())
        require(is_told, "a value is fresh only where the headline says so")
        is_denied = beat is not None and beat.feed in ("misconfigured", "paused", "closed")
        require(not is_denied, "nothing is fresh under a headline that denies it")

    def _check_screen(self, screen: Screen) -> None:
        """One that reads the latest has what was the latest a period ago, or newer, and never goes
        back; what streams no more it knows as soon as anybody."""
        now_ns, values = self.world.now_ns, screen.view.values
        limit_ns = now_ns - screen.period_ns - TURN_LATE_NS
        if self.world.mouth.life != self._screened_life:
            self._screened_life = self.world.mouth.life
            self._screened.clear()
            self._kept.clear()
        if not self._is_steady_for(REPAIRED_AFTER_NS) or not self.world.mouth.is_running:
            return
        for key, value in screen.kept():
            kept = self._kept.setdefault(key, deque())
            if not kept or kept[-1][1] != value.origin.received_boot_ns:
                kept.append((now_ns, value.origin.received_boot_ns))
            while len(kept) > 1 and kept[1][0] <= limit_ns:
                kept.popleft()
            tick = values.get(key)
            received_ns = -1 if tick is None else now_ns - tick.age_ns(now_ns) + AGE_ROUND_NS
            if kept[0][0] <= limit_ns:
                require(received_ns >= kept[0][1], "a screen hears the latest within its period")
            if tick is None:
                continue
            is_later = received_ns + AGE_ROUND_NS >= self._screened.get(key, 0)
            require(is_later, "a screen never goes back to an older value")
            self._screened[key] = received_ns
            is_told = not value.flags & STALE or tick.flags & STALE
            require(is_told, "what streams no more is stale on a screen, too, at once")

    def _is_shut(self, token: int) -> bool:
        """Whether its segment is closed for more than a minute while another one, which the
        calendar knows as well, is open: so ticks do not overrule it."""
        world, utc_ns = self.world, self.world.true_utc_ns
        own = world.exchange.floor_of(token)
        known = [floor for floor in world.exchange.floors if floor.is_announced]
        if not self._is_steady_for(CLOCK_READ_NS) or own not in known or len(known) < 2:
            return False
        moments = (utc_ns, utc_ns - SHUT_FRESH_NS)
        is_closed = not any(world.calendar.is_open(segment_of(token), at) for at in moments)
        is_idle = not any(map(own.is_trading, moments))
        return is_closed and is_idle and world.exchange.is_trading(utc_ns)

    def _is_unseen(self, tick: Tick) -> bool:
        """Of a mute socket on which nothing is always active at this hour: perhaps it is quiet. Its
        end shows within the time by which a source that sends nothing is no longer believed. Or it
        is frozen, and nothing like it on its socket is always active."""
        world, token = self.world, tick.raw.instrument_token
        link = LinkId(tick.arrival.shard, tick.arrival.epoch)
        socket = world.kite.sockets.get(link)
        if socket is not None and world.is_frozen(token) and not world.is_held(socket, token):
            return True
        return world.now_ns - self._unseen_ns.get(link, -HEARD_NS) < HEARD_NS

    def _check_origin(self, tick: Tick, age_ns: int) -> None:
        """Of this life of the broadcaster: from a source that it was told to let through."""
        world, arrival = self.world, tick.arrival
        if tick.source_code == int(Source.WEBSOCKET):
            is_own = world.now_ns - age_ns >= world.mouth.oldest_ns
            require(is_own, "what is older than the broadcaster is marked as from disk")
        is_granted = (arrival.shard, arrival.epoch) in world.mouth.granted
        require(is_granted, "what is read comes from a source that was granted")
        lacked_ns = world.kite.lacked_ns.get(tick.raw.instrument_token)
        is_left = tick.source_code == int(Source.REST) and not tick.flags & int(Flag.STALE)
        if is_left and lacked_ns is not None and self._is_steady_for(LACK_TOLD_NS):
            is_told = world.true_utc_ns - lacked_ns < LACK_TOLD_NS
            require(is_told, "what a quote lacks is stale at once")

    def _check_headline(self, s: State) -> None:
        """Not live for packets that Kite had in its cache; by REST where only that is left."""
        world = self.world
        state = s.last_announced
        if state is None:
            return
        if state.feed == "live" and not s.is_calendar_open and self._is_steady_for(S):
            lately = range(world.true_utc_ns - TRADED_NS, world.true_utc_ns + 1, TRADED_NS // 8)
            is_traded = any(map(world.exchange.is_trading, lately))
            require(is_traded, "cached packets open no market")
        if state.feed == "closed" and self._is_steady_for(CLOCK_READ_NS) and s.instruments:
            announced = [floor for floor in world.exchange.floors if floor.is_announced]
            is_open = any(floor.is_trading(world.true_utc_ns - S) for floor in announced)
            is_over = not any(floor.is_trading(world.true_utc_ns) for floor in announced)
            require(is_over or not is_open, "an open segment keeps the market open")
        kite = world.kite
        is_rest_left = (
            kite.socket in ("403", "502") and kite.rest == "ok" and kite.net == "ok"
            and not kite.sockets and kite.latency_s == 1.0
            and kite.is_alive(s.session.fingerprint) and s.session.word == "valid"
            and s.override == "auto" and s.is_calendar_open and s.instruments
            and not s.has_no_entitlement and world.is_undisturbed(REST_DUE_NS)
            and self._is_steady_for(REST_DUE_NS)
        )  # fmt: skip
        utc_ns = world.true_utc_ns
        if is_rest_left and all(map(world.exchange.is_trading, (utc_ns, utc_ns - REST_DUE_NS))):
            require(state.feed in ("rest", "live"), "REST bridges a refused socket")

    def _check_sockets(self) -> None:
        """No instrument is streamed by two shards."""
        streams: dict[int, int] = {}
        for key, socket in self.world.kite.sockets.items():
            if socket.is_open and not socket.fault:
                for token in socket.modes:
                    if self.world.basket.is_canary(token):
                        continue  # guards the other sockets as well
                    is_first = streams.setdefault(token, key.shard) == key.shard
                    require(is_first, "an instrument is streamed by one shard")

    def _check_belief(self, s: State) -> None:
        """A socket that streams is believed, whatever happens to the other ones."""
        world, now_ns = self.world, self.world.now_ns
        carried = {i.key for shard in s.shards for i in shard.instruments}
        self._carried_ns = {key: self._carried_ns.get(key, now_ns) for key in carried}
        if not self._is_steady_for(BELIEVED_AFTER_NS):
            return
        if now_ns - self._skipped_ns < HEARTBEAT_NS:
            return
        state = s.last_announced
        if state is None or state.feed not in ("live", "stale", "rest", "login_required"):
            return
        for reader in world.readers:
            doubted_ns = reader.doubted_since_ns
            if not doubted_ns or now_ns - doubted_ns >= REPAIRED_AFTER_NS:
                self._check_believer(s, reader)  # else what was lost is being asked for

    def _check_believer(self, s: State, reader: Reader) -> None:
        world, now_ns, fresh = self.world, self.world.now_ns, reader.fresh
        is_told = world.is_answering_for(IDLE_SEEN_NS)  # what a slow canary has not shown itself
        for shard in s.shards:
            socket = world.kite.sockets.get(LinkId(shard.number, shard.link.epoch))
            since_ns = self._epochs_ns.setdefault(shard.link.epoch, now_ns)
            is_old = shard.is_streaming and now_ns - since_ns > BELIEVED_AFTER_NS
            if is_old and socket is not None and not socket.fault:
                keys = reader.keys & {
                    i.key for i in shard.instruments
                    if world.is_open_hours(i.token) and not world.is_held(socket, i.token)
                    and (is_told or not world.may_pause(i.token, now_ns - since_ns))
                }  # fmt: skip
                if world.is_in_doubt(shard):
                    continue
                new = self._new_keys(reader, keys)
                require(keys <= fresh | new, "a socket that streams is believed")

    def _new_keys(self, reader: Reader, keys: set[str]) -> set[str]:
        """Listened to or carried for so short a time that no value need be there."""
        values, asked_ns = reader.view.values, reader.asked_ns
        limit_ns = self.world.now_ns - BELIEVED_AFTER_NS
        return {
            key for key in keys
            if key not in values or max(asked_ns.get(key, 0), self._carried_ns[key]) > limit_ns
        }  # fmt: skip

    def _check_fence(self) -> None:
        mouth = self.world.mouth
        if mouth.is_up:
            for shard, held in mouth.machine.fence.holdings.items():
                epoch, life = self._fences.get(shard, (0, 0))
                is_rising = held.epoch >= epoch or mouth.life != life
                require(is_rising, "the fence only rises")
                self._fences[shard] = held.epoch, mouth.life

    def _check_grants(self, s: State) -> None:
        """Check that the broadcaster holds what the supervisor grants, whichever of them is a new
        one."""
        granted = {
            (shard.number, shard.grant.source, shard.grant.epoch)
            for shard in s.shards if shard.grant.epoch
        }  # fmt: skip
        now_ns, holdings = self.world.now_ns, self.world.mouth.machine.fence.holdings
        self._granted_ns = {grant: self._granted_ns.get(grant, now_ns) for grant in granted}
        if not s.is_settled or not self._is_steady_for(GRANTED_WITHIN_NS):
            return
        for (number, _, epoch), since_ns in self._granted_ns.items():
            held = holdings.get(number)
            is_held = held is not None and held.epoch >= epoch
            require(is_held or now_ns - since_ns < GRANTED_WITHIN_NS, "a grant reaches the fence")

    def _check_wishes(self, s: State) -> None:
        """Check that what nobody reads any more is carried on for half a minute, and no longer."""
        world, now_ns = self.world, self.world.now_ns
        centre, reader = world.centre, world.reader
        if not self._is_steady_for(LISTENER_KEPT_NS[1]) or not world.lists.read()[0]:
            return
        carried = {i.key for i in s.instruments}
        wanted_anyway = centre.subscriptions.configured | centre.subscriptions.operator.keys()
        for key, (left_ns, was_carried) in reader.left.items():
            if was_carried and now_ns - left_ns < LISTENER_KEPT_NS[0]:
                is_kept = key in carried or len(carried) >= world.capacity.total
                require(is_kept, "a program may leave for a moment")
            elif now_ns - left_ns > LISTENER_KEPT_NS[1]:
                require(key not in carried - wanted_anyway, "what nobody reads is dropped")

    def _check_wanted(self, s: State) -> None:
        """Check that what a program subscribes to is wanted soon, where there is room for it."""
        world, now_ns = self.world, self.world.now_ns
        known = (world.lists.used.rows or {}).keys()
        is_full = len(s.instruments) >= world.capacity.total
        if self._is_steady_for(WANTED_WITHIN_NS) and not is_full:
            asked_ns = world.reader.asked_ns
            carried = {i.key for i in s.instruments}
            for key in world.reader.keys & known - carried:
                is_new = now_ns - asked_ns.get(key, 0) < WANTED_WITHIN_NS
                require(is_new, "what a program listens to is wanted")

    def _check_listed(self, s: State) -> None:
        """Check that what was once found in a list streams on, whatever later lists forget."""
        world = self.world
        is_full = len(s.instruments) >= world.capacity.total
        if self._is_steady_for(LISTED_WITHIN_NS) and world.lists.read()[0] and not is_full:
            lost = set(world.basket.configured) - {i.key for i in s.instruments}
            require(not lost, "what streams is not unsubscribed because a list forgot it")

    def _check_hours(self, s: State) -> None:
        """The calendar knows its ordinary days, and that nobody trades at night."""
        world = self.world
        if not self._is_steady_for(CLOCK_READ_NS):
            return
        second = (world.true_utc_ns // S + IST_OFFSET_S) % DAY_S
        for segment in s.segments:
            floor = world.exchange.floor_of(segment)
            is_open = s.market.is_open(segment, s.utc_ns)
            if not floor.is_announced:  # the table's window of a Muhurat session may be wrong
                continue
            if all(map(floor.is_trading, (world.true_utc_ns, world.true_utc_ns - S))):
                require(is_open, "the calendar knows when the market is open")
                require(s.is_calendar_open, "one open segment opens the market")
            elif not floor.sessions:
                require(not is_open, "the calendar knows its holidays")
            if not SHUT_UNTIL <= second < SHUT_FROM[segment == MCX]:
                require(not is_open, "at night the market is closed")
        is_announced = all(floor.is_announced for floor in world.exchange.floors)
        if is_announced and not SHUT_UNTIL <= second < SHUT_FROM[MCX in s.segments]:
            require(not s.is_calendar_open, "at night the market is closed")

    # --- sockets ------------------------------------------------------------------------------

    def _check_strays(self, s: State) -> None:
        """Every socket at Kite is some shard's, or being opened: of one whose supervisor has died
        meanwhile the next one hears when it is open."""
        now_ns, dial = self.world.now_ns, s.dial
        owned = {LinkId(shard.number, shard.link.epoch) for shard in s.shards if shard.is_open}
        owned.add(LinkId(dial.shard, dial.epoch))
        sockets = self.world.kite.sockets
        strays = [link for link in sockets if sockets[link].is_open and link not in owned]
        self._strays_ns = {link: self._strays_ns.get(link, now_ns) for link in strays}
        if self._is_steady_for(LEFT_OPEN_NS):
            is_left = any(now_ns - since_ns > LEFT_OPEN_NS for since_ns in self._strays_ns.values())
            require(not is_left, "no socket is left open")

    def _check_mutes(self, s: State) -> None:
        """Check that, where ticks are due and none come, a quote tells, and the socket is
        replaced."""
        world, kite = self.world, self.world.kite
        account = kite.accounts.get(s.session.fingerprint or "")
        is_answered = kite.rest == "ok" and kite.net == "ok" and kite.latency_s == 1.0
        has_file = s.session.fingerprint in [seen for seen, _ in world.files.values()]
        can_be_asked = (
            is_answered and has_file and account is not None and account.is_alive
            and account.has_data and s.override == "auto"
        )  # fmt: skip
        if not can_be_asked or not self._is_steady_for(0):
            self._asked_ns.clear()
            return
        for link, socket in kite.sockets.items():
            seen_ns = world.mute_seen_ns(socket)
            if socket.fault != "mute" or not seen_ns:
                self._asked_ns.pop(link, None)
                continue
            since_ns, longest_ns = self._asked_ns.get(link, (world.now_ns, 0))
            longest_ns = max(seen_ns, longest_ns)
            self._asked_ns[link] = since_ns, longest_ns
            if world.now_ns - since_ns > longest_ns:
                require(link not in world.ticker.machine._open, "a mute socket is replaced")

    def _check_watch(self, s: State) -> None:
        """Live in a session: the ticker's watchdog is armed, and a dead transport is noticed."""
        world = self.world
        if not (world.ticker.is_running and world.centre.is_running):
            return
        for key, running in world.ticker.machine._open.items():
            shard = s.shard_of(key.epoch)
            if shard is not None and shard.link.state is SocketState.LIVE:
                due_ns = running.liveness.deadline_ns
                is_said = running.liveness.is_silence_said
                require(due_ns is not None or is_said, "a live link is watched")
        if world.is_echoing:
            return  # reports take seconds
        for socket in world.kite.sockets.values():
            is_old = world.now_ns - socket.faulty_since_ns > HALF_OPEN_SEEN_NS
            if socket.fault == "half_open" and is_old and world.is_undisturbed(HALF_OPEN_SEEN_NS):
                is_held = socket.link in world.ticker.machine._open
                require(not is_held, "a dead transport is noticed within 10 s")
