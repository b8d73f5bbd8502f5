"""The session in force: looked at by content, announced when it changes. Pure."""

import msgspec

from kitefeed.actors.policy.machine import Wake, Welcomed
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages import bus as m

# A file that is missing or cannot be read may be one that is being written; a writer who needs
# longer than this is not writing.
GRACE_NS = NS_PER_S


class Observed(msgspec.Struct, frozen=True):
    """The content of the files of `slot` right now: a session, nothing, or a problem."""

    slot: m.Slot
    fingerprint: str | None
    problem: str | None = None
    others: tuple[str, ...] = ()  # of further files, the newest first


Event = m.BusMessage | Observed | Welcomed | Wake


class _Candidate(msgspec.Struct, frozen=True):
    seen: Observed
    since_ns: int


class AuthWatcher:
    """Announces a session at once; a missing session, or a problem, only after `GRACE_NS`."""

    def __init__(self) -> None:
        self._announced: dict[m.Slot, Observed] = {}
        self._candidates: dict[m.Slot, _Candidate] = {}

    @property
    def deadline_ns(self) -> int | None:
        """Always None: it is told often enough what the files hold."""
        return None

    def handle(self, event: Event, now_ns: int) -> list[m.SessionSeen]:
        match event:
            case Observed():
                return self._observe(event, now_ns)
            case Welcomed():
                return [_report(seen) for seen in self._announced.values()]
            case _:
                return []

    def _observe(self, seen: Observed, now_ns: int) -> list[m.SessionSeen]:
        if self._announced.get(seen.slot) == seen:
            self._candidates.pop(seen.slot, None)
            return []
        candidate = self._candidates.get(seen.slot)
        if candidate is None or candidate.seen != seen:
            candidate = self._candidates[seen.slot] = _Candidate(seen, now_ns)
        if seen.fingerprint is None and now_ns - candidate.since_ns < GRACE_NS:
            return []
        del self._candidates[seen.slot]
        self._announced[seen.slot] = seen
        return [_report(seen)]


def _report(seen: Observed) -> m.SessionSeen:
    return m.SessionSeen(seen.slot, seen.fingerprint, seen.problem, seen.others)
