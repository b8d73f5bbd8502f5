"""Checks what must have happened by now: seen from outside, between two events, with what the world
knows and the machines do not. Each bound is the design's, and a little time for it to be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kitefeed.actors.supervisor.facts import DialState, Shard, SocketState
from kitefeed.actors.supervisor.state import State
from kitefeed.actors.ticker.machine import LinkId
from kitefeed.protocol.feed import IngestBatch, Source
from kitefeed.protocol.kite.ticks import mode_from_name
from tests.simulation.exchange import S
from tests.simulation.life import require

if TYPE_CHECKING:
    from tests.simulation.world import World

SEEN_NS = 3 * S // 10  # from one look to the next, and the time of a timer
HEARD_NS = 1_500_000_000 + SEEN_NS  # a source that says nothing for longer is not alive
POLL_GRACE_NS = S + SEEN_NS
PROVEN_NS = 14 * S  # a doubt is raised every ten seconds; then a quote about each of three sockets
LIMITED_NS = 10 * S + SEEN_NS + S  # no quote for ten seconds after a 429 has come
POLLED_NS = 10 * S  # a call that hangs, a pause, a sweep
PROBLEM_SEEN_NS = 4 * S
STANDBY_NS = 9 * S
ASKED_NS = 8 * S  # of three messages in a row two may be lost: after two seconds, and three more
TOLD_NS = 6 * S  # a report may take two seconds, and is gathered
FALSE_NS = S  # what was asked a moment ago is on its way
WORD_NS = 5 * S  # a beat of the broadcaster's, two seconds of patience, and the next beat
BUS_SLOW_S = 0.2
SAID = ("login_required", "no_entitlement", "session_refused", "socket", "limit", "network")


class Bounds:
    def __init__(self, world: World) -> None:
        self.world = world
        # (shard, epoch) -> when the broadcaster last had a batch of it, and one with values
        self._heard_ns: dict[tuple[int, int], int] = {}
        self._valued_ns: dict[tuple[int, int], int] = {}
        self._priming_ns: dict[int, int] = {}  # epoch -> since when
        self._since_ns: dict[str, int] = {}  # what holds -> since when

    def skipped(self) -> None:
        """A quiet stretch came at once: the poller did not have all its turns in it."""
        for name in [name for name in self._since_ns if name.startswith(("polls ", "word "))]:
            del self._since_ns[name]

    def taken(self, batch: IngestBatch) -> None:
        place = batch.shard, batch.epoch
        self._heard_ns[place] = self.world.now_ns
        if batch.topics:
            self._valued_ns[place] = self.world.now_ns

    def check_alive(self) -> None:
        """The fence calls alive what was heard, and of a poll what brought values."""
        now_ns, fence = self.world.now_ns, self.world.mouth.machine.fence
        for shard, held in fence.holdings.items():
            if not held.is_alive(now_ns):
                continue
            place = shard, held.epoch
            is_heard = now_ns - self._heard_ns.get(place, 0) <= HEARD_NS
            require(is_heard, "a source that says nothing is not alive")
            if held.source == int(Source.REST):
                limit_ns = 2 * held.period_ns + POLL_GRACE_NS
                is_recent = now_ns - self._valued_ns.get(place, 0) <= limit_ns
                require(is_recent, "a poll without values is not alive")

    def check(self, s: State, steady_ns: int) -> None:
        """steady_ns: how long the machine has been steady by now."""
        self._check_said(s)
        self._check_priming(s, steady_ns)
        self._check_polls(s, steady_ns)
        self._check_file(s, steady_ns)
        self._check_asked(s, steady_ns)
        self._check_word(s, steady_ns)

    # --- what is said -------------------------------------------------------------------------

    def _check_said(self, s: State) -> None:
        """Check that all that is wrong has its line, and all that is over its end."""
        lines, word = self.world.checker.lines, s.session.word
        if s.override == "paused" or s.misconfigured:
            return
        logins = {shard.link.fingerprint for shard in s.shards if shard.is_open}
        is_own = s.session.fingerprint in logins
        is_refused = (
            word == "refused" and not lines["login_required"]
        )  # which is the same, and more
        is_waiting = s.dial.state is DialState.WAITING and bool(s.closed)
        is_limited = any(shard.limited_until_ns for shard in s.closed)
        wrong = {
            "login_required": word == "absent" or (word == "refused" and bool(s.closed)),
            "session_refused": is_refused and is_own,
            "new_login_refused": is_refused and bool(logins) and not is_own,
            "no_entitlement": s.has_no_entitlement,
            "limit": is_waiting and is_limited,
            "socket": is_waiting and s.dial.cause == "socket" and not is_limited,
        }
        for key, is_wrong in wrong.items():
            require(lines[key] or not is_wrong, f"{key} is said")
        if word == "valid" and all(shard.link.state is SocketState.LIVE for shard in s.used):
            for key in SAID:
                require(not lines[key], f"the end of {key} is said")

    # --- what takes its time ------------------------------------------------------------------

    def _lasts_ns(self, name: str, *, holds: bool) -> int:
        """For how long it has held, 0 when it does not."""
        if not holds:
            self._since_ns.pop(name, None)
            return 0
        return self.world.now_ns - self._since_ns.setdefault(name, self.world.now_ns)

    def _is_answered(self, fingerprint: str | None) -> bool:
        """Whether Kite answers that session's quotes, and soon: not while a 429 is waited out."""
        kite = self.world.kite
        if self.world.utc_ns - kite.limited_ns < LIMITED_NS:
            return False
        account = kite.accounts.get(fingerprint or "")
        is_good = account is not None and account.is_alive and account.has_data
        is_good = is_good and fingerprint in [seen for seen, _ in self.world.files.values()]
        return (
            is_good
            and kite.rest == "ok"
            and kite.net == "ok"
            and kite.latency_s == 1.0
            and not kite.more
        )

    def _check_priming(self, s: State, steady_ns: int) -> None:
        """An open socket of an open market is live soon: a tick, or a quote, proves it."""
        now_ns, kite = self.world.now_ns, self.world.kite
        priming = {
            shard.link.epoch: self._priming_ns.get(shard.link.epoch, now_ns)
            for shard in s.shards if self._may_be_live(s, shard)
        }  # fmt: skip
        self._priming_ns = priming if self._is_answered(s.session.fingerprint) else {}
        for epoch, since_ns in self._priming_ns.items():
            shard = s.shard_of(epoch)
            socket = kite.sockets.get(LinkId(shard.number, epoch)) if shard else None
            if socket is not None and not socket.fault and steady_ns > PROVEN_NS:
                require(now_ns - since_ns <= PROVEN_NS, "a socket that streams is live soon")

    def _may_be_live(self, s: State, shard: Shard) -> bool:
        link, lacking = shard.link, self.world.kite.lacking
        is_priming = link.state is SocketState.PRIMING and link.is_subscribed
        is_told = all(i.token != lacking for i in shard.instruments)  # quotes have all of it
        return is_priming and s.has_hours(shard) and bool(shard.instruments) and is_told

    def _check_polls(self, s: State, steady_ns: int) -> None:
        """Check that there are fresh values where quotes are polled and Kite answers."""
        for shard in s.shards:
            rest = shard.rest
            is_due = rest.is_started and self._is_answered(rest.fingerprint) and s.polled(shard)
            lasts_ns = self._lasts_ns(f"polls {shard.number} {rest.epoch}", holds=bool(is_due))
            if min(lasts_ns, steady_ns) > POLLED_NS and s.last_announced is not None:
                is_fresh = shard.number in (s.last_announced.fresh_shards or ())
                require(is_fresh, "polled values are fresh where Kite answers")
        standby = self.world.files["standby"][0]
        has_standby = (
            s.session.word in ("refused", "absent") and self._is_answered(standby)
            and s.override == "auto" and s.is_market_open and not self.world.kite.sockets
            and standby == s.standby.fingerprint and bool(s.instruments)
        )  # fmt: skip
        lasts_ns = self._lasts_ns("standby", holds=has_standby)
        if min(lasts_ns, steady_ns) > STANDBY_NS and s.last_announced is not None:
            require(
                s.last_announced.source == "rest", "the standby polls when the first is refused"
            )

    def _check_file(self, s: State, steady_ns: int) -> None:
        """A session file that cannot be used is told, with what is wrong with it."""
        problem = self.world.files["primary"][1]
        lasts_ns = self._lasts_ns("problem", holds=problem is not None)
        if min(lasts_ns, steady_ns) > PROBLEM_SEEN_NS:
            require(s.session.problem == problem, "a damaged session file is told")

    def _check_word(self, s: State, steady_ns: int) -> None:
        """The headline and the values say the same thing."""
        world, state = self.world, s.last_announced
        alive = world.mouth.machine.fence.alive(world.now_ns) if world.mouth.is_running else ()
        is_proven = all(shard.number in alive for shard in s.judged)
        is_heard = world.mouth.is_running and world.bus_delay_s[1] < BUS_SLOW_S
        said = (
            ("word live", "live", "what is called live reads fresh", is_heard and not is_proven),
            ("word stale", "stale", "what streams and reads fresh is live", is_heard and is_proven),
        )
        for name, feed, promise, is_other in said:
            is_said = state is not None and state.feed == feed and s.is_streaming
            lasts_ns = self._lasts_ns(name, holds=is_said and is_other)
            require(min(lasts_ns, steady_ns) <= WORD_NS, promise)

    def _check_asked(self, s: State, steady_ns: int) -> None:
        """Check that what was asked of Kite and lost is asked again, and that nothing is called
        confirmed that does not come in the mode that was asked for."""
        world = self.world
        for shard in s.shards:
            epoch = shard.link.epoch
            socket = world.kite.sockets.get(LinkId(shard.number, epoch))
            is_sound = socket is not None and not socket.fault and shard.link.is_subscribed
            modes = socket.modes if socket is not None and is_sound else {}
            asked = {i.token: mode_from_name(i.mode) for i in shard.link.asked if not i.is_guard}
            lacking = {token for token, mode in asked.items() if modes.get(token, 0) < mode}
            order = world.centre.subscriptions.confirmations._orders.get((shard.number, epoch))
            confirmed = order.confirmed() if order is not None else asked.keys() - lacking
            false, missing = lacking & confirmed, asked.keys() - lacking - confirmed
            said = (
                (ASKED_NS, lacking, "what was asked and lost is asked again"),
                (FALSE_NS, false, "what does not come as it was asked is not confirmed"),
                (TOLD_NS, missing, "what comes as it was asked is confirmed"),
            )
            for limit_ns, tokens, promise in said:
                holds = is_sound and bool(tokens)
                lasts_ns = self._lasts_ns(f"{promise} {epoch}", holds=holds)
                require(min(lasts_ns, steady_ns) <= limit_ns, promise)
