"""Judges what the frames of one link prove, and what their absence means. Pure, fed with time.

Clocks, all in boot-time nanoseconds: no frame at all (the transport is dead), frames but no fresh
tick after a subscribe (Kite replays cached packets even on holidays), and frames but no tick of
anything while something always active ought to tick (`canaries.py`: a mute feed hides behind
heartbeats) or, where nothing is, of anything whose market is open: that may be a quiet list, so it
is asked about less often.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import msgspec

from kitefeed.actors.policy.machine import earliest
from kitefeed.actors.ticker.canaries import Canaries, Pace
from kitefeed.protocol.kite.ticks import TickBody, is_index
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.instruments import Instrument
from kitefeed.protocol.messages.membership import HeldScope

SILENT_NS = 10 * NS_PER_S
UNPROVEN_NS = 3 * NS_PER_S
DOUBT_AGAIN_NS = 10 * NS_PER_S
CANARY_NS = 10 * NS_PER_S
VOUCHED_AGAIN_NS = 5 * NS_PER_S  # asked twice before a quote stops counting: one may go unanswered
QUIET_NS = 10 * NS_PER_S
QUIET_AGAIN_NS = 30 * NS_PER_S
# Frames count as arriving while the last one is this young; in market hours the longest gap
# between two frames of a live socket was 0.5 s, heartbeats included (kite.trade: every second).
ARRIVING_NS = 3 * NS_PER_S
LOOK_AGAIN_NS = NS_PER_S
LOOK_NS = 500_000_000  # the pace at which it looks who is silent while others tick
# Of so many instruments each last packet is kept. Of more, keeping them costs a quarter of all that
# a frame does to the ticker: their memory is cold again by the time the next one comes.
WATCHED_MAX = 256
HOLD_TOKENS_MAX = 10  # canaries that are named


_Frame = tuple[list[int], list[bytes], int]  # tokens, their bodies, when it came


class Silent(NamedTuple):
    """No frame came for SILENT_NS: the end of this link. Said once."""


DoubtKind = Literal["unproven", "canary", "quiet"]


class Doubt(NamedTuple):
    """A question to REST: `last_price` as last seen, 0 when the stream never gave any.
    is_unchanged: the link before this gave the same. is_alone: other instruments tick."""

    kind: DoubtKind
    token: int
    last_price: int
    volume_traded: int | None
    is_unchanged: bool = False
    is_alone: bool = False


class Hold(NamedTuple):
    """Values that are held stale: see `messages.Held`."""

    scope: HeldScope
    tokens: tuple[int, ...]
    segment: int = 0


_decode = msgspec.msgpack.Decoder(TickBody).decode


class Liveness:
    """The clocks of one open link. `former`: the last prices of the link before it, by token."""

    def __init__(self, now_ns: int, paces: dict[int, Pace], former: Mapping[int, int]) -> None:
        self.last_frame_ns = now_ns
        self.canaries = Canaries(paces)
        self.is_fresh = False
        self.is_silence_said = False
        self._former = former
        self._tokens: set[int] = set()
        self._open: set[int] = set()
        self._witnesses: set[int] = set()
        self._watched: set[int] = set()
        self._first_prices: dict[int, int] = {}
        self._seen: dict[int, tuple[bytes, int]] = {}  # of those: the last body, and when it came
        self._last: _Frame = ([], [], 0)  # the last one with a witness in it
        self._contradicted: set[int] = set()  # by a quote, since they last ticked
        self._unproven_due_ns: int | None = None
        self._still_ns: int | None = None  # the last tick of what ought to tick, None: nothing does
        self._still_again_ns = 0
        self._look_due_ns: int | None = None
        self._doubted_ns = 0
        self._asked_about: set[int] = set()  # in vain, since something ticked

    @property
    def deadline_ns(self) -> int | None:
        silent_ns = None if self.is_silence_said else self.last_frame_ns + SILENT_NS
        return earliest(silent_ns, self._unproven_due_ns, self._still_due_ns, self._look_due_ns)

    @property
    def _still_due_ns(self) -> int | None:
        if self._still_ns is None:
            return None
        limit_ns = CANARY_NS if self.canaries.is_relied_on else QUIET_NS
        return max(self._still_ns + limit_ns, self._still_again_ns)

    def subscribed(self, instruments: Iterable[Instrument], now_ns: int) -> None:
        """Take the set of instruments that ought to tick from now on."""
        instruments = list(instruments)
        had_canaries = self.canaries.is_relied_on
        self.canaries.subscribed(instruments, now_ns)
        canaries = {i.token for i in instruments if i.is_canary}
        self._tokens = {i.token for i in instruments}
        self._open = {i.token for i in instruments if not i.is_closed}
        self._witnesses = self._open | canaries or self._tokens
        self._watched = self._tokens
        if len(self._tokens) > WATCHED_MAX:
            self._watched = {t for t in self._tokens if is_index(t)}
            if len(canaries) <= WATCHED_MAX:
                self._watched |= canaries
        self._seen = {token: seen for token, seen in self._seen.items() if token in self._watched}
        self._contradicted &= self._tokens
        if not self._tokens:
            self._unproven_due_ns = None
        elif self._unproven_due_ns is None and not self.is_fresh:
            self._unproven_due_ns = now_ns + UNPROVEN_NS
        self._look_due_ns = now_ns + LOOK_NS if self.canaries.are_looked_at else None
        if not canaries and not self._open:
            self._still_ns = None
        elif self._still_ns is None or (self.canaries.is_relied_on and not had_canaries):
            self._still_ns = now_ns

    def frame(self, now_ns: int) -> bool:
        """Note any frame, heartbeats included. False after a silence of SILENT_NS, for good: later
        frames lay in a buffer (of a host that slept, of a process that stood still), and nobody
        knows how old they are."""
        if now_ns - self.last_frame_ns >= SILENT_NS:
            return False
        self.last_frame_ns = now_ns
        return True

    def ticks(self, tokens: list[int], bodies: list[bytes], now_ns: int) -> None:
        """Note packets of known tokens. Bodies are looked into only when there is a doubt."""
        if not self._watched.isdisjoint(tokens):
            for token, body in zip(tokens, bodies, strict=True):
                if token in self._watched:
                    self._seen[token] = (body, now_ns)
        if not self._witnesses.isdisjoint(tokens):
            self._last = (tokens, bodies, now_ns)
        if self._contradicted:
            self._contradicted.difference_update(tokens)

    def first(self, token: int, last_price: int) -> None:
        """Note a cached packet after a subscribe."""
        self._first_prices[token] = last_price

    def fresh(self, tokens: list[int], now_ns: int) -> bool:
        """Note the tokens whose packets are news; True for the first news of this link."""
        self.canaries.ticked(tokens, now_ns)
        if self._still_ns is not None and (
            self.canaries.is_relied_on or not self._open.isdisjoint(tokens)
        ):
            self._still_ns, self._still_again_ns = now_ns, 0
            self._asked_about.clear()
        is_proof = not self.is_fresh
        self.is_fresh = True
        self._unproven_due_ns = None
        return is_proof

    def prices(self) -> dict[int, int]:
        """Return the last price of each instrument, as far as they were kept."""
        seen = {token: _decode(body).last_price for token, (body, _) in self._seen.items()}
        return self._first_prices | seen

    def look(self, now_ns: int) -> None:
        """Find out, before a batch tells what is held, who is silent by now."""
        if self._look_due_ns is None or now_ns < self._look_due_ns:
            return
        self._look_due_ns = now_ns + LOOK_NS
        if self._is_arriving(now_ns):
            self.canaries.look(now_ns)

    def wake(self, now_ns: int) -> list[Silent | Doubt]:
        """Tell what has come due by now."""
        said: list[Silent | Doubt] = []
        if not self.is_silence_said and now_ns - self.last_frame_ns >= SILENT_NS:
            self.is_silence_said = True
            said.append(Silent())
        if self._unproven_due_ns is not None and now_ns >= self._unproven_due_ns:
            said += self._doubts("unproven", now_ns)
            self._unproven_due_ns = self._next_look_ns(now_ns, DOUBT_AGAIN_NS)
        still_due_ns = self._still_due_ns
        if still_due_ns is not None and now_ns >= still_due_ns:
            said += self._stillness(now_ns)
        elif self._still_ns is not None and self._is_arriving(now_ns):
            token = self.canaries.to_ask_about(now_ns, CANARY_NS)
            said += [] if token is None else [self._doubt("canary", token, now_ns, is_alone=True)]
        return said

    def _stillness(self, now_ns: int) -> list[Doubt]:
        """Doubt a stream on which nothing ticks. Without anything always active it is asked about
        only once the link has given a tick: before that it is unproven, which is asked about
        anyway."""
        if self.canaries.is_relied_on:
            is_vouched = self.canaries.vouched_ns > now_ns
            again_ns = VOUCHED_AGAIN_NS if is_vouched else DOUBT_AGAIN_NS
            self._still_again_ns = self._next_look_ns(now_ns, again_ns)
            return self._doubts("canary", now_ns)
        self._still_again_ns = self._next_look_ns(now_ns, QUIET_AGAIN_NS)
        return self._doubts("quiet", now_ns) if self.is_fresh and self._open else []

    def settled(self, verdict: m.DoubtSettled, now_ns: int) -> bool:
        """Apply a quote's verdict. True when it contradicts the value, which is stale until the
        next packet."""
        token, outcome = verdict.token, verdict.outcome
        _, seen_ns = self._seen.get(token, (b"", 0))
        if token not in self._tokens or seen_ns > self._doubted_ns:
            return False  # it has ticked since
        if self.canaries.settled(token, outcome, now_ns):
            self._asked_about.clear()  # it may be asked again
        else:
            self._asked_about.add(token)
        if outcome == "same" and self._still_again_ns:
            is_vouched = self.canaries.vouched_ns - now_ns >= CANARY_NS
            self._still_again_ns = now_ns + (VOUCHED_AGAIN_NS if is_vouched else 0)
        if outcome == "moved":
            self._contradicted.add(token)
        return outcome == "moved"

    def holds(self, now_ns: int) -> list[Hold]:
        """Tell people which values are held stale, and why."""
        if not self._is_arriving(now_ns):
            return []  # it is the transport that is silent
        canaries = self.canaries
        found = [Hold("itself", tuple(sorted(self._contradicted)))] if self._contradicted else []
        if canaries.is_in_doubt(now_ns):
            return [Hold("stream", tuple(canaries.relied_on)[:HOLD_TOKENS_MAX]), *found]
        silent = [(number, canaries.silent(number)) for number in canaries.held]
        return [Hold("segment", tokens, number) for number, tokens in silent if tokens] + found

    def _is_arriving(self, now_ns: int) -> bool:
        return now_ns - self.last_frame_ns < ARRIVING_NS

    def _next_look_ns(self, now_ns: int, again_ns: int) -> int:
        """Return the time of the next look: soon for a doubt that could not be raised because no
        frames come."""
        return now_ns + (again_ns if self._is_arriving(now_ns) else LOOK_AGAIN_NS)

    def _doubts(self, kind: DoubtKind, now_ns: int) -> list[Doubt]:
        if not self._is_arriving(now_ns):
            return []
        known = self._last_bodies(kind)
        if not known:
            return [Doubt(kind, min(self.canaries.relied_on or self._witnesses), 0, None)]
        # Not again about one that proved nothing: an auction's price reaches quotes, but no stream.
        if self._asked_about.issuperset(known):
            self._asked_about.clear()
        token = next(token for token in known if token not in self._asked_about)
        if kind == "quiet":  # each time about another: one that trades seldom proves nothing
            self._asked_about.add(token)
        return [self._doubt(kind, token, now_ns)]

    def _doubt(self, kind: DoubtKind, token: int, now_ns: int, *, is_alone: bool = False) -> Doubt:
        self._doubted_ns = now_ns
        seen = self._last_bodies(kind).get(token)
        if seen is None:
            return Doubt(kind, token, 0, None, is_alone=is_alone)
        tick = _decode(seen)
        # A quiet list is asked about all day long, so its price alone decides. Nobody has compared
        # Kite's two counts of volume; if they always differed, each question would cost the stream.
        volume_traded = None if kind == "quiet" else tick.volume_traded
        is_unchanged = self._former.get(token) == tick.last_price
        return Doubt(kind, token, tick.last_price, volume_traded, is_unchanged, is_alone)

    def _last_bodies(self, kind: DoubtKind) -> dict[int, bytes]:
        """Return the instruments to ask about and their last bodies, the one that ticked last
        first: canaries that are relied on before the others whose market is open."""
        tokens, bodies, last_ns = self._last
        known: dict[int, tuple[bytes, int]] = {}
        for token, body in zip(reversed(tokens), reversed(bodies), strict=True):
            if token in self._witnesses:
                known.setdefault(token, (body, last_ns))
        for token in sorted(self._witnesses & self._seen.keys()):
            if token not in known or self._seen[token][1] > last_ns:
                known[token] = self._seen[token]
        rank = self.canaries.rank
        if kind == "quiet":
            order = sorted(known, key=lambda token: -known[token][1])
        else:
            order = sorted(known, key=lambda token: (rank(token), -known[token][1]))
        return {token: known[token][0] for token in order}
