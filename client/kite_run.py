"""Runs `KiteTicker.connect`: reads the feed and calls the program, until it is ended."""

import logging
import struct
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from kitefeed.client.feed import Feed
from kitefeed.client.kite_dict import kite_dict
from kitefeed.client.kite_subscriptions import TickerSubscriptions
from kitefeed.client.status import Status
from kitefeed.client.tick import Tick
from kitefeed.client.trouble import Trouble, judged
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.errors import KitefeedError
from kitefeed.protocol.kite.text import OrderUpdate, server_message
from kitefeed.protocol.kite.ticks import FULL, encode_packet, frame_of_packets
from kitefeed.protocol.kite.units import NS_PER_S

if TYPE_CHECKING:
    from kitefeed.client.kite_ticker import KiteTicker

TURN_S = 0.1  # how late a sentence, or the end, may be told while no tick comes
ATTEMPT_S = 2.5  # a daemon beats every second
BATCH_MAX = 1_000  # ticks given to one call
BEAT_NS = NS_PER_S  # to `on_message`, as Kite's heartbeat
UNCLEAN = 1006  # the code of a connection that came to nothing
DELAY_S, DELAY_FACTOR = 1.0, 2.718281828459045  # as the official client's
BEAT = b"\0"

log = logging.getLogger("kitefeed")


class Response(NamedTuple):
    """The argument of `on_connect`: the fields of the official client's answer to its handshake."""

    peer: str
    headers: Mapping[str, str] = {}
    version: int = 13
    protocol: str | None = None
    extensions: tuple[str, ...] = ()


class TickerFeed(Feed):
    """A feed of ticks and orders."""

    def arrived(self) -> tuple[list[dict[str, object]], list[Tick]]:
        """Take what `wait` found: all orders, and at most `BATCH_MAX` ticks."""
        view = self._view
        count = len(view.orders)
        orders: list[dict[str, object]] = [view.orders.popleft() for _ in range(count)]
        with self._lock:  # nothing is added meanwhile, and nobody else takes from it
            if view.is_catching_up or len(view.arrived) > BATCH_MAX:
                return orders, self._more(BATCH_MAX)
            ticks = [*view.arrived]
            view.arrived.clear()
        return orders, ticks


class Run:
    """One `connect`, from beginning to end."""

    def __init__(
        self,
        ticker: "KiteTicker",
        feed_at: Mapping[str, Any],
        policy: Literal["silence", "hold"],
        before: "Run | None",
    ) -> None:
        self._ticker = ticker
        self._feed_at = feed_at
        self._before = before  # which is ending, perhaps in a callback that has called us
        self._thread = 0
        self.is_over = threading.Event()
        self.is_retrying = True
        self.wants: TickerSubscriptions | None = None
        self._ending = threading.Event()
        self._farewell: tuple[int | None, str | None] | None = None
        self._feed: TickerFeed | None = None
        self._policy = policy
        self._trouble = Trouble(policy)
        self._is_closed = False  # the market
        self.sentences: deque[str] = deque()  # for `on_error`, from other threads
        self._withheld: dict[int, Tick] = {}  # last values, until the market is known to be closed
        self._beat_due_ns = 0
        self._look_due_ns = 0

    @property
    def is_heard(self) -> bool:
        feed = self._feed
        return feed is not None and not self._ending.is_set() and feed.status.feed != "lost"

    def end(self, farewell: tuple[int | None, str | None] | None) -> None:
        """End the run; any thread may call it. `connect` ends within 0.1 s, or with the callback
        that called this."""
        self._farewell = farewell
        self._ending.set()

    @property
    def is_ending(self) -> bool:
        return self._ending.is_set()

    def live(self) -> None:
        self._thread = threading.get_ident()
        if self._before is not None and self._before._thread != self._thread:
            self._before.is_over.wait()
        self._before = None
        ticker = self._ticker
        try:
            feed = self._feed = self._connected()
            if feed is None:
                return
            ticker.ws = ticker
            wants = self.wants = TickerSubscriptions(feed, self.sentences.append)
            try:
                self._greet()
                while not self._ending.is_set():
                    feed.wait(TURN_S)
                    self._turn(feed, wants)
            finally:
                self._feed = None
                wants.close()
                feed.close()
                if self._farewell is not None:
                    self._tell_close(*self._farewell)
        finally:
            self._ending.set()
            self.is_over.set()

    # --- the beginning ------------------------------------------------------------------------

    def _connected(self) -> TickerFeed | None:
        """Wait for a daemon as long as it takes, and tell of it by the official client's pauses.
        None when it was ended, or has tried often enough."""
        ticker, delay_s, retries = self._ticker, DELAY_S, 0
        wait_s = min(ATTEMPT_S, ticker.connect_timeout)
        while not self._ending.is_set():
            feed, why = self._tried_for(wait_s)
            if feed is not None or self._ending.is_set():
                return feed
            self._tell_error(UNCLEAN, why)
            self._tell_close(UNCLEAN, why)
            if self.is_ending or not self.is_retrying:
                return None
            if retries:
                self._call("on_reconnect", retries)
            retries += 1
            if retries > ticker.reconnect_max_tries:
                self._call("on_noreconnect")
                return None
            # `_tried_for` goes on trying during the pause: that costs nobody anything here.
            wait_s, delay_s = delay_s, min(delay_s * DELAY_FACTOR, ticker.reconnect_max_delay)
        return None

    def _tried_for(self, wait_s: float) -> tuple[TickerFeed | None, str]:
        """Return a feed that was heard within `wait_s`, or why there is none."""
        until_ns, why = boot_ns() + int(wait_s * 1e9), ""
        while not self._ending.is_set() and (self.is_retrying or not why):
            try:
                return self._opened(), ""
            except KitefeedError as error:
                why = str(error)
            left_s = (until_ns - boot_ns()) / 1e9
            if left_s <= 0:
                break
            self._ending.wait(min(TURN_S, left_s))  # of what is refused at once
        return None, why

    def _opened(self) -> TickerFeed:
        ticker = self._ticker
        feed = TickerFeed(
            [],
            timeout_s=min(ATTEMPT_S, ticker.connect_timeout),
            on_status=lambda status: self._call("on_status", status),
            **self._feed_at,
        )
        for _ in feed.orders(0):  # from now on they are kept
            pass
        return feed

    def _greet(self) -> None:
        ticker = self._ticker
        self._call("on_connect", Response(ticker.socket_url))
        ticker.resubscribe()  # also what was asked for before it was connected
        self._call("on_open")

    # --- what comes ---------------------------------------------------------------------------

    def _turn(self, feed: TickerFeed, wants: TickerSubscriptions) -> None:
        now_ns = boot_ns()
        if now_ns >= self._look_due_ns:
            self._look_due_ns = now_ns + int(TURN_S * 1e9)
            self._look(feed.status, now_ns)
        while self.sentences:
            self._tell_error(0, self.sentences.popleft())
        orders, ticks = feed.arrived()
        for order in orders:
            self._order(order)
        again = []
        with suppress(IndexError):
            while True:
                tick = wants.last(wants.again.popleft())
                if tick is not None:
                    wants.given.pop(tick.instrument_token, None)
                    again.append(tick)
        ticks = again + ticks
        if self._is_closed and self._withheld:
            ticks = [*self._withheld.values(), *ticks]
            self._withheld = {}
        if ticks and not self.is_ending:
            self._give(self._passed(ticks, wants.modes), wants)

    def _look(self, status: Status, now_ns: int) -> None:
        """Tell the program what the state of the feed says and ticks do not."""
        sentence = self._trouble.note(status.feed, status.reason, now_ns)
        if sentence is not None:
            self.sentences.append(sentence)
        self._is_closed = status.feed == "closed"
        is_due = now_ns >= self._beat_due_ns and status.feed != "lost"
        if is_due and self._ticker.on_message is not None:
            self._beat_due_ns = now_ns + BEAT_NS
            self._call("on_message", BEAT, True)

    def _order(self, order: dict[str, object]) -> None:
        if self._ticker.on_message is not None:
            self._call("on_message", server_message(OrderUpdate(order)), False)
        self._call("on_order_update", order)

    def _give(self, ticks: list[Tick], wants: TickerSubscriptions) -> None:
        if self._ticker.on_message is not None and ticks:
            self._call("on_message", _frame(ticks, wants.modes), True)
        if self._ticker.on_ticks is None:
            return
        mode_of, last_given, given = wants.modes.get, wants.given, []
        for tick in ticks:
            mode = mode_of(tick.raw.instrument_token, FULL)
            made = kite_dict(tick, mode)
            if mode < tick.raw.mode:  # others ask for more: what changed may not be in it
                if last_given.get(tick.raw.instrument_token) == made:
                    continue
                last_given[tick.raw.instrument_token] = made
            given.append(made)
        if given:
            self._call("on_ticks", given)

    def _passed(self, ticks: list[Tick], modes: Mapping[int, int]) -> list[Tick]:
        """Return the ticks that the program wants, and that may be taken for live."""
        passed, withheld = [], self._withheld
        for tick, may in judged(self._policy, ticks, self._is_closed):
            token = tick.raw.instrument_token
            if token not in modes:
                continue
            if not may:
                withheld[token] = tick
                continue
            if withheld:
                withheld.pop(token, None)
            passed.append(tick)
        return passed

    # --- callbacks ----------------------------------------------------------------------------

    def _call(self, name: str, *arguments: object) -> None:
        """Call the program. Its mistake costs it that call, never the feed."""
        callback = getattr(self._ticker, name)
        if callback is None:
            return
        try:
            callback(self._ticker, *arguments)
        except Exception:  # whatever the program raises
            log.exception("%s of the program failed", name)

    def _tell_error(self, code: int, reason: str) -> None:
        log.error("Connection error: %s - %s", code, reason)
        self._call("on_error", code, reason)

    def _tell_close(self, code: int | None, reason: str | None) -> None:
        log.error("Connection closed: %s - %s", code, reason)
        self._call("on_close", code, reason)


def _frame(ticks: list[Tick], modes: Mapping[int, int]) -> bytes:
    """Encode ticks as Kite's binary frame. What does not fit into a packet is left out."""
    packets = []
    for tick in ticks:
        raw = tick.raw
        mode = min(raw.mode, modes.get(raw.instrument_token, FULL))
        with suppress(struct.error):
            packets.append(encode_packet(msgspec.structs.replace(raw, mode=mode)))
    return frame_of_packets(packets)
