"""Bars of recorded ticks."""

from collections.abc import Iterable, Iterator

from kitefeed.client.bars import Bar, Bars
from kitefeed.client.player import Player
from kitefeed.protocol.recording import Gap, Record


def recorded_bars(
    records: Iterable[Record], gaps: Iterable[Gap], player: Player, bars: Bars
) -> Iterator[Bar]:
    """Yield the final bars, as the time of the records passes. A bar that is not final when the
    records end may miss ticks: it says `gap`."""
    for gap in gaps:
        bars.lost(None, gap.from_ns, gap.to_ns)
    now_ns = 0
    for record in records:
        now_ns = record.t_ns
        yield from bars.final(now_ns)
        for tick in player.play(record):
            correction = bars.take(tick, now_ns)
            if correction is not None:
                yield correction
    yield from bars.final(now_ns)
    bars.lost(None, now_ns - bars.wait_ns, bars.due_ns or now_ns)
    while bars.due_ns is not None:
        yield from bars.final(bars.due_ns)
