"""Uses one connection to NATS for the bridge: what it publishes, gets acknowledged, asks and
holds."""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from nats.js.errors import APIError, KeyNotFoundError, KeyWrongLastSequenceError

from kitefeed.actors.runtime.config_tables import NatsTable
from kitefeed.client import nats_store
from kitefeed.protocol import feed as f
from kitefeed.protocol import nats as wire
from kitefeed.protocol.clock import boot_ns, utc_ns
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.nats import LEASE_KEY, Subjects
from kitefeed.protocol.topics import HEARTBEAT_TOPIC, NOTICE, ORDER
from kitefeed.services.freshness import is_fed
from kitefeed.services.nats_bridge import streams
from kitefeed.services.nats_bridge.conditions import Conditions
from kitefeed.services.nats_bridge.lease import Keeper
from kitefeed.services.nats_bridge.machine import Group, Machine, Place
from kitefeed.services.nats_bridge.tap import Tap

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext
    from nats.js.kv import KeyValue

LOOK_S = 0.25  # at the lease, and at what is overdue
RECONCILE_NS = NS_PER_S
FAILING_NS = 5 * NS_PER_S  # between two attempts to put right what NATS keeps
BEAT_S = 1.0
API_S = 2.0
HEARTBEATS_MAX = 64  # that wait for the connection, for the lease, or with ticks
EVENTS_MAX = 1_000  # orders and notices that wait; the oldest go first
MSG_ID = "Nats-Msg-Id"

log = logging.getLogger("nats_bridge")


class PubAck(msgspec.Struct):
    """JetStream's answer to what was published; JSON. It may be an error instead."""

    seq: int = 0
    duplicate: bool = False
    error: dict[str, str | int] | None = None


class Word(NamedTuple):
    """A heartbeat, an order update or a notice, as it goes to NATS; no stream keeps it."""

    subject: str
    frame: bytes
    headers: dict[str, str] | None


_decode_ack = msgspec.json.Decoder(PubAck).decode


class Publishing:
    """The machine with NATS around it. `begin` for each connection, then `chores`, then `cut`."""

    def __init__(
        self,
        subjects: Subjects,
        machine: Machine,
        tap: Tap,
        keeper: Keeper,
        nats: NatsTable,
        conditions: Conditions,
    ) -> None:
        self._subjects = subjects
        self._machine = machine
        self._tap = tap
        self._keeper = keeper
        self._nats = nats
        self._conditions = conditions
        self._news = asyncio.Event()
        self._heartbeats: deque[Word] = deque(maxlen=HEARTBEATS_MAX)
        self._events: deque[Word] = deque(maxlen=EVENTS_MAX)
        self._told_gen = 0
        self._told_other = ""
        self._told_notes: list[str] = []
        self._reconciled_ns = 0
        self._client: Client
        self._js: JetStreamContext
        self._lease: KeyValue
        self._acks = ""

    def take(self, frame: bytes) -> None:
        """Take one frame of the feed."""
        topic, array = f.split_frame(frame)
        if topic == HEARTBEAT_TOPIC:
            self._machine.heard(f.decode_feed_message(array).gen)
            self._heartbeats.append(Word(self._subjects.heartbeat, frame, None))
        elif topic.startswith((ORDER, NOTICE)):
            message = f.decode_feed_message(array)
            name = wire.message_id(message.gen, topic.decode(), message.seq)
            self._events.append(Word(self._subjects.of_topic(topic), frame, {MSG_ID: name}))
        else:
            self._machine.take(frame, boot_ns())
        self._news.set()

    # --- a connection -------------------------------------------------------------------------

    async def begin(self, client: "Client") -> None:
        self._client, self._js = client, client.jetstream(timeout=API_S)
        await self._make_streams()
        self._lease = await streams.lease_of(self._js, self._subjects)
        self._acks = client.new_inbox()
        await client.subscribe(f"{self._acks}.*", cb=self._on_ack)
        await client.subscribe(self._subjects.ask, cb=self._on_ask)
        self._machine.connected()
        self._told_gen = 0
        await self._see_lease()  # the answer to our last renewal may have been lost
        await self._look_at_lease()

    async def _make_streams(self) -> None:
        last = streams.last_config(self._subjects)
        ticks = streams.ticks_config(self._subjects, self._nats.history_mb)
        notes = await streams.make(self._js, last)
        try:
            notes += await streams.make(self._js, ticks)
            self._conditions.over("nats_history")
        except APIError as error:
            self._conditions.met(
                "nats_history",
                f"NATS keeps no history ({error.description}); live and last values go on",
            )
        if notes != self._told_notes:
            self._told_notes = notes
            for note in notes:
                log.warning("%s", note)

    def chores(self) -> list[Coroutine[Any, Any, None]]:
        """Return the work that goes on as long as the connection lives; each raises when it has
        ended."""
        return [self._publish_for_ever(), self._look_for_ever(), self._beat_for_ever()]

    def cut(self) -> None:
        """Note that the connection has ended."""
        self._machine.cut()

    async def give_back(self) -> None:
        """Give the lease back, so that another bridge, or our next life, need not wait."""
        if self._keeper.is_leading(boot_ns()):
            lease, revision = self._keeper.offer(boot_ns(), utc_ns() // 1_000_000, is_fed=False)
            lease.holder = ""
            await self._lease.update(LEASE_KEY, wire.encode(lease), last=revision)

    # --- publishing ---------------------------------------------------------------------------

    async def _publish_for_ever(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self._publish_all()

    async def _publish_all(self) -> None:
        if not self._is_leading():
            if self._keeper.is_replaced:  # not when a slow server only kept it from renewing
                self._heartbeats.clear()
                self._events.clear()
            return
        if self._machine.gen != self._told_gen:
            await self._beat()  # before the first tick: readers pass on what they were told of
        while self._is_leading() and (group := self._machine.due(boot_ns())) is not None:
            await self._publish(group)
        # Orders and notices, then heartbeats. A heartbeat says that what was published is all there
        # is: it waits for the ticks before it. Left out, it would read as a loss.
        while self._events and self._is_leading():
            await self._publish_first(self._events)
        while self._heartbeats and self._is_leading() and not self._machine.is_behind(boot_ns()):
            await self._publish_first(self._heartbeats)
        gap = self._machine.gap_due()
        if gap is not None:
            log.warning(
                "NATS has been given the newest values, not all: %d ticks of %d instruments were "
                "left out (%s); readers are told", gap.ticks, gap.instruments, gap.reason,
            )  # fmt: skip
            name = wire.message_id(gap.term, f"gap/{gap.bridge}", gap.to_utc_ns)
            await self._client.publish(self._subjects.gap, wire.encode(gap), headers={MSG_ID: name})

    async def _publish_first(self, waiting: "deque[Word]") -> None:
        """Publish the first that waits; it waits on when the connection has ended."""
        word = waiting.popleft()
        try:
            await self._client.publish(word.subject, word.frame, headers=word.headers)
        except BaseException:
            waiting.appendleft(word)
            raise

    async def _publish(self, group: Group) -> None:
        publish, last = self._client.publish, len(group.outs) - 1
        for n, out in enumerate(group.outs):
            reply = f"{self._acks}.{group.number}" if n == last else ""
            await publish(out.subject, out.frame, reply, {MSG_ID: out.id})

    async def _on_ack(self, message: "Msg") -> None:
        number = int(message.subject.rpartition(".")[2])
        try:
            ack = _decode_ack(message.data) if message.data else PubAck(error={"code": 503})
        except msgspec.DecodeError:
            ack = PubAck(error={"description": "an answer that cannot be read"})
        if ack.error is None:
            self._machine.acked(number, 0 if ack.duplicate else ack.seq)
            self._conditions.over("nats_storage")
            self._news.set()
            return
        self._machine.refused(number)
        reason = ack.error.get("description", "there is no stream for it")
        self._conditions.met(
            "nats_storage", f"NATS does not keep the last values: {reason}; tried again by itself"
        )

    # --- the lease ----------------------------------------------------------------------------

    def _is_leading(self) -> bool:
        """Whether this bridge may publish, as of now."""
        is_leading = self._keeper.is_leading(boot_ns())
        if is_leading and not self._machine.is_leading:
            self._machine.lead(self._keeper.term)
            log.info("publishes, as %s", self._keeper.holder)
        elif self._machine.is_leading and self._keeper.is_replaced:
            self._machine.stand_by()
        return is_leading

    async def _look_for_ever(self) -> None:
        while True:
            await self._look_at_lease()
            if self._machine.overdue(boot_ns()):
                self._conditions.met(
                    "nats_storage", "NATS does not answer whether it keeps the last values"
                )
            if self._is_leading() and not self._machine.is_reconciled:
                await self._reconcile()
            self._news.set()
            await asyncio.sleep(LOOK_S)

    async def _look_at_lease(self) -> None:
        keeper, is_fed = self._keeper, self._is_fed()
        if not keeper.is_leading(boot_ns()):
            await self._see_lease()
            self._is_leading()  # stands by at once, also when it may take over in the same look
        wish = keeper.wish(boot_ns(), is_fed=is_fed)
        if wish:
            sent_ns = boot_ns()
            lease, revision = keeper.offer(sent_ns, utc_ns() // 1_000_000, is_fed=is_fed)
            try:
                revision = await self._lease.update(LEASE_KEY, wire.encode(lease), last=revision)
            except KeyWrongLastSequenceError:
                keeper.denied()
            else:
                keeper.granted(lease, revision, sent_ns)
        self._is_leading()

    async def _see_lease(self) -> None:
        try:
            entry = await self._lease.get(LEASE_KEY)
        except KeyNotFoundError:
            self._keeper.saw(None, 0, boot_ns())
            return
        try:
            lease = wire.decode_lease(entry.value or b"")
        except f.DECODE_ERRORS:
            lease = None
        self._keeper.saw(lease, entry.revision or 0, boot_ns())
        other = self._keeper.other
        if other and other != self._told_other:
            log.info("stands by: the bridge of %s publishes", other)
        self._told_other = other

    def _is_fed(self) -> bool:
        heartbeat = self._tap.heartbeat
        return heartbeat is not None and self._tap.status.feed != "lost" and is_fed(heartbeat)

    # --- what LAST holds ----------------------------------------------------------------------

    async def _reconcile(self) -> None:
        is_failing = self._conditions.has("nats_storage")
        if boot_ns() - self._reconciled_ns < (FAILING_NS if is_failing else RECONCILE_NS):
            return
        self._reconciled_ns = started_ns = boot_ns()
        known = self._machine.on_the_way()
        stored: dict[str, tuple[Place, int]] = {}
        for subject in (f"{self._subjects.ticks}.>", self._subjects.state):
            async for one in nats_store.read(self._client, self._subjects.last_stream, subject):
                _, array = f.split_frame(one.data)
                try:
                    message = f.decode_feed_message(array)
                except f.DECODE_ERRORS:
                    continue
                stored[one.subject] = ((message.gen, message.seq), message.t_rx_ns)
        self._machine.reconciled(stored, known, started_ns)

    # --- beats --------------------------------------------------------------------------------

    async def _beat_for_ever(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            if self._is_leading():
                await self._beat()

    async def _beat(self) -> None:
        self._told_gen = self._machine.gen
        beat = self._machine.beat(utc_ns())
        await self._client.publish(self._subjects.bridge, wire.encode(beat))

    async def _on_ask(self, message: "Msg") -> None:
        if message.reply and self._is_leading():
            beat = self._machine.beat(utc_ns())
            await self._client.publish(message.reply, wire.encode(beat))
