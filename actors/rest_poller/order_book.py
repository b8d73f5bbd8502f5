"""Decides when Kite's order book is read, and makes a batch of it. Pure.

It is read once after each reconnect, when the supervisor says so, on a budget of its own: Kite
counts it with neither quotes nor the instrument list. A reading that fails is tried again, more and
more seldom; a session or plan that is refused is not.
"""

from collections.abc import Mapping, Sequence

import msgspec

from kitefeed.actors.policy.backoff import Ladder
from kitefeed.protocol.feed import (
    VERSION,
    IngestBatch,
    Item,
    OrderBook,
    OrderUpdate,
    Source,
    encode,
)
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.topics import order_topic

SPACING_NS = 5 * NS_PER_S  # twelve in a minute, however often sockets come and go
RATE_HOLD_NS = 10 * NS_PER_S  # after a 429: somebody else uses this key as well
ANSWER_WITHIN_NS = 15 * NS_PER_S  # a thread that takes longer may hang on; a late answer is ignored
LADDER_S = (2.0, 5.0, 10.0, 30.0, 60.0)

Row = Mapping[str, object]


class ReadBook(msgspec.Struct, frozen=True):
    """Read the order book of this session, in a thread; `BookRead` follows."""

    request: int
    fingerprint: str


class BookRead(msgspec.Struct, frozen=True):
    """The outcome of a request: the user and his orders when ok, else the fault and its text.
    Without a text nobody is told: a login has replaced the session, and its socket will ask
    anew."""

    request: int
    outcome: m.RestOutcome
    user_id: str = ""
    orders: Sequence[Row] = ()
    detail: str = ""


class BookReader:
    """Does one reading at a time, the latest that was ordered."""

    def __init__(self) -> None:
        self._order: m.ReadOrders | None = None
        self._asked: m.ReadOrders | None = None  # what the request under way was for
        self._asked_ns = 0
        self._due_ns = 0
        self._free_ns = 0  # when the budget gives the next request
        self._requests = 0
        self._ladder = Ladder(LADDER_S)

    @property
    def deadline_ns(self) -> int | None:
        if self._asked is not None:
            return self._asked_ns + ANSWER_WITHIN_NS
        return None if self._order is None else max(self._due_ns, self._free_ns)

    def order(self, order: m.ReadOrders, now_ns: int) -> None:
        """Take an order. A repetition changes nothing while the first is worked on; after that it
        means that the book never arrived."""
        if self._order is None or order.reading > self._order.reading:
            self._order, self._due_ns = order, now_ns
            self._ladder.reset()

    def turn(self, now_ns: int) -> list[ReadBook | m.OrdersUnread]:
        """Ask for the book, or give up a request, when it is due."""
        said: list[ReadBook | m.OrdersUnread] = []
        if self._asked is not None and now_ns >= self._asked_ns + ANSWER_WITHIN_NS:
            detail = f"no answer within {ANSWER_WITHIN_NS // NS_PER_S} s"
            said += self._failed(BookRead(self._requests, "network", detail=detail), now_ns)
        deadline_ns = self.deadline_ns
        if self._asked is None and self._order is not None and now_ns >= (deadline_ns or 0):
            self._requests += 1
            self._asked, self._asked_ns = self._order, now_ns
            self._free_ns = now_ns + SPACING_NS
            said.append(ReadBook(self._requests, self._order.fingerprint))
        return said

    def answered(self, answer: BookRead, now_ns: int) -> list[IngestBatch | m.OrdersUnread]:
        if self._asked is None or answer.request != self._requests:
            return []  # given up before
        if answer.outcome != "ok":
            return [*self._failed(answer, now_ns)]
        reading, self._asked = self._asked.reading, None
        if self._order is None or self._order.reading != reading:
            return []  # there was another reconnect since it was asked for
        self._order = None
        items = [item for row in answer.orders if (item := _item(row, answer.user_id)) is not None]
        return [
            IngestBatch(
                VERSION, 0, 0, Source.REST.value, 0, self._asked_ns, 0, 0, 0, [],
                book=OrderBook(reading, answer.user_id, items),
            )
        ]  # fmt: skip

    def _failed(self, answer: BookRead, now_ns: int) -> list[m.OrdersUnread]:
        asked, self._asked = self._asked, None
        if answer.outcome == "rate":
            self._free_ns = max(self._free_ns, now_ns + RATE_HOLD_NS)
        if asked is None or self._order is None or self._order.reading != asked.reading:
            return []
        if answer.outcome in ("network", "rate"):
            self._due_ns = now_ns + self._ladder.next_ns()
        else:
            self._order = None
        if not answer.detail:
            return []
        return [m.OrdersUnread(asked.reading, answer.outcome, answer.detail)]


def _item(row: Row, user_id: str) -> Item | None:
    """Write an order as the socket would have brought it: with the user, whom the book leaves out.
    None when no message can hold it (JSON has integers of any size)."""
    data = {"user_id": user_id, **row}
    try:
        body = msgspec.Raw(encode(OrderUpdate(data)))
    except (OverflowError, RecursionError):
        return None
    return Item(order_topic(data.get("order_id")), 0, body)
