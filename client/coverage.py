"""Sums up what a recording holds, instrument by instrument, and what it lacks. Pure."""

from collections.abc import Iterable, Mapping

import msgspec

from kitefeed.client.player import Player
from kitefeed.client.tick import Tick
from kitefeed.protocol.recording import Record

HOLDS_NS = 2_500_000_000  # a heartbeat; what follows without one is nobody's word


class Covered(msgspec.Struct):
    """One instrument. Times in UTC ns. longest_pause_ns: between two of its ticks. fresh, polled:
    how many of the ticks were so when they came."""

    instrument: str
    ticks: int = 0
    fresh: int = 0
    polled: int = 0
    first_ns: int = 0
    last_ns: int = 0
    longest_pause_ns: int = 0

    def add(self, tick: Tick) -> None:
        at_ns = tick.t_rx_ns
        if self.ticks:
            self.longest_pause_ns = max(self.longest_pause_ns, at_ns - self.last_ns)
        self.first_ns = self.first_ns or at_ns
        self.last_ns = max(self.last_ns, at_ns)
        self.ticks += 1
        self.fresh += tick.is_fresh
        self.polled += tick.origin == "rest"


class Coverage:
    """first_ns, last_ns: of what was recorded, UTC. words_ns: how long each headline stood, and
    `lost` for how long nothing was heard."""

    def __init__(self, player: Player) -> None:
        self.first_ns = 0
        self.last_ns = 0
        self.ticks = 0
        self.words_ns: dict[str, int] = {}
        self._player = player
        self._instruments: dict[str, Covered] = {}
        self._word = ""
        self._heard_ns = 0

    @property
    def instruments(self) -> Mapping[str, Covered]:
        return self._instruments

    def read(self, records: Iterable[Record], since_ns: int = 0) -> None:
        for record in records:
            heartbeats = self._player.view.heartbeats
            ticks = list(self._player.play(record))
            if record.t_ns < since_ns:
                continue
            self.first_ns = self.first_ns or record.t_ns
            self.last_ns = max(self.last_ns, record.t_ns)
            if self._player.view.heartbeats != heartbeats:
                self._hear(record.t_ns)
            for tick in ticks:
                self.ticks += 1
                found = self._instruments.get(tick.instrument)
                if found is None:
                    found = self._instruments[tick.instrument] = Covered(tick.instrument)
                found.add(tick)

    def _hear(self, at_ns: int) -> None:
        if self._word:
            passed_ns = max(0, at_ns - self._heard_ns)
            held_ns = min(passed_ns, HOLDS_NS)
            self._count(self._word, held_ns)
            self._count("lost", passed_ns - held_ns)
        self._word, self._heard_ns = self._player.view.word, at_ns

    def _count(self, word: str, ns: int) -> None:
        if ns:
            self.words_ns[word] = self.words_ns.get(word, 0) + ns
