"""The order book: read after everything that may have cost an update of an order.

Kite sends an update to the sockets that are open, once. So an update that came while there was
none, or was lost on the way to the broadcaster, is looked for in the order book as soon as a socket
is let through: from then on updates come by themselves. The poller reads, the broadcaster compares,
and its answer ends the reading.
"""

from kitefeed.actors.supervisor import session
from kitefeed.actors.supervisor.facts import BOOK_READERS_NS, BOOK_REPEAT_NS, BookFacts, Shard
from kitefeed.actors.supervisor.state import State
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.topology import Role


def read(s: State, shard: Shard) -> None:
    """Order a reading: updates may have been missed until now. An earlier failure stays told until
    it is over. The reading waits until readers have found a new broadcaster: nothing is published
    twice."""
    order = m.ReadOrders(s.now_ns, shard.link.fingerprint)
    due_ns = max(s.now_ns, s.broadcaster_since_ns + BOOK_READERS_NS)
    s.book = BookFacts(order, due_ns=due_ns, detail=s.book.detail)


def advance(s: State) -> None:
    """Repeat the order, in case it or the book was lost; never ask Kite with a session that it
    refuses."""
    book = s.book
    if book.order is None:
        return
    if session.is_refused(s, book.order.fingerprint):
        s.book = BookFacts()
    elif s.now_ns >= book.due_ns:
        book.due_ns, book.is_sent = s.now_ns + BOOK_REPEAT_NS, True
        if Role.REST_POLLER in s.actors_up:
            s.send(Role.REST_POLLER, book.order)


def due_ns(s: State) -> int:
    """Return the boot time at which the order is sent, for the first time or once more; 0 for
    never."""
    return s.book.due_ns if s.book.order is not None else 0


def poller_up(s: State) -> None:
    """Order again: a new poller does not know the orders to the one before."""
    if s.book.is_sent:
        s.book.due_ns = s.now_ns


def unread(s: State, event: m.OrdersUnread) -> None:
    order = s.book.order
    if order is None or order.reading != event.reading:
        return
    if event.outcome == "network" and not s.is_any_open:
        return  # one cause, one line: the reconnect has the book read anew
    s.book.detail = event.detail
    if event.outcome == "token":
        s.book = BookFacts()
        session.refused_elsewhere(s, order.fingerprint, "the order book was refused")
    elif event.outcome not in ("network", "rate"):
        s.book.order = None  # until a reconnect asks again


def healed(s: State, event: m.OrdersHealed) -> None:
    order = s.book.order
    if order is None or order.reading != event.reading:
        return
    s.book = BookFacts()
    if event.missed:
        updates = "1 order" if event.missed == 1 else f"{event.missed} orders"
        s.say(f"updates of {updates} had been missed, and were published from the order book")


def condition(s: State) -> str:
    """Say why missed updates are not known; "" when they are."""
    if not s.book.detail:
        return ""
    again = "it is tried again by itself" if s.book.order else "the next reconnect tries again"
    return (
        f"the order book cannot be read ({s.book.detail}), so updates of orders that came while "
        f"the socket was down are not published: {again}"
    )
