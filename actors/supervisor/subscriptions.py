"""Which instruments are wanted, which were asked of Kite, which Kite has confirmed. Pure.

Wanted = configuration + operator + listeners; an instrument's mode is the highest anybody asked
for. Names are resolved by the shell (the instrument list is a file); what it found comes in here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kitefeed.actors.policy.names import did_you_mean, nearest
from kitefeed.actors.supervisor.shards import WHOLE_KEY, Capacity
from kitefeed.protocol import messages as m
from kitefeed.protocol.kite.ticks import is_index

LISTENER_GRACE_NS = 30_000_000_000  # after the last listener left: it may only be restarting
PENDING_MAX = 256  # requests that wait for a first packet at the same time
WAIT_S_MAX = 30.0
_RANK: dict[m.Mode, int] = {"ltp": 1, "quote": 2, "full": 3}


@dataclass
class Pending:
    """A `subscribe` that waits for first packets. `ticket` is whom to answer."""

    ticket: tuple[bytes, str]
    keys: tuple[str, ...]
    deadline_ns: int


@dataclass
class _Order:
    """What the source of one shard was last told to deliver, and what has come of it."""

    epoch: int
    tokens: set[int]
    confirmed: set[int]

    @property
    def delivered(self) -> set[int]:
        return self.tokens & self.confirmed


class Subscriptions:
    def __init__(
        self,
        configured: Iterable[str],
        canaries: Iterable[str],
        default_mode: m.Mode,
        operator: Mapping[str, str | None],
        capacity: Capacity = WHOLE_KEY,
    ) -> None:
        self._configured = dict.fromkeys(configured)  # ordered, and quick to ask
        self._canaries = frozenset(canaries)
        self._default_mode: m.Mode = default_mode
        self.operator: dict[str, str | None] = dict(operator)
        self._listeners: dict[str, int] = {}  # key -> boot time it is dropped, 0 while listened to
        self._tokens: dict[str, int] = {}
        self.unknown: dict[str, str] = {}  # key -> why it cannot be had
        self._orders: dict[int, _Order] = {}  # by shard
        self._instruments_max = capacity.total
        self._over_limit = _over_limit(capacity)
        self.pending: list[Pending] = []

    # --- wants --------------------------------------------------------------------------------

    @property
    def configured(self) -> frozenset[str]:
        return frozenset(self._configured)

    def wanted(self) -> dict[str, m.Mode]:
        """Every wanted key with its mode, the configured ones first."""
        keys = dict.fromkeys([*self._configured, *self._canaries, *self.operator, *self._listeners])
        return {key: self._mode_of(key) for key in keys}

    def _mode_of(self, key: str) -> m.Mode:
        asked = self.operator.get(key)
        is_base = key in self._configured or key in self._listeners or key in self._canaries
        modes: list[m.Mode] = [mode for mode in _RANK if mode == asked]
        if is_base or not modes:  # the state file may hold a mode that this version does not know
            modes.append(self._default_mode)
        return max(modes, key=_RANK.__getitem__)

    def want(self, keys: Iterable[str], mode: m.Mode | None) -> None:
        """The operator's `subscribe`: kept until `drop`."""
        for key in keys:
            self.operator[key] = mode

    def drop(self, key: str, *, may_search: bool = True) -> m.Answer:
        """The operator's `unsubscribe`; others may still want it, and then it stays. `may_search`:
        for near names, if it is not one that was subscribed; that takes its time."""
        was_wanted = self.operator.pop(key, "no") != "no"
        if key in self._configured and was_wanted:
            return m.Answer(key, "dropped", "the configuration file wants it, so it streams on")
        if key in self._configured:
            return m.Answer(key, "refused", "it is in the configuration file: remove it there")
        if key in self._listeners:
            return m.Answer(key, "dropped", "a program still listens to it, so it streams on")
        if not was_wanted:
            near = did_you_mean(nearest(key, self.operator)) if may_search else ""
            why = f"; {near}" if near else ": `kitefeed tail` shows what streams"
            return m.Answer(key, "refused", f"it is not subscribed{why}")
        return m.Answer(key, "dropped")

    def listen(self, keys: Iterable[str], now_ns: int) -> None:
        """What programs subscribe to on the feed, whole."""
        present = dict.fromkeys(keys)  # in order: the same events give the same commands
        for key in present:
            self._listeners[key] = 0
        for key, until_ns in self._listeners.items():
            if key not in present and not until_ns:
                self._listeners[key] = now_ns + LISTENER_GRACE_NS

    def expire(self, now_ns: int) -> bool:
        """Forgets listeners whose grace is over; True when there were any."""
        gone = [key for key, until_ns in self._listeners.items() if 0 < until_ns <= now_ns]
        for key in gone:
            del self._listeners[key]
        return bool(gone)

    # --- names --------------------------------------------------------------------------------

    def unresolved(self, keys: Iterable[str]) -> list[str]:
        """Those of `keys` that the shell should look up."""
        return [k for k in keys if k not in self._tokens and k not in self.unknown]

    def resolved(self, tokens: Mapping[str, int], unknown: Mapping[str, str]) -> None:
        """What the instrument list said: a token, or a sentence why there is none."""
        if len(self.unknown) > m.LIST_MAX:  # programs may ask for anything
            self.unknown.clear()
        self._tokens.update(tokens)
        self.unknown.update(unknown)

    def forget_names(self) -> None:
        """A new instrument list: tokens are recycled between days, so all are looked up again."""
        self._tokens.clear()
        self.unknown.clear()

    def is_known(self, key: str) -> bool:
        return key in self._tokens

    def instruments(self) -> tuple[m.Instrument, ...]:
        """What the sources should deliver. What is beyond the limit of all sockets is refused: of
        listeners first, then of the operator, of the configuration last."""
        found: list[m.Instrument] = []
        for key, mode in self.wanted().items():
            token = self._tokens.get(key)
            if token is None:
                continue
            if len(found) >= self._instruments_max:
                self.unknown.setdefault(key, self._over_limit)
                continue
            if self.unknown.get(key) == self._over_limit:
                del self.unknown[key]  # there is room now
            is_canary = key in self._canaries if self._canaries else is_index(token)
            found.append(m.Instrument(token, key, mode, is_canary))
        return tuple(found)

    # --- confirmations ------------------------------------------------------------------------

    def ordered(self, shard: int, epoch: int, instruments: tuple[m.Instrument, ...]) -> None:
        """A source was told to deliver these under `epoch`; a new epoch confirms anew."""
        tokens = {i.token for i in instruments if not i.is_guard}
        before = self._orders.get(shard)
        is_same = before is not None and before.epoch == epoch
        confirmed = before.confirmed & tokens if before is not None and is_same else set()
        self._orders[shard] = _Order(epoch, tokens, confirmed)

    def confirm(self, shard: int, epoch: int, tokens: Iterable[int]) -> None:
        """A report may come before the order: of a source that this supervisor has adopted."""
        order = self._orders.get(shard)
        if order is None or epoch > order.epoch:
            order = self._orders[shard] = _Order(epoch, set(), set())
        if epoch == order.epoch:
            order.confirmed.update(tokens)

    def is_confirmed(self, key: str) -> bool:
        token = self._tokens.get(key)
        return any(token in order.delivered for order in self._orders.values())

    def confirmed_of(self, shard: int) -> int:
        return len(self._orders[shard].delivered) if shard in self._orders else 0

    def counts(self) -> m.Subscriptions:
        wanted = self.wanted()
        refused = {key: why for key, why in self.unknown.items() if key in wanted}
        tokens = {self._tokens[key] for key in wanted if key in self._tokens}
        asked = sum(len(order.tokens & tokens) for order in self._orders.values())
        confirmed = sum(len(order.delivered & tokens) for order in self._orders.values())
        return m.Subscriptions(len(wanted), asked, confirmed, refused)

    # --- answers ------------------------------------------------------------------------------

    def answer(self, key: str, waiting_for: str) -> m.Answer:
        """What became of `key` so far; `waiting_for` is said when nothing came yet."""
        if key in self.unknown:
            return m.Answer(key, "refused", self.unknown[key])
        if self.is_confirmed(key):
            return m.Answer(key, "confirmed")
        if not self.is_known(key):
            return m.Answer(key, "accepted", "waiting for today's instrument list")
        return m.Answer(key, "accepted", waiting_for)

    def due(self, now_ns: int, can_stream: bool) -> list[Pending]:
        """Pending requests that can be answered now: all is known, time is over, or nothing is
        going to come (`can_stream` False)."""
        ready = [p for p in self.pending if self._is_ready(p, now_ns, can_stream)]
        self.pending = [p for p in self.pending if p not in ready]
        return ready

    def _is_ready(self, pending: Pending, now_ns: int, can_stream: bool) -> bool:
        if now_ns >= pending.deadline_ns or not can_stream:
            return True
        return all(key in self.unknown or self.is_confirmed(key) for key in pending.keys)


def _over_limit(capacity: Capacity) -> str:
    """Why an instrument cannot be had, and what to do."""
    sockets, per_socket = capacity
    why = f"over the limit of {capacity.total:,} instruments ({sockets} sockets of {per_socket:,})"
    if capacity == WHOLE_KEY:
        return f"{why}: `kitefeed unsubscribe` others"
    return f"{why}: `kitefeed unsubscribe` others, or raise it in [kite] of the configuration"
