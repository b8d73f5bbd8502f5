"""Cuts readers that take nothing any more (`stuck` decides who they are)."""

import logging
from collections.abc import Iterable

from kitefeed.actors.broadcaster.stuck import STUCK_NS, Stuck
from kitefeed.actors.runtime import peers
from kitefeed.protocol.clock import boot_ns

NAMED_MAX = 100  # processes that are named in the log, once each

log = logging.getLogger("broadcaster")


class Cutter:
    """`addresses`: what readers are connected to, socket files and tcp ports. `count`: how many
    were cut; one that connects again and still takes nothing is cut again."""

    def __init__(self, addresses: Iterable[str | int]) -> None:
        self.count = 0
        self._addresses = tuple(addresses)
        self._stuck = Stuck()
        self._named: set[int] = set()

    def look(self) -> None:
        """To be called once a second."""
        queued: dict[int, int] = {}
        for address in self._addresses:
            queued |= peers.full(address)
        for descriptor in self._stuck.look(queued, boot_ns()):
            self.count += 1
            self._name(peers.cut(descriptor))

    def _name(self, pid: int) -> None:
        if pid not in self._named and len(self._named) < NAMED_MAX:
            self._named.add(pid)
            seconds = STUCK_NS // 1_000_000_000
            who = pid or "unknown"
            log.warning("a reader that took nothing for %d s was cut off: pid=%s", seconds, who)
