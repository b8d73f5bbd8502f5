"""Decides how a reader's ticks come over its connection: each in a message of its own, or all of
them in few, of which it picks its own. Decides, too, when it asks for the last values. Pure.
"""

from collections.abc import Callable, Iterable

from kitefeed.client.view import View
from kitefeed.client.wants import Wants
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.topics import NUL, snapshot_request

RESYNC_NS = 2 * NS_PER_S  # between two repairs of a gap, or two new connections
# A slow host may need longer for an answer; asked again at once, it would begin anew each time.
PATIENCE_NS_MAX = 30 * NS_PER_S
DOUBLED_NS = 1 * NS_PER_S  # of one batch one kind may come before old subscriptions end, one after
REFRESH_NS = 30 * NS_PER_S  # a quiet topic's last message may be lost without leaving a gap


class Pipe:
    """The subscriptions of one reader for ticks. `subscribe`, `unsubscribe`: on the connection of
    that moment. `nonce` gives a text that tells one request from all others. All times are boot
    time."""

    def __init__(
        self,
        wants: Wants,
        view: View,
        subscribe: Callable[[bytes], None],
        unsubscribe: Callable[[Iterable[bytes]], None],
        nonce: Callable[[], str],
    ) -> None:
        self._wants = wants
        self._view = view
        self._subscribe = subscribe
        self._unsubscribe = unsubscribe
        self._nonce = nonce
        self.requests: list[bytes] = []  # for the last values
        self._requested_ns = 0
        self._patience_ns = RESYNC_NS  # with the last request; doubled by each that got no answer
        self._leaving: list[bytes] = []  # subscriptions that others have taken the place of
        self._doubled_until_ns = 0

    @property
    def is_open(self) -> bool:
        """Whether ticks have been asked for."""
        return self._requested_ns > 0

    @property
    def is_changing(self) -> bool:
        """Whether ticks come by old subscriptions and by new ones."""
        return bool(self._leaving)

    def open(self, now_ns: int) -> None:
        """Ask for ticks, and for the last values."""
        for subscription in self._wants.subscriptions():
            self._subscribe(subscription)
        self.request(now_ns)

    def open_by(self, streaming: int, now_ns: int) -> None:
        """Open the pipe, if it is not open, as is best while so many instruments stream."""
        if not self.is_open:
            self._wants.read_chunks(streaming)
            self.open(now_ns)

    def reopened(self) -> None:
        """Forget all subscriptions: the connection is another one."""
        self.requests.clear()
        self._leaving = []

    def choose(self, now_ns: int) -> bool:
        """Decide anew whether each tick comes in a message of its own, or all of them in few.

        Return True when everything was subscribed to anew. For a moment ticks come by both, so that
        nothing falls between: see `_leave`."""
        heartbeat = self._view.heartbeat
        if heartbeat is None or self._leaving:
            return False
        new, self._leaving = self._wants.read_chunks(heartbeat.values)
        if new:
            self._view.is_doubled = True
            self._view.begin_chunks()
            for subscription in new:
                self._subscribe(subscription)
            self.request(now_ns)
        return bool(new)

    def turn(self, now_ns: int) -> None:
        """Do what is due; call it often."""
        view = self._view
        if self._leaving:
            self._leave(now_ns)
        elif view.is_doubled and now_ns >= self._doubled_until_ns:
            view.is_doubled = False
        if not self._requested_ns:
            return
        age_ns = now_ns - self._requested_ns
        is_due = view.losses.is_incomplete or view.is_catching_up
        if age_ns > REFRESH_NS:
            self.choose(now_ns)  # others may have wanted more, or less, since
        if age_ns > REFRESH_NS or (is_due and age_ns > self.resync_after_ns):
            self.request(now_ns)

    def _leave(self, now_ns: int) -> None:
        """End the old subscriptions when the snapshot has come that was asked for behind the new
        ones: then those work. Before, ZeroMQ would throw away ticks on their way by the old."""
        if self._view.losses.is_answered:
            self._unsubscribe(self._leaving)
            self._leaving = []
            self._doubled_until_ns = now_ns + DOUBLED_NS

    @property
    def resync_after_ns(self) -> int:
        """The time that the last request has for its answer."""
        return RESYNC_NS if self._view.losses.is_answered else self._patience_ns

    def request(self, now_ns: int) -> None:
        """Ask for the last values, on the same ordered pipe as the live stream. ZeroMQ repeats the
        request by itself after a reconnect."""
        self._unsubscribe(self.requests)
        is_again = self._requested_ns and not self._view.losses.is_answered
        self._patience_ns = min(2 * self._patience_ns, PATIENCE_NS_MAX) if is_again else RESYNC_NS
        prefixes = self._wants.snapshot_prefixes()
        self.requests = [snapshot_request(self._nonce(), prefix) for prefix in prefixes]
        self._requested_ns = now_ns
        self._view.losses.expect([asked.removesuffix(NUL) for asked in self.requests])
        for new in self.requests:
            self._subscribe(new)
