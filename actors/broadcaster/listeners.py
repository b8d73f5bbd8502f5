"""Counts subscriptions from what XPUB_VERBOSER reports, one by one."""

from itertools import islice
from typing import TypeVar, get_args

from kitefeed.protocol.messages.bus import ListenersWant
from kitefeed.protocol.messages.instruments import LIST_MAX, Mode
from kitefeed.protocol.topics import (
    MODE,
    NUL,
    PRESENCE,
    SNAPSHOT,
    SUBSCRIPTION_BYTES_MAX,
    TICK,
    TICKS_TOPIC,
    WANT,
    parse_mode_request,
    parse_want_request,
    tick_of,
)

SUBSCRIPTIONS_MAX = 50_000  # distinct ones, ~10 MB; more are served by ZeroMQ but not counted
KEY_BYTES_MAX = 64  # no instrument has a longer name, and all must fit into one message
T = TypeVar("T")
_MODES: tuple[Mode, ...] = get_args(Mode)  # lowest first
_CHUNKS = TICKS_TOPIC + NUL


class Listeners:
    """The number of subscribers of each subscription.

    wanted_topics: topics of ticks (no NUL) that somebody subscribes to exactly -> number of these.
    ignored: how many subscriptions ever were too long, or above the limit.
    """

    def __init__(self) -> None:
        self.wanted_topics: dict[bytes, int] = {}
        # The same, with readers of the latest ticks only and readers of all ticks that want this
        # one, in the order first wanted: upstream it makes no difference.
        self._upstream: dict[bytes, int] = {}
        self.ignored = 0
        self._counts: dict[bytes, int] = {}
        self._keys: dict[bytes, str] = {}  # of those wanted topics that can be an instrument's
        self._modes: dict[bytes, dict[Mode, int]] = {}  # topic -> how many ask for which mode
        self._prefixes: dict[bytes, int] = {}
        self._sorted_prefixes: tuple[bytes, ...] | None = ()
        self._uncounted = 0
        self._presences = 0
        self._chunk_listeners = 0
        self._widest: int | None = 0

    @property
    def is_overflowing(self) -> bool:
        """Whether there are subscriptions that are not counted: they may match anything."""
        return self._uncounted > 0

    @property
    def has_all_ticks(self) -> bool:
        """Whether somebody wants the ticks of all instruments."""
        return self.is_overflowing or any(TICK.startswith(prefix) for prefix in self.prefixes)

    @property
    def has_chunks(self) -> bool:
        """Whether somebody reads all ticks together, on `ticks/all`."""
        return self.is_overflowing or self._chunk_listeners > 0

    def add(self, subscription: bytes) -> None:
        is_known = subscription in self._counts
        is_full = not is_known and len(self._counts) >= SUBSCRIPTIONS_MAX
        if is_full or not is_usable(subscription):
            self.ignored += 1
            self._uncounted += 1
            return
        self._count(subscription, 1)

    def remove(self, subscription: bytes) -> None:
        if subscription in self._counts:
            self._count(subscription, -1)
        elif self._uncounted:
            self._uncounted -= 1

    def _count(self, subscription: bytes, step: int) -> None:
        self._widest = None
        if _CHUNKS.startswith(subscription):
            self._chunk_listeners += step
        is_change = _step(self._counts, subscription, step)
        topic = exact_topic(subscription)
        if topic is not None:
            if subscription.startswith(TICK):
                _step(self.wanted_topics, topic, step)
            self._count_topic(topic, step)
        elif subscription.startswith(MODE):
            self._count_mode(parse_mode_request(subscription), step)
        elif subscription.startswith(WANT):
            wish = parse_want_request(subscription)
            if wish is not None:
                self._count_topic(wish[1], step)
                self._count_mode(wish, step)
        elif is_change and subscription.startswith(PRESENCE):
            self._presences += step
        elif is_change and (subscription.startswith(TICK) or TICK.startswith(subscription)):
            _step(self._prefixes, subscription, step)
            self._sorted_prefixes = None

    def _count_topic(self, topic: bytes, step: int) -> None:
        if not _step(self._upstream, topic, step):
            return
        self._keys.pop(topic, None)
        key = key_of(topic) if step > 0 else None
        if key is not None:
            self._keys[topic] = key

    def _count_mode(self, wish: tuple[str, bytes] | None, step: int) -> None:
        name, topic = wish or ("", b"")
        for mode in _MODES:
            if mode == name:
                _step(self._modes.setdefault(topic, {}), mode, step)
        if not self._modes.get(topic, True):
            del self._modes[topic]

    @property
    def prefixes(self) -> tuple[bytes, ...]:
        """Subscriptions without a NUL that match topics of instruments, sorted."""
        if self._sorted_prefixes is None:
            self._sorted_prefixes = tuple(sorted(self._prefixes))
        return self._sorted_prefixes

    @property
    def keys(self) -> tuple[str, ...]:
        """Instruments somebody subscribes to by their exact topic, the first ones if too many."""
        return tuple(islice(self._keys.values(), LIST_MAX))

    def want(self) -> ListenersWant:
        """Return what programs want streamed. A reader that asks for a mode is counted at its
        topic, too: the others counted there want the configured mode."""
        keys = self.keys
        known = frozenset(keys)
        modes: dict[str, Mode] = {}
        also_plain: list[str] = []
        for topic, asked in self._modes.items():
            key = self._keys.get(topic)
            if key is None or key not in known:
                continue
            modes[key] = next(mode for mode in reversed(_MODES) if mode in asked)
            if self._upstream[topic] > sum(asked.values()):
                also_plain.append(key)
        return ListenersWant(keys, modes, tuple(also_plain))

    @property
    def subscribers(self) -> int:
        """The number of programs that listen. It is exact when all use the Feed client, which
        announces itself. A plain subscriber is seen only through what it shares with others, so it
        is at least this many."""
        if self._widest is None:
            private = (PRESENCE, SNAPSHOT, MODE, WANT)
            counts = (n for s, n in self._counts.items() if not s.startswith(private))
            self._widest = max(counts, default=0)
        return max(self._presences, self._widest)


def exact_topic(subscription: bytes) -> bytes | None:
    """Return `tick/NSE:INFY` for a subscription to exactly that, or to exactly its latest, such as
    `last/2/NSE:INFY`; None for any other one."""
    topic, nul, _ = subscription.partition(NUL)
    return tick_of(topic) if nul else None


def is_usable(subscription: bytes) -> bool:
    return 0 < len(subscription) <= SUBSCRIPTION_BYTES_MAX


def key_of(topic: bytes) -> str | None:
    """Return `NSE:INFY` of `tick/NSE:INFY`; None when that cannot be an instrument's name."""
    try:
        key = topic[len(TICK) :].decode()
    except UnicodeDecodeError:
        return None
    exchange, _, symbol = key.partition(":")
    is_name = exchange and symbol and key.isprintable() and len(topic) - len(TICK) <= KEY_BYTES_MAX
    return key if is_name else None


def _step(counts: dict[T, int], of: T, step: int) -> bool:
    """Count up or down; return whether `of` came or went by it."""
    before = counts.get(of, 0)
    if before + step > 0:
        counts[of] = before + step
    else:
        counts.pop(of, None)
    return (before > 0) != (before + step > 0)
