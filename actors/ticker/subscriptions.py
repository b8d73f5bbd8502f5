"""The instruments that one link was asked to stream: the difference to send, first packets,
confirmations, and repetitions. Pure."""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import msgspec

from kitefeed.actors.policy.machine import earliest
from kitefeed.protocol.kite.ticks import QUOTE, TickBody, mode_from_name
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages.instruments import Instrument
from kitefeed.protocol.topics import tick_topic

TOKENS_PER_MESSAGE_MAX = 500  # Kite names no limit; 3,000 at once are used, less is more careful

# Seconds until an unconfirmed token is asked again; the last one repeats. Kite answers at
# once, also while the market is closed, except for an instrument that never traded. The first is
# over before a stream without any news is doubted.
ASK_AGAIN_S = (2, 3, 5, 10, 30, 60, 300)
ENDED_MAX = 9_000  # tokens whose unsubscribe is remembered; the oldest of more is forgotten

GUARD = b""  # instead of a topic: another socket carries it, here only its silence counts

Action = Literal["subscribe", "unsubscribe", "ltp", "quote", "full"]


class Ask(NamedTuple):
    """One message to Kite: subscribe or unsubscribe these tokens, or set their mode."""

    action: Action
    tokens: tuple[int, ...]


class _Due(NamedTuple):
    """The time at which something is asked again, and how often that was done."""

    at_ns: int
    times: int = 0

    def later(self, now_ns: int) -> "_Due":
        times = self.times + 1
        return _Due(now_ns + ASK_AGAIN_S[min(times, len(ASK_AGAIN_S) - 1)] * NS_PER_S, times)


def _first_due(now_ns: int) -> _Due:
    return _Due(now_ns + ASK_AGAIN_S[0] * NS_PER_S)


_decode = msgspec.msgpack.Decoder(TickBody).decode


class Asked:
    """The instruments asked of Kite on one link, and which of them have answered.

    A packet in the mode that was asked for, or in a higher one, confirms. A message to Kite may be
    lost, and nothing tells of it. So an instrument that stays unconfirmed is asked again
    (`ASK_AGAIN_S`), and one that comes although it was unsubscribed is unsubscribed again.

    After a subscribe Kite sends a cached packet, and another when the mode is then changed from its
    default (quote): neither is news. A token's packets are therefore first packets up to the one in
    the mode that was asked for, but two at most, should that mode never come. When the mode is
    changed later, packets in the old one are still news, and the first one in the new is not.
    Nobody knows how many answers a repetition brings: after it the first packet of each mode is no
    news, nor is one that repeats the one before it.
    """

    def __init__(self) -> None:
        self.instruments: dict[int, Instrument] = {}
        self.topics: dict[int, bytes] = {}
        self.arrived: dict[int, int] = {}  # token -> the highest mode that came since it was asked
        self.again_due_ns: int | None = None  # something is to be asked again then, or later
        self._unconfirmed: dict[int, _Due] = {}
        self._ended: dict[int, _Due] = {}  # unsubscribed; the earliest first
        self._modes: dict[int, int] = {}
        self._firsts_left: dict[int, int] = {}
        self._repeats: dict[int, dict[int, bytes]] = {}  # asked again: mode -> its last packet

    def change(self, wanted: Iterable[Instrument], now_ns: int, *, is_refresh: bool) -> list[Ask]:
        """Take over the full desired set; return what to send, in order. `is_refresh` asks for
        everything anew, so that Kite sends its cached packets again."""
        old = self.instruments
        new = {instrument.token: instrument for instrument in wanted}
        removed = [token for token in old if is_refresh or token not in new]
        added = [token for token in new if is_refresh or token not in old]
        changed = [
            token
            for token, instrument in new.items()
            if not is_refresh and token in old and old[token].mode != instrument.mode
        ]
        self.instruments = new
        self.topics = {t: GUARD if i.is_guard else tick_topic(i.key) for t, i in new.items()}
        self._modes = {token: mode_from_name(i.mode) for token, i in new.items()}
        self._forget(removed, now_ns)
        self._expect(added, changed)
        self._await([*added, *changed], now_ns)
        return [*_asks("unsubscribe", removed), *self._asks(added, changed)]

    def again(self, now_ns: int) -> list[Ask]:
        """Return the messages to send once more: the mode of what comes in a lower one;
        subscription and mode of what never came."""
        if self.again_due_ns is None or now_ns < self.again_due_ns:
            return []
        due = [token for token, due in self._unconfirmed.items() if due.at_ns <= now_ns]
        for token in due:
            self._unconfirmed[token] = self._unconfirmed[token].later(now_ns)
            self._firsts_left.pop(token, None)
            self._repeats.setdefault(token, {})
        self.again_due_ns = min((each.at_ns for each in self._unconfirmed.values()), default=None)
        silent = [token for token in due if token not in self.arrived]
        return self._asks(silent, [token for token in due if token in self.arrived])

    def unwanted(self, tokens: list[int], now_ns: int) -> list[Ask]:
        """Return the messages to send because these tokens came, some of which were not asked
        for."""
        due = [t for t in dict.fromkeys(tokens) if t in self._ended and t not in self.topics]
        due = [token for token in due if self._ended[token].at_ns <= now_ns]
        for token in due:
            self._ended[token] = self._ended[token].later(now_ns)
        return _asks("unsubscribe", due)

    def are_all_news(self, tokens: list[int]) -> bool:
        """Whether none of these packets can be a cached one: it is so nearly always."""
        if self._repeats and not self._repeats.keys().isdisjoint(tokens):
            return False
        return not self._firsts_left or self._firsts_left.keys().isdisjoint(tokens)

    def is_first(self, token: int, mode: int, body: bytes) -> bool:
        """Whether this packet is a cached one and not news; counts it."""
        if token in self._repeats:
            return self._is_repeat(token, mode, body)
        left = self._firsts_left.get(token)
        if left is None:
            return False
        if left == 1 or mode == self._modes[token]:
            del self._firsts_left[token]
        elif left:
            self._firsts_left[token] = left - 1
        return left > 0 or mode == self._modes[token]

    def arrive(self, tokens: list[int], bodies: list[bytes]) -> dict[int, int]:
        """Remember which of these packets answer what was asked. Return token -> mode, where it is
        the first since, or the first in a higher mode."""
        if self._unconfirmed.keys().isdisjoint(tokens):  # as nearly always, whoever stays silent
            return {}
        news: dict[int, int] = {}
        for token, body in zip(tokens, bodies, strict=True):
            if token in self._unconfirmed:
                mode = _decode(body).mode
                if mode > self.arrived.get(token, 0):
                    self.arrived[token] = news[token] = mode
                if mode >= self._modes[token]:
                    del self._unconfirmed[token]
        return news

    def _is_repeat(self, token: int, mode: int, body: bytes) -> bool:
        last = self._repeats[token].get(mode)
        self._repeats[token][mode] = body
        # The same packet is laid out differently in a run of its kind (protocol/kite/repack.py).
        if last is None or last == body or _decode(last) == _decode(body):
            return True
        if mode >= self._modes[token]:
            del self._repeats[token]
        return False

    def _forget(self, removed: list[int], now_ns: int) -> None:
        for token in removed:
            self._ended.pop(token, None)
            self._ended[token] = _first_due(now_ns)
            self.arrived.pop(token, None)
            self._unconfirmed.pop(token, None)
            self._firsts_left.pop(token, None)
            self._repeats.pop(token, None)
        while len(self._ended) > ENDED_MAX:
            del self._ended[next(iter(self._ended))]

    def _expect(self, added: list[int], changed: list[int]) -> None:
        for token in added:
            self._firsts_left[token] = 1 if self.instruments[token].mode == "quote" else 2
        for token in changed:
            if token in self._repeats:
                self._repeats[token].pop(self._modes[token], None)
            else:  # 0: it streams already
                self._firsts_left[token] = 2 if self._firsts_left.get(token) else 0

    def _await(self, tokens: list[int], now_ns: int) -> None:
        """Note that these have just been asked. A packet that came in a higher mode confirms a
        lower one; if the mode is raised again, it says nothing any more."""
        due = _first_due(now_ns)
        for token in tokens:
            mode = self._modes[token]
            if token in self.arrived:
                self.arrived[token] = min(self.arrived[token], mode)
            if self.arrived.get(token, 0) < mode:
                self._unconfirmed[token] = due
            else:
                self._unconfirmed.pop(token, None)
        if tokens:
            self.again_due_ns = earliest(self.again_due_ns, due.at_ns)

    def _asks(self, added: list[int], changed: list[int]) -> list[Ask]:
        moded = [token for token in added if self._modes[token] != QUOTE] + changed
        asks = _asks("subscribe", added)
        for mode in _MODES:
            asks += _asks(mode, [token for token in moded if self.instruments[token].mode == mode])
        return asks


_MODES: tuple[Literal["ltp", "quote", "full"], ...] = ("ltp", "quote", "full")


def _asks(action: Action, tokens: Sequence[int]) -> list[Ask]:
    return [
        Ask(action, tuple(tokens[start : start + TOKENS_PER_MESSAGE_MAX]))
        for start in range(0, len(tokens), TOKENS_PER_MESSAGE_MAX)
    ]
