"""The hours region: it knows which wanted segments are open and which trade continuously, and tells
the sources when that changes.

The poller asks only for instruments whose segment is open. The ticker takes the silence of an
always-active instrument for a doubt only while its segment trades continuously: in the closing
auction and before the open there may be no trade for a quarter of an hour. When a stream has to be
proven by a quote, the ticker takes an instrument of an open segment.
"""

from kitefeed.actors.supervisor import link, rest
from kitefeed.actors.supervisor.state import State
from kitefeed.protocol.messages.instruments import Instrument


def want(s: State, instruments: tuple[Instrument, ...]) -> None:
    """Take another set of instruments that are wanted."""
    s.want(instruments)
    _look(s)
    link.instruments_changed(s)
    rest.instruments_changed(s)


def advance(s: State) -> None:
    """Notice that a segment opened, closed, or went from one phase to the next."""
    open_before, trading_before = s.open_segments, s.trading_segments
    _look(s)
    if (s.open_segments, s.trading_segments) != (open_before, trading_before):
        link.instruments_changed(s)
    if s.trading_segments != trading_before:
        s.trading_since_ns = s.now_ns
    if s.open_segments != open_before:
        rest.instruments_changed(s)


def _look(s: State) -> None:
    s.open_segments = frozenset(segment for segment in s.segments if s.is_open(segment))
    s.trading_segments = frozenset(segment for segment in s.segments if s.is_trading(segment))
