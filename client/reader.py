"""The part that every client of the feed has, however it waits: it subscribes, takes messages in,
repairs losses, and does not live in the past.

A reader that finds itself behind (stopped, suspended, too slow) drops its connection with all that
waits there, connects anew and asks for the last values: what it would have read was no longer true.
"""

import logging
import os
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TypeVar

import zmq

from kitefeed.client import forked
from kitefeed.client.bar_history import Earlier
from kitefeed.client.bars import Bars, moment_ns
from kitefeed.client.callbacks import Callbacks, OnGap, OnNotice, OnOrder, OnStatus
from kitefeed.client.choosing import Choosing
from kitefeed.client.history import History
from kitefeed.client.nats_endpoint import linked
from kitefeed.client.nats_history import SinceView
from kitefeed.client.pipe import Pipe
from kitefeed.client.readings import Readings
from kitefeed.client.reports import Reporter
from kitefeed.client.status import Status
from kitefeed.client.telling import FAMILIES, Telling
from kitefeed.client.tick import Tick
from kitefeed.client.upstream import Upstream
from kitefeed.client.view import MAX_AGE_S, View
from kitefeed.client.waiting import PENDING_MAX
from kitefeed.client.wants import Asked, Wants, flat
from kitefeed.protocol import location, topology
from kitefeed.protocol.clock import boot_ns, utc_ns
from kitefeed.protocol.errors import BadInput, ConfigError, Unavailable
from kitefeed.protocol.keys import ClientKeys, read_client
from kitefeed.protocol.messages.control import Answer
from kitefeed.protocol.messages.instruments import Mode
from kitefeed.protocol.sockets import connect_feed, has_message
from kitefeed.protocol.topics import HEARTBEAT_TOPIC, NUL, STATE_TOPIC, presence

WAIT_S_MAX = 0.25  # how late a lost daemon may be told to `on_status`
DRAIN_MAX = 10_000
# Ticks at hand that are enough for who iterates: the rest of a burst waits in the socket's queue,
# which is longer than ours.
ENOUGH = PENDING_MAX // 2
LOOK_NS = 100_000_000  # a program that is busy with what it was given has more taken in so often
_TCP, _IPC = "tcp://", "ipc://"
_NOBLOCK = int(zmq.NOBLOCK)  # as an enum it costs 0.2 us a message


T = TypeVar("T")
log = logging.getLogger("kitefeed")


class Reader(Readings, Choosing, Telling):
    """The part of Feed and AsyncFeed that does not wait. The arguments are Feed's.

    Any thread may call it. It holds the lock while it touches the socket, or the view, for as long
    as it takes to read what is there. No callback of the program is called with it.
    """

    _may_await = False  # whether callbacks may be coroutine functions

    def __init__(
        self,
        *instruments: Asked,
        endpoint: str | None = None,
        control: str | None = None,
        config: str | os.PathLike[str] | None = None,
        keys: str | os.PathLike[str] | None = None,
        timeout_s: float = 5.0,
        mode: Mode | None = None,
        per_second: int | None = None,
        max_age_s: float | None = MAX_AGE_S,
        name: str | None = None,
        on_status: OnStatus | None = None,
        on_order: OnOrder | None = None,
        on_notice: OnNotice | None = None,
        on_gap: OnGap | None = None,
        credentials: str | os.PathLike[str] | None = None,
        tls: bool | str | os.PathLike[str] = False,
        since: str | datetime | None = None,
    ) -> None:
        self._asked = flat(instruments)
        names = [str(one) if isinstance(one, str) else f"TOKEN:{one}" for one in self._asked]
        # What is read over a network, or however late, keeps a message for each tick.
        may_chunk = max_age_s is not None and (endpoint is None or endpoint.startswith(_IPC))
        self._wants = Wants(names, mode, per_second, is_all=not instruments, may_chunk=may_chunk)
        self.answers: tuple[Answer, ...] = ()
        if endpoint is None:
            directory = location.runtime_dir(location.find_config(config))
            endpoint = topology.endpoint(directory, topology.FEED)
            control = control or topology.endpoint(directory, topology.CONTROL)
        self.endpoint = endpoint
        self._config = config
        self._since = since
        self._history: History | None = None  # until all of it has been given out
        if since is not None and per_second is not None:
            raise BadInput("since= gives every tick, and per_second= leaves some out: choose one")
        self._upstream = Upstream(control)
        self._callbacks = Callbacks(may_await=self._may_await)
        given = {
            "on_status": on_status, "on_order": on_order, "on_notice": on_notice, "on_gap": on_gap,
        }  # fmt: skip
        for each, function in given.items():
            self._callbacks.set(each, function)
        self._telling = threading.Lock()  # so that two threads never tell in the wrong order
        self._lock = threading.RLock()  # a signal handler may come in the midst of a call
        self._is_reading = False
        # A subscription takes in what came in beside it, which then shows no more at the descriptor
        self._is_touched = False
        self._is_begun = False
        self._max_age_s = max_age_s
        is_asking = mode is not None or per_second is not None
        self._link = linked(endpoint, credentials, tls, name, since, is_asking=is_asking)
        self._is_remote = endpoint.startswith(_TCP) or self._link is not None
        if self._link is not None:
            self._wants.read_singly()
        self._look_at(self._wants)
        # Messages that were received and not looked into: see `_lay_up`.
        self._unread: deque[bytes] = deque()
        # Of events that the program reads.
        self._families = [family for each, family in FAMILIES.items() if given[each] is not None]
        self._reopened_ns = 0
        self._look_due_ns = 0
        self._skip_due_ns = 0
        self._timeout_ns = int(timeout_s * 1e9)
        self._keys = _keys_for(endpoint, keys)
        self._socket = self._connect()
        forked.note(self)
        if control and not self._is_remote:
            self._reporter = Reporter(control, name, len(self.instruments))
        self._start()

    def _start(self) -> None:
        """Called at the end of the constructor."""

    # --- beginning and end --------------------------------------------------------------------

    def _new_bars(
        self, interval: str, wait_s: float, corrects: bool, since: str | datetime | None, fill: bool
    ) -> tuple[Bars, Earlier | None, int | None]:
        if self._wants.per_second is not None:
            raise BadInput("bars are made of every tick: read a Feed without `per_second`")
        bars = Bars(interval, wait_s=wait_s, corrects=corrects)
        has_session = not self._is_remote  # it is on the daemon's host
        earlier = Earlier(self._config, interval) if fill and has_session else None
        return bars, earlier, None if since is None else moment_ns(since, utc_ns())

    def close(self) -> None:
        """End all waiting and iterating, in every thread. May be called twice."""
        with self._lock:
            self._view.arrived.clear()  # nothing more is given out
            self._unread.clear()
            self._socket.close(0)
            if self._reporter is not None:
                self._reporter.close()
            if self._link is not None:
                self._link.close()

    def _look_at(self, wants: Wants) -> None:
        """Read these instruments. Called before anything is subscribed to."""
        self._wants, self._view = wants, self._new_view(wants)
        self._pipe = Pipe(wants, self._view, self._subscribe, self._unsubscribe, _nonce)

    def _new_view(self, wants: Wants) -> View:
        wanted = None if wants.is_all else frozenset(wants.instruments)
        # Over NATS the clocks' difference is measured, not guessed from what comes.
        is_guessed = self._is_remote and self._link is None
        prefixes, max_age_s = wants.prefixes, self._max_age_s
        if self._link is not None and self._link.history is not None:
            view: View = SinceView(self._link.history, self, wanted, prefixes, max_age_s)
        else:
            view = View(self, wanted, prefixes, max_age_s, is_guessed)
        view.holes.is_wanted = self._callbacks.on_gap is not None
        return view

    def _ask(self) -> None:
        """Subscribe to everything, and ask for the last values."""
        for topic in (HEARTBEAT_TOPIC, STATE_TOPIC):
            self._subscribe(topic + NUL)
        self._subscribe(presence(_nonce()))
        for family in self._families:
            self._subscribe(family)
        if self._view.heartbeat is not None or not self._wants.is_choosing:
            self._pipe.open(boot_ns())

    def _choose(self) -> None:
        """Called when the first heartbeat has told how much streams: asks for ticks, where the way
        to ask for them depends on it."""
        with self._lock:
            heartbeat = self._view.heartbeat
            if heartbeat is not None and not self._socket.closed:
                self._pipe.open_by(heartbeat.values, boot_ns())

    def _begun(self) -> None:
        if self._link is not None:
            self._link.check_history()
        self._is_begun = True
        self._expect_values()

    def _is_heard(self) -> bool:
        return self._view.heartbeats > 0

    def _is_answered(self) -> bool:
        """Whether the values that are known already have all come."""
        is_history_known = self._link is None or self._link.is_history_known
        return self._view.losses.is_answered and is_history_known

    def _silence(self) -> Unavailable:
        if self._link is not None:
            return Unavailable(f"Nothing comes from {self.endpoint}: {self._link.silence}")
        remedy = "start it with `kitefeed up`"
        if self.endpoint.startswith(_TCP):  # ZeroMQ tells a refused client nothing
            remedy += ", or ask there for a key: `kitefeed keys --client NAME`"
        return Unavailable(f"No kitefeed daemon answers at {self.endpoint}: {remedy}")

    def _hear(self, family: bytes) -> None:
        """Keep for the program whatever is published under `order/` or `notice/`."""
        with self._lock:
            if family not in self._families and not self._socket.closed:
                self._families.append(family)
                self._subscribe(family)
                self._took_in()

    def _subscribe(self, subscription: bytes) -> None:
        self._is_touched = True
        self._socket.setsockopt(zmq.SUBSCRIBE, subscription)

    def _unsubscribe(self, subscriptions: Iterable[bytes]) -> None:
        self._is_touched = True
        for subscription in subscriptions:
            self._socket.setsockopt(zmq.UNSUBSCRIBE, subscription)

    # --- the socket ---------------------------------------------------------------------------

    def _connect(self) -> "zmq.Socket[bytes]":
        address = self.endpoint if self._link is None else self._link.address
        return connect_feed(address, self._keys, self._wants.queued_max)

    def _status(self) -> Status:
        status = super()._status()
        return status if self._link is None else self._link.seen(status)

    def _utc_ns(self, now_ns: int) -> int:
        """The wall clock by which frames are judged: over NATS that of the daemon's host."""
        return utc_ns() if self._link is None else self._link.utc_ns(now_ns)

    def _drain(self, limit: int = DRAIN_MAX, enough: int = PENDING_MAX + 1) -> int:
        """Take in pending messages, until `enough` ticks wait for the program; return how many
        messages that was. Ask again for values that are missing. Never blocks. A caller that judges
        values takes in all."""
        with self._lock:
            if not self._may_read():
                return 0
            self._is_reading = True
            try:
                taken = self._read_pending(limit, enough)
            except zmq.ZMQError:
                if not self._socket.closed:  # by such a handler
                    raise
                return 0
            finally:
                self._is_reading = False
            if taken:
                self._took_in()
            return taken

    @property
    def _has_something(self) -> bool:
        """Whether there is a tick, an order or a notice to take."""
        view = self._view
        has_next = view.has_next or self._is_in_the_past()
        return not self._socket.closed and bool(has_next or view.orders or view.notices)

    def _begin_history(self) -> None:
        """Open the recording, if the feed is to begin in the past. Raises ConfigError when no
        directory for recordings is set, BadInput for a `since` that is no time."""
        if self._since is None or self._link is not None:  # NATS keeps its own
            return
        directory = location.record_dir(location.find_config(self._config))
        if directory is None:
            raise ConfigError(
                "since= reads what was recorded, and nothing is: set record.dir in kitefeed.toml"
            )
        wanted = None if self._wants.is_all else frozenset(self.instruments)
        since_ns = moment_ns(self._since, utc_ns())
        self._history = History(directory, since_ns, wanted, self._wants.prefixes)

    @property
    def begins_in_the_past(self) -> bool:
        """Whether `since` was given: ticks of the time before it come first."""
        return self._since is not None

    def _is_in_the_past(self) -> bool:
        """Whether some of the recorded beginning is left."""
        return self._history is not None

    def _take_recorded(self) -> Tick | None:
        """Return the next tick of the recorded beginning; None when it is over, or not all written
        yet. Live messages are taken in meanwhile."""
        with self._lock:
            history = self._history
            if history is None:
                return None
            if boot_ns() >= self._look_due_ns:
                self._drain()
                history.keep(self._view)
            tick = history.take(self._view, boot_ns())
            if tick is None and history.is_empty:
                self._history = None
            return tick

    def _more(self, most: int) -> list[Tick]:
        """Return further ticks that are there already, at most so many."""
        if self._is_in_the_past():
            return list(islice(iter(self._take_recorded, None), max(0, most)))
        return list(islice(iter(self._view.take, None), max(0, most)))

    def _may_read(self) -> bool:
        # The same thread may come again while it reads, by a signal handler that asks something.
        return not self._socket.closed and not self._is_reading

    def _took_in(self) -> None:
        """Called, with the lock, when messages were taken in."""

    def _read_pending(self, limit: int, enough: int) -> int:
        now_ns = boot_ns()
        now_utc_ns = self._utc_ns(now_ns)
        taken = 0
        view, arrived, apply = self._view, self._view.arrived, self._view.apply
        while self._unread and taken < limit and (len(arrived) < enough or view.is_catching_up):
            apply(self._unread.popleft(), now_ns, now_utc_ns)
            taken += 1
        # Asked first: an exception for nothing costs as much as two messages.
        if not self._unread and has_message(self._socket):
            receive = self._socket.recv
            try:
                while taken < limit and (len(arrived) < enough or view.is_catching_up):
                    apply(receive(_NOBLOCK), now_ns, now_utc_ns)
                    taken += 1
            except zmq.Again:
                pass
        if view.losses.drained(taken, now_ns):
            view.doubt(now_utc_ns)
        if view.holes.is_wanted:
            if len(arrived) >= enough:
                self._lay_up()
            share = max(view.fullness(now_ns), len(self._unread) / self._wants.queued_max)
            view.holes.filled(share, now_utc_ns)
        if self._view.is_behind and now_ns - self._reopened_ns > self._pipe.resync_after_ns:
            self._reopened_ns = now_ns
            self._reopen()
        # It looks through all that waits: not with each value that is read, unless there is news.
        if self._view.has_late or now_ns >= self._skip_due_ns:
            self._skip_due_ns = now_ns + LOOK_NS
            self._view.skip_old(now_ns)
        self._pipe.turn(now_ns)
        # What is missing is told before the ticks that come after it.
        is_look_due = view.is_catching_up or view.holes.has_news
        self._look_due_ns = 0 if is_look_due else now_ns + LOOK_NS
        if self._reporter is not None:
            self._reporter.turn(self._view, now_ns)
        return taken

    def _lay_up(self) -> None:
        """Move messages from the socket's queue into one of the reader's own. ZeroMQ does not tell
        how much waits in its queues, and a program is to be warned before they are full."""
        receive, unread = self._socket.recv, self._unread
        with suppress(zmq.Again):
            while len(unread) < self._wants.queued_max:
                unread.append(receive(_NOBLOCK))

    @property
    def _has_more(self) -> bool:
        """Whether `_drain` would find a message now."""
        return bool(self._unread) or has_message(self._socket)

    def _is_idle(self) -> bool:
        """Whether `_drain` would find nothing to do: all was taken in a moment ago, and nothing has
        come since. This costs a fraction of `_drain`."""
        view, losses = self._view, self._view.losses
        if self._unread or view.has_late or view.holes.has_news:
            return False
        if losses.is_incomplete or losses.had_heartbeat or boot_ns() >= self._look_due_ns:
            return False
        return not self._socket.closed and not has_message(self._socket)

    def _take_one(self) -> bool:
        """Take in the next message, if there is one; as `_drain`, at a fraction of its cost."""
        if self._unread or not self._may_read():
            return False
        try:
            frame, now_ns = self._socket.recv(_NOBLOCK), boot_ns()
            self._view.apply(frame, now_ns, self._utc_ns(now_ns))
        except zmq.Again:
            return False
        return True

    def _reopen(self) -> None:
        """Drop this connection with all that waits in it, connect anew, and ask for the last
        values."""
        self._socket.close(0)
        self._socket = self._connect()
        self._unread.clear()
        self._pipe.reopened()
        self._view.reopened()
        self._ask()


def _keys_for(endpoint: str, named: str | os.PathLike[str] | None) -> ClientKeys | None:
    """Read the keys that a tcp feed needs; None for any other. Without keys libzmq gives no answer,
    so the lack of them is refused here."""
    if not endpoint.startswith(_TCP):
        return None
    if named is None:
        raise BadInput(
            f"{endpoint} needs keys=FILE: `kitefeed keys --client NAME` beside the daemon makes it"
        )
    return read_client(Path(named).expanduser())


def taker(events: "deque[T]") -> Callable[[], T | None]:
    """Return a function that takes the oldest event; None when there is none. In any thread."""

    def take() -> T | None:
        try:
            return events.popleft()
        except IndexError:
            return None

    return take


def deadline_after(timeout_s: float | None) -> int | None:
    """Return the deadline in boot time ns; None for no end."""
    return None if timeout_s is None else boot_ns() + int(timeout_s * 1e9)


def wait_s(deadline_ns: int | None) -> float:
    """Return how long to sleep now: never long, so that the loss of a daemon is told in time."""
    if deadline_ns is None:
        return WAIT_S_MAX
    return min(WAIT_S_MAX, (deadline_ns - boot_ns()) / 1e9)


def _nonce() -> str:
    return secrets.token_hex(6)
