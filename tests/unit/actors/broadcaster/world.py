"""A broadcaster's machine in virtual time, and all that it published."""

import msgspec

from kitefeed.actors.broadcaster import events as e
from kitefeed.actors.broadcaster.machine import Broadcaster
from kitefeed.actors.broadcaster.store import LastValues, Saved
from kitefeed.protocol import feed as f
from kitefeed.protocol.feed import FeedMessage, Flag, IngestBatch, Item, Source
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.envelope import Message
from kitefeed.protocol.topics import HEARTBEAT_TOPIC, tick_topic

S = 1_000_000_000
GEN = 42
UTC = 1_790_000_000 * S
INFY = tick_topic("NSE:INFY")
TCS = tick_topic("NSE:TCS")
BODY = msgspec.Raw(f.encode([1, 3, 100, 5]))


class World:
    """A machine with a clock, and every frame it published, decoded."""

    def __init__(self, values: LastValues | None = None, misconfigured: str | None = None) -> None:
        self.now_ns = 1_000 * S
        self.utc_offset_ns = UTC
        self.machine = Broadcaster(GEN, self.now_ns, values or LastValues(), misconfigured)
        self.published: list[tuple[bytes, FeedMessage]] = []
        self.told: list[Message] = []
        self.saves: list[list[Saved]] = []
        self._batch_seq = 0

    @property
    def utc_ns(self) -> int:
        return self.now_ns + self.utc_offset_ns

    def give(self, event: e.Event) -> None:
        for command in self.machine.handle(event, self.now_ns):
            match command:
                case e.Publish():
                    for frame in command.frames:
                        topic, array = f.split_frame(frame)
                        self.published.append((topic, f.decode_feed_message(array)))
                case e.Tell():
                    self.told.append(command.message)
                case e.Save():
                    self.saves.append(command.rows)

    def grant(self, epoch: int, source: str = "websocket", shard: int = 0) -> None:
        self.give(e.Told(m.Grant(shard, epoch, source), self.utc_ns))  # type: ignore[arg-type]

    def batch(
        self,
        *topics: bytes,
        epoch: int = 1,
        source: Source = Source.WEBSOCKET,
        received_ns: int | None = None,
        batch_seq: int | None = None,
        frame_ns: int | None = None,
        canary_ns: int = 0,
        flags: int = 0,
        period_ns: int = 0,
        shard: int = 0,
        held: list[int] | None = None,
    ) -> None:
        self._batch_seq = self._batch_seq + 1 if batch_seq is None else batch_seq
        is_tick = bool(topics) and topics[0].startswith(b"tick/") and not flags & Flag.STALE
        batch = IngestBatch(
            f.VERSION,
            shard,
            epoch,
            source,
            self._batch_seq,
            self.now_ns if received_ns is None else received_ns,
            self.now_ns if frame_ns is None else frame_ns,
            canary_ns,
            period_ns,
            [] if is_tick else [Item(topic, flags, BODY) for topic in topics],
            list(topics) if is_tick else [],
            [bytes(BODY)] * len(topics) if is_tick else [],
            [flags] * len(topics) if is_tick and flags else [],
            held or [],
        )
        self.give(e.Ingest(f.encode(batch), self.utc_ns))

    def subscribe(self, subscription: bytes) -> None:
        self.give(e.Subscription(b"\1" + subscription, self.utc_ns))

    def unsubscribe(self, subscription: bytes) -> None:
        self.give(e.Subscription(b"\0" + subscription, self.utc_ns))

    def turn(self) -> None:
        self.give(e.Wake(self.utc_ns, 0))

    def run(self, span_ns: int, *, beats: bool = False) -> None:
        """Lets time pass, turn by turn, as the machine's deadlines ask for it."""
        end_ns = self.now_ns + span_ns
        while self.now_ns < end_ns:
            due_ns = max(self.machine.deadline_ns, self.now_ns + 1_000_000)
            self.now_ns = min(due_ns, end_ns)
            if beats:
                self.batch()
            self.turn()

    def take(self, topic: bytes) -> list[FeedMessage]:
        """Messages of `topic` so far; what was published is forgotten."""
        found = [message for got, message in self.published if got == topic]
        self.published.clear()
        return found

    def heartbeat(self) -> f.Heartbeat:
        """The last one."""
        bodies = [m.body for topic, m in self.published if topic == HEARTBEAT_TOPIC]
        return f.decode_heartbeat(bodies[-1])
