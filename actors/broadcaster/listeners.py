"""Who listens: subscriptions counted from what XPUB_VERBOSER reports, one by one."""

from kitefeed.protocol.messages import LIST_MAX
from kitefeed.protocol.topics import (
    NUL,
    PRESENCE,
    SNAPSHOT,
    SUBSCRIPTION_BYTES_MAX,
    TICK,
)

SUBSCRIPTIONS_MAX = 50_000  # distinct ones, ~10 MB; more are served by ZeroMQ but not counted


class Listeners:
    """Subscriptions with the number of subscribers of each. `ignored`: too long, or above the
    limit."""

    def __init__(self) -> None:
        self._counts: dict[bytes, int] = {}
        self._presences = 0
        self._keys: tuple[str, ...] | None = ()
        self._widest: int | None = 0
        self.ignored = 0

    def add(self, subscription: bytes) -> None:
        is_known = subscription in self._counts
        if not is_known and len(self._counts) >= SUBSCRIPTIONS_MAX:
            self.ignored += 1
            return
        self._count(subscription, self._counts.get(subscription, 0) + 1)

    def remove(self, subscription: bytes) -> None:
        count = self._counts.get(subscription)
        if count is not None:
            self._count(subscription, count - 1)

    def _count(self, subscription: bytes, count: int) -> None:
        before = self._counts.get(subscription, 0)
        if count > 0:
            self._counts[subscription] = count
        else:
            del self._counts[subscription]
        if subscription.startswith(PRESENCE):
            self._presences += (count > 0) - (before > 0)
        self._widest = None
        if (before > 0) != (count > 0) and is_exact_tick(subscription):
            self._keys = None

    @property
    def keys(self) -> tuple[str, ...]:
        """Instruments somebody subscribes to by their exact topic, sorted."""
        if self._keys is None:
            found = (_key_of(s) for s in self._counts if is_exact_tick(s))
            self._keys = tuple(sorted(key for key in found if key))[:LIST_MAX]
        return self._keys

    @property
    def subscribers(self) -> int:
        """How many programs listen: exact when all use the Feed client, which announces itself; a
        plain subscriber is seen only through what it shares with others, so at least this many."""
        if self._widest is None:
            private = (PRESENCE, SNAPSHOT)
            counts = (n for s, n in self._counts.items() if not s.startswith(private))
            self._widest = max(counts, default=0)
        return max(self._presences, self._widest)


def is_exact_tick(subscription: bytes) -> bool:
    return subscription.startswith(TICK) and subscription.endswith(NUL)


def is_usable(subscription: bytes) -> bool:
    return 0 < len(subscription) <= SUBSCRIPTION_BYTES_MAX


def _key_of(subscription: bytes) -> str | None:
    """`NSE:INFY` of `tick/NSE:INFY` NUL; None for what no instrument is called."""
    try:
        key = subscription[len(TICK) : -1].decode()
    except UnicodeDecodeError:
        return None
    exchange, _, symbol = key.partition(":")
    return key if exchange and symbol and key.isprintable() else None
