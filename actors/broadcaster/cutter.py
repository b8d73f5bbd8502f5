"""Cuts readers that take nothing any more (`stuck` finds them)."""

import logging
from collections.abc import Callable

from kitefeed.actors.broadcaster.stuck import STUCK_NS, Stuck
from kitefeed.actors.runtime import peers
from kitefeed.actors.runtime.peers import Address
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.kite.units import NS_PER_S

NAMED_MAX = 100  # processes that are named in the log, once each

log = logging.getLogger("broadcaster")


class Cutter:
    """Cuts stuck readers. `is_feed`: whether readers are connected to an address of ours. `count`:
    how many were cut; one that connects again and still takes nothing is cut again."""

    def __init__(self, is_feed: Callable[[Address], bool]) -> None:
        self.count = 0
        self._is_feed = is_feed
        self._stuck = Stuck()
        self._named: set[int] = set()

    def look(self) -> None:
        """Call this once a second."""
        for descriptor in self._stuck.look(peers.full(self._is_feed), boot_ns()):
            self.count += 1
            self._name(peers.cut(descriptor, self._is_feed))

    def _name(self, pid: int) -> None:
        if pid not in self._named and len(self._named) < NAMED_MAX:
            self._named.add(pid)
            seconds = STUCK_NS // NS_PER_S
            who = pid or "unknown"
            log.warning("a reader that took nothing for %d s was cut off: pid=%s", seconds, who)
