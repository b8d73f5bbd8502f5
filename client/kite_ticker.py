"""KiteTicker of Kite's official Python client (5.2.2), reading kitefeed instead of Kite.

    from kitefeed import KiteTicker                        # the one line of a program that changes

    ticker = KiteTicker("key", "token")                    # neither is used
    ticker.on_ticks = lambda ws, ticks: print(ticks)
    ticker.on_connect = lambda ws, response: ws.subscribe([408065])
    ticker.connect()

Without Twisted: any number of tickers in a process, in any thread, connected again and again.
"""

import logging
import os
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Literal, NamedTuple

import msgspec

from kitefeed.client.feed import Feed
from kitefeed.client.kite_dict import kite_dict
from kitefeed.client.kite_subscriptions import Subscriptions
from kitefeed.client.status import Status
from kitefeed.client.tick import Tick
from kitefeed.client.trouble import Trouble, judged
from kitefeed.protocol import location, topology
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.errors import BadInput, KitefeedError
from kitefeed.protocol.kite.text import OrderUpdate, server_message
from kitefeed.protocol.kite.ticks import (
    FULL,
    MODE_NAMES,
    encode_packet,
    frame_of_packets,
    mode_from_name,
)
from kitefeed.protocol.kite.units import NS_PER_S

TURN_S = 0.1  # how late a sentence, or the end, may be told while no tick comes
ATTEMPT_S = 2.5  # a daemon beats every second
BATCH_MAX = 1_000  # ticks given to one call
BEAT_NS = NS_PER_S  # to `on_message`, as Kite's heartbeat
UNCLEAN = 1006  # the code of a connection that came to nothing
DELAY_S, DELAY_FACTOR = 1.0, 2.718281828459045  # as the official client's
BEAT = b"\0"

log = logging.getLogger("kitefeed")
_said: set[str] = set()  # arguments of this process that it was told are not used


class Response(NamedTuple):
    """What `on_connect` is given: the fields of the official client's answer to its handshake."""

    peer: str
    headers: Mapping[str, str] = {}
    version: int = 13
    protocol: str | None = None
    extensions: tuple[str, ...] = ()


class _Stream(Feed):
    """A feed of ticks and orders."""

    def arrived(self) -> tuple[list[dict[str, object]], list[Tick]]:
        """What `wait` found: orders, and ticks, at most so many."""
        view = self._view
        count = len(view.orders)
        orders: list[dict[str, object]] = [view.orders.popleft() for _ in range(count)]
        with self._lock:  # nothing is added meanwhile, and nobody else takes from it
            if view.is_catching_up or len(view.arrived) > BATCH_MAX:
                return orders, self._more(BATCH_MAX)
            ticks = [*view.arrived]
            view.arrived.clear()
        return orders, ticks


class KiteTicker:
    """The official client's arguments, attributes, methods and callbacks; `ws`, their first
    argument, is this object. Beyond it: `on_status(ws, status)`, `is_fresh(token)`.

    Arguments:

    - debug, reconnect_max_tries, reconnect_max_delay, connect_timeout: as there.
    - api_key, access_token, root, reconnect: say once in the log `kitefeed` that they do nothing:
      the daemon has the session, and a program that reads it always comes back.
    - config, endpoint, control, keys, name: as in Feed.
    - stale: "silence" gives out live prices only; "hold" also those that are polled while there is
      no stream. Either way `on_error(ws, 0, text)` says once why there is none, and when that is
      over. Last values of a closed market are given out as Kite gives them.

    All callbacks are called in one thread: the one that `connect` starts, or that called it. One
    that raises is logged and nothing else. Every method may be called in any thread.

    Raises:

    - BadInput: an `endpoint` or `stale` that cannot be used.
    - ConfigError: a `config` that cannot be used.
    """

    EXCHANGE_MAP: Mapping[str, int] = {
        "nse": 1, "nfo": 2, "cds": 3, "bse": 4, "bfo": 5, "bcd": 6, "mcx": 7, "mcxsx": 8,
        "indices": 9, "nco": 12, "bsecds": 6,
    }  # fmt: skip
    CONNECT_TIMEOUT = 30
    RECONNECT_MAX_DELAY = 60
    RECONNECT_MAX_TRIES = 50
    ROOT_URI = "wss://ws.kite.trade"
    MODE_FULL = "full"
    MODE_QUOTE = "quote"
    MODE_LTP = "ltp"
    _minimum_reconnect_max_delay = 5
    _maximum_reconnect_max_tries = 300

    def __init__(
        self,
        api_key: str | None = None,
        access_token: str | None = None,
        debug: bool = False,
        root: str | None = None,
        reconnect: bool = True,
        reconnect_max_tries: int = RECONNECT_MAX_TRIES,
        reconnect_max_delay: float = RECONNECT_MAX_DELAY,
        connect_timeout: float = CONNECT_TIMEOUT,
        *,
        config: str | os.PathLike[str] | None = None,
        endpoint: str | None = None,
        control: str | None = None,
        keys: str | os.PathLike[str] | None = None,
        name: str | None = None,
        stale: Literal["silence", "hold"] = "silence",
    ) -> None:
        if stale not in ("silence", "hold"):
            raise BadInput(f"stale={stale!r} is none of silence, hold")
        _not_used(api_key=api_key, access_token=access_token, root=root, reconnect=not reconnect)
        self.debug = debug
        self.root = root or self.ROOT_URI
        self.reconnect_max_tries = min(reconnect_max_tries, self._maximum_reconnect_max_tries)
        self.reconnect_max_delay = max(reconnect_max_delay, self._minimum_reconnect_max_delay)
        self.connect_timeout = connect_timeout
        config = location.find_config(config)  # now: the program may go to another directory
        # Where it reads; the official client's holds the access token.
        self.socket_url = endpoint or topology.endpoint(location.runtime_dir(config), topology.FEED)
        self.ws: KiteTicker | None = None
        self.subscribed_tokens: dict[int, str] = {}
        self.on_ticks: Callable[..., object] | None = None
        self.on_open: Callable[..., object] | None = None
        self.on_close: Callable[..., object] | None = None
        self.on_error: Callable[..., object] | None = None
        self.on_connect: Callable[..., object] | None = None
        self.on_message: Callable[..., object] | None = None
        self.on_reconnect: Callable[..., object] | None = None
        self.on_noreconnect: Callable[..., object] | None = None
        self.on_order_update: Callable[..., object] | None = None
        self.on_status: Callable[..., object] | None = None
        self.websocket_thread: threading.Thread | None = None
        self._policy: Literal["silence", "hold"] = stale
        self._feed_at: dict[str, Any] = {
            "config": config, "endpoint": endpoint, "control": control, "keys": keys, "name": name,
        }  # fmt: skip
        self._lock = threading.Lock()
        self._run: _Run | None = None

    # --- the connection -----------------------------------------------------------------------

    def connect(
        self,
        threaded: bool = False,
        disable_ssl_verification: bool = False,
        proxy: object = None,
    ) -> None:
        """Reads the feed, in a daemon thread of its own if `threaded`; else it returns when that
        has ended, by `close`, `stop`, or after `reconnect_max_tries`. A daemon that is not there is
        waited for: `on_error`, `on_close` and `on_reconnect` tell of it as of a connection that
        failed. Once connected it stays so, whatever becomes of the daemon."""
        _not_used(disable_ssl_verification=disable_ssl_verification, proxy=proxy)
        with self._lock:
            before = self._run
            if before is not None and not before.is_ending:
                log.warning("this KiteTicker is connected already, or about to be")
                return
            run = self._run = _Run(self, before)
        if not threaded:
            run.live()
            return
        self.websocket_thread = threading.Thread(target=run.live, name="KiteTicker", daemon=True)
        self.websocket_thread.start()

    def is_connected(self) -> bool:
        """Whether the daemon is read, and was heard within the last 2.5 s."""
        run = self._run
        return run is not None and run.is_heard

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Ends it; `on_close` is called with these."""
        if self._run is not None:
            self._run.end((code, reason))

    def stop(self) -> None:
        """Ends it, without a word. It may be connected again."""
        if self._run is not None:
            self._run.end(None)

    def stop_retry(self) -> None:
        """Waits no longer for a daemon that is not there."""
        if self._run is not None:
            self._run.is_retrying = False

    # --- instruments --------------------------------------------------------------------------

    def subscribe(self, instrument_tokens: Iterable[int]) -> bool:
        """Reads these as well, in mode quote. Those that cannot be had are named by `on_error`."""
        tokens = list(instrument_tokens)
        self.subscribed_tokens.update(dict.fromkeys(tokens, self.MODE_QUOTE))
        self._wanted(lambda wants: wants.subscribe(tokens))
        return True

    def unsubscribe(self, instrument_tokens: Iterable[int]) -> bool:
        """Reads these no more."""
        tokens = list(instrument_tokens)
        for token in tokens:
            self.subscribed_tokens.pop(token, None)
        self._wanted(lambda wants: wants.unsubscribe(tokens))
        return True

    def set_mode(self, mode: str, instrument_tokens: Iterable[int]) -> bool:
        """Reads these, which are subscribed to, in `MODE_LTP`, `MODE_QUOTE` or `MODE_FULL`. Until
        the feed has them in that mode they come in the lower one that it has."""
        tokens = list(instrument_tokens)
        if mode not in MODE_NAMES.values():  # which Kite passes over
            self._say(f"kitefeed: mode {mode!r} is none of ltp, quote, full")
            return True
        self.subscribed_tokens.update(dict.fromkeys(tokens, mode))
        self._wanted(lambda wants: wants.set_mode(mode_from_name(mode), tokens))
        return True

    def resubscribe(self) -> None:
        """Subscribes to all of `subscribed_tokens`, each in its mode."""
        by_mode: dict[str, list[int]] = {}
        for token, mode in list(self.subscribed_tokens.items()):
            by_mode.setdefault(mode, []).append(token)
        for mode, tokens in by_mode.items():
            self.subscribe(tokens)
            self.set_mode(mode, tokens)

    def is_fresh(self, instrument_token: int) -> bool:
        """Whether the last value of this instrument is the current one: live, and newest."""
        run = self._run
        wants = run.wants if run is not None else None
        tick = wants.last(instrument_token) if wants is not None else None
        return tick is not None and tick.is_fresh

    def _wanted(self, change: Callable[[Subscriptions], None]) -> None:
        """Before `connect` it is only noted: `resubscribe` follows then."""
        run = self._run
        if run is not None and run.wants is not None:
            change(run.wants)

    # --- callbacks ----------------------------------------------------------------------------

    def _say(self, sentence: str) -> None:
        """By `on_error`, as Kite's server does."""
        if self._run is None:
            log.error("%s", sentence)
        else:
            self._run.sentences.append(sentence)

    def _call(self, name: str, *arguments: object) -> None:
        """A program's mistake costs it that call, never the feed."""
        callback = getattr(self, name)
        if callback is None:
            return
        try:
            callback(self, *arguments)
        except Exception:  # whatever the program raises
            log.exception("%s of the program failed", name)

    def _tell_error(self, code: int, reason: str) -> None:
        log.error("Connection error: %s - %s", code, reason)
        self._call("on_error", code, reason)

    def _tell_close(self, code: int | None, reason: str | None) -> None:
        log.error("Connection closed: %s - %s", code, reason)
        self._call("on_close", code, reason)


class _Run:
    """One `connect`, from beginning to end."""

    def __init__(self, ticker: KiteTicker, before: "_Run | None") -> None:
        self._ticker = ticker
        self._before = before  # which is ending, perhaps in a callback that has called us
        self._thread = 0
        self.is_over = threading.Event()
        self.is_retrying = True
        self.wants: Subscriptions | None = None
        self._ending = threading.Event()
        self._farewell: tuple[int | None, str | None] | None = None
        self._feed: _Stream | None = None
        self._policy = ticker._policy
        self._trouble = Trouble(self._policy)
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
        """Any thread may call it; what `connect` does ends within 0.1 s, or with the callback that
        called this."""
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
            wants = self.wants = Subscriptions(feed, self.sentences.append)
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
                    ticker._tell_close(*self._farewell)
        finally:
            self._ending.set()
            self.is_over.set()

    # --- the beginning ------------------------------------------------------------------------

    def _connected(self) -> _Stream | None:
        """Waits for a daemon as long as it takes, and tells of it by the official client's pauses;
        None when it was ended, or has tried often enough."""
        ticker, delay_s, retries = self._ticker, DELAY_S, 0
        wait_s = min(ATTEMPT_S, ticker.connect_timeout)
        while not self._ending.is_set():
            feed, why = self._tried_for(wait_s)
            if feed is not None or self._ending.is_set():
                return feed
            ticker._tell_error(UNCLEAN, why)
            ticker._tell_close(UNCLEAN, why)
            if self.is_ending or not self.is_retrying:
                return None
            if retries:
                ticker._call("on_reconnect", retries)
            retries += 1
            if retries > ticker.reconnect_max_tries:
                ticker._call("on_noreconnect")
                return None
            # It goes on trying during the pause: that costs nobody anything here.
            wait_s, delay_s = delay_s, min(delay_s * DELAY_FACTOR, ticker.reconnect_max_delay)
        return None

    def _tried_for(self, wait_s: float) -> tuple[_Stream | None, str]:
        """A feed that was heard within `wait_s`, or why there is none."""
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

    def _opened(self) -> _Stream:
        ticker = self._ticker
        feed = _Stream(
            [],
            timeout_s=min(ATTEMPT_S, ticker.connect_timeout),
            on_status=lambda status: ticker._call("on_status", status),
            **ticker._feed_at,
        )
        for _ in feed.orders(0):  # from now on they are kept
            pass
        return feed

    def _greet(self) -> None:
        ticker = self._ticker
        ticker._call("on_connect", Response(ticker.socket_url))
        ticker.resubscribe()  # also what was asked for before it was connected
        ticker._call("on_open")

    # --- what comes ---------------------------------------------------------------------------

    def _turn(self, feed: _Stream, wants: Subscriptions) -> None:
        now_ns = boot_ns()
        if now_ns >= self._look_due_ns:
            self._look_due_ns = now_ns + int(TURN_S * 1e9)
            self._look(feed.status, now_ns)
        while self.sentences:
            self._ticker._tell_error(0, self.sentences.popleft())
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
        """What is told by the state of the feed and not by ticks."""
        sentence = self._trouble.note(status.feed, status.reason, now_ns)
        if sentence is not None:
            self.sentences.append(sentence)
        self._is_closed = status.feed == "closed"
        is_due = now_ns >= self._beat_due_ns and status.feed != "lost"
        if is_due and self._ticker.on_message is not None:
            self._beat_due_ns = now_ns + BEAT_NS
            self._ticker._call("on_message", BEAT, True)

    def _order(self, order: dict[str, object]) -> None:
        if self._ticker.on_message is not None:
            self._ticker._call("on_message", server_message(OrderUpdate(order)), False)
        self._ticker._call("on_order_update", order)

    def _give(self, ticks: list[Tick], wants: Subscriptions) -> None:
        if self._ticker.on_message is not None and ticks:
            self._ticker._call("on_message", _frame(ticks, wants.modes), True)
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
            self._ticker._call("on_ticks", given)

    def _passed(self, ticks: list[Tick], modes: Mapping[int, int]) -> list[Tick]:
        """Those that the program wants, and that may be taken for live."""
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


def _frame(ticks: list[Tick], modes: Mapping[int, int]) -> bytes:
    """As Kite's binary frame. What does not fit into a packet is left out."""
    packets = []
    for tick in ticks:
        raw = tick.raw
        mode = min(raw.mode, modes.get(raw.instrument_token, FULL))
        with suppress(struct.error):
            packets.append(encode_packet(msgspec.structs.replace(raw, mode=mode)))
    return frame_of_packets(packets)


def _not_used(**arguments: object) -> None:
    """Says of each that was given, once in this process, that it does nothing."""
    news = [name for name, value in arguments.items() if value and name not in _said]
    _said.update(news)
    if news:
        log.warning(
            "KiteTicker of kitefeed reads the daemon on this host, with its session: what is given "
            "as %s is not used",
            ", ".join(news),
        )
