"""Counts what happened so far, for a checker to compare with what a client saw. All times UTC epoch
ns."""

from collections import Counter, deque
from collections.abc import Iterable
from typing import NamedTuple

from kitefeed.kite_server.subscriptions import Packet
from kitefeed.protocol.kite.text import SetMode, Subscribe, Unsubscribe, parse_client_message
from kitefeed.protocol.kite.ticks import MODE_NAMES

RECENT_MAX = 500  # kept per route, and of handshakes; older ones are only counted


class SentPacket(NamedTuple):
    """The last packet of an instrument that went out on any socket."""

    last_price: int
    exchange_timestamp: int
    mode: int
    sent_utc_ns: int


class HandshakeRecord(NamedTuple):
    at_utc_ns: int
    status: int
    app_number: int | None


class Stats:
    def __init__(self) -> None:
        self._requests: Counter[str] = Counter()
        self._requests_by_app: dict[int, Counter[str]] = {}
        self._recent: dict[str, deque[int]] = {}
        self._statuses: Counter[int] = Counter()
        self._handshakes: deque[HandshakeRecord] = deque(maxlen=RECENT_MAX)
        self._packets: dict[int, SentPacket] = {}
        self._messages: Counter[str] = Counter()
        self.ticks_sent = 0

    def count_request(self, route: str, app_number: int | None, now_ns: int) -> None:
        self._requests[route] += 1
        if app_number is not None:
            self._requests_by_app.setdefault(app_number, Counter())[route] += 1
        self._recent.setdefault(route, deque(maxlen=RECENT_MAX)).append(now_ns)

    def count_handshake(self, status: int, app_number: int | None, now_ns: int) -> None:
        self._statuses[status] += 1
        self._handshakes.append(HandshakeRecord(now_ns, status, app_number))

    def count_message(self, payload: bytes) -> None:
        """Count a message that a client sent on a socket; one that cannot be read is passed
        over."""
        match parse_client_message(payload):
            case SetMode(mode):
                self._messages[MODE_NAMES[mode]] += 1
            case Subscribe():
                self._messages["subscribe"] += 1
            case Unsubscribe():
                self._messages["unsubscribe"] += 1

    def messages(self) -> dict[str, int]:
        """Return the number of messages of each kind: subscribe, unsubscribe, and each mode."""
        return dict(self._messages)

    def count_packets(self, packets: Iterable[Packet], now_ns: int) -> None:
        for body, exchange_s in packets:
            self._packets[body.instrument_token] = SentPacket(
                body.last_price, exchange_s, body.mode, now_ns
            )
            self.ticks_sent += 1

    def requests(self) -> dict[str, object]:
        return {
            "total": dict(self._requests),
            "apps": {str(app): dict(routes) for app, routes in self._requests_by_app.items()},
            "recent_ns": {route: list(stamps) for route, stamps in self._recent.items()},
        }

    def handshakes(self) -> dict[str, object]:
        return {
            "total": {str(status): count for status, count in self._statuses.items()},
            "recent": [
                {"at_ns": at_ns, "status": status, "app": app}
                for at_ns, status, app in self._handshakes
            ],
        }

    def last_packets(self, tokens: frozenset[int] | None) -> dict[str, object]:
        return {
            str(token): {
                "last_price": sent.last_price,
                "exchange_timestamp": sent.exchange_timestamp,
                "mode": MODE_NAMES[sent.mode],
                "sent_at_ns": sent.sent_utc_ns,
            }
            for token, sent in self._packets.items()
            if tokens is None or token in tokens
        }
