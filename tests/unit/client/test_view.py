"""Tests how a reader numbers, orders and judges what it receives; no socket, virtual time."""

from datetime import timedelta
from typing import get_args

import msgspec
import pytest

from kitefeed.cli.commands.tail import WORDS
from kitefeed.client.tick import Staleness, Tick
from kitefeed.client.waiting import PENDING_MAX
from kitefeed.protocol import feed as f
from kitefeed.protocol.feed import HEARTBEAT_HOLDS_NS, Flag, Source
from kitefeed.protocol.kite.ticks import FULL, TickBody
from kitefeed.protocol.kite.units import IST
from kitefeed.protocol.topics import HEARTBEAT_TOPIC, STATE_TOPIC, TICKS_TOPIC, tick_topic
from tests.unit.client.view_kit import DEPTH, INFY, REQUEST, Reader, S


@pytest.fixture
def reader() -> Reader:
    made = Reader()
    made.heartbeat()
    return made


def age_s(reader: Reader) -> float:
    return reader.value().age_ns(reader.now_ns) / S


# --- freshness --------------------------------------------------------------------------------


def test_a_value_of_the_live_source_is_fresh_however_long_ago_it_traded(reader: Reader) -> None:
    reader.tick()
    for _ in range(600):
        reader.now_ns += S
        reader.heartbeat()
    assert reader.value().is_fresh
    assert reader.value().source == "websocket"
    assert age_s(reader) == 600


def test_silence_makes_every_value_stale_and_the_status_lost(reader: Reader) -> None:
    reader.tick()
    reader.now_ns += HEARTBEAT_HOLDS_NS
    assert reader.value().is_fresh
    reader.now_ns += 1
    assert not reader.value().is_fresh
    assert reader.value().source == "cache"
    assert reader.value().origin == "websocket"
    status = reader.view.status(reader.now_ns)
    assert (status.feed, str(status), status.session) == ("lost", "lost", "unknown")


def test_heartbeats_that_waited_in_a_queue_prove_nothing(reader: Reader) -> None:
    reader.tick()
    reader.now_ns += 60 * S
    for seconds in range(60, 3, -1):
        reader.heartbeat(sent_ago_ns=seconds * S)
    assert not reader.value().is_fresh
    assert reader.view.status(reader.now_ns).feed == "lost"
    reader.heartbeat()
    assert reader.value().is_fresh


def test_a_value_of_another_epoch_or_source_is_cache(reader: Reader) -> None:
    reader.tick()
    reader.heartbeat(epoch=8)
    assert (reader.value().is_fresh, reader.value().source) == (False, "cache")
    reader.heartbeat(granted=Source.REST, source="rest")
    assert (reader.value().is_fresh, reader.value().source) == (False, "cache")


def test_a_dead_source_is_not_fresh_but_keeps_its_name(reader: Reader) -> None:
    reader.tick()
    reader.heartbeat(is_alive=False)
    assert (reader.value().is_fresh, reader.value().source) == (False, "websocket")


def test_what_is_held_because_of_a_silent_canary_is_not_fresh_and_keeps_its_source(
    reader: Reader,
) -> None:
    reader.tick()
    reader.heartbeat(held_segments=(9,))
    assert reader.value().is_fresh  # indices are, it is a share
    reader.heartbeat(held_segments=(9, 1))
    assert (reader.value().is_fresh, reader.value().source) == (False, "websocket")


@pytest.mark.parametrize("feed", ["closed", "paused", "misconfigured", "stale", "no_entitlement"])
def test_nothing_is_fresh_under_a_headline_that_denies_it(reader: Reader, feed: str) -> None:
    reader.tick()
    reader.heartbeat(feed=feed)
    assert not reader.value().is_fresh


def test_the_word_for_the_worst_shard_leaves_the_values_of_others_fresh(reader: Reader) -> None:
    reader.tick()
    reader.heartbeat(feed="stale", fresh_shards=[0, 2])
    assert reader.value().is_fresh
    reader.heartbeat(feed="stale", fresh_shards=[1, 2])
    assert not reader.value().is_fresh
    reader.heartbeat(feed="live", fresh_shards=[])
    assert not reader.value().is_fresh
    reader.heartbeat(feed="stale")  # of a daemon that does not tell
    assert not reader.value().is_fresh
    reader.heartbeat(feed="login_required", fresh_shards=[0])
    assert reader.value().is_fresh
    reader.heartbeat(feed="paused", fresh_shards=[0])
    assert not reader.value().is_fresh


def test_a_value_of_a_closed_segment_is_fresh_for_a_minute_after_it_came(reader: Reader) -> None:
    reader.tick()
    reader.heartbeat(closed=[1, 9])
    assert reader.value().is_fresh  # ticks overrule the calendar
    for _ in range(61):
        reader.now_ns += S
        reader.heartbeat(closed=[1, 9])
    assert (reader.value().is_fresh, reader.value().source) == (False, "websocket")
    reader.heartbeat(closed=[7])
    assert reader.value().is_fresh


def test_a_cached_packet_of_a_closed_segment_is_not_fresh(reader: Reader) -> None:
    reader.tick(flags=Flag.FIRST_PACKET)
    assert reader.value().is_fresh
    reader.heartbeat(closed=[1])
    assert not reader.value().is_fresh


def test_polled_values_are_fresh_under_login_required_for_two_periods_at_most() -> None:
    """The last heartbeat that finds them so may hold for 2.5 s."""
    reader = Reader()
    words = {"feed": "login_required", "source": "rest", "granted": Source.REST}
    reader.heartbeat(**words, period_ns=5 * S)  # type: ignore[arg-type]
    reader.tick(source=Source.REST)
    reader.now_ns += 15 * S // 2
    reader.heartbeat(**words, period_ns=5 * S)  # type: ignore[arg-type]
    assert reader.value().is_fresh
    reader.now_ns += HEARTBEAT_HOLDS_NS
    assert reader.value().is_fresh
    reader.heartbeat(**words, period_ns=5 * S)  # type: ignore[arg-type]
    assert not reader.value().is_fresh
    assert reader.value().source == "rest"


def test_nothing_is_fresh_by_the_heartbeat_of_a_daemon_that_does_not_judge(reader: Reader) -> None:
    reader.tick()
    health = f.ShardHealth(0, Source.WEBSOCKET, 7, True, 0, -1, 0)
    body = f.Heartbeat(1, "live", "websocket", "valid", "", [health], 0, 0, 0, 0, 0, 1, 0)
    reader.apply(f.feed_frame(HEARTBEAT_TOPIC, reader.message(body, seq=2, source=0)))
    assert (reader.value().is_fresh, reader.value().source) == (False, "websocket")


def test_the_heartbeat_of_the_broadcaster_before_says_nothing_of_a_new_one(reader: Reader) -> None:
    reader.gen = 2
    reader.tick()
    assert not reader.value().is_fresh
    reader.heartbeat()
    assert reader.value().is_fresh


@pytest.mark.parametrize("step_s", [-3_600, 3_600])
def test_a_wall_clock_that_steps_changes_nothing_of_what_came_before(
    reader: Reader, step_s: int
) -> None:
    reader.tick("NSE:TCS")
    reader.now_ns += S
    reader.tick()
    reader.heartbeat(loss_age_ns=S // 2)
    reader.step_ns = step_s * S
    for _ in range(2):
        assert (reader.value().is_fresh, reader.value("NSE:TCS").is_fresh) == (True, False)
        reader.heartbeat(loss_age_ns=S // 2)


@pytest.mark.parametrize("flag", [Flag.CACHED, Flag.STALE])
def test_a_flagged_value_is_never_fresh(reader: Reader, flag: Flag) -> None:
    reader.tick(flags=Flag.REPLAY | flag)
    assert (reader.value().is_fresh, reader.value().source) == (False, "cache")


def test_a_tick_that_was_overtaken_is_not_fresh(reader: Reader) -> None:
    reader.tick(seq=1)
    old = reader.value()
    reader.tick(seq=2)
    assert not old.is_fresh
    assert reader.value().is_fresh


def test_values_of_the_broadcaster_before_are_cache_until_it_sends_them(reader: Reader) -> None:
    reader.tick(seq=900)
    reader.gen = 2
    reader.heartbeat()
    assert (reader.value().is_fresh, reader.value().source) == (False, "cache")
    reader.tick(seq=1)
    assert reader.value().is_fresh


def test_age_counts_what_passed_before_publishing_on_the_way_and_here(reader: Reader) -> None:
    reader.tick(t_rx_ns=reader.utc_ns - 7 * S, t_pub_ns=reader.utc_ns - 2 * S)
    reader.now_ns += 3 * S
    assert age_s(reader) == 10


@pytest.mark.parametrize(
    "other",
    [
        {"epoch": 8},
        {"shard": 1},
        {"source": int(Source.REST)},
        {"t_rx_ns": 5},
        {"t_pub_ns": 5},
        {"gen": 2},
    ],
)
def test_ticks_of_one_batch_have_one_arrival_and_those_of_another_have_their_own(
    reader: Reader, other: dict[str, int]
) -> None:
    reader.tick("NSE:A")
    reader.tick("NSE:B")
    reader.tick("NSE:C", **other)
    one, same, another = (reader.value(f"NSE:{name}") for name in "ABC")
    assert one.arrival is same.arrival
    arrival = another.arrival
    got = {"epoch": arrival.epoch, "shard": arrival.shard, "source": arrival.source_code,
           "t_rx_ns": arrival.t_rx_ns, "gen": arrival.gen}  # fmt: skip
    assert got == {key: other.get(key, value) for key, value in got.items()}
    assert arrival is not one.arrival


def test_a_tick_after_a_hole_in_its_batch_does_not_share_what_was_known_before(
    reader: Reader,
) -> None:
    reader.tick("NSE:A", seq=1)
    reader.tick("NSE:B", seq=1)
    reader.tick("NSE:B", seq=3)
    reader.tick("NSE:C", seq=1)
    assert reader.value("NSE:A").arrival.losses == 0
    assert reader.value("NSE:C").arrival.losses == 1


def test_every_late_message_of_a_batch_is_counted(reader: Reader) -> None:
    for name in "ABC":
        reader.tick(f"NSE:{name}", t_pub_ns=reader.utc_ns - 3 * S)
    assert reader.view.late == 3


def test_an_age_is_never_negative_when_clocks_disagree(reader: Reader) -> None:
    reader.tick(t_rx_ns=reader.utc_ns + 5 * S, t_pub_ns=reader.utc_ns + 5 * S)
    assert age_s(reader) == 0


# --- order, loss, repetition ------------------------------------------------------------------


def test_a_hole_in_seq_is_counted_as_lost_messages_and_wants_a_snapshot(reader: Reader) -> None:
    reader.tick(seq=5)
    reader.tick(seq=9)
    assert reader.view.gaps == 3
    assert reader.view.losses.is_incomplete


def test_a_repetition_is_dropped_and_only_unasked_ones_are_counted(reader: Reader) -> None:
    reader.tick(seq=5)
    reader.tick(seq=5)
    reader.tick(seq=5, flags=Flag.REPLAY)
    reader.tick(seq=4, flags=Flag.SNAPSHOT)
    assert (reader.view.duplicates, len(reader.view.arrived)) == (1, 1)


def test_a_new_gen_starts_the_numbers_anew_without_a_gap(reader: Reader) -> None:
    reader.tick(seq=500)
    reader.gen = 2
    reader.tick(seq=1)
    assert (reader.view.gaps, reader.value().gen) == (0, 2)


def test_a_value_from_disk_does_not_replace_a_newer_one(reader: Reader) -> None:
    reader.tick(price=150_000)
    reader.gen = 2
    reader.tick(price=1, seq=0, flags=Flag.CACHED, t_rx_ns=reader.utc_ns - 9 * S)
    assert reader.value().last_price == 1500.0


def test_late_messages_are_counted(reader: Reader) -> None:
    reader.tick(t_pub_ns=reader.utc_ns - 3 * S)
    assert reader.view.late == 1


def test_only_wanted_instruments_are_kept() -> None:
    reader = Reader(frozenset({INFY}))
    reader.tick()
    reader.tick("NSE:TCS")
    assert set(reader.view.values) == {INFY}


def test_ticks_nobody_iterates_over_are_bounded(reader: Reader) -> None:
    for seq in range(1, PENDING_MAX + 11):
        reader.tick(seq=seq)
    assert (len(reader.view.arrived), reader.view.overrun) == (PENDING_MAX, 10)
    assert reader.view.arrived[0].seq == 11


# --- snapshots --------------------------------------------------------------------------------


def snapshot(reader: Reader, frames: list[bytes], count: int) -> None:
    for seq, body in enumerate([frames, f.SnapshotEnd(count)], start=1):
        message = reader.message(body, seq=seq, source=0, flags=Flag.SNAPSHOT)
        reader.apply(f.feed_frame(REQUEST, message))


def test_a_snapshot_brings_values_and_is_over_when_its_end_came(reader: Reader) -> None:
    snapshot(reader, [reader.frame(flags=Flag.SNAPSHOT), reader.frame("NSE:TCS")], 2)
    assert set(reader.view.values) == {INFY, "NSE:TCS"}
    assert not reader.view.losses.is_incomplete


def test_all_requested_snapshots_have_to_end_before_it_is_answered(reader: Reader) -> None:
    reader.view.losses.expect([REQUEST, b"another"])
    snapshot(reader, [reader.frame(flags=Flag.SNAPSHOT)], 1)
    assert not reader.view.losses.is_answered
    reader.view.losses.expect([REQUEST])
    assert not reader.view.losses.is_answered
    snapshot(reader, [reader.frame(flags=Flag.SNAPSHOT)], 1)
    assert reader.view.losses.is_answered


def test_after_a_loss_only_what_came_since_is_fresh_until_a_snapshot(reader: Reader) -> None:
    reader.tick("NSE:TCS", seq=1)
    reader.tick(seq=1)
    reader.tick(seq=3)  # whatever else was lost, a newer value of TCS may have been among it
    assert reader.value().is_fresh
    assert not reader.value("NSE:TCS").is_fresh
    reader.view.losses.expect([REQUEST])
    assert not reader.value("NSE:TCS").is_fresh
    snapshot(reader, [reader.frame("NSE:TCS", seq=1, flags=Flag.SNAPSHOT)], 1)
    assert reader.value("NSE:TCS").is_fresh


def test_a_snapshot_does_not_vouch_for_what_was_lost_after_it_was_asked_for(reader: Reader) -> None:
    reader.tick("NSE:TCS", seq=1)
    reader.tick(seq=1)
    reader.tick(seq=3)
    reader.view.losses.expect([REQUEST])
    reader.tick(seq=5)
    snapshot(reader, [reader.frame("NSE:TCS", seq=1, flags=Flag.SNAPSHOT)], 1)
    assert not reader.value("NSE:TCS").is_fresh
    reader.view.losses.expect([REQUEST])
    snapshot(reader, [reader.frame("NSE:TCS", seq=1, flags=Flag.SNAPSHOT)], 1)
    assert reader.value("NSE:TCS").is_fresh


def test_a_short_snapshot_vouches_for_nothing(reader: Reader) -> None:
    reader.tick("NSE:TCS", seq=1)
    reader.tick(seq=1)
    reader.tick(seq=3)
    reader.view.losses.expect([REQUEST])
    snapshot(reader, [reader.frame("NSE:TCS", seq=1, flags=Flag.SNAPSHOT)], 2)
    assert not reader.value("NSE:TCS").is_fresh


def test_a_short_snapshot_wants_another(reader: Reader) -> None:
    snapshot(reader, [reader.frame()], 2)
    assert reader.view.losses.is_incomplete


def test_a_snapshot_never_takes_a_live_value_back(reader: Reader) -> None:
    old = reader.frame(price=1, seq=3, flags=Flag.SNAPSHOT)
    reader.tick(price=2_00, seq=4)
    snapshot(reader, [old], 1)
    assert reader.value().last_price == 2.0


def test_a_snapshot_inside_a_snapshot_is_not_followed(reader: Reader) -> None:
    inner = f.feed_frame(REQUEST, reader.message([b"x"]))
    snapshot(reader, [inner], 1)
    assert reader.view.values == {}


# --- rubbish ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"tick/NSE:INFY",
        b"tick/NSE:INFY\0",
        b"tick/NSE:INFY\0\xc1",
        b"hb/feed\0\x91\x01",
        b"\0" * 50,
        b"tick/NSE:INFY\0" + b"\x91" * 100_000,
        f.feed_frame(b"tick/\xff\xfe", Reader().message([1, 3, 100, 5])),
        f.feed_frame(b"tick/A:B", Reader().message([1, 3, 0, 5])),
        f.feed_frame(b"tick/A:B", Reader().message({"a": 1})),
        f.feed_frame(HEARTBEAT_TOPIC, Reader().message([])),
        f.feed_frame(STATE_TOPIC, Reader().message("x")),
    ],
)
def test_rubbish_is_counted_and_never_raises(reader: Reader, frame: bytes) -> None:
    reader.apply(frame)
    assert reader.view.bad_messages == 1
    assert reader.view.values == {}


def test_a_chunk_with_one_damaged_body_changes_nothing(reader: Reader) -> None:
    good, damaged = [1, 3, 100, 5], [1, 3, 100, "5"]
    topics = [b"tick/A:B", b"tick/A:C"]
    reader.apply(f.feed_frame(TICKS_TOPIC, reader.message([topics, [1, 1], [good, damaged], []])))
    assert (reader.view.bad_messages, reader.view.ticks, len(reader.view.values)) == (1, 0, 0)
    assert not reader.view.arrived
    reader.apply(f.feed_frame(TICKS_TOPIC, reader.message([topics, [1, 1], [good, good], []])))
    assert sorted(reader.view.values) == ["A:B", "A:C"]


def test_of_a_chunk_only_what_is_wanted_is_decoded_and_counted() -> None:
    reader = Reader(frozenset({"A:B"}))
    topics, foreign = [b"tick/A:C", b"tick/A:B"], [1, 3, 100, "never looked at"]
    reader.apply(
        f.feed_frame(
            TICKS_TOPIC, reader.message([topics, [9, 4], [foreign, [1, 3, 100, 5]], [0, 1]])
        )
    )
    view = reader.view
    (tick,) = view.arrived
    assert (tick.instrument, tick.seq, tick.flags, tick.raw.last_price) == ("A:B", 4, 1, 5)
    assert (view.ticks, view.bad_messages, [*view.values]) == (1, 0, ["A:B"])
    view.want([b"tick/A:C"])
    chunk = [topics, [10, 5], [[2, 3, 100, 7], [1, 3, 100, 6]], []]
    reader.apply(f.feed_frame(TICKS_TOPIC, reader.message(chunk, seq=2)))
    assert [(t.instrument, t.raw.last_price) for t in view.arrived][1:] == [("A:C", 7), ("A:B", 6)]


def test_chunks_that_begin_anew_are_numbered_from_anywhere(reader: Reader) -> None:
    def chunk(seq: int, own: int) -> None:
        body = [[b"tick/A:B"], [own], [[1, 3, 100, 5]], []]
        reader.apply(f.feed_frame(TICKS_TOPIC, reader.message(body, seq=seq)))

    chunk(7, 1)
    reader.view.begin_chunks()
    chunk(30, 2)
    assert reader.view.losses.count == 0
    chunk(32, 3)
    assert reader.view.losses.count == 1


def test_ticks_that_come_by_two_subscriptions_for_a_moment_are_no_duplicates(
    reader: Reader,
) -> None:
    view = reader.view
    view.is_doubled = True
    reader.tick(seq=1)
    reader.tick(seq=1)
    assert (view.duplicates, len(view.arrived)) == (0, 1)
    view.is_doubled = False
    reader.tick(seq=1)
    assert (view.duplicates, len(view.arrived)) == (1, 1)


def test_a_value_read_again_is_the_same_but_a_tick_that_was_followed_is_not_the_last(
    reader: Reader,
) -> None:
    for seq, price in ((1, 100), (2, 200)):
        reader.apply(f.feed_frame(b"tick/A:B", reader.message([1, 3, 100, price], seq=seq)))
    first, second = reader.view.arrived
    for last in (reader.view.values["A:B"], reader.value("A:B"), second):
        assert (last.raw.last_price, last.seq) == (200, 2)
        assert reader.view.values.is_last(last)
    assert not reader.view.values.is_last(first)


def test_a_higher_major_version_is_not_read(reader: Reader) -> None:
    message = reader.message([1, 3, 100, 5])
    message.v = 2
    reader.apply(f.feed_frame(b"tick/A:B", message))
    assert reader.view.bad_messages == 1


def test_a_later_version_may_append_fields(reader: Reader) -> None:
    body = [408065, FULL, 100, 150_000, *[None] * 14, DEPTH, "a field of tomorrow"]
    fields = msgspec.structs.astuple(reader.message(body))
    array = [*fields, "another"]
    reader.apply(b"tick/NSE:INFY\0" + f.encode(array))
    assert reader.value().last_price == 1500.0


# --- what a tick offers -----------------------------------------------------------------------


def test_a_tick_gives_rupees_levels_and_times_with_a_zone(reader: Reader) -> None:
    body = TickBody(
        408065, FULL, 100, 150_005, 10, 149_990, 1_000, 20, 30, 149_000, 151_000, 148_000, 120_000,
        1_791_431_409, 5, 6, 4, 1_791_431_410, DEPTH,
    )  # fmt: skip
    reader.apply(f.feed_frame(tick_topic(INFY), reader.message(body)))
    tick = reader.value()
    assert (tick.exchange, tick.symbol, tick.mode) == ("NSE", "INFY", "full")
    assert (tick.last_price, str(tick.last_price_decimal)) == (1500.05, "1500.05")
    assert tick.ohlc == (1490.0, 1510.0, 1480.0, 1200.0)
    assert tick.change == pytest.approx(25.004166)
    assert tick.depth is not None
    assert tick.depth.buy[0] == (10, 1500.0, 2)
    assert tick.depth.sell[0] == (20, 1500.5, 3)
    assert tick.exchange_timestamp is not None
    assert tick.exchange_timestamp.utcoffset() == timedelta(hours=5, minutes=30)
    assert tick.exchange_timestamp.timestamp() == 1_791_431_410
    assert tick.received_at.tzinfo is IST
    assert "NSE:INFY 1500.05" in repr(tick)


def test_a_record_holds_every_property_of_a_tick(reader: Reader) -> None:
    body = TickBody(
        408065, FULL, 100, 150_005, 10, 149_990, 1_000, 20, 30, 149_000, 151_000, 148_000, 120_000,
        1_791_431_409, 5, 6, 4, 1_791_431_410, DEPTH,
    )  # fmt: skip
    reader.apply(f.feed_frame(tick_topic(INFY), reader.message(body)))
    tick = reader.value()
    record = tick.to_dict()
    left_out = {
        "exchange",
        "symbol",
        "last_price_decimal",
        "t_rx_ns",
        "source_code",
        "raw",
        "arrival",
    }
    properties = {name for name in dir(Tick) if not name.startswith("_")}
    methods = {name for name in properties if callable(getattr(Tick, name))}
    ohlc = {"open", "high", "low", "close"}
    assert set(record) == properties - methods - left_out - ohlc
    assert record["ohlc"] == {"open": 1490.0, "high": 1510.0, "low": 1480.0, "close": 1200.0}
    depth = record["depth"]
    assert isinstance(depth, dict)
    assert depth["sell"][0] == {"quantity": 20, "price": 1500.5, "orders": 3}
    assert len(depth["buy"]) == len(depth["sell"]) == 5
    assert (record["average_traded_price"], record["is_fresh"]) == (1499.9, True)
    written = msgspec.json.decode(msgspec.json.encode(record))
    assert written["exchange_timestamp"] == tick.exchange_timestamp.isoformat()  # type: ignore[union-attr]


def test_a_record_of_ltp_mode_has_nothing_where_there_is_nothing(reader: Reader) -> None:
    body = TickBody(408065, 1, 100, 150_005)
    reader.apply(f.feed_frame(tick_topic(INFY), reader.message(body)))
    record = reader.value().to_dict()
    assert (record["depth"], record["volume_traded"], record["last_price"]) == (None, None, 1500.05)
    assert record["ohlc"] == {"open": None, "high": None, "low": None, "close": None}


def test_fields_the_mode_does_not_carry_are_none(reader: Reader) -> None:
    body = TickBody(408065, 1, 100, 150_005)
    reader.apply(f.feed_frame(tick_topic(INFY), reader.message(body)))
    tick = reader.value()
    assert (tick.depth, tick.ohlc, tick.change) == (None, (None,) * 4, None)
    assert (tick.volume_traded, tick.exchange_timestamp) == (None, None)


# --- the word for it --------------------------------------------------------------------------


def test_what_is_not_fresh_says_in_one_word_why(reader: Reader) -> None:
    reader.tick()
    first = reader.value()
    assert (first.is_fresh, first.why_stale) == (True, "")
    reader.tick(seq=2)
    assert first.why_stale == "replaced"
    reader.heartbeat(feed="stale")
    assert reader.value().why_stale == "unproven"
    reader.heartbeat(feed="paused")
    assert reader.value().why_stale == "paused"
    reader.now_ns += S
    reader.heartbeat(loss_age_ns=0)
    assert reader.value().why_stale == "old"
    reader.heartbeat(epoch=8)
    assert reader.value().why_stale == "cached"
    reader.heartbeat(closed=[1])
    reader.tick(seq=3, flags=int(Flag.FIRST_PACKET))
    assert reader.value().why_stale == "first_packet"
    reader.tick(seq=4, t_rx_ns=reader.utc_ns - 100 * S)
    assert reader.value().why_stale == "closed"
    reader.heartbeat()
    reader.tick(seq=5)
    assert reader.value().why_stale == ""
    reader.tick("NSE:TCS")
    reader.tick(seq=9)
    assert reader.value("NSE:TCS").why_stale == "gap"
    reader.now_ns += HEARTBEAT_HOLDS_NS + 1
    assert reader.value().why_stale == "lost"


def test_every_reason_has_words_for_people() -> None:
    """Those that are not in the table are words already."""
    said = {word for word in get_args(Staleness) if word} - set(WORDS)
    assert said == {"paused", "misconfigured", "no_feed"}
