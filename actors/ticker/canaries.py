"""The always-active instruments of one link: which of them may be relied on, and which values their
silence holds stale. Pure, fed with time.

When a canary has been silent for SILENT_NS, the whole stream is in doubt only as long as nothing
else ticks either, and no quote says that nothing is missing. While others tick, its silence holds
stale the instruments like it: those of its segment, if none of them has ticked meanwhile. How an
instrument ticks is learned: one that pauses like any other, or never ticks, is no canary.

When a quote knows no newer price of a canary that was quick, it vouches for the canary's segment.
If the canary was never seen to tick, such a quote only says that this one idles: it is no canary,
and vouches for nothing.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Literal

from kitefeed.protocol.kite.ticks import segment_of
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages.instruments import Instrument

SILENT_NS = 5 * NS_PER_S  # nothing that is always active pauses for so long
QUICK_NS = 2_500_000_000  # the pace of a canary: half of that
QUICK_TICKS = 5  # so many in a row at that pace: it is a canary
SILENCES_MAX = 2  # so many that ended by themselves before it was quick again: it is no canary
PRESUMED_NS = 600 * NS_PER_S  # no tick while others tick, and no quote of it: it is no canary
VOUCHED_NS = 15 * NS_PER_S  # a quote is good for so long, if no tick comes
RESUMED_NS = 1_500_000_000  # a segment that ticks again is held for so long
# So many are a crowd: only the silence of all of them is a doubt, and none is looked at alone.
CROWD_MIN = 257


@dataclass(slots=True)
class Pace:
    """The pace of an instrument so far, on all links: presumed to be always active, seen to be
    (quick), or seen not to be (slow)."""

    word: Literal["presumed", "quick", "slow"] = "presumed"
    quick_ticks: int = 0
    silences: int = 0  # since it was last quick

    def ticked(self, gap_ns: int, *, was_silent: bool) -> None:
        self.quick_ticks = self.quick_ticks + 1 if gap_ns <= QUICK_NS else 0
        if was_silent:
            self.silences += 1
            if self.word != "quick" or self.silences >= SILENCES_MAX:
                self.word = "slow"
        elif self.quick_ticks >= QUICK_TICKS:
            self.word, self.silences = "quick", 0


@dataclass(slots=True)
class _Canary:
    token: int
    pace: Pace
    ticked_ns: int  # or when it was first asked for
    is_silent: bool = False
    is_excused: bool = False  # others went on while it was silent: it does not judge the stream
    asked_ns: int = 0  # when a quote was last asked for because it alone is silent

    @property
    def is_relied_on(self) -> bool:
        return self.pace.word != "slow" and not self.is_excused

    def tick(self, now_ns: int) -> None:
        self.pace.ticked(now_ns - self.ticked_ns, was_silent=self.is_silent)
        self.ticked_ns, self.is_silent, self.is_excused = now_ns, False, False


@dataclass(slots=True)
class _Segment:
    """The instruments that are like its canaries: all of this link with the same low byte of the
    token."""

    members: frozenset[int]
    canaries: frozenset[int]
    has_values: bool  # nobody reads anything of a segment of guards alone
    ticked_ns: int
    vouched_ns: int = 0  # until then a quote of a quick canary vouches for it
    is_held: bool = False
    resumed_ns: int = 0  # when what held it ended, 0 while it lasts

    def hold(self, now_ns: int, *, is_silent: bool) -> bool:
        """Whether it is held from now on: a little longer than the silence, because the other
        instruments have to tick, too, and readers of only the latest ticks are told so once a
        second."""
        if is_silent:
            self.is_held, self.resumed_ns = True, 0
        elif self.is_held:
            self.resumed_ns = self.resumed_ns or now_ns
            self.is_held = now_ns - self.resumed_ns < RESUMED_NS
        return self.is_held


@dataclass(slots=True)
class Canaries:
    """The canaries of one link. `paces`: shared by all links, by token. `held`: segments whose
    values are stale because of a silent canary; a new list whenever it changes. `is_relied_on`:
    whether the silence of everything means something."""

    paces: dict[int, Pace]
    held: list[int] = field(default_factory=list)
    is_relied_on: bool = False
    _all: dict[int, _Canary] = field(default_factory=dict)
    _segments: dict[int, _Segment] = field(default_factory=dict)
    _crowd: frozenset[int] = frozenset()
    _since_ns: int = 0  # when the first canary came
    _news_ns: int = 0
    _relied_on: list[_Segment] = field(default_factory=list)  # with such a canary
    _asking_ns: int = 0  # when a quote was last asked for of one that is silent alone, 0: answered
    _other_vouched_ns: int = 0  # by a quote of what is no canary, or one of a crowd

    @property
    def proven_ns(self) -> int:
        """The boot time at which the stream was last proven by a tick or by quotes, or first asked
        for; 0 while nothing on it is relied on. A time to come while quotes vouch for it."""
        if not self.is_relied_on:
            return 0
        return max(self._since_ns, self._news_ns, self.vouched_ns - SILENT_NS)

    @property
    def vouched_ns(self) -> int:
        """The boot time until which quotes vouch for the stream: for each segment with a canary, if
        none of them was asked while its ticks proved it."""
        vouched_ns = min((segment.vouched_ns for segment in self._relied_on), default=0)
        if vouched_ns - VOUCHED_NS - self._news_ns < SILENT_NS:
            vouched_ns = 0
        return max(vouched_ns, self._other_vouched_ns)

    @property
    def are_looked_at(self) -> bool:
        """Whether a canary may fall silent while others tick."""
        return bool(self._all)

    @property
    def relied_on(self) -> Collection[int]:
        return self._crowd or [c.token for c in self._all.values() if c.is_relied_on]

    def subscribed(self, instruments: Collection[Instrument], now_ns: int) -> None:
        """Take the set of instruments that ought to tick from now on."""
        tokens = frozenset(i.token for i in instruments if i.is_canary)
        if tokens and not (self._all or self._crowd):
            self._since_ns = now_ns
        self._crowd = tokens if len(tokens) >= CROWD_MIN else frozenset()
        own = tokens - self._crowd
        for token in self._all.keys() - own:
            del self._all[token]
        for token in own - self._all.keys():
            pace = self.paces.setdefault(token, Pace())
            self._all[token] = _Canary(token, pace, now_ns)
        before = self._segments
        self._segments = {
            number: self._segment(number, instruments, before.get(number), now_ns)
            for number in sorted(set(map(segment_of, own)))
        }
        self._judge(now_ns)

    def _segment(
        self, number: int, instruments: Iterable[Instrument], before: _Segment | None, now_ns: int
    ) -> _Segment:
        members = [i for i in instruments if segment_of(i.token) == number]
        return _Segment(
            members=frozenset(i.token for i in members),
            canaries=frozenset(i.token for i in members if i.token in self._all),
            has_values=not all(i.is_guard for i in members),
            ticked_ns=before.ticked_ns if before else now_ns,
            vouched_ns=before.vouched_ns if before else 0,
            is_held=before.is_held if before else False,
            resumed_ns=before.resumed_ns if before else 0,
        )

    def ticked(self, tokens: list[int], now_ns: int) -> None:
        """Note news of these: earlier quotes of them count no more."""
        self._news_ns, self._other_vouched_ns = now_ns, 0
        for segment in self._segments.values():
            if segment.members.isdisjoint(tokens):
                continue
            segment.ticked_ns, segment.vouched_ns = now_ns, 0
            for token in segment.canaries.intersection(tokens):
                self._all[token].tick(now_ns)

    def look(self, now_ns: int) -> None:
        """Notice canaries that are silent while frames arrive."""
        for canary in self._all.values():
            silent_ns = now_ns - canary.ticked_ns
            if silent_ns < SILENT_NS:
                continue
            canary.is_silent = True
            if self._news_ns - canary.ticked_ns >= SILENT_NS:
                canary.is_excused = True
                if canary.pace.word == "presumed" and silent_ns >= PRESUMED_NS:
                    canary.pace.word = "slow"
        self._judge(now_ns)

    def _judge(self, now_ns: int) -> None:
        """Derive which segments are relied on and held."""
        relied_on = {segment_of(token) for token in self._all if self._all[token].is_relied_on}
        self._relied_on = [self._segments[number] for number in sorted(relied_on)]
        self.is_relied_on = bool(self._crowd or relied_on)
        held = [n for n, segment in self._segments.items() if self._is_held(segment, now_ns)]
        if held != self.held:
            self.held = held

    def _is_held(self, segment: _Segment, now_ns: int) -> bool:
        if now_ns < segment.vouched_ns:
            segment.is_held = False
            return False
        is_silent = segment.has_values and now_ns - segment.ticked_ns >= SILENT_NS
        return segment.hold(now_ns, is_silent=is_silent and bool(self._silent_in(segment)))

    def _silent_in(self, segment: _Segment) -> list[_Canary]:
        """Return the canaries whose silence holds the segment."""
        canaries = (self._all[token] for token in sorted(segment.canaries))
        return [canary for canary in canaries if canary.is_silent and canary.pace.word != "slow"]

    def silent(self, number: int) -> tuple[int, ...]:
        """Return the canaries that hold a segment."""
        return tuple(canary.token for canary in self._silent_in(self._segments[number]))

    def is_in_doubt(self, now_ns: int) -> bool:
        """Whether the whole stream is in doubt: nothing of it is believed."""
        return self.is_relied_on and now_ns - self.proven_ns >= SILENT_NS

    def to_ask_about(self, now_ns: int, after_ns: int) -> int | None:
        """Return a canary of which only a quote can say whether it is slow or frozen: never seen to
        be quick, and silent alone for `after_ns`. Each is asked about as seldom as that, the next
        once one is answered."""
        if self._asking_ns and now_ns - self._asking_ns < after_ns:
            return None
        for number in self.held:
            holding = self._silent_in(self._segments[number])
            if any(canary.pace.word == "quick" for canary in holding):
                continue
            for canary in holding:
                if (
                    canary.is_excused
                    and now_ns - max(canary.ticked_ns, canary.asked_ns) >= after_ns
                ):
                    canary.asked_ns = self._asking_ns = now_ns
                    return canary.token
        return None

    def rank(self, token: int) -> tuple[bool, int, bool]:
        """Return a rank, lower the more a quote of the token tells: of a canary that is relied on,
        in the segment that quotes vouch for least, and that was quick."""
        canary = self._all.get(token)
        if canary is None or not canary.is_relied_on:
            return (token not in self._crowd, 0, True)
        vouched_ns = self._segments[segment_of(token)].vouched_ns
        return (False, vouched_ns, canary.pace.word != "quick")

    def settled(
        self, token: int, outcome: Literal["same", "moved", "lacking"], now_ns: int
    ) -> bool:
        """Apply a quote of `token`: it says the same as the stream, or another price, or Kite lacks
        it, and then nobody can say whether the stream or the instrument is dead. A canary whose
        price moves while others tick is frozen, and so may be all that is like it: it holds its
        segment on.

        True if the quote vouches for the segment.
        """
        canary = self._all.get(token)
        self._asking_ns = 0
        is_witness = False
        if canary is None or not canary.is_relied_on:
            if outcome == "same" and now_ns - self._news_ns >= SILENT_NS:  # else ticks prove it
                self._other_vouched_ns = now_ns + VOUCHED_NS
        elif outcome == "same" and canary.pace.word == "quick":
            is_witness = True
            self._segments[segment_of(token)].vouched_ns = now_ns + VOUCHED_NS
        if canary is not None and now_ns - canary.ticked_ns >= SILENT_NS:
            if outcome == "lacking":
                canary.is_excused = True
            elif canary.pace.word == "presumed" and not (outcome == "moved" and canary.is_excused):
                canary.pace.word = "slow"
                if outcome == "same":  # free at once, if no other one holds it
                    self._segments[segment_of(token)].is_held = False
        self._judge(now_ns)
        return is_witness
