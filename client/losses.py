"""Notes what a reader lost on the way, and what has been made good since. Pure.

Most losses show by the number of the next message. The end of a burst does not, if its instrument
is quiet afterwards. So the broadcaster tells all readers when the queue to one of them was full,
and a reader that was behind at that time takes the queue for its own.
"""

from collections import deque

# A full queue holds at least half of its room: 5,000 messages. A reader had no such queue
# - if it was behind by less than BACKLOG_NS (at 200,000 messages/s) and never found
#   BACKLOG_MESSAGES at once;
# - if it read fewer than QUEUE_MESSAGES within the time by which it was behind: it reads seldom.
BACKLOG_NS = 15_000_000
BACKLOG_MESSAGES = 2_000
QUEUE_MESSAGES = 4_000
HEARTBEATS_KEPT = 16


class Losses:
    """count: how often something was found missing. is_incomplete: a snapshot is wanted.

    A snapshot makes good what was lost before it was asked for (`expect`), once it is whole.
    """

    def __init__(self) -> None:
        self.count = 0
        self.is_incomplete = False
        self._repaired = 0  # of `count`
        self._asked: dict[bytes, bool] = {}  # snapshot requests; whether answered to the end
        self._asked_count = 0  # found before them
        self._full_queues: int | None = None  # None until the first heartbeat of a gen
        self._is_queue_doubted = False  # judged when all that came with the heartbeat was taken in
        self.had_heartbeat = False
        # The greatest age at which a message was read, since the last heartbeat. The view sets
        # it while reading: a call for each message would be felt.
        self.worst_ns = 0
        self._worst_before_ns = 0  # and before that, since the last but one
        self._read = 0  # messages
        # For each heartbeat: its time, and how many messages were read by then.
        self._reads: deque[tuple[int, int]] = deque(maxlen=HEARTBEATS_KEPT)

    @property
    def is_in_doubt(self) -> bool:
        """Whether something was lost that no snapshot has made good since: a value that came before
        may have a newer one."""
        return self.count != self._repaired

    def note(self) -> None:
        """Count a loss. A snapshot is wanted: other topics may have lost messages, too, and would
        show it only by their own next ones."""
        self.count += 1
        self.is_incomplete = True

    # --- snapshots ----------------------------------------------------------------------------

    def expect(self, snapshots: list[bytes]) -> None:
        """Remember the topics of the answers that are asked for now. Once whole, they make good all
        that was lost before."""
        self.is_incomplete = False
        self._asked = dict.fromkeys(snapshots, False)
        self._asked_count = self.count

    @property
    def is_answered(self) -> bool:
        return all(self._asked.values())

    def answered(self, snapshot: bytes, *, is_whole: bool) -> bool:
        """Note that one answer has come to its end. True when all is known again with it."""
        if snapshot in self._asked:
            self._asked[snapshot] = True
        if not is_whole:
            self.is_incomplete = True
        elif self.is_answered and not self.is_incomplete:
            self._repaired = self._asked_count
            return True
        return False

    # --- queues -------------------------------------------------------------------------------

    def restarted(self) -> None:
        """Forget the count of full queues: another broadcaster counts anew."""
        self._full_queues = None

    def heard(self, full_queues: int) -> None:
        """Take from a heartbeat how often some reader's queue was full."""
        self.had_heartbeat = True
        before, self._full_queues = self._full_queues, full_queues
        self._is_queue_doubted |= before not in (None, full_queues)

    def drained(self, messages: int, now_ns: int) -> bool:
        """Count the `messages` that were taken in at once, beginning at boot time `now_ns`. True
        when something may have been lost. A queue that was full since the last heartbeat was ours
        only if that many waited for us."""
        before = self._read
        self._read += messages
        if messages >= BACKLOG_MESSAGES:
            self.worst_ns = max(self.worst_ns, BACKLOG_NS)
        if not self.had_heartbeat:
            return False
        is_lossy = self._is_queue_doubted and self._had_full_queue(now_ns)
        if is_lossy:
            self.note()
        self.had_heartbeat = self._is_queue_doubted = False
        self._worst_before_ns, self.worst_ns = self.worst_ns, 0
        self._reads.append((now_ns, before))
        return is_lossy

    def _had_full_queue(self, now_ns: int) -> bool:
        worst_ns = max(self.worst_ns, self._worst_before_ns)
        then_ns = now_ns - worst_ns
        by_then = next((read for at_ns, read in reversed(self._reads) if at_ns <= then_ns), 0)
        return worst_ns >= BACKLOG_NS and self._read - by_then >= QUEUE_MESSAGES
