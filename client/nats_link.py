"""The feed of a NATS server for one reader in this process: what `feed.sock` is on the daemon's
host.

A thread holds the connection to NATS and serves an `inproc` socket, on which it speaks as the
broadcaster does: subscriptions, last values, heartbeats. So the reader, and what it judges, is the
same as everywhere.
"""

import asyncio
import contextlib
import secrets
import threading
from collections import Counter
from collections.abc import Coroutine, Iterable
from itertools import cycle
from typing import TYPE_CHECKING, Any

import msgspec

from kitefeed.client import nats_store, nats_wire
from kitefeed.client.nats_answers import NatsAnswers
from kitefeed.client.nats_belief import Belief, BridgeClock
from kitefeed.client.nats_history import NatsHistory
from kitefeed.client.nats_past import Past
from kitefeed.client.nats_wire import Address, Login
from kitefeed.client.status import Status
from kitefeed.protocol import feed as f
from kitefeed.protocol import nats as wire
from kitefeed.protocol.clock import boot_ns, utc_ns
from kitefeed.protocol.errors import ConfigError, Unavailable
from kitefeed.protocol.loop_socket import LoopSocket
from kitefeed.protocol.nats import LEASE_KEY, BridgeBeat, Subjects
from kitefeed.protocol.sockets import inproc_feed
from kitefeed.protocol.topics import (
    NUL,
    SNAPSHOT,
    TICK,
)

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

NO_HEARTBEAT = (
    "the bridge there passes on no heartbeat: look at `kitefeed status` on the daemon's host"
)
AGAIN_S = 0.25  # between two attempts to connect
CLOCK_S = 10.0  # between two measurements
QUESTIONS = 3  # in each
ANSWER_S = 1.0
PROOF_S = 1.0  # how long the bridge may take until all that it sent is stored
PROOF_LOOK_S = 0.03
LINGER_S = 2.0  # what nobody wants is listened to so long: the reader may be connecting anew
JOIN_S = 2.0
# Errors that end a connection or a question, or that an unreadable answer raises.
ENDS: tuple[type[Exception], ...] = (ConfigError, *nats_wire.ends(), *f.DECODE_ERRORS)
QUEUE_MESSAGES_MAX = 65_536  # of one subscription, in the library


class NatsLink:
    """May be made in any thread; `start` begins. `problem`: why there is no connection, empty while
    there is one. `address`: what the reader connects to."""

    def __init__(
        self, address: Address, login: Login, name: str, history: NatsHistory | None = None
    ) -> None:
        self.history = history
        self._servers = address.servers
        self._login = login
        self._name = name
        self.subjects = Subjects(address.prefix)
        self._socket, self.address = inproc_feed(secrets.token_hex(8))
        self.problem = "not connected yet"
        self.clock = BridgeClock()
        self.belief = Belief()
        self.wanted: Counter[bytes] = Counter()
        self._heard: dict[str, Subscription] = {}  # by subject
        self._unwanted: dict[str, int] = {}  # of these, since when nobody wants them
        self._answers = NatsAnswers(self)
        self._new: list[bytes] = []  # topics whose last value is to be sent
        self.client: Client | None = None
        self._wire: LoopSocket
        self._changed = asyncio.Event()
        self._listening = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()
        self._thread = threading.Thread(target=self._live, name="kitefeed-nats", daemon=True)

    def start(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread.start()

    def seen(self, status: Status) -> Status:
        """The feed in words, with what is known of the way to it."""
        clock = self.clock.best
        ahead_s = None if clock is None else clock.ahead_ns(boot_ns(), utc_ns()) / 1e9
        reason = status.reason
        if status.feed == "lost":
            reason = f"over NATS: {self.silence}"
        return msgspec.structs.replace(status, reason=reason, clock_ahead_s=ahead_s)

    @property
    def silence(self) -> str:
        """The reason why nothing comes, while nothing comes."""
        return self.problem or NO_HEARTBEAT

    @property
    def is_history_known(self) -> bool:
        """Whether history has begun, has ended or cannot be had; true where none is wanted."""
        at = self.history
        return at is None or at.has_begun or at.is_read or bool(at.problem)

    def check_history(self) -> None:
        """Raises Unavailable when history is wanted, and there is none."""
        if self.history is not None and self.history.problem:
            raise Unavailable(f"since= cannot be had: {self.history.problem}")

    def publish(self, frames: Iterable[bytes]) -> None:
        """Send frames to the reader. Call this, as all below, only in the link's thread."""
        self._wire.publish(frames)

    def close(self) -> None:
        """Ends the thread; may be called twice."""
        loop = self._loop
        if loop is None or not self._thread.is_alive():
            return
        with contextlib.suppress(RuntimeError):  # it ends just now
            loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(JOIN_S)

    def utc_ns(self, now_ns: int) -> int:
        """The wall clock of the daemon's host at our boot time `now_ns`; ours until it is known,
        which is before the first frame."""
        clock = self.clock.best
        return utc_ns() if clock is None else clock.utc_ns(now_ns)

    # --- the thread ---------------------------------------------------------------------------

    def _live(self) -> None:
        loop = self._loop
        if loop is None:
            return
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(self._run())
        finally:
            loop.run_until_complete(_end_all())
            loop.close()

    async def _run(self) -> None:
        self._wire = LoopSocket(self._socket, self._on_subscription)
        self.run(self._connect_for_ever())
        if self.history is not None:
            self.run(Past(self, self.history).send())
        await self._stopped.wait()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._wire.close()

    async def _connect_for_ever(self) -> None:
        for server in cycle(self._servers):
            try:
                await self._serve(server)
            except ENDS as error:
                self.problem = " ".join(str(error).split()) or type(error).__name__
            self._cut()
            await asyncio.sleep(AGAIN_S)

    async def _serve(self, server: str) -> None:
        """Serve one connection, to its end. Raises what ends it."""
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def on_lost(reason: str) -> None:
            if not lost.done():
                lost.set_result(reason)

        client = await nats_wire.connect(server, self._login, self._name, on_lost, self._on_trouble)
        try:
            self.client = client
            self._heard.clear()
            self._unwanted.clear()
            await client.subscribe(self.subjects.bridge, cb=self._on_beat)
            await client.subscribe(self.subjects.heartbeat, cb=self._on_heartbeat)
            await client.subscribe(self.subjects.state, cb=self._on_frame)
            await self._see_lease(client)
            self.problem = f"no bridge publishes {self.subjects.prefix}.* there"
            await nats_wire.first_of(lost, self._listen_for_ever(), self._measure_for_ever())
        finally:
            self.client = None
            self.problem = lost.result() if lost.done() else self.problem
            await nats_wire.close(client)
        raise Unavailable(f"{server}: {self.problem}")

    def _cut(self) -> None:
        """Tell the reader that the connection has ended: nothing is fresh from here on, and what
        comes next may come after a gap."""
        self.belief.cut()
        silence = self.belief.silence(f"NATS: {self.problem}", self.utc_ns(boot_ns()))
        if silence is not None:
            self.publish((silence,))

    def _on_trouble(self, reason: str) -> None:
        """Take the library's word that it dropped messages, because this program had no time; or
        that it may not subscribe."""
        self.problem = reason
        self._cut()
        self._answers.repeat()

    # --- what the reader wants ----------------------------------------------------------------

    def _on_subscription(self, frames: list[bytes]) -> None:
        is_new, topic = frames[0][:1] == b"\1", frames[0][1:]
        self.wanted[topic] += 1 if is_new else -1
        if self.wanted[topic] <= 0:
            del self.wanted[topic]
        if topic.startswith(SNAPSHOT):
            if is_new:
                self._answers.begin(topic)
            elif topic not in self.wanted:
                self._answers.stop(topic)
        elif is_new and topic.startswith(TICK) and topic.endswith(NUL):
            self._new.append(topic)
        self._changed.set()

    async def _listen_for_ever(self) -> None:
        """Follows with subscriptions at NATS what the reader wants."""
        while True:
            self._changed.clear()
            await self._listen()
            if self._new and self.belief.beat is not None and self.clock.is_known:
                self.run(self._answers.send_last(self._new))
            self._new = []
            await self._changed.wait()

    async def _listen(self) -> None:
        async with self._listening:
            client, wanted = self.client, self.subjects.covering(self.wanted)
            if client is None:
                return
            now_ns = boot_ns()
            for subject in wanted - self._heard.keys():
                self._heard[subject] = await client.subscribe(
                    subject, cb=self._on_frame, pending_msgs_limit=QUEUE_MESSAGES_MAX
                )
            for subject in self._heard.keys() - wanted:
                since_ns = self._unwanted.setdefault(subject, now_ns)
                if now_ns - since_ns < LINGER_S * 1e9:
                    asyncio.get_running_loop().call_later(LINGER_S, self._changed.set)
                else:
                    await self._heard.pop(subject).unsubscribe()
            self._unwanted = {
                subject: since_ns for subject, since_ns in self._unwanted.items()
                if subject in self._heard and subject not in wanted
            }  # fmt: skip

    # --- frames -------------------------------------------------------------------------------

    async def _on_frame(self, message: "Msg") -> None:
        if self.clock.is_known and self.belief.admits(message.data):
            self.publish((message.data,))

    async def _on_heartbeat(self, message: "Msg") -> None:
        frame = message.data
        if not self.clock.is_known or not self.belief.admits(frame):
            return
        _, array = f.split_frame(frame)
        with contextlib.suppress(*f.DECODE_ERRORS):
            self.publish((self.belief.heartbeat(array, self._wire.full_queues),))

    async def _on_beat(self, message: "Msg") -> None:
        with contextlib.suppress(*f.DECODE_ERRORS):
            beat = wire.decode_beat(message.data)
            self._believe(beat)
            if self.clock.contradicts(boot_ns(), beat.at_utc_ns):
                self.run(self._measure())

    def _believe(self, beat: BridgeBeat) -> None:
        before = self.belief.beat
        if not self.belief.hear(beat):
            return
        self.problem = ""
        if before is not None and before.term != beat.term:
            self.clock.forget()  # perhaps another host's
            self.run(self._measure())
        self._answers.repeat()

    # --- the bridge, asked --------------------------------------------------------------------

    async def _measure_for_ever(self) -> None:
        while True:
            await self._measure()
            await asyncio.sleep(CLOCK_S if self.clock.is_known else AGAIN_S)

    async def _measure(self) -> None:
        for _ in range(QUESTIONS):
            if await self._ask() is None:
                return

    async def _ask(self) -> BridgeBeat | None:
        """Ask the bridge what it says now, and measure its clock by the answer. None without
        one."""
        client = self.client
        if client is None:
            return None
        asked_ns = boot_ns()
        try:
            answer = await client.request(self.subjects.ask, b"", ANSWER_S)
            beat = wire.decode_beat(answer.data)
        except ENDS:
            return None
        answered_ns = boot_ns()
        self._believe(beat)
        if beat.term != self.belief.term:
            return None
        is_first = not self.clock.is_known
        self.clock.measured(asked_ns, answered_ns, beat.at_utc_ns)
        if is_first:
            self._answers.repeat()
        return beat

    async def is_proven(self) -> bool:
        """Whether LAST holds all that the bridge had sent by now, or will have in a moment: what it
        sends later we hear."""
        await self._listen()
        first = beat = await self._ask()
        deadline_ns = boot_ns() + int(PROOF_S * 1e9)
        while first and beat and beat.bridge == first.bridge and beat.gen == first.gen:
            if beat.is_whole and beat.stored >= first.sent:
                return True
            if boot_ns() > deadline_ns:
                break
            await asyncio.sleep(PROOF_LOOK_S)
            beat = await self._ask()
        return False

    async def _see_lease(self, client: "Client") -> None:
        """Look who holds the lease: a bridge that was replaced while it was frozen is not believed,
        not even for a moment."""
        bucket = self.subjects.lease_bucket
        with contextlib.suppress(Unavailable, *f.DECODE_ERRORS):
            found = await nats_store.newest(client, f"KV_{bucket}", f"$KV.{bucket}.{LEASE_KEY}")
            if found is not None:
                self.belief.leased(wire.decode_lease(found.data).term)

    def run(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Runs it until its end, or until the link is closed."""
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _end_all() -> None:
    """End the library's tasks, of which some outlive its client for a moment."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
