"""Decides which of several bridges publishes: its holder renews one key every second. Pure.

The holder stops by itself before the others may take over, by a clock that nobody sets, so that two
never publish at once. A holder that was frozen meanwhile finds its time over before it sends
anything.
"""

from typing import Literal

from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.nats import LEASE_HOLDS_NS, Lease

HOLDS_NS = LEASE_HOLDS_NS
STOPS_NS = 2 * NS_PER_S  # without a renewal the holder publishes no longer
RENEW_NS = NS_PER_S
UNFED_NS = 2 * NS_PER_S  # so long a holder may be without data while another one has some

Wish = Literal["take", "renew", ""]


class Keeper:
    """One bridge's part. `holder`: the daemon's host and directory: one that is started again takes
    back at once what it held. Times are boot ns."""

    def __init__(self, holder: str) -> None:
        self.holder = holder
        self.term = 0
        self._is_mine = False
        self._renewed_ns = 0  # when the last renewal that was granted was sent
        self._tried_ns = 0
        self._seen: Lease | None = None
        self._revision = 0
        self._changed_ns = 0  # when the key was last seen to change
        self._unfed_ns = 0  # since when its holder has had no data

    @property
    def is_replaced(self) -> bool:
        """Whether another one holds it; not whether ours could not be renewed in time."""
        return not self._is_mine

    @property
    def other(self) -> str:
        """The holder of the key, if it is another one; else empty."""
        holder = self._seen.holder if self._seen is not None and not self._is_mine else ""
        return "" if holder == self.holder else holder

    def is_leading(self, now_ns: int) -> bool:
        return self._is_mine and now_ns - self._renewed_ns < STOPS_NS

    def saw(self, lease: Lease | None, revision: int, now_ns: int) -> None:
        """Take the key as it is now; None when there is none."""
        if self._seen is None or revision != self._revision:
            self._changed_ns = now_ns
            # A renewal of ours whose answer was lost; a term is of one life of one holder.
            self._is_mine &= lease is not None and (
                (lease.term, lease.holder) == (self.term, self.holder)
            )
        self._seen, self._revision = lease, revision
        if lease is not None:
            self.term = max(self.term, lease.term)
        if lease is None or lease.is_fed:
            self._unfed_ns = 0
        elif not self._unfed_ns:
            self._unfed_ns = now_ns

    def wish(self, now_ns: int, *, is_fed: bool) -> Wish:
        """Decide whether to take or to renew the key now."""
        if self._is_mine:
            return "renew" if now_ns - self._tried_ns >= RENEW_NS else ""
        seen = self._seen
        is_free = seen is None or seen.holder in ("", self.holder)
        is_over = now_ns - self._changed_ns > HOLDS_NS
        is_better = is_fed and self._unfed_ns and now_ns - self._unfed_ns > UNFED_NS
        return "take" if is_free or is_over or is_better else ""

    def offer(self, now_ns: int, utc_ms: int, *, is_fed: bool) -> tuple[Lease, int]:
        """Return the lease to write, and the revision that it is to replace (0: none). A new term
        is the wall clock, if that is ahead: terms rise although a server may forget them."""
        self._tried_ns = now_ns
        term = self.term if self._is_mine else max(self.term + 1, utc_ms)
        return Lease(term, self.holder, is_fed), self._revision

    def granted(self, lease: Lease, revision: int, sent_ns: int) -> None:
        self._is_mine = True
        self.term = lease.term
        self._renewed_ns = sent_ns
        self._seen, self._revision, self._changed_ns = lease, revision, sent_ns
        self._unfed_ns = 0

    def denied(self) -> None:
        """Note that another bridge has written in between."""
        self._is_mine = False
