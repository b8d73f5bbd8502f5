"""A recording subscriber without the project's client, and the checker that decides every row.

It subscribes to everything, keeps what it saw in order, and holds it against the feed's promises:
sequence numbers without a hole inside one life of the broadcaster, epochs that never fall, no value
of a source after its grant had passed on.
"""

import threading
from collections import Counter
from pathlib import Path
from typing import Self

import zmq

from kitefeed.protocol import feed as f
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.topics import HEARTBEAT_TOPIC, TICK

_RESENT = f.Flag.SNAPSHOT | f.Flag.REPLAY


class Probe:
    """Records until it is left; `violations` says what was wrong, `max_gap_s` per topic family."""

    def __init__(self, run_dir: Path) -> None:
        self._address = f"ipc://{run_dir}/feed.sock"
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._gen = 0
        self._seqs: dict[bytes, int] = {}
        self._granted: dict[int, int] = {}  # shard -> newest epoch a heartbeat told
        self.violations: list[str] = []
        self.sources: Counter[int] = Counter()
        self.gens: list[int] = []
        self.lost_batches: dict[int, int] = {}  # on ingest, by life of the broadcaster
        self.ticks = 0
        self.late_s_max = 0.0
        self.last_tick_ns = boot_ns()
        self.longest_pause_s = 0.0
        self.shard_pauses_s: dict[int, float] = {}  # the longest of each shard that ticked
        self._shards_ns: dict[int, int] = {}

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
        for family in (b"tick/", b"hb/", b"state/"):
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
        if message.gen != self._gen:
            if message.gen < self._gen:
                self.violations.append(f"gen fell: {self._gen} -> {message.gen}")
            self._gen = message.gen
            self.gens.append(message.gen)
            self._seqs.clear()
        if topic == HEARTBEAT_TOPIC:
            heartbeat = f.decode_heartbeat(message.body)
            self.lost_batches[message.gen] = heartbeat.lost_batches
            self._take_heartbeat(heartbeat)
        elif topic.startswith(TICK) and not message.flags & (_RESENT | f.Flag.CACHED):
            self._take_tick(topic, message)

    def _take_heartbeat(self, heartbeat: f.Heartbeat) -> None:
        for health in heartbeat.shards:
            before = self._granted.get(health.shard, 0)
            if health.epoch < before:
                self.violations.append(f"epoch fell: {before} -> {health.epoch}")
            self._granted[health.shard] = max(before, health.epoch)

    def _take_tick(self, topic: bytes, message: f.FeedMessage) -> None:
        before = self._seqs.get(topic)
        if before is not None and message.seq != before + 1:
            self.violations.append(f"{topic!r}: seq {before} -> {message.seq}")
        self._seqs[topic] = message.seq
        if message.epoch < self._granted.get(message.shard, 0):
            self.violations.append(f"{topic!r}: epoch {message.epoch} came after its fence")
        self.ticks += 1
        self.sources[message.source] += 1
        now_ns = boot_ns()
        self.longest_pause_s = max(self.longest_pause_s, (now_ns - self.last_tick_ns) / 1e9)
        self.last_tick_ns = now_ns
        pause_s = (now_ns - self._shards_ns.get(message.shard, now_ns)) / 1e9
        longest_s = self.shard_pauses_s.get(message.shard, 0.0)
        self.shard_pauses_s[message.shard] = max(longest_s, pause_s)
        self._shards_ns[message.shard] = now_ns

    def forget_pauses(self) -> None:
        """Pauses are counted from here on."""
        self.shard_pauses_s, self._shards_ns = {}, {}
        self.last_tick_ns = boot_ns()
        self.longest_pause_s = 0.0
