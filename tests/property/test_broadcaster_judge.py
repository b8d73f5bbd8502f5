"""Tests that the broadcaster judges as every reader once judged for itself, from five fields.

Anything may happen to a broadcaster: grants, losses, headlines, clocks that step, a machine that
stands still, messages that come late. Whatever reads fresh would have read so by the old rules. The
reverse holds but for what ends by itself, because it is judged as of the end of a heartbeat: a
polled value, and one of a closed segment, read fresh up to 2.5 s shorter. And the example that
needs no kitefeed is of one mind with Feed.
"""

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from kitefeed.actors.broadcaster import events as e
from kitefeed.actors.broadcaster.machine import Broadcaster
from kitefeed.actors.broadcaster.store import LastValues
from kitefeed.client.tick import Tick
from kitefeed.client.view import View
from kitefeed.protocol import feed as f
from kitefeed.protocol.feed import HEARTBEAT_HOLDS_NS, Flag, IngestBatch, Item, Source
from kitefeed.protocol.kite.ticks import LTP, TickBody, segment_of
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.topics import NUL, tick_topic

MS, S = 1_000_000, 1_000_000_000
UTC = 1_790_000_000 * S
TOKENS = {"NSE:INFY": 0x0163A01 & ~0xFF | 1, "MCX:CRUDE": 0x10007, "NSE:NIFTY 50": 0x10009}
TOPICS = {tick_topic(key): token for key, token in TOKENS.items()}
SHARDS, EPOCHS = st.sampled_from([0, 1]), st.integers(1, 4)
SPANS = st.sampled_from([1, MS, 300 * MS, S, 2 * S, 4 * S, 8 * S, 30 * S, 56 * S])
AGES = st.sampled_from([0, 0, 0, 1, 100 * MS, 2 * S, 4 * S])
FEEDS = st.sampled_from([*["live"] * 6, *["rest", "stale", "login_required"] * 2, "closed"])
RARELY = st.sampled_from([False] * 7 + [True])


PATH = Path(__file__).parents[2] / "examples" / "raw_reader.py"


def raw_reader(clock: SimpleNamespace) -> Any:
    """The example's module, with another clock and without its socket."""
    spec = importlib.util.spec_from_file_location("raw_reader", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.time = clock  # type: ignore[attr-defined]
    module.Reader._connect = lambda self: None
    return module


def old_is_fresh(view: View, tick: Tick, now_ns: int) -> bool:
    """The rules of a reader before the broadcaster judged."""
    beat, age_ns = view.heartbeat, tick.age_ns(now_ns)
    if beat is None or now_ns - view._heard_ns > HEARTBEAT_HOLDS_NS or tick.gen != view.gen:
        return False
    if tick.flags & (Flag.CACHED | Flag.STALE) or not view.values.is_last(tick):
        return False
    if view.losses.is_in_doubt and tick.arrival.losses != view.losses.count:
        return False
    found = [health for health in beat.shards if health.shard == tick.shard]
    if not found or (found[0].epoch, found[0].source) != (tick.epoch, tick.source_code):
        return False
    (health,) = found
    since_ns = now_ns - view._heard_ns
    if health.loss_age_ns >= 0 and age_ns > health.loss_age_ns + since_ns:
        return False
    words = view._state
    if words.source not in ("websocket", "rest") or words.feed in (
        "misconfigured", "paused", "closed", "no_entitlement",
    ):  # fmt: skip
        return False
    is_told = beat.fresh_shards is not None
    if (words.feed == "stale" and not is_told) or (is_told and tick.shard not in beat.fresh_shards):  # type: ignore[operator]
        return False
    if segment_of(tick.instrument_token) in beat.closed_segments and (
        tick.flags & Flag.FIRST_PACKET or age_ns > 60 * S
    ):
        return False
    is_old = tick.source_code == Source.REST and age_ns > 2 * health.period_ns
    return health.is_alive and health.source != Source.NONE and not is_old


def is_about_to_end(view: View, tick: Tick, now_ns: int) -> bool:
    """Whether it reads fresh, by the old rules, for less than a heartbeat holds."""
    assert view.heartbeat is not None
    ends_ns = []
    if tick.source_code == Source.REST:
        ends_ns += [2 * h.period_ns for h in view.heartbeat.shards if h.shard == tick.shard]
    if segment_of(tick.instrument_token) in view.heartbeat.closed_segments:
        ends_ns.append(60 * S)
    return any(tick.age_ns(now_ns) > end_ns - HEARTBEAT_HOLDS_NS for end_ns in ends_ns)


class TwoJudges(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now_ns, self.to_utc_ns, self.gen = 1_000 * S, UTC, 1
        self.is_reading = True
        self.pipe: list[bytes] = []
        self.batch_seqs: dict[int, int] = {}
        self.view = View(lambda: (self.view, self.now_ns))
        self.asked_ns = self.now_ns  # the example is asked at a time of its own
        clock = SimpleNamespace(
            time_ns=lambda: self.asked_ns + self.to_utc_ns,
            clock_gettime_ns=lambda _: self.asked_ns,
            monotonic_ns=lambda: self.asked_ns,
        )
        self.example = raw_reader(clock).Reader("", [])
        self.machine = self._broadcaster(LastValues())

    @property
    def utc_ns(self) -> int:
        return self.now_ns + self.to_utc_ns

    # --- what may happen ----------------------------------------------------------------------

    @initialize()
    def all_is_well(self) -> None:
        self.granted(0, 1, "websocket")
        self.granted(1, 2, "rest")
        self.announced("live", "websocket", [], [0, 1])

    @rule(span_ns=SPANS, is_asleep=RARELY, is_silent=RARELY)
    def time_passes(self, span_ns: int, is_asleep: bool, is_silent: bool) -> None:
        """is_asleep: the broadcaster; is_silent: what holds the grants, which else beats."""
        end_ns = self.now_ns + span_ns
        while not is_asleep and self.machine.deadline_ns <= end_ns:
            self.now_ns = max(self.now_ns, self.machine.deadline_ns)
            for shard in [] if is_silent else self.machine.fence.holdings:
                self.batch_comes([], shard, 0, 0, False, 0, 0, None, 0, 0, 5 * S)
            self._give(e.Wake(self.utc_ns, 0))
        self.now_ns = end_ns
        self._read()

    @rule(shard=SHARDS, epoch=EPOCHS, source=st.sampled_from(["websocket", "rest", "none"]))
    def granted(self, shard: int, epoch: int, source: str) -> None:
        self._give(e.Told(m.Grant(shard, epoch, source), self.utc_ns))  # type: ignore[arg-type]

    @rule(
        feed=FEEDS,
        source=st.sampled_from([*["websocket", "rest"] * 4, "cache"]),
        closed=st.lists(st.sampled_from([1, 7, 9]), max_size=2, unique=True),
        fresh_shards=st.sampled_from([None, *[[0, 1]] * 4, [0], [1], []]),
    )
    def announced(
        self, feed: str, source: str, closed: list[int], fresh_shards: list[int] | None
    ) -> None:
        state = f.FeedState(feed, source, closed_segments=closed, fresh_shards=fresh_shards)
        self._give(e.Told(m.Announce(state), self.utc_ns))

    @rule(
        topics=st.lists(st.sampled_from(sorted(TOPICS)), unique=True),
        shard=SHARDS,
        epoch=EPOCHS,
        source=st.sampled_from([Source.WEBSOCKET, Source.REST]),
        is_stray=RARELY,
        received_ago_ns=AGES,
        frame_ago_ns=AGES,
        canary_ago_ns=st.sampled_from([None, None, None, 0, 6 * S]),
        lost=st.sampled_from([0, 0, 0, 2]),
        flags=st.sampled_from([0, 0, int(Flag.FIRST_PACKET)]),
        period_ns=st.sampled_from([5 * S, 20 * S, 40 * S]),
    )
    def batch_comes(
        self,
        topics: list[bytes],
        shard: int,
        epoch: int,
        source: int,
        is_stray: bool,
        received_ago_ns: int,
        frame_ago_ns: int,
        canary_ago_ns: int | None,
        lost: int,
        flags: int,
        period_ns: int,
    ) -> None:
        held = self.machine.fence.holdings.get(shard)
        if not is_stray and held is not None and held.source:
            epoch, source = held.epoch, held.source
        self.batch_seqs[shard] = self.batch_seqs.get(shard, 0) + 1 + lost
        self._ingest(
            IngestBatch(
                f.VERSION, shard, epoch, source, self.batch_seqs[shard],
                received_boot_ns=self.now_ns - received_ago_ns,
                last_frame_boot_ns=self.now_ns - frame_ago_ns,
                canary_boot_ns=0 if canary_ago_ns is None else self.now_ns - canary_ago_ns,
                period_ns=period_ns if source == Source.REST else 0,
                items=[],
                topics=topics,
                bodies=[f.encode(TickBody(TOPICS[topic], LTP, 100, 150_000)) for topic in topics],
                flags=[flags] * len(topics),
            )
        )  # fmt: skip

    @rule(topic=st.sampled_from(sorted(TOPICS)), shard=SHARDS)
    def streams_no_more(self, topic: bytes, shard: int) -> None:
        held = self.machine.fence.holdings.get(shard)
        if held is not None:
            self.batch_seqs[shard] = self.batch_seqs.get(shard, 0) + 1
            self._ingest(
                IngestBatch(
                    f.VERSION, shard, held.epoch, held.source, self.batch_seqs[shard],
                    self.now_ns, self.now_ns, 0, 0,
                    [Item(topic, int(Flag.STALE), msgspec.Raw(b"\xc0"))],
                )
            )  # fmt: skip

    @rule(by_ns=st.sampled_from([-3_600 * S, -S, -MS, MS, S, 3_600 * S]))
    def wall_clock_steps(self, by_ns: int) -> None:
        self.to_utc_ns += by_ns

    @rule()
    def reader_pauses(self) -> None:
        self.is_reading = False

    @rule()
    def reader_goes_on(self) -> None:
        self.is_reading = True
        self._read()

    @rule(is_so=RARELY)
    def broadcaster_restarts(self, is_so: bool) -> None:
        if not is_so:
            return
        rows = self.machine.rows(self.now_ns, self.utc_ns)
        values = LastValues()
        values.load(rows, now_ns=self.now_ns, utc_ns=self.utc_ns)
        self.gen += 1
        self.machine = self._broadcaster(values)

    # --- both judges --------------------------------------------------------------------------

    def _broadcaster(self, values: LastValues) -> Broadcaster:
        machine = Broadcaster(self.gen, self.now_ns, values)
        for subscription in (b"tick/", b"hb/feed\0", b"state/feed\0", *(t + NUL for t in TOPICS)):
            self._give(e.Subscription(b"\1" + subscription, self.utc_ns), machine)
        return machine

    def _ingest(self, batch: IngestBatch) -> None:
        self._give(e.Ingest(f.encode(batch), self.utc_ns))

    def _give(self, event: e.Event, machine: Broadcaster | None = None) -> None:
        for command in (machine or self.machine).handle(event, self.now_ns):
            if isinstance(command, e.Publish):
                self.pipe += command.frames
        self._read()

    def _read(self) -> None:
        while self.is_reading and self.pipe:
            frame = self.pipe.pop(0)
            self.view.apply(frame, self.now_ns, self.utc_ns)
            if not frame.startswith(b"state/"):
                self.asked_ns = self.now_ns
                self.example.take(frame)
            self._compare(self.now_ns)
        for then_ns in self._turning_points():
            self._compare(then_ns)
            self._compare(then_ns + 1)

    def _turning_points(self) -> set[int]:
        """Return when a verdict may change, unless something is heard before."""
        view, points_ns = self.view, {self.now_ns, self.view._heard_ns + HEARTBEAT_HOLDS_NS}
        for tick in view.values.values():
            received_ns = self.now_ns - tick.age_ns(self.now_ns)
            periods = (
                [health.period_ns for health in view.heartbeat.shards] if view.heartbeat else []
            )
            points_ns |= {received_ns + 60 * S, *(received_ns + 2 * each for each in periods)}
        return {ns for ns in points_ns if ns >= self.now_ns}

    def _compare(self, now_ns: int) -> None:
        self.asked_ns = now_ns
        for key, tick in self.view.values.items():
            is_fresh, was_fresh = (
                self.view.is_fresh(tick, now_ns), old_is_fresh(self.view, tick, now_ns),
            )  # fmt: skip
            assert was_fresh or not is_fresh
            assert is_fresh or not was_fresh or is_about_to_end(self.view, tick, now_ns)
            in_example = self.example.is_fresh(tick_topic(key))
            assert in_example == is_fresh or (is_fresh and self.view.late)


TestTwoJudges = TwoJudges.TestCase
TestTwoJudges.settings = settings(max_examples=200, stateful_step_count=60)
