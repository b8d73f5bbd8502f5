"""What the frames of one link prove, and what their absence means. Pure, fed with time.

Three clocks, all in boot-time nanoseconds: no frame at all (the transport is dead), frames but no
fresh tick after a subscribe (Kite replays cached packets even on holidays), and frames but no tick
of an always-active instrument (a mute feed hides behind heartbeats).
"""

from collections.abc import Iterable
from itertools import repeat
from typing import Literal, NamedTuple

from kitefeed.actors.policy.machine import earliest
from kitefeed.protocol.kite.repack import Row
from kitefeed.protocol.kite.ticks import TickBody
from kitefeed.protocol.messages import Instrument

SILENT_NS = 10_000_000_000
UNPROVEN_NS = 3_000_000_000
DOUBT_AGAIN_NS = 10_000_000_000
CANARY_NS = 10_000_000_000
# Frames count as arriving while the last one is this young; in market hours the longest gap
# between two frames of a live socket was 0.5 s, heartbeats included (kite.trade: every second).
ARRIVING_NS = 3_000_000_000
LOOK_AGAIN_NS = 1_000_000_000


class Silent(NamedTuple):
    """No frame for SILENT_NS: the end of this link. Said once."""


class Doubt(NamedTuple):
    """What to ask REST about: `last_price` as last seen, 0 when the stream never gave any."""

    kind: Literal["unproven", "canary"]
    token: int
    last_price: int
    volume_traded: int | None


_LAST_PRICE, _VOLUME_TRADED = map(TickBody.__struct_fields__.index, ("last_price", "volume_traded"))


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
        self._seen: dict[int, tuple[Row, int]] = {}  # the last packet, and when it came
        self._unproven_due_ns: int | None = None
        self._canary_due_ns: int | None = None

    @property
    def deadline_ns(self) -> int | None:
        silent_ns = None if self.is_silence_said else self.last_frame_ns + SILENT_NS
        return earliest(silent_ns, self._unproven_due_ns, self._canary_due_ns)

    def subscribed(self, instruments: Iterable[Instrument], now_ns: int) -> None:
        """The set that ought to tick from now on."""
        instruments = list(instruments)
        self._tokens = {i.token for i in instruments}
        self._canaries = {i.token for i in instruments if i.is_canary}
        self._open = {i.token for i in instruments if not i.is_closed}
        self._seen = {token: seen for token, seen in self._seen.items() if token in self._tokens}
        if not self._tokens:
            self._unproven_due_ns = None
        elif self._unproven_due_ns is None and not self.is_fresh:
            self._unproven_due_ns = now_ns + UNPROVEN_NS
        if not self._canaries:
            self.canary_ns, self._canary_due_ns = 0, None
        elif self._canary_due_ns is None:
            self.canary_ns, self._canary_due_ns = now_ns, now_ns + CANARY_NS

    def frame(self, now_ns: int) -> bool:
        """Any frame, heartbeats included. False after a silence of SILENT_NS, for good: what comes
        then lay in a buffer (of a host that slept, of a process that stood still), and nobody knows
        how old it is."""
        if now_ns - self.last_frame_ns >= SILENT_NS:
            return False
        self.last_frame_ns = now_ns
        return True

    def ticks(self, tokens: list[int], rows: list[Row], now_ns: int) -> None:
        """Packets of known tokens. They are looked into only when there is a doubt."""
        self._seen.update(zip(tokens, zip(rows, repeat(now_ns)), strict=False))

    def fresh(self, tokens: Iterable[int], now_ns: int) -> bool:
        """The tokens among them whose packets are news; True for the first news of this link."""
        if not self._canaries.isdisjoint(tokens):
            self.canary_ns, self._canary_due_ns = now_ns, now_ns + CANARY_NS
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
        return said

    def _is_arriving(self, now_ns: int) -> bool:
        return now_ns - self.last_frame_ns < ARRIVING_NS

    def _next_look_ns(self, now_ns: int) -> int:
        """A doubt that could not be raised because no frames come is looked at again soon."""
        return now_ns + (DOUBT_AGAIN_NS if self._is_arriving(now_ns) else LOOK_AGAIN_NS)

    def _doubts(self, kind: Literal["unproven", "canary"], now_ns: int) -> list[Doubt]:
        if not self._is_arriving(now_ns):
            return []
        token = self._witness()
        if token not in self._seen:
            return [Doubt(kind, token, 0, None)]
        row, _ = self._seen[token]
        return [Doubt(kind, token, row[_LAST_PRICE], row[_VOLUME_TRADED])]

    def _witness(self) -> int:
        """The token to ask about: a canary if there is one, else one whose market is open; the one
        that ticked last among them, lowest number first where none ever ticked."""

        def order(token: int) -> tuple[int, int]:
            seen = self._seen.get(token)
            return (-seen[1] if seen else 0, token)

        return min(self._canaries or self._open or self._tokens, key=order)
