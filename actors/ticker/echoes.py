"""Orders and notices that come more than once. Pure.

Kite sends them on every open socket of a key. The first copy is passed on, whichever socket it came
by; what another socket brings within a few seconds is its echo.
"""

from collections import OrderedDict

from kitefeed.protocol.kite.units import NS_PER_S

ECHO_NS = 5 * NS_PER_S
KEPT_MAX = 1_000  # payloads; beyond it the oldest is forgotten, and its echo passed on


class Echoes:
    def __init__(self) -> None:
        self._first: OrderedDict[bytes, tuple[int, int]] = OrderedDict()  # -> epoch, when

    def is_echo(self, payload: bytes, epoch: int, now_ns: int) -> bool:
        """Whether another socket has brought this. The same socket may bring the same twice."""
        known = self._first.get(payload)
        if known is not None and now_ns - known[1] < ECHO_NS:
            return known[0] != epoch
        self._first[payload] = (epoch, now_ns)
        self._first.move_to_end(payload)
        if len(self._first) > KEPT_MAX:
            self._first.popitem(last=False)
        return False
