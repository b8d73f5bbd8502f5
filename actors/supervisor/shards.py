"""Decides which socket carries which instrument. Pure.

An instrument that streams stays where it is. One that comes back returns to its old socket, if that
is open and has room. A new one goes to the socket with the fewest. A socket more is opened only
when the others are full.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from kitefeed.protocol.kite.limits import PER_SOCKET_MAX, SOCKETS_MAX
from kitefeed.protocol.messages.instruments import Instrument


class Capacity(NamedTuple):
    """The number of sockets that may be used, and of instruments that each may carry."""

    sockets: int = SOCKETS_MAX
    per_socket: int = PER_SOCKET_MAX

    @property
    def total(self) -> int:
        return self.sockets * self.per_socket


WHOLE_KEY = Capacity()


class _Plan:
    """Tokens that have been given a socket, and how many each socket has."""

    def __init__(self, capacity: Capacity) -> None:
        self.places: dict[int, int] = {}
        self.loads = [0] * capacity.sockets
        self._capacity = capacity

    def keep(self, tokens: Iterable[int], places: Mapping[int, int]) -> None:
        """Give each of `tokens` the socket that `places` names, where there is room."""
        for token in tokens:
            socket = places.get(token, -1)
            is_there = 0 <= socket < len(self.loads)
            has_room = is_there and self.loads[socket] < self._capacity.per_socket
            if token not in self.places and has_room:
                self._put(token, socket)

    def is_used(self, socket: int) -> bool:
        return 0 <= socket < len(self.loads) and self.loads[socket] > 0

    def spread(self, tokens: Sequence[int], opened: Collection[int]) -> None:
        """Give the rest of `tokens` the least loaded of as many sockets as are needed."""
        needed = -(-len(tokens) // self._capacity.per_socket)
        used = sum(map(self.is_used, range(len(self.loads))))
        by_use = sorted(
            range(len(self.loads)), key=lambda socket: (-self.is_used(socket), socket not in opened)
        )
        sockets = sorted(by_use[: max(used, needed)])
        for token in tokens:
            if token not in self.places:
                self._put(token, min(sockets, key=self.loads.__getitem__))

    def _put(self, token: int, socket: int) -> None:
        self.places[token] = socket
        self.loads[socket] += 1


def assign(
    instruments: Iterable[Instrument],
    placed: Sequence[Mapping[int, int]],
    homes: Mapping[int, int],
    capacity: Capacity,
    opened: Collection[int] = (),
) -> dict[int, int]:
    """Return token -> socket. `placed`: where tokens are now, by the surest knowledge first;
    `homes`: where they once were; `opened`: sockets that are open. Beyond `capacity.total` the last
    ones get none."""
    wanted = list(instruments)[: capacity.total]
    tokens = [i.token for i in wanted]
    plan = _Plan(capacity)
    for places in placed:
        plan.keep(tokens, places)
    kept = {t: at for t in tokens if (at := homes.get(t, -1)) in opened or plan.is_used(at)}
    plan.keep(tokens, kept)
    # Always-active instruments first, so that each socket gets one whose silence would be noticed.
    plan.spread([i.token for i in sorted(wanted, key=lambda i: not i.is_canary)], opened)
    return plan.places
