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
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from kitefeed.client.kite_run import Run
from kitefeed.client.kite_subscriptions import TickerSubscriptions
from kitefeed.protocol import location, topology
from kitefeed.protocol.errors import BadInput
from kitefeed.protocol.kite.ticks import (
    MODE_NAMES,
    mode_from_name,
)

log = logging.getLogger("kitefeed")
_said: set[str] = set()  # arguments of this process that it was told are not used


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
        self._run: Run | None = None

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
            run = self._run = Run(self, self._feed_at, self._policy, before)
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

    def _wanted(self, change: Callable[[TickerSubscriptions], None]) -> None:
        """Pass a change on to the run. Before `connect` it is only noted: `resubscribe` follows
        then."""
        run = self._run
        if run is not None and run.wants is not None:
            change(run.wants)

    def _say(self, sentence: str) -> None:
        """Tell the program by `on_error`, as Kite's server does."""
        if self._run is None:
            log.error("%s", sentence)
        else:
            self._run.sentences.append(sentence)


def _not_used(**arguments: object) -> None:
    """Warn of each argument that was given, once in this process, that it does nothing."""
    news = [name for name, value in arguments.items() if value and name not in _said]
    _said.update(news)
    if news:
        log.warning(
            "KiteTicker of kitefeed reads the daemon on this host, with its session: what is given "
            "as %s is not used",
            ", ".join(news),
        )
