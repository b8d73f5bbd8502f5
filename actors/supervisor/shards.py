"""Which socket carries which instrument. Pure.

What streams stays where it is; what comes back returns to where it was, if there is room; what is
new goes to the socket with the fewest. A socket more is opened only when the others are full.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kitefeed.protocol.messages import Instrument

SOCKETS_MAX = 3  # of one API key, whoever opens them: Kite refuses a fourth with 429
PER_SOCKET_MAX = 3_000


class Capacity(NamedTuple):
    """How many sockets may be used, and how many instruments each may carry."""

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
        """Gives each of `tokens` the socket that `places` names, where there is room."""
        for token in tokens:
            socket = places.get(token, -1)
            is_new = token not in self.places
            if is_new and 0 <= socket < len(self.loads) and self._has_room(socket):
                self._put(token, socket)

    def spread(self, tokens: list[int]) -> None:
        """Gives the rest of `tokens` the least loaded of as many sockets as are needed."""
        needed = -(-len(tokens) // self._capacity.per_socket)
        by_use = sorted(range(len(self.loads)), key=lambda socket: not self.loads[socket])
        used = sum(1 for load in self.loads if load)
        sockets = sorted(by_use[: max(used, needed)])
        for token in tokens:
            if token not in self.places:
                self._put(token, min(sockets, key=self.loads.__getitem__))

    def _has_room(self, socket: int) -> bool:
        return self.loads[socket] < self._capacity.per_socket

    def _put(self, token: int, socket: int) -> None:
        self.places[token] = socket
        self.loads[socket] += 1


def assign(
    instruments: Iterable[Instrument],
    placed: Mapping[int, int],
    homes: Mapping[int, int],
    capacity: Capacity,
) -> dict[int, int]:
    """Token -> socket. `placed`: where tokens stream now; `homes`: where they once did. Beyond
    `capacity.total` the last ones get none."""
    wanted = list(instruments)[: capacity.total]
    tokens = [i.token for i in wanted]
    plan = _Plan(capacity)
    plan.keep(tokens, placed)
    plan.keep(tokens, homes)
    # Always-active instruments first, so that each socket gets one whose silence would be noticed.
    plan.spread([i.token for i in sorted(wanted, key=lambda i: not i.is_canary)])
    return plan.places
