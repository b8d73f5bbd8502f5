"""Sockets that are being closed: Kite counts each until the ticker has told its end, for 3 s at
most."""

from kitefeed.actors.supervisor.facts import CLOSING_NS, Link, Shard
from kitefeed.actors.supervisor.state import State
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.topology import Role


def order_close(s: State, number: int, epoch: int) -> None:
    s.send(Role.TICKER, m.CloseLink(number, epoch))


def give_up(s: State, number: int, epoch: int) -> None:
    """Close a socket, or end the attempt to open it."""
    order_close(s, number, epoch)
    s.closing[epoch] = s.now_ns + CLOSING_NS


def hang_up(s: State, shard: Shard) -> None:
    """Close an open socket."""
    give_up(s, shard.number, shard.link.epoch)
    shard.link = Link()


def over(s: State, epoch: int) -> None:
    """Note that the ticker has told its end."""
    s.closing.pop(epoch, None)


def all_over(s: State) -> None:
    """Note that the ticker process has gone."""
    s.closing.clear()


def advance(s: State) -> None:
    s.closing = {epoch: until for epoch, until in s.closing.items() if until > s.now_ns}
