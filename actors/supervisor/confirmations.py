"""The instruments that the sources were told to deliver, and what Kite has sent of them since.
Pure."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from kitefeed.protocol.kite.ticks import FULL, MODE_NAMES, mode_from_name
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.status import Unconfirmed

LATE_NS = 5 * NS_PER_S  # unconfirmed for longer: named; the ticker has asked again by then
NAMED_MAX = 100


class Lacking(NamedTuple):
    """A token that did not come in `mode` since it was asked for. `arrived`: the lower mode in
    which it did, 0 for none."""

    token: int
    mode: int
    arrived: int
    since_ns: int

    def named(self, key: str, now_ns: int) -> Unconfirmed:
        since_s = round((now_ns - self.since_ns) / 1e9, 1)
        return Unconfirmed(key, MODE_NAMES[self.mode], MODE_NAMES.get(self.arrived), since_s)


@dataclass
class _Order:
    """The last order to one source, and what has come of it. is_stream: None while nothing was
    ordered here, see `confirm`."""

    is_stream: bool | None = None
    asked: dict[int, tuple[int, int]] = field(default_factory=dict)  # token -> mode, since when
    arrived: dict[int, int] = field(default_factory=dict)  # token -> the highest mode that came

    def is_confirmed(self, token: int) -> bool:
        return token in self.asked and self.arrived.get(token, 0) >= self.asked[token][0]

    def confirmed(self) -> set[int]:
        return set(filter(self.is_confirmed, self.asked))


class Confirmations:
    """The confirmations. A packet of the mode that was asked for, or of a higher one, confirms; the
    handshake, the order, and a packet of a lower one do not."""

    def __init__(self) -> None:
        self._orders: dict[tuple[int, int], _Order] = {}  # by shard and epoch

    def told(self, message: m.Subscribe | m.StartPolling, now_ns: int) -> None:
        """Note that a source was told to deliver these; a new epoch confirms anew, and so does a
        refresh."""
        shard, epoch = message.shard, message.epoch
        is_stream = isinstance(message, m.Subscribe)
        is_refresh = isinstance(message, m.Subscribe) and message.is_refresh
        before = _Order() if is_refresh else self._orders.get((shard, epoch), _Order())
        order = _Order(is_stream)
        for instrument in message.instruments:
            if instrument.is_guard:
                continue
            token, mode = instrument.token, mode_from_name(instrument.mode)
            arrived = before.arrived.get(token, 0)
            asked, since_ns = before.asked.get(token, (0, now_ns))
            order.asked[token] = mode, now_ns if mode > asked else since_ns
            if arrived:  # a quote has everything; a stream that is lowered has no more than asked
                order.arrived[token] = min(arrived, mode) if is_stream else arrived
        kept = {key: each for key, each in self._orders.items() if key[0] != shard
                or key[1] > epoch or each.is_stream is (not is_stream)}  # fmt: skip
        self._orders = kept | {(shard, epoch): order}

    def confirm(self, message: m.Confirmed) -> None:
        """Note what came. An epoch that was not ordered here yet counts, too: a source that a
        restarted supervisor adopts tells its confirmations only once."""
        order = self._orders.setdefault((message.shard, message.epoch), _Order())
        modes = message.modes or (FULL,) * len(message.tokens)
        for token, mode in zip(message.tokens, modes, strict=False):
            order.arrived[token] = max(order.arrived.get(token, 0), mode)

    def retain(self, running: Collection[tuple[int, int]]) -> None:
        """Forget what ended sources were told. `running`: shard and epoch of those that go on."""
        self._orders = {key: order for key, order in self._orders.items() if key in running}

    def is_confirmed(self, token: int) -> bool:
        return any(order.is_confirmed(token) for order in self._orders.values())

    def confirmed_of(self, shard: int) -> int:
        orders = [order for key, order in self._orders.items() if key[0] == shard]
        return len(set().union(*(order.confirmed() for order in orders)))

    def asked(self) -> set[int]:
        return {token for order in self._orders.values() for token in order.asked}

    def confirmed(self) -> set[int]:
        return {token for order in self._orders.values() for token in order.confirmed()}

    def lacking(self) -> list[Lacking]:
        """Return all tokens that are asked and not confirmed, the longest first."""
        tokens = self.asked() - self.confirmed()
        return sorted(filter(None, map(self.lacking_of, tokens)), key=lambda each: each.since_ns)

    def lacking_of(self, token: int) -> Lacking | None:
        """Return None when it is confirmed, or was not asked for. Two sources may have been asked:
        while it moves between sockets, and while quotes bridge."""
        asked = [order for order in self._orders.values() if token in order.asked]
        if not asked or self.is_confirmed(token):
            return None
        order = min(asked, key=lambda order: order.asked[token][1])
        mode, since_ns = order.asked[token]
        return Lacking(token, mode, order.arrived.get(token, 0), since_ns)
