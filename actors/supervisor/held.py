"""The values that read stale although their socket streams, and the instruments whose silence is
why."""

from collections.abc import Iterable

from kitefeed.actors.policy.market import name_of
from kitefeed.actors.supervisor.facts import HELD_SAID_NS, Shard, SocketState
from kitefeed.actors.supervisor.state import State
from kitefeed.protocol.messages.membership import Held
from kitefeed.protocol.messages.status import HeldStatus

NAMES_MAX = 3


def told(s: State, told_by_ticker: Iterable[Held]) -> None:
    """Take the ticker's word about all links from its beat."""
    for shard in s.shards:
        link = shard.link
        link.held = tuple(
            held
            for held in told_by_ticker
            if (held.shard, held.epoch) == (shard.number, link.epoch)
        )
        link.held_since_ns = (link.held_since_ns or s.now_ns) if link.held else 0


def status(s: State) -> list[HeldStatus]:
    return [
        HeldStatus(
            shard=shard.number,
            silent=_names(s, held.tokens),
            held=_what(held),
            age_s=round((s.now_ns - shard.link.held_since_ns) / 1e9, 1),
        )
        for shard, held in _all(s)
    ]


def sentence(s: State) -> str:
    """Say what is held, for the headline's reason; empty when nothing is."""
    return "; ".join(_sentence(s, held) for _, held in _all(s))


def lasting(s: State) -> str:
    """Say what has been held for a while: a canary that only pauses is worth no line."""
    since_ns = s.now_ns - HELD_SAID_NS
    lasting = [held for shard, held in _all(s) if shard.link.held_since_ns <= since_ns]
    return "; ".join(_sentence(s, held) for held in lasting)


def _all(s: State) -> list[tuple[Shard, Held]]:
    """List what is held on links that are live: before that nothing reads fresh anyway."""
    live = [shard for shard in s.shards if shard.link.state is SocketState.LIVE]
    return [(shard, held) for shard in live for held in shard.link.held]


def _sentence(s: State, held: Held) -> str:
    names = _names(s, held.tokens)
    few = ", ".join(names[:NAMES_MAX])
    who = f"{few} and {len(names) - NAMES_MAX} more" if len(names) > NAMES_MAX else few
    verb = "is" if len(names) == 1 else "are"
    match held.scope:
        case "stream":
            return (
                f"{who} and all else on socket {held.shard} are silent: its values read stale "
                "until something ticks, or a quote says that nothing is missing"
            )
        case "segment":
            return (
                f"{who} {verb} silent while others on socket {held.shard} tick: values of "
                f"{name_of(held.segment)} read stale until one of these ticks"
            )
        case "itself":
            return (
                f"quotes say another price of {who} than socket {held.shard}: stale until the next "
                "tick"
            )


def _what(held: Held) -> str:
    if held.scope == "stream":
        return "all of this socket"
    return name_of(held.segment) if held.scope == "segment" else "these alone"


def _names(s: State, tokens: Iterable[int]) -> list[str]:
    keys = {i.token: i.key for i in s.instruments}
    return [keys.get(token, str(token)) for token in tokens]
