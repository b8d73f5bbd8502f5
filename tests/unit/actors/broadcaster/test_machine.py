"""The broadcaster's decisions, in virtual time."""

from typing import TypeVar

import msgspec
import pytest

from kitefeed.actors.broadcaster import events as e
from kitefeed.actors.broadcaster.machine import HEARTBEAT_GAP_NS, SAVE_NS
from kitefeed.actors.broadcaster.snapshots import SNAPSHOTS_QUEUED_MAX
from kitefeed.actors.broadcaster.wishes import LISTENERS_DELAY_NS, LISTENERS_DELAY_NS_MAX
from kitefeed.actors.policy.machine import Welcomed
from kitefeed.protocol import feed as f
from kitefeed.protocol.feed import FeedMessage, Flag, IngestBatch, Source
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.membership import GrantReport
from kitefeed.protocol.topics import (
    HEARTBEAT_TOPIC,
    NUL,
    STATE_TOPIC,
    TICKS_TOPIC,
    mode_request,
    presence,
    snapshot_request,
    tick_topic,
    want_request,
)
from tests.unit.actors.broadcaster.world import BODY, GEN, INFY, TCS, S, World

T = TypeVar("T")


@pytest.fixture
def world() -> World:
    made = World()
    made.grant(1)
    made.subscribe(b"tick/")
    made.published.clear()
    made.told.clear()
    return made


# --- fence ------------------------------------------------------------------------------------


def test_only_the_granted_source_and_epoch_are_published(world: World) -> None:
    world.batch(INFY, epoch=2)
    world.batch(INFY, source=Source.REST)
    assert world.take(INFY) == []
    assert world.machine.fence.fenced == 2
    world.batch(INFY)
    assert len(world.take(INFY)) == 1


def test_a_beat_of_a_source_without_the_grant_is_not_counted_as_fenced(world: World) -> None:
    world.batch(epoch=2)
    assert world.machine.fence.fenced == 0


def test_a_grant_is_acknowledged_and_a_lower_one_is_answered_with_the_one_in_force(
    world: World,
) -> None:
    world.grant(5, "rest")
    world.grant(4)
    world.grant(5, "rest")
    assert world.told == [m.Granted(0, 5, "rest")] * 3
    assert world.machine.fence.highest_epoch == 5
    assert world.machine.grants() == (GrantReport(0, 5, "rest"),)


def test_a_repeated_grant_does_not_forget_that_the_source_is_alive(world: World) -> None:
    world.batch(INFY)
    world.grant(1)
    world.turn()
    assert world.heartbeat().shards[0].is_alive


def test_a_grant_to_none_closes_the_fence(world: World) -> None:
    world.grant(2, "none")
    world.batch(INFY, epoch=2, source=Source.NONE)
    assert world.take(INFY) == []


def test_a_grant_for_an_impossible_shard_is_ignored(world: World) -> None:
    world.grant(3, shard=999)
    assert world.told == []


def test_a_grant_change_is_told_in_a_heartbeat_at_once(world: World) -> None:
    world.grant(2, "rest")
    health = world.heartbeat().shards[0]
    assert (health.epoch, health.source, health.is_alive) == (2, Source.REST, False)


# --- numbers and stamps -----------------------------------------------------------------------


def test_seq_counts_per_topic_inside_one_gen(world: World) -> None:
    world.batch(INFY, b"tick/NSE:TCS", INFY)
    world.grant(2)
    world.batch(INFY, epoch=2)
    infy = world.take(INFY)
    assert [(x.gen, x.seq, x.epoch) for x in infy] == [(GEN, 1, 1), (GEN, 2, 1), (GEN, 3, 2)]


def test_the_receive_stamp_is_the_batch_stamp_on_the_wall_clock(world: World) -> None:
    world.batch(INFY, received_ns=world.now_ns - 3_000_000)
    (message,) = world.take(INFY)
    assert message.t_pub_ns == world.utc_ns
    assert message.t_pub_ns - message.t_rx_ns == 3_000_000


def test_a_body_is_carried_byte_by_byte(world: World) -> None:
    world.batch(INFY, flags=int(Flag.FIRST_PACKET | Flag.CACHED))
    (message,) = world.take(INFY)
    assert bytes(message.body) == bytes(BODY)
    assert message.flags == Flag.FIRST_PACKET


def test_a_hole_in_batch_seq_is_counted_but_not_before_the_first_batch(world: World) -> None:
    world.batch(INFY, batch_seq=10)
    world.batch(INFY, batch_seq=11)
    world.batch(INFY, batch_seq=15)
    assert world.machine.fence.lost_batches == 3


def test_a_loss_is_told_before_the_values_that_came_after_it(world: World) -> None:
    world.batch(INFY)
    world.now_ns += 10_000_000
    world.batch(TCS, batch_seq=7)
    topics = [topic for topic, _ in world.published]
    assert topics[-2:] == [HEARTBEAT_TOPIC, TCS]
    assert world.heartbeat().shards[0].loss_age_ns == 5_000_000
    assert world.machine.fence.losses == {0: 5}


def test_a_new_grant_has_lost_nothing_yet(world: World) -> None:
    world.batch(INFY)
    world.batch(INFY, batch_seq=7)
    world.grant(2)
    assert world.heartbeat().shards[0].loss_age_ns == -1


def test_a_full_queue_is_told_soon(world: World) -> None:
    world.turn()
    world.published.clear()
    world.machine.note_full_queues(2, world.now_ns)
    world.run(HEARTBEAT_GAP_NS)
    assert world.heartbeat().full_queues == 2
    world.published.clear()
    world.machine.note_full_queues(2, world.now_ns)
    world.run(HEARTBEAT_GAP_NS)
    assert world.take(HEARTBEAT_TOPIC) == []


@pytest.mark.parametrize(
    "frame",
    [b"", b"\xc1", b"\x91" * 100_000, f.encode([1]), f.encode({"a": 1}), b"\xdd\xff\xff\xff\xff"],
)
def test_a_batch_that_cannot_be_decoded_is_counted(world: World, frame: bytes) -> None:
    world.give(e.Ingest(frame, world.utc_ns))
    assert world.machine.bad_batches == 1


@pytest.mark.parametrize(
    "topic", [b"hb/feed", b"", b"tick/A:\0B", b"~snap!a!", b"tick/" + b"x" * 300]
)
def test_an_item_no_source_may_send_is_dropped_and_its_neighbours_are_kept(
    world: World, topic: bytes
) -> None:
    world.batch(INFY, topic, INFY)
    assert world.machine.bad_items == 1
    assert len(world.take(INFY)) == 2


def test_a_tick_is_written_only_for_those_who_listen_but_always_numbered(world: World) -> None:
    world.unsubscribe(b"tick/")
    world.batch(INFY, TCS)
    assert [topic for topic, _ in world.published if topic.startswith(b"tick")] == []
    world.subscribe(INFY + NUL)
    world.subscribe(b"tick/NSE:T")
    world.published.clear()
    world.batch(INFY, TCS, b"tick/BSE:SBIN")
    written = [(topic, message.seq) for topic, message in world.published]
    assert written == [(INFY, 2), (TCS, 2)]


def test_all_ticks_of_a_batch_go_together_to_those_who_read_everything(world: World) -> None:
    world.batch(INFY)
    assert world.take(TICKS_TOPIC) == []
    world.subscribe(TICKS_TOPIC + NUL)
    world.published.clear()
    world.batch(INFY, TCS, INFY)
    world.batch(TCS, flags=Flag.FIRST_PACKET)
    first, second = world.take(TICKS_TOPIC)
    assert (first.seq, second.seq, first.epoch, first.source) == (1, 2, 1, Source.WEBSOCKET)
    body = msgspec.msgpack.decode(first.body)
    assert body == [[INFY, TCS, INFY], [2, 1, 3], [msgspec.msgpack.decode(BODY)] * 3, []]
    assert msgspec.msgpack.decode(second.body)[3] == [Flag.FIRST_PACKET]


def test_an_instrument_that_comes_twice_in_one_batch_keeps_both_ticks(world: World) -> None:
    world.grant(1)
    world.subscribe(INFY + NUL)
    bodies = [f.encode([1, 3, 100, price]) for price in (5, 6)]
    batch = IngestBatch(
        f.VERSION,
        0,
        1,
        Source.WEBSOCKET,
        1,
        world.now_ns,
        world.now_ns,
        0,
        0,
        [],
        [INFY] * 2,
        bodies,
    )
    world.give(e.Ingest(f.encode(batch), world.utc_ns))
    got = [(m.seq, bytes(m.body)) for topic, m in world.published if topic == INFY]
    assert got == [(1, bodies[0]), (2, bodies[1])]


def test_a_reader_of_everything_is_told_what_streams_no_more(world: World) -> None:
    world.subscribe(TICKS_TOPIC + NUL)
    world.batch(INFY)
    world.published.clear()
    world.batch(INFY, flags=Flag.STALE)
    (end,) = world.take(TICKS_TOPIC)
    topics, seqs, _, flags = msgspec.msgpack.decode(end.body)
    assert (topics, seqs, flags) == ([INFY], [2], [Flag.STALE])


def test_columns_of_different_lengths_are_a_bad_batch(world: World) -> None:
    batch = IngestBatch(f.VERSION, 0, 1, Source.WEBSOCKET, 1, 1, 1, 0, 0, [], [INFY, TCS], [b"x"])
    world.give(e.Ingest(f.encode(batch), world.utc_ns))
    assert (world.machine.bad_batches, world.take(INFY)) == (1, [])


def test_orders_and_notices_are_numbered_but_never_kept(world: World) -> None:
    order = b"order/151220000000000"
    world.batch(order, order, b"notice/message")
    assert [x.seq for x in world.take(order)] == [1, 2]
    world.subscribe(order + NUL)
    assert world.take(order) == []


# --- last values ------------------------------------------------------------------------------


def test_an_exact_subscriber_gets_the_same_seq_again_with_its_true_age(world: World) -> None:
    world.batch(INFY)
    live = world.take(INFY)[0]
    world.now_ns += 5 * S
    world.utc_offset_ns -= 3_600 * S  # somebody set the wall clock back
    world.subscribe(INFY + NUL)
    (replay,) = world.take(INFY)
    assert (replay.seq, replay.flags) == (live.seq, Flag.REPLAY)
    assert replay.t_pub_ns - replay.t_rx_ns == 5 * S


def test_a_replay_says_stale_once_another_epoch_holds_the_grant(world: World) -> None:
    world.batch(INFY)
    world.grant(2)
    world.published.clear()
    world.subscribe(INFY + NUL)
    assert world.take(INFY)[0].flags == Flag.REPLAY | Flag.STALE


def test_a_prefix_subscription_is_not_replayed(world: World) -> None:
    world.batch(INFY)
    world.published.clear()
    world.subscribe(b"tick/")
    assert world.published == []


def snapshot(world: World, request: bytes) -> tuple[list[tuple[bytes, FeedMessage]], int]:
    """Values of a snapshot, and the count at its end."""
    *chunks, end = world.take(request.removesuffix(NUL))
    assert [c.seq for c in [*chunks, end]] == list(range(1, len(chunks) + 2))
    found = []
    for chunk in chunks:
        frames = f.decode_snapshot_chunk(chunk.body)
        assert isinstance(frames, list)
        assert len(frames) <= 100
        found += [
            (topic, f.decode_feed_message(array)) for topic, array in map(f.split_frame, frames)
        ]
    body = f.decode_snapshot_chunk(end.body)
    assert isinstance(body, f.SnapshotEnd)
    return found, body.count


def test_a_snapshot_holds_every_value_of_the_prefix_and_their_number(world: World) -> None:
    world.batch(*[tick_topic(f"NSE:S{n}") for n in range(250)], b"tick/NFO:X")
    world.published.clear()
    request = snapshot_request("ab", b"tick/NSE:")
    world.subscribe(request)
    world.turn()
    values, count = snapshot(world, request)
    assert count == len(values) == len({topic for topic, _ in values}) == 250
    assert {message.flags for _, message in values} == {Flag.SNAPSHOT}


def test_a_snapshot_of_one_exact_topic_is_answered_on_the_bytes_that_were_asked(
    world: World,
) -> None:
    world.batch(INFY, INFY + b"X")
    world.published.clear()
    request = snapshot_request("ab", INFY + NUL)
    world.subscribe(request)
    world.turn()
    values, count = snapshot(world, request)
    assert ([topic for topic, _ in values], count) == ([INFY], 1)


def test_a_snapshot_of_the_empty_prefix_holds_everything_that_is_kept(world: World) -> None:
    world.give(e.Told(m.Announce(f.FeedState()), world.utc_ns))
    world.batch(INFY, TCS)
    world.published.clear()
    request = snapshot_request("ab", b"")
    world.subscribe(request)
    world.turn()
    values, count = snapshot(world, request)
    assert (sorted(topic for topic, _ in values), count) == ([STATE_TOPIC, INFY, TCS], 3)


def test_an_empty_snapshot_has_only_an_end(world: World) -> None:
    world.published.clear()
    request = snapshot_request("ab", b"tick/")
    world.subscribe(request)
    world.turn()
    assert snapshot(world, request) == ([], 0)


def test_one_snapshot_is_answered_per_turn(world: World) -> None:
    requests = [snapshot_request(f"{n:x}", b"tick/") for n in range(3)]
    for request in requests:
        world.subscribe(request)
    world.published.clear()
    world.turn()
    assert [topic for topic, _ in world.published if topic in requests] == requests[:1]
    assert world.machine.deadline_ns <= world.now_ns


def test_a_snapshot_nobody_waits_for_any_more_is_not_built(world: World) -> None:
    request = snapshot_request("ab", b"tick/")
    world.subscribe(request)
    world.unsubscribe(request)
    world.turn()
    assert world.take(request) == []


def test_waiting_snapshots_are_bounded(world: World) -> None:
    for n in range(SNAPSHOTS_QUEUED_MAX + 10):
        world.subscribe(snapshot_request(f"{n:x}", b"tick/"))
    answered = 0
    while world.machine.deadline_ns == 0:
        world.turn()
        answered += 1
    assert answered == SNAPSHOTS_QUEUED_MAX


@pytest.mark.parametrize(
    "frame", [b"", b"\1", b"\2abc", b"\1" + b"x" * 400, b"\1\xff\xfe\0", b"\0never", b"\1~snap!"]
)
def test_no_subscription_raises(world: World, frame: bytes) -> None:
    world.give(e.Subscription(frame, world.utc_ns))
    world.run(S)


# --- listeners --------------------------------------------------------------------------------


def test_listeners_are_told_whole_once_a_burst_is_over(world: World) -> None:
    for key in ("NSE:TCS", "NSE:INFY", "NSE:INFY"):
        world.subscribe(tick_topic(key) + NUL)
    world.subscribe(b"tick/NSE:")
    assert world.told == []
    world.run(LISTENERS_DELAY_NS)
    assert world.told == [m.ListenersWant(("NSE:TCS", "NSE:INFY"))]


def test_listeners_are_not_told_again_when_nothing_changed(world: World) -> None:
    world.subscribe(INFY + NUL)
    world.run(S)
    world.subscribe(INFY + NUL)
    world.unsubscribe(INFY + NUL)
    world.run(S)
    assert len(world.told) == 1
    world.unsubscribe(INFY + NUL)
    world.run(S)
    assert world.told[-1] == m.ListenersWant(())


def test_listeners_are_told_again_to_a_supervisor_that_does_not_know(world: World) -> None:
    world.subscribe(INFY + NUL)
    world.run(S)
    world.give(Welcomed())
    assert world.told == [m.ListenersWant(("NSE:INFY",))] * 2
    world.run(S)
    assert len(world.told) == 2


def test_a_burst_that_goes_on_is_told_as_one_but_never_late(world: World) -> None:
    for number in range(100):
        world.subscribe(f"tick/NSE:{number:03}".encode() + NUL)
        world.run(LISTENERS_DELAY_NS // 5)
    world.run(S)
    assert 100 * LISTENERS_DELAY_NS // 5 // LISTENERS_DELAY_NS_MAX == 4
    assert 4 <= len(world.told) <= 6
    assert world.told[-1] == m.ListenersWant(tuple(f"NSE:{n:03}" for n in range(100)))


def test_a_change_of_mode_alone_is_told(world: World) -> None:
    world.subscribe(INFY + NUL)
    world.run(S)
    world.subscribe(mode_request("full", INFY))
    world.run(S)
    assert world.told[1:] == [m.ListenersWant(("NSE:INFY",), {"NSE:INFY": "full"})]


def test_what_a_reader_of_all_ticks_wants_is_told(world: World) -> None:
    world.subscribe(want_request("ltp", INFY))
    world.run(S)
    assert world.told[-1] == m.ListenersWant(("NSE:INFY",), {"NSE:INFY": "ltp"})


def test_subscribers_are_the_clients_that_announce_themselves_or_the_widest_topic(
    world: World,
) -> None:
    world.subscribe(presence("a"))
    world.subscribe(presence("b"))
    assert world.machine.listeners.subscribers == 2
    for _ in range(3):
        world.subscribe(b"hb/")
    assert world.machine.listeners.subscribers == 3
    for _ in range(3):
        world.unsubscribe(b"hb/")
    world.unsubscribe(presence("b"))
    assert world.machine.listeners.subscribers == 1


# --- liveness ---------------------------------------------------------------------------------


def is_alive(world: World) -> bool:
    return world.machine.fence.holdings[0].is_alive(world.now_ns)


def test_a_heartbeat_is_sent_every_second(world: World) -> None:
    world.run(10 * S, beats=True)
    assert 9 <= len(world.take(HEARTBEAT_TOPIC)) <= 12


def test_a_source_that_came_to_life_is_told_before_its_first_value(world: World) -> None:
    world.batch(INFY)
    assert [topic for topic, _ in world.published] == [HEARTBEAT_TOPIC, INFY]
    assert world.heartbeat().shards[0].is_alive


def test_the_end_of_a_source_is_told_within_two_seconds(world: World) -> None:
    world.batch(INFY)
    world.run(1_500_000_000 + 10_000_000)
    assert not world.heartbeat().shards[0].is_alive


def test_a_source_whose_upstream_is_silent_is_not_alive_although_it_beats(world: World) -> None:
    began_ns = world.now_ns
    world.batch(INFY)
    for _ in range(14):
        world.now_ns += S // 4
        world.batch(frame_ns=began_ns)
    assert not is_alive(world)


def test_a_silent_canary_ends_life_but_no_canary_does_not(world: World) -> None:
    world.batch(INFY)
    assert is_alive(world)
    world.batch(canary_ns=world.now_ns - 6 * S)
    assert not is_alive(world)
    world.batch(canary_ns=world.now_ns - 4 * S)
    assert is_alive(world)


def test_what_a_source_holds_is_told_at_once_and_ends_with_its_grant(world: World) -> None:
    def held() -> list[int]:
        return [s.segment for s in world.heartbeat().shards[0].segments if not s.fresh_since_ns]

    world.give(e.Told(m.Announce(f.FeedState("live", "websocket")), world.utc_ns))
    world.batch(INFY)
    world.published.clear()
    world.batch(held=[9])
    assert held() == [9]
    assert is_alive(world)
    world.batch()
    assert held() == []
    world.batch(held=[9])
    world.grant(2, "rest")
    assert held() == []


def test_a_poller_is_alive_for_two_periods_after_its_last_value(world: World) -> None:
    world.grant(2, "rest")
    for _ in range(11):
        world.batch(INFY, epoch=2, source=Source.REST, period_ns=5 * S)
        first_ns = world.now_ns
    while world.now_ns - first_ns < 11 * S:
        world.now_ns += S
        world.batch(epoch=2, source=Source.REST, period_ns=5 * S)
        assert is_alive(world)
    world.now_ns += S
    world.batch(epoch=2, source=Source.REST, period_ns=5 * S)
    assert not is_alive(world)


def test_a_new_hb_subscriber_gets_one_early_but_not_more_than_ten_a_second(world: World) -> None:
    world.run(S)
    world.take(HEARTBEAT_TOPIC)
    for _ in range(100):
        world.subscribe(HEARTBEAT_TOPIC + NUL)
        world.run(10_000_000)
    assert 5 <= len(world.take(HEARTBEAT_TOPIC)) <= 12


# --- words ------------------------------------------------------------------------------------


def test_an_announced_state_is_published_kept_and_repeated_in_heartbeats(world: World) -> None:
    state = f.FeedState(feed="live", source="websocket", session="valid", reason="ok", epoch=1)
    world.give(e.Told(m.Announce(state), world.utc_ns))
    assert world.heartbeat().feed == "live"
    (sent,) = world.take(STATE_TOPIC)
    assert f.decode_state(sent.body) == state
    world.subscribe(STATE_TOPIC + NUL)
    (replay,) = world.take(STATE_TOPIC)
    assert (replay.seq, replay.flags) == (sent.seq, Flag.REPLAY)


def test_a_segment_that_closes_is_told_in_a_heartbeat_at_once(world: World) -> None:
    world.give(e.Told(m.Announce(f.FeedState(feed="live", source="websocket")), world.utc_ns))
    world.take(HEARTBEAT_TOPIC)
    state = f.FeedState(feed="live", source="websocket", closed_segments=[1, 9])
    world.give(e.Told(m.Announce(state), world.utc_ns))
    assert world.heartbeat().closed_segments == [1, 9]


def test_a_broken_configuration_is_the_headline_until_somebody_decides() -> None:
    world = World(misconfigured="kite.api_kee: is not a setting")
    world.turn()
    assert (world.heartbeat().feed, world.heartbeat().reason) == (
        "misconfigured", "kite.api_kee: is not a setting",
    )  # fmt: skip


# --- saving -----------------------------------------------------------------------------------


def test_values_are_saved_every_ten_seconds_when_there_is_something_new(world: World) -> None:
    world.batch(INFY)
    world.run(SAVE_NS * 3)
    assert len(world.saves) == 1
    (row,) = world.saves[0]
    assert (row.topic, row.source, row.epoch) == (INFY, Source.WEBSOCKET, 1)
    world.give(e.SaveFailed())
    world.run(SAVE_NS)
    assert len(world.saves) == 2


def test_a_value_whose_instrument_streams_no_more_is_sent_again_as_stale(world: World) -> None:
    world.batch(INFY)
    live = world.take(INFY)[0]
    world.now_ns += 5 * S
    world.batch(INFY, flags=Flag.STALE)
    (ended,) = world.take(INFY)
    assert (ended.seq, ended.flags, ended.epoch) == (live.seq + 1, Flag.STALE, live.epoch)
    assert ended.t_pub_ns - ended.t_rx_ns == 5 * S
    assert ended.body == live.body
    world.subscribe(INFY + NUL)
    assert world.take(INFY)[0].flags == Flag.REPLAY | Flag.STALE
    world.batch(INFY, flags=Flag.STALE)
    assert world.take(INFY) == []
    world.batch(INFY)
    assert world.take(INFY)[0].flags == 0


def test_each_tick_notice_and_stale_value_counts_as_published_once(world: World) -> None:
    world.subscribe(b"notice/")
    world.batch(INFY, TCS)
    world.batch(b"notice/kite/warn")
    world.batch(INFY, flags=Flag.STALE)
    told = [topic for topic, _ in world.published if topic != HEARTBEAT_TOPIC]
    assert told == [INFY, TCS, b"notice/kite/warn", INFY]
    assert world.machine.counters()["published"] == 4


def test_what_another_shard_has_taken_over_is_not_ended_by_the_one_before(world: World) -> None:
    world.grant(2, shard=1)
    world.batch(INFY)
    world.batch(INFY, epoch=2, shard=1)
    world.take(INFY)
    world.batch(INFY, flags=Flag.STALE)
    assert world.take(INFY) == []
    world.batch(INFY, epoch=2, shard=1, flags=Flag.STALE)
    assert world.take(INFY)[0].flags == Flag.STALE


def test_the_cached_packets_of_a_login_end_no_value_and_the_next_session_does(world: World) -> None:
    world.batch(INFY)
    world.now_ns += 30 * 3_600 * S
    world.batch(TCS, flags=Flag.FIRST_PACKET)
    assert {row.topic for row in world.machine.rows(world.now_ns, world.utc_ns)} == {INFY, TCS}
    world.batch(TCS)
    assert {row.topic for row in world.machine.rows(world.now_ns, world.utc_ns)} == {TCS}
