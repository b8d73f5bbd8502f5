"""The subscriptions of one socket, and the packets of it that are due. Pure: the time is an
argument."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from kitefeed.protocol.kite.text import SetMode, Subscribe, Unsubscribe, parse_client_message
from kitefeed.protocol.kite.ticks import LTP, QUOTE, TickBody

TOKENS_MAX = 3000  # per socket; Kite takes the first 3000 and answers the rest with an error
TOO_MANY = f"Can't subscribe to more than {TOKENS_MAX} instruments."


class Value(Protocol):
    """One instrument's values. `revision` moves with any field, `price_revision` with the last
    price alone: mode ltp is sent only when the price moved, the others when anything did."""

    revision: int
    price_revision: int
    exchange_s: int  # UTC epoch seconds of the exchange

    def body(self, mode: int) -> TickBody:
        """Return the tick of this mode."""


class ValueSource(Protocol):
    """The source of values, by token. None when no such token is listed."""

    def read(self, token: int, now_ns: int) -> Value | None:
        """Return the value as it stands now: somebody has just asked for it."""

    def seen(self, token: int) -> Value | None:
        """Return the value as it was left last; None also when it was never read."""


class Packet(NamedTuple):
    """A packet to send. `exchange_s` is known even where the packet's mode has no time."""

    body: TickBody
    exchange_s: int


class Reply(NamedTuple):
    """The reply to a client's message: packets at once, and perhaps an error text."""

    packets: list[Packet]
    error: str | None = None


class Subscriptions:
    """The tokens of one socket with their modes.

    The first packet of a token is sent at once, whatever the market does; later ones only when a
    field of its mode has changed since the last one sent.
    """

    def __init__(self, source: ValueSource) -> None:
        self._source = source
        self.modes: dict[int, int] = {}
        self._sent: dict[int, int] = {}  # token: the revision sent last

    def handle(self, payload: bytes, now_ns: int) -> Reply:
        """Apply a client's message. A message that cannot be read, and tokens nobody lists, are
        passed over in silence."""
        match parse_client_message(payload):
            case Subscribe(tokens):
                wanted = list(dict.fromkeys(tokens))
                new = [token for token in wanted if token not in self.modes]
                room = TOKENS_MAX - len(self.modes)
                for token in new[:room]:
                    self.modes[token] = QUOTE
                accepted = [token for token in wanted if token in self.modes]
                packets = self._packets(accepted, now_ns)
                return Reply(packets, TOO_MANY if len(new) > room else None)
            case Unsubscribe(tokens):
                for token in tokens:
                    self.modes.pop(token, None)
                    self._sent.pop(token, None)
            case SetMode(mode, tokens):
                # A mode without a subscription does nothing: staff say so, the documents do not.
                known = [token for token in dict.fromkeys(tokens) if token in self.modes]
                for token in known:
                    self.modes[token] = mode
                return Reply(self._packets(known, now_ns))
        return Reply([])

    def _packets(self, tokens: list[int], now_ns: int) -> list[Packet]:
        for token in tokens:
            self._sent.pop(token, None)
            self._source.read(token, now_ns)
        return self._due(tokens)

    def take_back(self, packets: Iterable[Packet]) -> None:
        """Make these packets due again: they were not sent after all."""
        for due in packets:
            self._sent.pop(due.body.instrument_token, None)

    def changed(self, frozen: int | None = None) -> list[Packet]:
        """Return the packets that differ from those sent, and mark them as sent; leave out the
        instrument `frozen`."""
        return self._due(token for token in self.modes if token != frozen)

    def _due(self, tokens: Iterable[int]) -> list[Packet]:
        due: list[Packet] = []
        for token in tokens:
            value = self._source.seen(token)
            if value is None:
                continue
            mode = self.modes[token]
            revision = value.price_revision if mode == LTP else value.revision
            if self._sent.get(token) != revision:
                self._sent[token] = revision
                due.append(Packet(value.body(mode), value.exchange_s))
        return due
