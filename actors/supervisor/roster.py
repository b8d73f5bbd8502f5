"""The holders of the roles, and whether they are alive: pure, fed with hellos, beats and time.

An actor beats once a second from its main loop. After five seconds of silence it is lost; its
process, if it is still the one that said hello, is to be killed so that supervisord starts another.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages.membership import Beat, Hello
from kitefeed.protocol.messages.status import ActorStatus
from kitefeed.protocol.topology import Role

SUSPECT_AFTER_NS = 3 * NS_PER_S
LOST_AFTER_NS = 5 * NS_PER_S
# A turn this late means that we stood still (SIGSTOP, suspend): their silence proves nothing.
OWN_PAUSE_NS = 2 * NS_PER_S


@dataclass
class Member:
    """One process. `peer` is its routing id on the bus."""

    hello: Hello
    peer: bytes
    heard_ns: int
    beat: Beat = field(default_factory=Beat)
    is_lost: bool = False

    def state(self, now_ns: int) -> Literal["up", "suspect", "absent"]:
        if self.is_lost:
            return "absent"
        return "suspect" if now_ns - self.heard_ns > SUSPECT_AFTER_NS else "up"


class Registration(NamedTuple):
    """The meaning of a hello. `replaced` is the process that held the role before, if another
    did."""

    is_new: bool
    replaced: Member | None


class Roster:
    def __init__(self, now_ns: int) -> None:
        self.members: dict[Role, Member] = {}
        self._turn_ns = now_ns

    def hello(self, hello: Hello, peer: bytes, now_ns: int) -> Registration:
        """Let a newer process take the role over; refresh the same one when it says hello again."""
        before = self.members.get(hello.role)
        is_new = before is None or before.hello.boot_id != hello.boot_id or before.is_lost
        self.members[hello.role] = Member(hello, peer, now_ns)
        is_other = before is not None and before.hello.boot_id != hello.boot_id
        return Registration(is_new, before if is_other else None)

    def heard(self, peer: bytes, now_ns: int) -> Member | None:
        """Return the member that speaks; None for a peer that never said hello, or lost its role to
        another."""
        for member in self.members.values():
            if member.peer == peer and not member.is_lost:
                member.heard_ns = now_ns
                return member
        return None

    def beat(self, member: Member, beat: Beat) -> None:
        member.beat = beat

    def lost(self, now_ns: int) -> list[Member]:
        """Return members whose silence has lasted too long, each once. Call this every second."""
        was_asleep = now_ns - self._turn_ns > OWN_PAUSE_NS
        self._turn_ns = now_ns
        found = []
        for member in self.members.values():
            if was_asleep:
                member.heard_ns = max(member.heard_ns, now_ns - SUSPECT_AFTER_NS)
            elif not member.is_lost and now_ns - member.heard_ns > LOST_AFTER_NS:
                member.is_lost = True
                found.append(member)
        return found

    def peer_of(self, role: Role) -> bytes | None:
        member = self.members.get(role)
        return member.peer if member and not member.is_lost else None

    def report(self, now_ns: int) -> list[ActorStatus]:
        """Return the rows of `kitefeed status` for all roles but the supervisor's own, which is the
        caller's."""
        return [self._row(role, now_ns) for role in Role if role is not Role.SUPERVISOR]

    def _row(self, role: Role, now_ns: int) -> ActorStatus:
        member = self.members.get(role)
        if member is None:
            return ActorStatus(role, "absent")
        return ActorStatus(
            role,
            member.state(now_ns),
            member.hello.pid,
            round((now_ns - member.heard_ns) / 1e9, 1),
            round(member.beat.lag_ns / 1e6, 1),
            member.beat.counters,
        )
