"""Keeps what a reader wants of the feed: instruments, patterns, and in which mode. Pure."""

from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import get_args

from kitefeed.protocol.errors import BadInput
from kitefeed.protocol.messages.instruments import Mode
from kitefeed.protocol.topics import (
    LAST_RATES,
    NUL,
    SUBSCRIPTION_BYTES_MAX,
    TICK,
    TICKS_TOPIC,
    last_head,
    mode_request,
    tick_topic,
    want_request,
)
from kitefeed.protocol.topology import CHUNKS_QUEUED_MAX, FEED

SINGLE_REQUESTS_MAX = 8  # up to here one snapshot per instrument, above it one for all
# A reader takes all ticks together and picks out its own, if it wants at least so many instruments
# and at least an eighth of all that stream: to pass one over costs a twentieth of a message.
CHUNKED_MIN, CHUNKED_SHARE = 64, 8
ANY = "*"
WRITE = "write EXCHANGE:SYMBOL, as NSE:INFY, or Kite's token, as 408065"


Asked = str | int | Iterable[object]  # what programs name instruments by, and lists of such


def flat(asked: Iterable[object]) -> list[str | int]:
    """Return the names and tokens, also those in lists. Raises BadInput for anything else."""
    found: list[str | int] = []
    for one in asked:
        if isinstance(one, str):
            found.append(one)
        elif isinstance(one, bool | bytes | Mapping) or not isinstance(one, Integral | Iterable):
            raise BadInput(f"{one!r} is not an instrument: {WRITE}")
        elif isinstance(one, Integral):
            found.append(int(one))
        else:
            found += flat(one)
    return found


class Wants:
    """`instruments` are asked for upstream, each in its mode if it has one. `prefixes` are those of
    patterns such as `NSE:NIFTY*`: they read what streams already, and ask for nothing. No names at
    all: everything that streams; an empty list of names: nothing yet.
    per_second: the latest of each, at most so often; None for every tick.
    may_chunk: it may read all ticks together, if it then is about many instruments or is to be told
    which. is_chunked: it does, see `read_chunks`.

    Raises BadInput for what cannot be a name; the daemon knows which exist.
    """

    def __init__(
        self,
        names: Iterable[str],
        mode: Mode | None = None,
        per_second: int | None = None,
        *,
        is_all: bool = False,
        may_chunk: bool = True,
    ) -> None:
        asked = dict.fromkeys(names)
        self.mode = checked_mode(mode)
        self.modes = {checked(name): mode for name in asked if not name.endswith(ANY)}
        self.prefixes = tuple(_prefix(name) for name in asked if name.endswith(ANY))
        self.is_all = is_all
        self.is_chunked = False
        is_few = 0 < len(asked) < CHUNKED_MIN
        self._may_chunk = may_chunk and not (is_all or is_few or per_second)
        if mode is not None and not self.modes and (self.prefixes or is_all):
            raise BadInput(f"mode={mode!r} asks for something: name the instruments it is for")
        if per_second is not None and per_second not in LAST_RATES:
            rates = ", ".join(map(str, LAST_RATES))
            raise BadInput(f"per_second={per_second!r} is none of {rates}")
        self.per_second = per_second
        self._head = TICK if per_second is None else last_head(per_second)
        self._all = TICKS_TOPIC + NUL if per_second is None else self._head

    def of(self, names: Iterable[str]) -> "Wants":
        """Return the same wants for these instruments."""
        return Wants(names, self.mode, self.per_second, may_chunk=self._may_chunk)

    def read_singly(self) -> None:
        """Ask for a message for every tick: this feed carries no chunks of all instruments."""
        self._all = self._head
        self._may_chunk = False

    @property
    def instruments(self) -> tuple[str, ...]:
        return tuple(self.modes)

    @property
    def queued_max(self) -> int:
        """The number of messages that may wait at the reader's end: chunks are a hundred times as
        large. It never changes while connected, or libzmq would wait for ever now and again."""
        has_chunks = self.is_all and self._all.startswith(TICKS_TOPIC)
        return CHUNKS_QUEUED_MAX if has_chunks or self._may_chunk else FEED.peer_hwm

    @property
    def is_choosing(self) -> bool:
        """Whether chunks or single ticks are read depends on how much streams, see
        `read_chunks`."""
        return self._may_chunk and len(self.modes) >= CHUNKED_MIN

    # --- what to subscribe to -----------------------------------------------------------------

    def subscriptions(self) -> list[bytes]:
        """Return what to subscribe to for the live ticks, and for the mode they shall have."""
        live = [self._all] if self.is_all or self.is_chunked else self._live()
        own = (each for name in self.modes for each in self._of(name))
        return [*dict.fromkeys([*live, *own])]

    def snapshot_prefixes(self) -> list[bytes]:
        """Return the topics whose last values to ask for."""
        if self.is_all or self.is_chunked:
            return [self._head]
        live = self._live()
        return live if len(live) <= SINGLE_REQUESTS_MAX else [self._head]

    def topic(self, name: str) -> bytes:
        """Return the topic on which its ticks come, without the NUL."""
        return self._head + name.encode()

    def _live(self) -> list[bytes]:
        exact = [self.topic(name) + NUL for name in self.modes]
        return [*exact, *(self._head + prefix.encode() for prefix in self.prefixes)]

    def _of(self, name: str) -> list[bytes]:
        """Return the subscriptions for one instrument."""
        mode = self.modes[name]
        if self.is_chunked:
            return [want_request(mode or "", tick_topic(name))]
        live = self.topic(name) + NUL
        return [live, mode_request(mode, tick_topic(name))] if mode else [live]

    # --- changes ------------------------------------------------------------------------------

    def add(self, names: Iterable[str], mode: Mode | None) -> tuple[list[bytes], list[bytes]]:
        """Want these instruments, too, or in another mode. Return what to subscribe to for that,
        and what no more. mode None: that of the others for new ones, unchanged for those that are
        read."""
        new: list[bytes] = []
        old: list[bytes] = []
        for name in names:
            before = self._of(name) if name in self.modes else []
            self.modes[name] = mode or self.modes.get(name, self.mode)
            after = self._of(name)
            new += [each for each in after if each not in before]
            old += [each for each in before if each not in after]
        return new, old

    def drop(self, names: Iterable[str]) -> list[bytes]:
        """Want these no more; return what to unsubscribe from. Names that are not wanted are passed
        over."""
        old = []
        for name in names:
            if name in self.modes:
                old += self._of(name)
                del self.modes[name]
        return old

    def read_chunks(self, streaming: int) -> tuple[list[bytes], list[bytes]]:
        """Decide anew whether to read all ticks together, of `streaming` instruments, and pick out
        the wanted ones. Return what to subscribe to for that, and what no more."""
        count = len(self.modes)
        # Once begun it goes on with half as many, so that it never changes to and fro.
        enough = max(CHUNKED_MIN, streaming / CHUNKED_SHARE) / (2 if self.is_chunked else 1)
        if (self._may_chunk and count >= enough) == self.is_chunked:
            return [], []
        before = self.subscriptions()
        self.is_chunked = not self.is_chunked
        after = self.subscriptions()
        return after, before


def checked_mode(mode: Mode | None) -> Mode | None:
    if mode is not None and mode not in get_args(Mode):
        raise BadInput(f"mode={mode!r} is none of {', '.join(get_args(Mode))}")
    return mode


def checked(name: str) -> str:
    exchange, _, symbol = name.partition(":")
    is_short = len(name.encode()) <= SUBSCRIPTION_BYTES_MAX - 64  # room for a request
    if not (exchange and symbol and is_short and name.isprintable()):
        raise BadInput(
            f"{name!r} is not an instrument: {WRITE}; "
            "`kitefeed instruments find TEXT` searches them"
        )
    return name


def _prefix(pattern: str) -> str:
    """Return the beginning of a pattern: `NSE:NIFTY` of `NSE:NIFTY*`."""
    prefix = pattern.removesuffix(ANY)
    if ANY in prefix:
        raise BadInput(f"{pattern!r} is no pattern: a `*` may only stand last, as in NSE:NIFTY*")
    checked(pattern)
    return prefix
