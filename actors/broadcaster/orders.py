"""Remembers the last update of each order. So the broadcaster finds in Kite's order book what Kite
did not send, and tells nothing twice. Pure.

Kite sends an update to the sockets that are open at that moment, and to nobody later. The order
book has the present state of every order, not the steps to it: of an order that moved twice in the
meantime only the last state is published. An account's first book is the starting point: what it
holds is no news, except of an order that was known already.

File: msgpack array `[version, checksum, state]`, the state being the encoded `_State`, the checksum
blake2b-256 of it.
"""

import hashlib
from collections.abc import Iterator
from math import isfinite
from typing import NamedTuple

import msgspec

from kitefeed.protocol import feed as f
from kitefeed.protocol.feed import DECODE_ERRORS, Item, OrderBook, Source
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.topics import NO_ORDER_ID, ORDER

FILE_NAME = "orders.msgpack"
FILE_VERSION = 1
COMPARED_MAX = 100  # orders of a book in one turn: 2 ms
KNOWN_MAX = 20_000  # Kite takes 5,000 orders a day of an account
FILE_BYTES_MAX = KNOWN_MAX * 512
SLOW_NS = 60 * NS_PER_S  # a socket that held its updates for longer is given up long before
KEPT_DAYS = 7  # an order placed after the market stands in the next session's book
DAY_S = 86_400
IST_OFFSET_S = 19_800

FINAL = frozenset({"COMPLETE", "CANCELLED", "REJECTED"})
# On the way to a state. Kite tells the state.
PASSING = frozenset(
    {
        "PUT ORDER REQ RECEIVED", "VALIDATION PENDING", "OPEN PENDING", "CANCEL PENDING",
        "MODIFY VALIDATION PENDING", "MODIFY PENDING", "MODIFIED",
    }
)  # fmt: skip
QUIET = "AMO REQ RECEIVED"  # the state of an order that waits for the market: not told
UPDATE = "UPDATE"  # Kite's word on the socket for a modification or a part that was filled
_NOWHERE = ORDER + NO_ORDER_ID


class Standing(msgspec.Struct, array_like=True, frozen=True):
    """The state of an order. status: "" where only `UPDATE` was told. terms: what a modification
    may change. Times are Kite's texts, which sort by time; "" for none."""

    status: str
    filled: float
    terms: tuple[object, ...]
    exchange_time: str
    order_time: str


class Known(msgspec.Struct, array_like=True):
    """An order that is known. source: who told our readers of it; NONE while only a first book had
    it."""

    standing: Standing
    source: int
    day: int  # IST, of the last update
    heard_ns: int = 0  # boot time: when the socket brought it, or the book was asked for
    healed_ns: int = 0  # boot time: when a book was last asked for that told of it; 0 for never

    def has_told_of(self, standing: Standing, now_ns: int) -> bool:
        """Whether a book may have told what Kite sends now. That is so while nothing came after the
        book, and a little longer, because one socket may be slower than another."""
        is_lately = self.healed_ns and now_ns - self.healed_ns < SLOW_NS
        may_be = self.source == Source.REST or is_lately
        return bool(may_be) and not _is_later(standing, self.standing)


class Missed(NamedTuple):
    """An update that was never published."""

    topic: bytes
    body: bytes


class InHand:
    """An order book that is being compared, a few orders at a time: ticks wait meanwhile. asked_ns:
    when the poller asked for it. is_followed: whether the account's book was known before."""

    def __init__(self, book: OrderBook, asked_ns: int) -> None:
        self.book = book
        self.asked_ns = asked_ns
        self.is_followed = False
        self.compared = 0
        self.missed = 0

    @property
    def is_over(self) -> bool:
        return self.compared >= len(self.book.orders)


class Orders:
    """The orders that are known. accounts: users whose book is known; has_changed: since the last
    `encoded`."""

    def __init__(self) -> None:
        self._known: dict[bytes, Known] = {}  # by topic, the latest update last
        self.accounts: set[str] = set()
        self.has_changed = False
        self.missed = 0
        self.repeated = 0

    def is_news(self, item: Item, now_ns: int, utc_ns: int) -> bool:
        """Whether to publish an update that Kite sent: not when the order book has told of it, or
        of a later one."""
        standing = _standing(bytes(item.body))
        if standing is None or item.topic == _NOWHERE:
            return True
        known = self._known.get(item.topic)
        if known is not None and known.has_told_of(standing, now_ns):
            self.repeated += 1
            return False
        self._keep(item.topic, standing, Source.WEBSOCKET, now_ns, utc_ns)
        return True

    def compare(self, hand: InHand, utc_ns: int) -> list[Missed]:
        """Find updates in the next orders of the book that readers were never told; from here on
        they count as told."""
        if not hand.compared:
            hand.is_followed = hand.book.user_id in self.accounts
        items = hand.book.orders[hand.compared : hand.compared + COMPARED_MAX]
        found = list(self._compare(items, hand, utc_ns))
        hand.compared += len(items)
        hand.missed += len(found)
        self.missed += len(found)
        if hand.is_over:
            self.accounts.add(hand.book.user_id)
            self.has_changed = True
        return found

    def _compare(self, items: list[Item], hand: InHand, utc_ns: int) -> Iterator[Missed]:
        asked_ns, is_followed = hand.asked_ns, hand.is_followed
        for item in items:
            standing = _standing(bytes(item.body))
            if standing is None or item.topic == _NOWHERE:
                continue
            known = self._known.get(item.topic)
            if known is None:
                if standing.status in PASSING:  # Kite will tell what it comes to
                    continue
                is_told = is_followed and standing.status != QUIET
                source = Source.REST if is_told else Source.NONE
                self._keep(item.topic, standing, source, asked_ns, utc_ns)
                if is_told:
                    yield Missed(item.topic, bytes(item.body))
            elif _is_missed(standing, known, asked_ns):
                is_same = standing.status in (known.standing.status, *PASSING)
                word = UPDATE if is_same or not known.standing.status else standing.status
                self._keep(item.topic, standing, Source.REST, asked_ns, utc_ns)
                yield Missed(item.topic, _body(item, word))

    def _keep(
        self, topic: bytes, standing: Standing, source: Source, heard_ns: int, utc_ns: int
    ) -> None:
        known = self._known.pop(topic, None)
        if standing.status in ("", UPDATE, *PASSING):
            # These words do not say where the order stands: keep where it stood.
            before = known.standing.status if known is not None else ""
            standing = msgspec.structs.replace(standing, status=before)
        healed_ns = known.healed_ns if known is not None else 0
        if source == Source.REST:
            healed_ns = heard_ns
        self._known[topic] = Known(standing, source, _day(utc_ns), heard_ns, healed_ns)
        if len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]
        self.has_changed = True

    # --- the file -----------------------------------------------------------------------------

    def encoded(self, utc_ns: int) -> bytes:
        """Encode everything that the next life has to know, as the file holds it."""
        self.has_changed = False
        day = _day(utc_ns)
        for topic in [t for t, known in self._known.items() if day - known.day > KEPT_DAYS]:
            del self._known[topic]
        state = f.encode(_State(day, sorted(self.accounts), self._known))
        return f.encode(_File(FILE_VERSION, _checksum(state), state))

    def load(self, state: "_State", utc_ns: int) -> None:
        """Take over what a former life left. Accounts of another day are left out: today begins
        with the first book."""
        self._known = state.known
        for known in self._known.values():
            known.heard_ns = known.healed_ns = 0  # by the clock of another boot, perhaps
        if state.day == _day(utc_ns):
            self.accounts = set(state.accounts)


class _Fields(msgspec.Struct):
    status: object = None
    filled_quantity: object = None
    quantity: object = None
    price: object = None
    trigger_price: object = None
    order_type: object = None
    validity: object = None
    disclosed_quantity: object = None
    exchange_update_timestamp: object = None
    order_timestamp: object = None


class _Body(msgspec.Struct):
    data: _Fields


class _State(msgspec.Struct, array_like=True):
    day: int  # IST, when it was written
    accounts: list[str]
    known: dict[bytes, Known]


class _File(msgspec.Struct, array_like=True):
    version: int
    checksum: bytes
    state: bytes


_decode = msgspec.msgpack.Decoder(_Body).decode
_decode_file = msgspec.msgpack.Decoder(_File).decode
_decode_state = msgspec.msgpack.Decoder(_State).decode


def decode_file(data: bytes) -> _State:
    """Decode the file. Raises ValueError when it cannot be used."""
    try:
        file = _decode_file(data)
        if file.version != FILE_VERSION:
            raise ValueError(f"it has version {file.version}, this program knows {FILE_VERSION}")
        if file.checksum != _checksum(file.state):
            raise ValueError("its checksum is wrong")
        return _decode_state(file.state)
    except DECODE_ERRORS as error:
        raise ValueError(f"it is not a file of orders ({error})") from None


def _checksum(state: bytes) -> bytes:
    return hashlib.blake2b(state, digest_size=32).digest()


def _standing(body: bytes) -> Standing | None:
    """Return the state in an order's body; None when it is no order's."""
    try:
        data = _decode(body).data
    except DECODE_ERRORS:
        return None
    terms = (
        data.quantity, data.price, data.trigger_price, data.order_type, data.validity,
        data.disclosed_quantity,
    )  # fmt: skip
    return Standing(
        _text(data.status),
        _number(data.filled_quantity),
        tuple(map(_term, terms)),
        _time(data.exchange_update_timestamp),
        _time(data.order_timestamp),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _time(value: object) -> str:
    """Cut a time to the second and write it in one way: socket and book differ."""
    return _text(value)[:19].replace("T", " ")


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return 0.0
    return float(value)


def _term(value: object) -> object:
    """Return the term, 0 for a missing one: Kite writes it as 0, or leaves it out."""
    return value if isinstance(value, str) else _number(value)


def _is_later(standing: Standing, than: Standing) -> bool:
    """Whether an update that Kite sent comes after the known state of the order."""
    progress = _progress(standing, than)
    if progress is None:
        progress = _by_time(standing, than) or int(not _is_same(standing, than))
    return progress > 0


def _is_missed(standing: Standing, known: Known, asked_ns: int) -> bool:
    """Whether the book's state comes after the known one. Kite's times are seconds: in the same
    second an update that the socket brought after the book was asked for is the later."""
    than = known.standing
    progress = _progress(standing, than)
    if progress is not None:
        return progress > 0
    if standing.status in PASSING or _is_same(standing, than):
        return False
    return (_by_time(standing, than) or int(known.heard_ns < asked_ns)) > 0


def _progress(standing: Standing, than: Standing) -> int | None:
    """Say which state is later whatever the clocks say: an order ends once, and what is filled
    stays so. None where neither moved."""
    if than.status in FINAL:
        return -1
    if standing.status in FINAL:
        return 1
    if standing.filled != than.filled:
        return 1 if standing.filled > than.filled else -1
    return None


def _is_same(standing: Standing, than: Standing) -> bool:
    has_status = standing.status not in ("", UPDATE, *PASSING) and than.status
    return standing.terms == than.terms and not (has_status and standing.status != than.status)


def _by_time(standing: Standing, than: Standing) -> int:
    """Compare by the exchange's clock, where both states have its time, else by Kite's."""
    for mine, others in (
        (standing.exchange_time, than.exchange_time), (standing.order_time, than.order_time),
    ):  # fmt: skip
        if mine and others and mine != others:
            return 1 if mine > others else -1
    return 0


def _body(item: Item, status: str) -> bytes:
    """Write the message as Kite would have sent it."""
    data = f.decode_order(item.body).data
    return f.encode(f.OrderUpdate({**data, "status": status}))


def _day(utc_ns: int) -> int:
    return (utc_ns // NS_PER_S + IST_OFFSET_S) // DAY_S
