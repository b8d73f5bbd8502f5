"""What the frames of one link prove, and what their absence means. Pure, fed with time.

Four clocks, all in boot-time nanoseconds: no frame at all (the transport is dead), frames but no
fresh tick after a subscribe (Kite replays cached packets even on holidays), and frames but no tick
of an always-active instrument (a mute feed hides behind heartbeats) or, where there is none, of
anything whose market is open: that may be a quiet list, so it is asked about less often.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

import msgspec

from kitefeed.actors.policy.machine import earliest
from kitefeed.protocol.kite.ticks import TickBody, is_index
from kitefeed.protocol.messages import Instrument

SILENT_NS = 10_000_000_000
UNPROVEN_NS = 3_000_000_000
DOUBT_AGAIN_NS = 10_000_000_000
CANARY_NS = 10_000_000_000
QUIET_NS = 10_000_000_000
QUIET_AGAIN_NS = 30_000_000_000
# Frames count as arriving while the last one is this young; in market hours the longest gap
# between two frames of a live socket was 0.5 s, heartbeats included (kite.trade: every second).
ARRIVING_NS = 3_000_000_000
LOOK_AGAIN_NS = 1_000_000_000
# Of so many instruments each last packet is kept. Of more, keeping them costs a quarter of all that
# a frame does to the ticker: their memory is cold again by the time the next one comes.
WATCHED_MAX = 256


_Frame = tuple[list[int], list[bytes], int]  # tokens, their bodies, when it came


class Silent(NamedTuple):
    """No frame for SILENT_NS: the end of this link. Said once."""


DoubtKind = Literal["unproven", "canary", "quiet"]


class Doubt(NamedTuple):
    """What to ask REST about: `last_price` as last seen, 0 when the stream never gave any."""

    kind: DoubtKind
    token: int
    last_price: int
    volume_traded: int | None


_decode = msgspec.msgpack.Decoder(TickBody).decode


class Liveness:
    """The clocks of one open link. `canary_ns`: last tick of an always-active instrument, or when
    they were first asked for; 0 while there are none."""

    def __init__(self, now_ns: int) -> None:
        self.last_frame_ns = now_ns
        self.canary_ns = 0
        self.is_fresh = False
        self.is_silence_said = False
        self._tokens: set[int] = set()
        self._canaries: set[int] = set()
        self._open: set[int] = set()
        self._witnesses: set[int] = set()
        self._watched: set[int] = set()
        self._seen: dict[int, tuple[bytes, int]] = {}  # of those: the last body, and when it came
        self._last: _Frame = ([], [], 0)  # the last one with a witness in it
        self._unproven_due_ns: int | None = None
        self._canary_due_ns: int | None = None
        self._quiet_due_ns: int | None = None
        self._asked_about: set[int] = set()  # since something of a list without canaries ticked

    @property
    def deadline_ns(self) -> int | None:
        silent_ns = None if self.is_silence_said else self.last_frame_ns + SILENT_NS
        return earliest(silent_ns, self._unproven_due_ns, self._canary_due_ns, self._quiet_due_ns)

    def subscribed(self, instruments: Iterable[Instrument], now_ns: int) -> None:
        """The set that ought to tick from now on."""
        instruments = list(instruments)
        self._tokens = {i.token for i in instruments}
        self._canaries = {i.token for i in instruments if i.is_canary}
        self._open = {i.token for i in instruments if not i.is_closed}
        self._witnesses = self._canaries or self._open or self._tokens
        self._watched = self._tokens
        if len(self._tokens) > WATCHED_MAX:
            self._watched = {t for t in self._tokens if is_index(t)}
            if len(self._canaries) <= WATCHED_MAX:
                self._watched |= self._canaries
        self._seen = {token: seen for token, seen in self._seen.items() if token in self._watched}
        if not self._tokens:
            self._unproven_due_ns = None
        elif self._unproven_due_ns is None and not self.is_fresh:
            self._unproven_due_ns = now_ns + UNPROVEN_NS
        if not self._canaries:
            self.canary_ns, self._canary_due_ns = 0, None
        elif self._canary_due_ns is None:
            self.canary_ns, self._canary_due_ns = now_ns, now_ns + CANARY_NS
        if self._canaries or not self._open:
            self._quiet_due_ns = None
        elif self._quiet_due_ns is None:
            self._quiet_due_ns = now_ns + QUIET_NS

    def frame(self, now_ns: int) -> bool:
        """Any frame, heartbeats included. False after a silence of SILENT_NS, for good: what comes
        then lay in a buffer (of a host that slept, of a process that stood still), and nobody knows
        how old it is."""
        if now_ns - self.last_frame_ns >= SILENT_NS:
            return False
        self.last_frame_ns = now_ns
        return True

    def ticks(self, tokens: list[int], bodies: list[bytes], now_ns: int) -> None:
        """Packets of known tokens. Bodies are looked into only when there is a doubt."""
        if not self._watched.isdisjoint(tokens):
            for token, body in zip(tokens, bodies, strict=True):
                if token in self._watched:
                    self._seen[token] = (body, now_ns)
        if not self._witnesses.isdisjoint(tokens):
            self._last = (tokens, bodies, now_ns)

    def fresh(self, tokens: Iterable[int], now_ns: int) -> bool:
        """The tokens among them whose packets are news; True for the first news of this link."""
        if not self._canaries.isdisjoint(tokens):
            self.canary_ns, self._canary_due_ns = now_ns, now_ns + CANARY_NS
        elif self._quiet_due_ns is not None and not self._open.isdisjoint(tokens):
            self._quiet_due_ns = now_ns + QUIET_NS
            self._asked_about.clear()
        is_proof = not self.is_fresh
        self.is_fresh = True
        self._unproven_due_ns = None
        return is_proof

    def wake(self, now_ns: int) -> list[Silent | Doubt]:
        """What the clocks say by now."""
        said: list[Silent | Doubt] = []
        if not self.is_silence_said and now_ns - self.last_frame_ns >= SILENT_NS:
            self.is_silence_said = True
            said.append(Silent())
        if self._unproven_due_ns is not None and now_ns >= self._unproven_due_ns:
            said += self._doubts("unproven", now_ns)
            self._unproven_due_ns = self._next_look_ns(now_ns)
        if self._canary_due_ns is not None and now_ns >= self._canary_due_ns:
            said += self._doubts("canary", now_ns)
            self._canary_due_ns = self._next_look_ns(now_ns)
        if self._quiet_due_ns is not None and now_ns >= self._quiet_due_ns:
            if self.is_fresh:  # else it is unproven, which is asked about anyway
                said += self._doubts("quiet", now_ns)
            self._quiet_due_ns = self._next_look_ns(now_ns, QUIET_AGAIN_NS)
        return said

    def _is_arriving(self, now_ns: int) -> bool:
        return now_ns - self.last_frame_ns < ARRIVING_NS

    def _next_look_ns(self, now_ns: int, again_ns: int = DOUBT_AGAIN_NS) -> int:
        """A doubt that could not be raised because no frames come is looked at again soon."""
        return now_ns + (again_ns if self._is_arriving(now_ns) else LOOK_AGAIN_NS)

    def _doubts(self, kind: DoubtKind, now_ns: int) -> list[Doubt]:
        if not self._is_arriving(now_ns):
            return []
        known = self._last_bodies()
        if not known:
            return [Doubt(kind, min(self._witnesses), 0, None)]
        if kind != "quiet":
            token = next(iter(known))
            tick = _decode(known[token])
            return [Doubt(kind, token, tick.last_price, tick.volume_traded)]
        # Each time about another: one that trades seldom, or in an auction, proves nothing.
        if self._asked_about.issuperset(known):
            self._asked_about.clear()
        token = next(token for token in known if token not in self._asked_about)
        self._asked_about.add(token)
        # A quiet list is asked about all day long: its price alone decides, as nobody has compared
        # Kite's two counts of volume. One that differed for ever would cost the stream each time.
        return [Doubt(kind, token, _decode(known[token]).last_price, None)]

    def _last_bodies(self) -> dict[int, bytes]:
        """Those to ask about and their last bodies, the one that ticked last first: canaries if
        there are any, else those whose market is open."""
        tokens, bodies, last_ns = self._last
        known: dict[int, tuple[bytes, int]] = {}
        for token, body in zip(reversed(tokens), reversed(bodies), strict=True):
            if token in self._witnesses:
                known.setdefault(token, (body, last_ns))
        for token in sorted(self._witnesses & self._seen.keys()):
            if token not in known or self._seen[token][1] > last_ns:
                known[token] = self._seen[token]
        return {t: known[t][0] for t in sorted(known, key=lambda token: -known[token][1])}
