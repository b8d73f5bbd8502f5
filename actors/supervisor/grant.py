"""The grant: which source the broadcaster lets through. One at a time, always the newest epoch.

connect -> grant -> subscribe: the exchange sends a burst of cached packets right after a subscribe,
and nothing orders two different sockets; so a source is told to deliver only when the broadcaster
has acknowledged that it may.
"""

from kitefeed.actors.supervisor import link, rest
from kitefeed.actors.supervisor.facts import (
    GRANT_REPEAT_NS,
    SHARD,
    GrantFacts,
    GrantSource,
)
from kitefeed.actors.supervisor.state import State
from kitefeed.protocol import messages as m
from kitefeed.protocol.topology import Role


def advance(s: State) -> None:
    """Sends the grant that the facts call for, until it is acknowledged."""
    if not s.is_settled:
        return
    source, epoch = _wanted(s)
    if (source, epoch) != (s.grant.source, s.grant.epoch):
        s.grant = GrantFacts(source, epoch)
    is_repeat_due = s.now_ns - s.grant.sent_ns >= GRANT_REPEAT_NS
    if not s.grant.is_acknowledged and is_repeat_due and Role.BROADCASTER in s.actors_up:
        s.grant.sent_ns = s.now_ns
        s.send(Role.BROADCASTER, m.Grant(SHARD, epoch, source))


def acknowledged(s: State, granted: m.Granted) -> None:
    if (granted.source, granted.epoch) != (s.grant.source, s.grant.epoch):
        _foreign(s, granted.epoch)
        return
    s.grant.is_acknowledged = True
    if granted.source == "websocket":
        link.granted(s)
    elif granted.source == "rest":
        rest.granted(s)


def broadcaster_up(s: State, is_new: bool) -> None:
    """A broadcaster knows no grant; a new one has also lost every value since its last save."""
    s.grant.is_acknowledged = False
    s.grant.sent_ns = 0
    if is_new:
        link.refresh(s)


def _wanted(s: State) -> tuple[GrantSource, int]:
    if s.is_link_open:
        return "websocket", s.link.epoch
    if s.rest.epoch:
        return "rest", s.rest.epoch
    if s.grant.source == "none" and s.grant.epoch:
        return "none", s.grant.epoch
    return "none", s.persisted.epoch


def _foreign(s: State, epoch: int) -> None:
    """The broadcaster has seen a newer epoch than ours (our state file was lost): it will never
    accept what runs now, so that starts again under a newer one."""
    if epoch <= s.grant.epoch:
        return
    s.raise_epoch(epoch)
    s.grant = GrantFacts()
    link.restart(s)
    rest.stop(s)
