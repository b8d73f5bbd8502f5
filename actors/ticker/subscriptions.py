"""What one link was asked to stream: the difference to send, first packets, confirmations. Pure."""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from kitefeed.protocol.kite.ticks import mode_from_name
from kitefeed.protocol.messages import Instrument
from kitefeed.protocol.topics import tick_topic

TOKENS_PER_MESSAGE_MAX = 500  # Kite names no limit; 3,000 at once are used, less is more careful

GUARD = b""  # instead of a topic: another socket carries it, here only its silence counts

Action = Literal["subscribe", "unsubscribe", "ltp", "quote", "full"]


class Ask(NamedTuple):
    """One message to Kite: subscribe or unsubscribe these tokens, or set their mode."""

    action: Action
    tokens: tuple[int, ...]


class Asked:
    """The instruments asked of Kite on one link, and which of them have answered.

    After a subscribe Kite sends a cached packet, and another when the mode is then changed from its
    default (quote): neither is news. A token's packets are therefore first packets up to the one
    in the mode that was asked for, but two at most, should that mode never come. When the mode is
    changed later, packets in the old one are still news, and the first one in the new is not.
    """

    def __init__(self) -> None:
        self.instruments: dict[int, Instrument] = {}
        self.topics: dict[int, bytes] = {}
        self.has_guards = False
        self.confirmed: set[int] = set()
        self._unconfirmed: set[int] = set()
        self._modes: dict[int, int] = {}
        self._firsts_left: dict[int, int] = {}

    def change(self, wanted: Iterable[Instrument], *, is_refresh: bool) -> list[Ask]:
        """Takes over the full desired set; returns what to send, in order. `is_refresh` asks for
        all anew, so that Kite sends its cached packets again."""
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
        self.has_guards = GUARD in self.topics.values()
        self._modes = {token: mode_from_name(i.mode) for token, i in new.items()}
        self._forget(removed)
        self._unconfirmed = new.keys() - self.confirmed
        self._expect(added, changed)
        moded = [token for token in added if new[token].mode != "quote"] + changed
        return [
            *_asks("unsubscribe", removed),
            *_asks("subscribe", added),
            *(ask for mode in _MODES for ask in _asks(mode, self._of_mode(mode, moded))),
        ]

    def are_all_news(self, tokens: list[int]) -> bool:
        """Whether none of these can be a cached packet: so it is nearly always."""
        return not self._firsts_left or self._firsts_left.keys().isdisjoint(tokens)

    def is_first(self, token: int, mode: int) -> bool:
        """Whether this packet is a cached one and not news; counts it."""
        left = self._firsts_left.get(token)
        if left is None:
            return False
        if left == 1 or mode == self._modes[token]:
            del self._firsts_left[token]
        elif left:
            self._firsts_left[token] = left - 1
        return left > 0 or mode == self._modes[token]

    def confirm(self, tokens: list[int]) -> list[int]:
        """Those of `tokens` whose first packet since they were asked for this is; remembers it."""
        # As nearly always; the second, when somebody is silent for ever.
        if not self._unconfirmed or self._unconfirmed.isdisjoint(tokens):
            return []
        new = [token for token in dict.fromkeys(tokens) if token in self._unconfirmed]
        self._unconfirmed.difference_update(new)
        self.confirmed.update(new)
        return new

    def _forget(self, removed: list[int]) -> None:
        self.confirmed.difference_update(removed)
        for token in removed:
            self._firsts_left.pop(token, None)

    def _expect(self, added: list[int], changed: list[int]) -> None:
        for token in added:
            self._firsts_left[token] = 1 if self.instruments[token].mode == "quote" else 2
        for token in changed:  # 0: it streams already
            self._firsts_left[token] = 2 if self._firsts_left.get(token) else 0

    def _of_mode(self, mode: str, tokens: list[int]) -> list[int]:
        return [token for token in tokens if self.instruments[token].mode == mode]


_MODES: tuple[Literal["ltp", "quote", "full"], ...] = ("ltp", "quote", "full")


def _asks(action: Action, tokens: Sequence[int]) -> list[Ask]:
    return [
        Ask(action, tuple(tokens[start : start + TOKENS_PER_MESSAGE_MAX]))
        for start in range(0, len(tokens), TOKENS_PER_MESSAGE_MAX)
    ]
