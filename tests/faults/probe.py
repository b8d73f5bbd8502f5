"""A recording subscriber without the project's client, and the checker that decides every row.

It subscribes to everything, keeps what it saw in order, and holds it against the feed's promises:
sequence numbers without a hole inside one life of the broadcaster, epochs that never fall, one
source in each, no value of a source after its grant had passed on, and all last values soon after
a broadcaster came back.
"""

import threading
from collections import Counter
from pathlib import Path
from typing import Self

import zmq

from kitefeed.protocol import feed as f
from kitefeed.protocol.clock import boot_ns, utc_ns
from kitefeed.protocol.topics import HEARTBEAT_TOPIC, SNAPSHOT, TICK, snapshot_request
from tests.integration.rig import INSTRUMENTS, Rig
from tests.support import eventually

_RESENT = f.Flag.SNAPSHOT | f.Flag.REPLAY
COMPLETE_S = 3.0  # within which a broadcaster that came back has told all last values
REQUEST = snapshot_request("0123456789ab", TICK)  # ZeroMQ asks again after every reconnect


class Life:
    """The sightings of one life of the broadcaster; boot times, 0 for not yet."""

    def __init__(self, gen: int) -> None:
        self.gen = gen
        self.first_ns = boot_ns()
        self.first_tick_ns = 0
        self.complete_ns = 0
        self.last_ns = 0
        self.lost_batches = 0  # on ingest
        self.told: set[str] = set()  # last values

    @property
    def violation(self) -> str:
        is_short = self.last_ns - self.first_ns < COMPLETE_S * 1e9
        took_s = (self.complete_ns - self.first_ns) / 1e9
        if is_short or (self.complete_ns and took_s < COMPLETE_S):
            return ""
        return f"gen {self.gen}: last values not complete within {COMPLETE_S} s: {self.told}"


class Probe:
    """Records until it is left; `violations` says what was wrong, `longest_pause_s` and the like
    what a row may ask about, from the last `forget_pauses` on."""

    def __init__(self, run_dir: Path) -> None:
        self._address = f"ipc://{run_dir}/feed.sock"
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._seqs: dict[bytes, int] = {}
        self._granted: dict[int, int] = {}  # shard -> newest epoch a heartbeat told
        self._source_of: dict[tuple[int, int], int] = {}  # of shard and epoch
        self._violations: list[str] = []
        self.lives: list[Life] = []
        self.sources: Counter[int] = Counter()
        self.ticks = 0
        self.forget_pauses()

    def forget_pauses(self) -> None:
        """Pauses and delays are counted from here on."""
        self.last_tick_ns = boot_ns()
        self.longest_pause_s = 0.0
        self.shard_pauses_s: dict[int, float] = {}  # the longest of each shard that ticked
        self._shards_ns: dict[int, int] = {}
        self.longest_inside_s = 0.0  # from reception by the daemon to publication
        self.delays_ms: list[float] = []  # from publication to here

    @property
    def gens(self) -> list[int]:
        return [life.gen for life in self.lives]

    @property
    def lost_batches(self) -> dict[int, int]:
        return {life.gen: life.lost_batches for life in self.lives}

    @property
    def violations(self) -> list[str]:
        return self._violations + [life.violation for life in self.lives[1:] if life.violation]

    @property
    def p99_ms(self) -> float:
        return sorted(self.delays_ms)[len(self.delays_ms) * 99 // 100]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
        socket.linger = 0
        socket.sndhwm = 0
        socket.rcvhwm = 100_000
        for family in (b"tick/", b"hb/", b"state/", REQUEST):
            socket.subscribe(family)
        socket.connect(self._address)
        try:
            while not self._stopped.is_set():
                if socket.poll(50):
                    self._take(socket.recv())
        finally:
            socket.close(0)

    def _take(self, frame: bytes) -> None:
        topic, array = f.split_frame(frame)
        message = f.decode_feed_message(array)
        life = self._life(message.gen)
        life.last_ns = boot_ns()
        if topic == HEARTBEAT_TOPIC:
            heartbeat = f.decode_heartbeat(message.body)
            life.lost_batches = heartbeat.lost_batches
            self._take_heartbeat(heartbeat)
        elif topic.startswith(SNAPSHOT):
            self._take_snapshot(life, message)
        elif topic.startswith(TICK) and not message.flags & (_RESENT | f.Flag.CACHED):
            life.first_tick_ns = life.first_tick_ns or boot_ns()
            self._take_tick(topic, message)

    def _life(self, gen: int) -> Life:
        if not self.lives or gen != self.lives[-1].gen:
            if self.lives and gen < self.lives[-1].gen:
                self._violations.append(f"gen fell: {self.lives[-1].gen} -> {gen}")
            self.lives.append(Life(gen))
            self._seqs.clear()
        return self.lives[-1]

    def _take_snapshot(self, life: Life, message: f.FeedMessage) -> None:
        body = f.decode_snapshot_chunk(message.body)
        if not isinstance(body, f.SnapshotEnd):
            life.told |= {f.split_frame(row)[0].removeprefix(TICK).decode() for row in body}
        elif len(life.told) >= body.count and life.told.issuperset(INSTRUMENTS):
            life.complete_ns = life.complete_ns or boot_ns()

    def _take_heartbeat(self, heartbeat: f.Heartbeat) -> None:
        for health in heartbeat.shards:
            before = self._granted.get(health.shard, 0)
            if health.epoch < before:
                self._violations.append(f"epoch fell: {before} -> {health.epoch}")
            self._granted[health.shard] = max(before, health.epoch)

    def _take_tick(self, topic: bytes, message: f.FeedMessage) -> None:
        before = self._seqs.get(topic)
        if before is not None and message.seq != before + 1:
            self._violations.append(f"{topic!r}: seq {before} -> {message.seq}")
        self._seqs[topic] = message.seq
        if message.epoch < self._granted.get(message.shard, 0) and not message.flags & f.Flag.STALE:
            self._violations.append(f"{topic!r}: epoch {message.epoch} came after its fence")
        source = self._source_of.setdefault((message.shard, message.epoch), message.source)
        if source != message.source:
            self._violations.append(f"epoch {message.epoch} has two sources")
        if message.flags & f.Flag.STALE:  # that an instrument streams no more
            return
        self.ticks += 1
        self.sources[message.source] += 1
        now_ns = boot_ns()
        self.longest_pause_s = max(self.longest_pause_s, (now_ns - self.last_tick_ns) / 1e9)
        self.last_tick_ns = now_ns
        pause_s = (now_ns - self._shards_ns.get(message.shard, now_ns)) / 1e9
        longest_s = self.shard_pauses_s.get(message.shard, 0.0)
        self.shard_pauses_s[message.shard] = max(longest_s, pause_s)
        self._shards_ns[message.shard] = now_ns
        inside_s = (message.t_pub_ns - message.t_rx_ns) / 1e9
        self.longest_inside_s = max(self.longest_inside_s, inside_s)
        self.delays_ms.append((utc_ns() - message.t_pub_ns) / 1e6)


class Ledger:
    """Compares what Kite has sent from here on, by its own count, with what the probe has
    received."""

    def __init__(self, rig: Rig, probe: Probe) -> None:
        """Begins while nothing is on the way: the market stands still for a moment."""
        self._rig, self._probe = rig, probe
        rig.simulator.fault("market", "closed")
        self._sent, self._received = eventually(self._settled, 5)
        rig.simulator.fault("market", "open")

    def _settled(self) -> tuple[int, int] | None:
        before = self._count()
        threading.Event().wait(0.3)  # longer than a frame of Kite takes to come
        return before if self._count() == before else None

    def _count(self) -> tuple[int, int]:
        received = self._probe.ticks  # first: it may never be ahead
        return self._rig.simulator.stats((0,))["ticks_sent"], received

    def assert_none_lost(self) -> None:
        def is_even() -> bool:
            sent, received = self._count()
            return sent - self._sent == received - self._received > 0

        eventually(is_even, 5, every_s=0.01)
