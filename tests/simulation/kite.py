"""Kite as a daemon meets it: sessions and their deaths, REST answers, sockets, limits, faults.

What is switched by a fault is a plain attribute; `heal` sets all of them back.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from kitefeed.actors.rest_poller.machine import Answered as Quoted
from kitefeed.actors.rest_poller.order_book import BookRead, Row
from kitefeed.actors.ticker.machine import LinkId
from kitefeed.actors.ticker.subscriptions import Ask
from kitefeed.actors.token_validator.machine import Answered as Profiled
from kitefeed.protocol.kite.ticks import FULL, QUOTE, encode_frame, mode_from_name
from kitefeed.protocol.messages import bus as m
from tests.simulation.exchange import Exchange, S

SOCKETS_MAX = 3  # of one key
HEARTBEAT = b"\0"

RestMode = Literal["ok", "down", "5xx", "html", "hang", "slow", "rate"]
NetMode = Literal["ok", "down", "silent"]
SocketMode = Literal["ok", "403", "429", "502", "slow"]
_TEXTS: dict[RestMode, str] = {
    "down": "Kite cannot be reached (ConnectionError)",
    "5xx": "HTTP 503: Request failed (kitetrade-oms)",
    "html": "HTTP 502: Unknown Content-Type (text/html)",
    "hang": "Kite did not answer (ReadTimeout)",
    "rate": "HTTP 429: Too many requests",
}
# As the official client words them (autobahn's reasons).
UPGRADE_FAILED = "connection was closed uncleanly (WebSocket connection upgrade failed ({}))"
HANDSHAKE_TIMEOUT = (
    "connection was closed uncleanly (WebSocket opening handshake timeout "
    "(peer did not finish the opening handshake in time))"
)
DROPPED = (
    "connection was closed uncleanly (peer dropped the TCP connection without previous "
    "WebSocket closing handshake)"
)


@dataclass
class Account:
    """One token, known to the daemon by its fingerprint."""

    fingerprint: str
    slot: m.Slot
    is_alive: bool = True
    has_data: bool = True


@dataclass
class Socket:
    """Kite's end of one connection. `fault`: half_open (nothing comes, no FIN), mute (heartbeats
    only)."""

    link: LinkId
    account: Account
    is_open: bool = False
    fault: Literal["", "half_open", "mute"] = ""
    faulty_since_ns: int = 0
    modes: dict[int, int] = field(default_factory=dict)
    sent: dict[int, int] = field(default_factory=dict)  # token -> last version
    frame_due_ns: int = 0


class Kite:
    def __init__(self, exchange: Exchange, rng: Random, utc_ns: Callable[[], int]) -> None:
        self.exchange = exchange
        self.accounts: dict[str, Account] = {}
        self.sockets: dict[LinkId, Socket] = {}  # of the ticker that lives now
        self.ghosts = 0  # sockets of other programs of the same key
        self.rest: RestMode = "ok"
        self.net: NetMode = "ok"
        self.socket: SocketMode = "ok"
        self.latency_s = 1.0  # factor
        self.lacking: int | None = None  # token of an instrument that quotes do not have
        self.frozen: frozenset[int] = frozenset()  # they move, and no stream tells
        self.frozen_ns = 0  # UTC: since when
        self.thawed_ns: dict[int, int] = {}  # UTC: until when
        self.more = 0  # paise by which quotes are above what is streamed
        self.lacked_ns: dict[int, int] = {}  # UTC of the first quote that lacked it
        # Action -> how many of the next messages never arrive; "mode" is any of them.
        self.losing: dict[str, int] = {}
        self.opened = 0  # sockets, so far
        self._rng = rng
        self._utc_ns = utc_ns
        self._quoted_ns = -S
        self.limited_ns = 0  # UTC: when quotes were last answered with 429
        self._logins = 0

    def heal(self) -> None:
        """Everything answers again. What is half open stays so, as it would."""
        self.rest, self.net, self.socket, self.ghosts, self.latency_s = "ok", "ok", "ok", 0, 1.0
        self.thawed_ns.update(dict.fromkeys(self.frozen, self._utc_ns()))
        self.lacking, self.frozen, self.more = None, frozenset(), 0
        self.lacked_ns.clear()
        self.losing.clear()
        for account in self.accounts.values():
            account.has_data = True

    # --- sessions -----------------------------------------------------------------------------

    def login(self, slot: m.Slot = "primary") -> Account:
        """A new token; the one before of the same app dies."""
        for account in self.accounts.values():
            if account.slot == slot:
                account.is_alive = False
        self._logins += 1
        account = Account(f"{slot[0]}{self._logins}", slot)
        self.accounts[account.fingerprint] = account
        return account

    def flush(self) -> None:
        """The daily end of all tokens. Open sockets stream on."""
        for account in self.accounts.values():
            account.is_alive = False

    def is_alive(self, fingerprint: str | None) -> bool:
        account = self.accounts.get(fingerprint or "")
        return account is not None and account.is_alive

    # --- REST ---------------------------------------------------------------------------------

    def profile(self, request: int, fingerprint: str) -> tuple[float, Profiled]:
        """Seconds until the answer, and the answer."""
        fault = self._rest_fault()
        if fault is not None:
            return fault[0], Profiled(request, "unverified", detail=fault[1])
        delay_s = self._delay_s()
        if not self.is_alive(fingerprint):
            detail = "Kite: the token is invalid or has expired"
            return delay_s, Profiled(request, "refused", detail=detail)
        return delay_s, Profiled(request, "valid", "AB1234", "Asha")

    def quotes(self, request: int, fingerprint: str, tokens: Sequence[int]) -> tuple[float, Quoted]:
        now_ns = self._utc_ns()
        fault = self._rest_fault()
        if fault is not None:
            outcome: m.RestOutcome = "rate" if self.rest == "rate" else "network"
            if outcome == "rate":
                self.limited_ns = now_ns
            return fault[0], Quoted(request, outcome, detail=fault[1])
        delay_s = self._delay_s()
        if now_ns - self._quoted_ns < S:
            self.limited_ns = now_ns
            return delay_s, Quoted(request, "rate", detail=_TEXTS["rate"])
        self._quoted_ns = now_ns
        account = self.accounts.get(fingerprint)
        if account is None or not account.is_alive:
            return delay_s, Quoted(request, "token", detail="the token is invalid")
        if not account.has_data:
            return delay_s, Quoted(request, "permission", detail="Insufficient permission")
        if self.lacking in tokens and len(tokens) > 1:  # of one alone a probe asks
            self.lacked_ns.setdefault(self.lacking, now_ns)
        listed = [token for token in tokens if token != self.lacking]
        quotes = {token: self.exchange.quote(token, now_ns, self.more) for token in listed}
        return delay_s, Quoted(request, "ok", quotes)

    def order_book(
        self, request: int, fingerprint: str, orders: Sequence[Row]
    ) -> tuple[float, BookRead]:
        """It needs no plan with market data."""
        if self.net != "ok" or self.rest not in ("ok", "slow"):
            outcome: m.RestOutcome = "rate" if self.rest == "rate" else "network"
            return 0.3, BookRead(request, outcome, detail=_TEXTS.get(self.rest, _TEXTS["down"]))
        delay_s = 2.5 if self.rest == "slow" else 0.3 * self.latency_s
        if not self.is_alive(fingerprint):
            return delay_s, BookRead(request, "token", detail="the token is invalid")
        return delay_s, BookRead(request, "ok", "AB1234", orders)

    def _rest_fault(self) -> tuple[float, str] | None:
        if self.net != "ok":
            return (0.02 if self.net == "down" else 4.0), _TEXTS["down"]
        if self.rest in ("ok", "slow"):
            return None
        seconds = self._rng.uniform(3, 20) if self.rest == "hang" else self._delay_s()
        return seconds, _TEXTS[self.rest]

    def _delay_s(self) -> float:
        low, high = (1.5, 2.9) if self.rest == "slow" else (0.05, 0.4)
        return self._rng.uniform(low, high) * self.latency_s

    # --- sockets ------------------------------------------------------------------------------

    def connect(self, link: LinkId, fingerprint: str) -> tuple[float, str]:
        """Seconds until the attempt is decided, and why it failed; "" when the upgrade succeeds
        (then `opened` is to be called)."""
        if self.net == "down":
            return 0.02, "connection refused"
        if self.net == "silent":
            return 5.0, HANDSHAKE_TIMEOUT
        delay_s = self._rng.uniform(0.05, 0.5) * self.latency_s
        if self.socket == "502":
            return delay_s, UPGRADE_FAILED.format("502 - BadGateway")
        is_crowded = self.ghosts + len(self.sockets) >= SOCKETS_MAX
        if self.socket == "429" or is_crowded:
            return delay_s, UPGRADE_FAILED.format("429 - TooManyRequests")
        account = self.accounts.get(fingerprint)
        is_good = account is not None and account.is_alive and account.has_data
        if self.socket == "403" or not is_good:
            return delay_s, UPGRADE_FAILED.format("403 - Forbidden")
        assert account is not None
        self.sockets[link] = Socket(link, account)
        self.opened += 1
        return (self._rng.uniform(2, 16) if self.socket == "slow" else delay_s), ""

    def is_lost(self, ask: Ask) -> bool:
        """Whether this message never arrives; counts it."""
        action = ask.action if ask.action.endswith("subscribe") else "mode"
        left = self.losing.get(action, 0)
        self.losing[action] = max(0, left - 1)
        return left > 0

    def asked(self, socket: Socket, ask: Ask) -> bytes | None:
        """Kite answers a subscription with the cached packet of every token."""
        if ask.action == "unsubscribe":
            for token in ask.tokens:
                socket.modes.pop(token, None)
            return None
        tokens = list(ask.tokens)
        if ask.action == "subscribe":
            socket.modes |= dict.fromkeys(tokens, QUOTE)
        else:  # of what is not subscribed a mode says nothing
            tokens = [token for token in tokens if token in socket.modes]
            socket.modes |= dict.fromkeys(tokens, mode_from_name(ask.action))
        return self._packets(socket, tokens) if tokens else None

    def frame(self, socket: Socket) -> bytes:
        """Return what has changed since the last frame, else a heartbeat."""
        now_ns = self._utc_ns()
        if socket.fault == "mute":
            return HEARTBEAT
        ticking = socket.modes.keys() - self.frozen
        versions = {t: self.exchange.version(t, now_ns) for t in socket.modes if t in ticking}
        changed = [t for t, version in versions.items() if version != socket.sent.get(t)]
        return self._packets(socket, changed) if changed else HEARTBEAT

    def has_more(self, socket: Socket, token: int) -> bool:
        """Whether its next frame has this instrument."""
        return self.exchange.version(token, self._utc_ns()) != socket.sent.get(token)

    def everything(self, socket: Socket) -> bytes:
        """A frame with all of it that trades."""
        floor_of, now_ns = self.exchange.floor_of, self._utc_ns()
        return self._packets(socket, [t for t in socket.modes if floor_of(t).is_trading(now_ns)])

    def _packets(self, socket: Socket, tokens: list[int]) -> bytes:
        now_ns = self._utc_ns()
        for token in tokens:
            socket.sent[token] = self.exchange.version(token, now_ns)
        modes = socket.modes
        return encode_frame([self.exchange.body(t, modes.get(t, FULL), now_ns) for t in tokens])
