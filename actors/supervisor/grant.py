"""The grants: which source the broadcaster lets through. One per shard at a time, the newest epoch.

connect -> grant -> subscribe: the exchange sends a burst of cached packets right after a subscribe,
and nothing orders two different sockets; so a source is told to deliver only when the broadcaster
has acknowledged that it may.
"""

from kitefeed.actors.supervisor import link, rest
from kitefeed.actors.supervisor.facts import GRANT_REPEAT_NS, GrantFacts, GrantSource, Shard
from kitefeed.actors.supervisor.state import State
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.membership import GrantReport
from kitefeed.protocol.topology import Role


def advance(s: State) -> None:
    """Send the grants that the facts call for, until they are acknowledged."""
    if s.is_settled:
        for shard in s.shards:
            _advance(s, shard)


def _advance(s: State, shard: Shard) -> None:
    source, epoch = _wanted(s, shard)
    if (source, epoch) != (shard.grant.source, shard.grant.epoch):
        shard.grant = GrantFacts(source, epoch)
    grant = shard.grant
    is_repeat_due = s.now_ns - grant.sent_ns >= GRANT_REPEAT_NS
    is_needed = epoch and not grant.is_acknowledged
    if is_needed and is_repeat_due and Role.BROADCASTER in s.actors_up:
        grant.sent_ns = s.now_ns
        s.send(Role.BROADCASTER, m.Grant(shard.number, epoch, source))


def acknowledged(s: State, granted: m.Granted) -> None:
    if not 0 <= granted.shard < len(s.shards):
        return
    shard = s.shards[granted.shard]
    if (granted.source, granted.epoch) != (shard.grant.source, shard.grant.epoch):
        _foreign(s, shard, granted.epoch)
        return
    shard.grant.is_acknowledged = True
    if granted.source == "websocket":
        link.granted(s, shard)
    elif granted.source == "rest":
        rest.granted(s, shard)


def broadcaster_up(s: State, grants: tuple[GrantReport, ...], is_new: bool) -> None:
    """Take in the broadcaster's grants. A new broadcaster knows none, and has lost every value
    since its last save; an old one may know grants that this supervisor does not."""
    for shard in s.shards:
        shard.grant.is_acknowledged = False
        shard.grant.sent_ns = 0
    for known in grants:
        if 0 <= known.shard < len(s.shards) and not s.shards[known.shard].grant.epoch:
            s.shards[known.shard].grant = GrantFacts(known.source, known.epoch)
    if is_new:
        s.broadcaster_since_ns = s.now_ns
        link.refresh(s, {(known.shard, known.epoch) for known in grants})


def _wanted(s: State, shard: Shard) -> tuple[GrantSource, int]:
    if shard.is_open:
        return "websocket", shard.link.epoch
    if shard.rest.epoch:
        return "rest", shard.rest.epoch
    if shard.grant.source == "none" and shard.grant.epoch:
        return "none", shard.grant.epoch
    is_in_use = shard.instruments or shard.number == 0 or shard.grant.epoch
    return "none", s.persisted.epoch if is_in_use else 0


def _foreign(s: State, shard: Shard, epoch: int) -> None:
    """Start again under a newer epoch, because the broadcaster has seen one that is newer than ours
    (our state file was lost): it will never accept what runs now."""
    if epoch <= shard.grant.epoch:
        return
    s.raise_epoch(epoch)
    shard.grant = GrantFacts()
    link.restart(s, shard)
    rest.stop(s, shard)
