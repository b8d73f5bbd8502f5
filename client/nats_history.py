"""Gives out what was published since some time, before what is live: no hole between them, and
nothing twice.

The link reads TICKS and lays the frames here; the reader's view gives them out as ticks. When the
link has come to the end, the reader begins to keep what is live, and the link reads on to what was
stored by then. Pure: what it shares between the two threads is a queue and a few flags.
"""

from collections import deque

from kitefeed.client.tick import Judge, Tick
from kitefeed.client.view import View

WAITING_MAX = 5_000  # frames: the link waits, and TICKS keeps the rest


class NatsHistory:
    """since_ns: UTC. begins_ns: when the oldest frame of TICKS was published, 0 before that is
    known.

    The link sets `is_read` when it has given all there was, and waits for `is_joined`. The reader
    sets that when it has taken all, and keeps what comes live. Then the link reads on, and sets
    `is_over`.
    """

    def __init__(self, since_ns: int) -> None:
        self.since_ns = since_ns
        self.begins_ns = 0
        self.problem = ""
        self.has_begun = False
        self.is_read = False
        self.is_joined = False
        self.is_over = False
        self.frames: deque[bytes] = deque()

    @property
    def has_room(self) -> bool:
        return len(self.frames) < WAITING_MAX


class SinceView(View):
    """A view that gives out history first. Its ticks are judged like any others: each was replaced,
    but the last of an instrument, which is given out as the live tick that it is."""

    def __init__(
        self,
        history: NatsHistory,
        judge: Judge,
        wanted: frozenset[str] | None,
        prefixes: tuple[str, ...],
        max_age_s: float | None,
    ) -> None:
        super().__init__(judge, wanted, prefixes, max_age_s)
        self._history = history
        self._past = View(judge, wanted, prefixes, None)
        self._places: dict[str, tuple[int, int]] = {}  # gen and seq of what was given out last
        self._is_live = False
        self._past_gaps = 0  # ticks that TICKS does not have

    @property
    def has_next(self) -> bool:
        history = self._history
        if self._is_live:
            return super().has_next
        return bool(self._past.arrived or history.frames or history.is_read)

    def skip_old(self, now_ns: int) -> None:
        if self._history.is_joined:
            super().skip_old(now_ns)
        else:  # it comes as history
            self.arrived.clear()
            self.has_late = False

    def take(self) -> Tick | None:
        if not self._is_live:
            tick = self._take_past()
            if tick is not None or not self._is_live:
                return tick
        while (tick := super().take()) is not None and self._places:
            if self._is_news(tick):
                return tick
        return tick

    def _take_past(self) -> Tick | None:
        history, past = self._history, self._past
        while not past.arrived and history.frames:
            frame = history.frames.popleft()
            past.apply(frame, 0, 0)
        self.gaps += past.gaps - self._past_gaps
        self._past_gaps = past.gaps
        if past.arrived:
            tick = past.arrived.popleft()
            self._places[tick.instrument] = tick.gen, tick.seq
            now = self.values.get(tick.instrument)
            is_last = now is not None and (now.gen, now.seq) == (tick.gen, tick.seq)
            return now if is_last and now is not None else tick
        if history.is_over:
            self._is_live = True
        elif history.is_read and not history.is_joined:
            self.arrived.clear()  # TICKS has it, or will have
            history.is_joined = True
        return None

    def _is_news(self, tick: Tick) -> bool:
        """Whether a live tick was not given out as history. The first such tick of each instrument
        proves that nothing is missing between history and the live feed."""
        place = self._places.pop(tick.instrument, None)
        if place is None:
            return True
        gen, seq = place
        if (tick.gen, tick.seq) <= place or not tick.seq:
            self._places[tick.instrument] = place
            return False
        if tick.gen == gen and tick.seq > seq + 1:
            self.gaps += tick.seq - seq - 1
        return True
