"""Says which instruments a feed reads: asks the daemon for them, and for others later."""

import logging
import threading
from collections.abc import Iterable
from typing import Any

from kitefeed.client.pipe import Pipe
from kitefeed.client.reports import Reporter
from kitefeed.client.upstream import NO_TOKEN, Upstream
from kitefeed.client.view import View
from kitefeed.client.wants import Asked, Wants, flat
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.errors import BadInput
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages.control import Answer
from kitefeed.protocol.messages.instruments import Mode

# Kite sends the last price of what is subscribed, in a second or two.
MISSING_NS = 10 * NS_PER_S
MISSING_NAMED_MAX = 20

log = logging.getLogger("kitefeed")


class Choosing:
    """The part of a Reader that says which instruments it reads."""

    answers: tuple[Answer, ...]
    _asked: list[str | int]
    _is_remote: bool
    _lock: "threading.RLock"
    _missing_due_ns = 0  # when instruments of which nothing came are told; 0 for never
    _pipe: Pipe
    _reporter: Reporter | None = None
    _socket: Any
    _timeout_ns: int
    _upstream: Upstream
    _view: View
    _wants: Wants

    # The reader's own.

    @property
    def missing(self) -> tuple[str, ...]:
        raise NotImplementedError

    def _look_at(self, wants: Wants) -> None:
        raise NotImplementedError

    def _subscribe(self, subscription: bytes) -> None:
        raise NotImplementedError

    def _unsubscribe(self, subscriptions: Iterable[bytes]) -> None:
        raise NotImplementedError

    def _took_in(self) -> None:
        raise NotImplementedError

    @property
    def _has_tokens(self) -> bool:
        return any(isinstance(one, int) for one in self._asked)

    def _name_tokens(self, deadline_ns: int) -> None:
        """Ask the daemon for the names of the tokens, blocking; called before anything else is
        asked. Raises BadInput for one that the day's list lacks, Unavailable without an answer."""
        names = self._upstream.names_of(self._asked, deadline_ns)
        for one in self._asked:
            if one not in names:
                raise BadInput(f"{one} {NO_TOKEN}")
        with self._lock:
            self._look_at(self._wants.of(names[one] for one in self._asked))

    def _want(self, deadline_ns: int) -> None:
        """Ask the daemon for the instruments, blocking. Raises BadInput for those that are refused.
        Silence is no refusal: subscribing has told the supervisor already."""
        self.answers = self._upstream.want(self._wants.instruments, self._wants.mode, deadline_ns)
        refused = [a for a in self.answers if a.outcome == "refused"]
        if refused:
            raise BadInput("; ".join(f"{a.instrument}: {a.detail or 'refused'}" for a in refused))

    # --- other instruments while it runs ------------------------------------------------------

    def _inquire(self, asked: tuple[Asked, ...], mode: Mode | None) -> tuple[Answer, ...]:
        """Return one answer for each instrument that `subscribe` was called with, blocking, without
        the lock."""
        if self._wants.is_all:
            raise BadInput("Feed() reads all that streams: name instruments in a feed of their own")
        deadline_ns = boot_ns() + self._timeout_ns
        return self._upstream.inquire(flat(asked), mode or self._wants.mode, deadline_ns)

    def _add(self, answers: tuple[Answer, ...], mode: Mode | None) -> None:
        """Read the instruments that were not refused. The broadcaster sends their last values by
        itself."""
        with self._lock:
            if self._socket.closed:
                return
            names = [answer.instrument for answer in answers if answer.outcome != "refused"]
            new, old = self._wants.add(names, mode)
            self._view.want(self._wants.topic(name) for name in names)
            if not self._pipe.choose(boot_ns()):
                for subscription in new:
                    self._subscribe(subscription)
                if new and self._wants.is_chunked:  # there nothing is repeated to who subscribes
                    self._pipe.request(boot_ns())
            self._unsubscribe(old)
            self._changed()

    def unsubscribe(self, *instruments: Asked) -> None:
        """Read these no more, and forget them: names, or tokens of instruments that have a value.
        Those that are not read are passed over. An instrument that nobody reads any more stops
        streaming 30 s later."""
        with self._lock:
            if self._socket.closed:
                return
            by_token = {
                tick.instrument_token: tick.instrument for tick in self._view.values.values()
            }
            asked = flat(instruments)
            names = [one if isinstance(one, str) else by_token.get(one, "") for one in asked]
            self._unsubscribe(self._wants.drop(names))
            self._view.drop([self._wants.topic(name) for name in names])
            self._pipe.choose(boot_ns())
            self._changed()

    def _changed(self) -> None:
        """Called, with the lock, when other instruments are read than before."""
        if self._reporter is not None:
            self._reporter.instruments = len(self._wants.modes)
        self._expect_values()
        self._took_in()

    def _expect_values(self) -> None:
        if self._is_remote:
            self._missing_due_ns = boot_ns() + MISSING_NS

    def _tell_missing(self) -> None:
        """Say once, in the log, of which instruments nothing came: over tcp nobody answers whether
        they exist. Called without the lock."""
        if not self._missing_due_ns or boot_ns() < self._missing_due_ns:
            return
        self._missing_due_ns = 0
        missing = self.missing
        if missing:
            log.warning(
                "no value came within %.0f s of %s: over a network nobody says whether an "
                "instrument exists, so look at the names; the feed is %s",
                MISSING_NS / 1e9, ", ".join(missing[:MISSING_NAMED_MAX]), self._view.word,
            )  # fmt: skip
