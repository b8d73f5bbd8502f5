"""Passes on to the feed what a program written for Kite subscribes to.

Kite's clients send a message and go on; no answer comes. So a thread of its own asks here, and a
refusal becomes a sentence.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from numbers import Integral
from typing import Any

from kitefeed.client.feed import Feed
from kitefeed.client.tick import Tick
from kitefeed.protocol.errors import KitefeedError
from kitefeed.protocol.kite.ticks import FULL, LTP, QUOTE
from kitefeed.protocol.messages.instruments import Mode

SETTLE_S = 0.02  # a program subscribes, and sets a mode in its next line
AGAIN_S = 1.0  # when nobody answers
NAMED_MAX = 20  # instruments in one sentence
_NAMES: dict[int, Mode] = {LTP: "ltp", QUOTE: "quote", FULL: "full"}


class TickerSubscriptions:
    """`modes`: what the program wants now, by token, as Kite's server has it: a subscription begins
    in mode quote, and a mode without a subscription does nothing. Any thread may call it.

    `tell` is called in a thread of ours, with a sentence for what cannot be had.
    """

    def __init__(self, feed: Feed, tell: Callable[[str], None]) -> None:
        self.modes: dict[int, int] = {}
        self.again: deque[int] = deque()  # whose last value is to be given once more
        # What was given last where others ask for a higher mode, by token.
        self.given: dict[int, dict[str, Any]] = {}
        self._feed = feed
        self._tell = tell
        self._names: dict[int, str] = {}  # of those that the feed reads
        self._had: dict[int, int] = {}
        self._lock = threading.Lock()
        self._is_following = False
        self._closed = threading.Event()

    def subscribe(self, tokens: Iterable[object]) -> None:
        with self._lock:
            for token in self._good(tokens):
                if self.modes.setdefault(token, QUOTE) == self._had.get(token):
                    self.again.append(token)
            self._follow()

    def unsubscribe(self, tokens: Iterable[object]) -> None:
        with self._lock:
            for token in self._good(tokens):
                self.modes.pop(token, None)
            self._follow()

    def set_mode(self, mode: int, tokens: Iterable[object]) -> None:
        with self._lock:
            for token in self._good(tokens):
                if token in self.modes:
                    self.modes[token] = mode
            self._follow()

    def last(self, token: int) -> Tick | None:
        """The latest tick of a token that is subscribed to."""
        name = self._names.get(token)
        return None if name is None else self._feed.get(name)

    def close(self) -> None:
        self._closed.set()

    def _good(self, tokens: Iterable[object]) -> list[int]:
        """Return the tokens that are numbers. Kite passes over the others without a word, and sends
        no ticks; here the program is told."""
        found: list[int] = []
        for token in tokens:
            if isinstance(token, Integral):
                found.append(int(token))
            else:
                self._tell(f"kitefeed: {token!r} is no token: write a number, as 408065")
        return found

    # --- the feed is told ---------------------------------------------------------------------

    def _follow(self) -> None:
        if not self._is_following and self.modes != self._had:
            self._is_following = True
            threading.Thread(target=self._run, name="KiteTicker asks", daemon=True).start()

    def _run(self) -> None:
        told = ""
        while not self._closed.wait(SETTLE_S):
            with self._lock:
                wanted = dict(self.modes)
                if wanted == self._had:
                    self._is_following = False
                    return
            try:
                self._set(wanted)
            except KitefeedError as error:  # nobody answers now
                if str(error) != told:
                    told = str(error)
                    self._tell(f"kitefeed: {told}")
                self._closed.wait(AGAIN_S)

    def _set(self, wanted: dict[int, int]) -> None:
        gone = [token for token in self._had if token not in wanted]
        self._feed.unsubscribe([self._names.pop(token) for token in gone])
        for token in gone:
            del self._had[token]
            self.given.pop(token, None)
        for mode in _NAMES:
            news = [token for token, wish in wanted.items() if wish == mode != self._had.get(token)]
            if news:
                self._ask(news, mode)

    def _ask(self, tokens: list[int], mode: int) -> None:
        asked = [self._names.get(token, token) for token in tokens]
        answers = self._feed.subscribe(asked, mode=_NAMES[mode])
        refused = []
        for token, answer in zip(tokens, answers, strict=True):
            if answer.outcome == "refused":
                named = "" if answer.detail.startswith(answer.instrument) else answer.instrument
                refused.append(f"{named} {answer.detail}".strip())
                with self._lock:  # as Kite: it is passed over, until it is subscribed to again
                    self.modes.pop(token, None)
                continue
            self._names[token] = answer.instrument
            if token in self._had:
                self.again.append(token)
            self._had[token] = mode
        if refused:
            more = f" and {len(refused) - NAMED_MAX} more" if len(refused) > NAMED_MAX else ""
            self._tell(f"kitefeed: not streamed: {'; '.join(refused[:NAMED_MAX])}{more}")
