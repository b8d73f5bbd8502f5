import msgspec
import pytest

from kitefeed.actors.policy.machine import Wake, Welcomed
from kitefeed.actors.ticker.echoes import ECHO_NS
from kitefeed.actors.ticker.echoes import KEPT_MAX as ECHOES_MAX
from kitefeed.actors.ticker.link_state import BEAT_NS, COALESCE_NS
from kitefeed.actors.ticker.liveness import WATCHED_MAX
from kitefeed.actors.ticker.machine import (
    CallbackFailed,
    Connect,
    Disconnect,
    Ended,
    Frame,
    LinkId,
    Send,
    Ticker,
    Upgraded,
)
from kitefeed.actors.ticker.subscriptions import Ask
from kitefeed.protocol.feed import (
    TICKS_PER_CHUNK_MAX,
    Flag,
    IngestBatch,
    Notice,
    OrderUpdate,
    Source,
)
from kitefeed.protocol.kite.ticks import FULL, LTP, QUOTE, TickBody, encode_frame
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.envelope import Message
from kitefeed.protocol.messages.instruments import Instrument
from kitefeed.protocol.messages.membership import LinkReport

S = 1_000_000_000
UTC_S = 1_791_431_409.0
STALE_S = 1_791_400_000
LINK = LinkId(0, 1)
INFY = Instrument(408065, "NSE:INFY", "quote")
TCS = Instrument(2953217, "NSE:TCS", "quote")
NIFTY = Instrument(256265, "NSE:NIFTY 50", "full", is_canary=True)


class Stage:
    """A ticker under virtual time. `tell` keeps what came out, `at_ns` is now. `asks`: what was
    asked of Kite and when, in seconds since the start."""

    def __init__(self) -> None:
        self.ticker = Ticker()
        self.at_ns = 100 * S
        self.asks: list[tuple[float, Ask]] = []

    def tell(self, event: object) -> list[object]:
        commands = list(self.ticker.handle(event, self.at_ns))  # type: ignore[arg-type]
        sent = [command.ask for command in commands if isinstance(command, Send)]
        self.asks += [(self.at_ns / S - 100, ask) for ask in sent]
        return commands

    def open(self, *instruments: Instrument, link: LinkId = LINK) -> list[object]:
        self.tell(m.OpenLink(link.shard, link.epoch, "fp", self.at_ns + S))
        self.tell(Upgraded(link))
        return self.tell(m.Subscribe(link.shard, link.epoch, instruments))

    def frame(self, *ticks: TickBody, link: LinkId = LINK) -> list[object]:
        return self.tell(Frame(link, encode_frame(ticks), True, UTC_S))

    def heartbeat(self) -> list[object]:
        return self.tell(Frame(LINK, b"\0", True, UTC_S))

    def text(self, payload: bytes, link: LinkId = LINK) -> list[object]:
        return self.tell(Frame(link, payload, False, UTC_S))

    def run(self, seconds: float, *, heartbeat_s: float | None = 1.0) -> list[object]:
        """Lets time pass, with heartbeats of Kite, and returns what was reported."""
        until_ns = self.at_ns + int(seconds * S)
        beat_ns = int(heartbeat_s * S) if heartbeat_s else 10**18
        next_beat_ns, said = self.at_ns + beat_ns, []
        while True:
            due_ns = min(self.ticker.deadline_ns or until_ns + 1, next_beat_ns)
            if due_ns > until_ns:
                self.at_ns = until_ns
                return [command for command in said if isinstance(command, Message)]
            self.at_ns = max(self.at_ns, due_ns)
            if due_ns == next_beat_ns:
                said += self.heartbeat()
                next_beat_ns += beat_ns
            said += self.tell(Wake())


@pytest.fixture
def stage() -> Stage:
    return Stage()


def tick(instrument: Instrument, price: int = 158_025, mode: int = QUOTE) -> TickBody:
    return TickBody(instrument.token, mode, 100, price, volume_traded=7)


def batches(commands: list[object]) -> list[IngestBatch]:
    return [command for command in commands if isinstance(command, IngestBatch)]


def reports(commands: list[object]) -> list[object]:
    return [command for command in commands if not isinstance(command, IngestBatch)]


# --- orders ---------------------------------------------------------------------------------------


def test_an_order_connects_and_the_upgrade_is_reported(stage: Stage) -> None:
    assert stage.tell(m.OpenLink(0, 1, "fp", stage.at_ns)) == [Connect(LINK, "fp")]
    assert stage.ticker.links == ()
    assert stage.tell(Upgraded(LINK)) == [m.LinkOpened(0, 1)]
    assert stage.ticker.links == (LinkReport(0, 1, "fp", False, "websocket"),)


def test_an_expired_order_and_an_epoch_that_was_seen_are_ignored(stage: Stage) -> None:
    assert stage.tell(m.OpenLink(0, 9, "fp", stage.at_ns - 1)) == []
    stage.tell(m.OpenLink(0, 5, "fp", stage.at_ns))
    assert stage.tell(m.OpenLink(0, 5, "fp", stage.at_ns)) == []
    assert stage.tell(m.OpenLink(0, 4, "fp", stage.at_ns)) == []
    assert stage.tell(m.OpenLink(1, 4, "fp", stage.at_ns)) != []  # another shard
    assert stage.ticker.highest_epoch == 5


@pytest.mark.parametrize("status", [403, 429, 502])
def test_a_refused_upgrade_is_told_from_the_reason(stage: Stage, status: int) -> None:
    stage.tell(m.OpenLink(0, 1, "fp", stage.at_ns))
    reason = (
        "connection was closed uncleanly (WebSocket connection upgrade failed "
        f"({status} - Forbidden))"
    )
    assert stage.tell(Ended(LINK, 1006, reason)) == [m.LinkRefused(0, 1, status)]


def test_every_other_end_is_reported_once(stage: Stage) -> None:
    stage.open(INFY)
    assert stage.tell(Ended(LINK, 1001, "going away")) == [m.LinkClosed(0, 1, 1001, "going away")]
    assert stage.tell(Ended(LINK, 1001, "going away")) == []
    assert stage.ticker.links == ()
    assert stage.ticker.deadline_ns is None


def test_a_link_that_opens_after_it_was_closed_is_closed_again(stage: Stage) -> None:
    stage.tell(m.OpenLink(0, 1, "fp", stage.at_ns))
    assert stage.tell(m.CloseLink(0, 1)) == [Disconnect(LINK)]
    assert stage.tell(Upgraded(LINK)) == [Disconnect(LINK)]
    assert stage.tell(Ended(LINK, None, "closed")) == [m.LinkClosed(0, 1, None, "closed")]
    assert stage.tell(Upgraded(LINK)) == [Disconnect(LINK)]


def test_a_closing_link_streams_no_more(stage: Stage) -> None:
    stage.open(INFY)
    stage.tell(m.CloseLink(0, 1))
    assert stage.frame(tick(INFY)) == []
    assert stage.run(20) == []


def test_orders_about_a_link_that_is_gone_repeat_its_end(stage: Stage) -> None:
    gone = [m.LinkClosed(0, 3, None, "there is no such link")]
    assert stage.tell(m.CloseLink(0, 3)) == gone
    assert stage.tell(m.Subscribe(0, 3, (INFY,))) == gone


def test_two_links_run_side_by_side_under_their_own_epochs(stage: Stage) -> None:
    stage.open(INFY)
    other = LinkId(0, 2)
    stage.open(INFY, link=other)
    (first,) = batches(stage.frame(tick(INFY)))
    (second,) = batches(stage.frame(tick(INFY), link=other))
    assert (first.epoch, second.epoch) == (1, 2)
    assert (first.batch_seq, second.batch_seq) == (1, 1)


def test_a_failed_callback_is_counted(stage: Stage) -> None:
    assert stage.tell(CallbackFailed(LINK)) == []
    assert stage.ticker.counters["callback_errors"] == 1


def test_messages_for_others_change_nothing(stage: Stage) -> None:
    assert stage.tell(m.StopPolling(0)) == []


# --- frames ---------------------------------------------------------------------------------------


def test_subscribing_asks_kite(stage: Stage) -> None:
    assert stage.open(INFY) == [Send(LINK, Ask("subscribe", (INFY.token,)))]


def test_one_frame_becomes_one_batch_with_bodies_encoded_once(stage: Stage) -> None:
    stage.open(INFY, TCS)
    (batch,) = batches(stage.frame(tick(INFY), tick(TCS)))
    assert (batch.shard, batch.epoch, batch.source, batch.batch_seq) == (0, 1, Source.WEBSOCKET, 1)
    assert batch.received_boot_ns == batch.last_frame_boot_ns == stage.at_ns
    assert batch.topics == [b"tick/NSE:INFY", b"tick/NSE:TCS"]
    assert batch.flags == [Flag.FIRST_PACKET] * 2
    assert msgspec.msgpack.decode(batch.bodies[0], type=TickBody).last_price == 158_025
    (batch,) = batches(stage.frame(tick(INFY)))
    assert (batch.batch_seq, batch.flags) == (2, [])


def test_unknown_tokens_are_dropped_and_counted(stage: Stage) -> None:
    stage.open(INFY)
    assert batches(stage.frame(tick(TCS))) == []
    assert stage.ticker.counters["unknown_tokens"] == 1
    assert stage.ticker.last_tick_ns is None


def test_a_damaged_frame_is_counted_and_its_good_packets_are_kept(stage: Stage) -> None:
    stage.open(INFY, TCS)
    whole = encode_frame([tick(INFY), tick(TCS)])
    (batch,) = batches(stage.tell(Frame(LINK, whole[:-3], True, UTC_S)))
    assert (batch.topics, len(batch.bodies)) == ([b"tick/NSE:INFY"], 1)
    assert stage.ticker.counters["bad_frames"] == 1


@pytest.mark.parametrize("rubbish", [b"", b"\0\0", b"\xff" * 50, b"[1, 2]", b"{", b"\xff{}"])
def test_rubbish_never_raises(stage: Stage, rubbish: bytes) -> None:
    stage.open(INFY)
    for is_binary in (True, False):
        assert stage.tell(Frame(LINK, rubbish, is_binary, UTC_S)) == []
    assert stage.ticker.counters["bad_frames"] >= 1


def test_unknown_tokens_between_known_ones_take_nothing_with_them(stage: Stage) -> None:
    stage.open(INFY, NIFTY)
    (batch,) = batches(stage.frame(tick(TCS), tick(INFY, 1), tick(TCS), tick(INFY, 2), tick(TCS)))
    prices = [msgspec.msgpack.decode(body, type=TickBody).last_price for body in batch.bodies]
    assert (batch.topics, prices) == ([b"tick/NSE:INFY"] * 2, [1, 2])
    assert stage.ticker.counters["unknown_tokens"] == 3


def test_a_large_frame_is_cut_into_batches_with_their_own_flags(stage: Stage) -> None:
    stage.open(INFY)
    made = batches(stage.frame(*[tick(INFY)] * (TICKS_PER_CHUNK_MAX + 1)))
    assert [len(batch.topics) for batch in made] == [TICKS_PER_CHUNK_MAX, 1]
    assert [len(batch.bodies) for batch in made] == [TICKS_PER_CHUNK_MAX, 1]
    assert [batch.batch_seq for batch in made] == [1, 2]
    assert made[0].flags == [Flag.FIRST_PACKET] + [0] * (TICKS_PER_CHUNK_MAX - 1)
    assert made[1].flags == [0]


def test_orders_and_notices_get_topics_of_their_own(stage: Stage) -> None:
    stage.open(INFY)
    (batch,) = batches(stage.text(b'{"type":"order","data":{"order_id":"2611","qty":1}}'))
    assert batch.items[0].topic == b"order/2611"
    update = msgspec.msgpack.decode(batch.items[0].body, type=OrderUpdate)
    assert update.data == {"order_id": "2611", "qty": 1}
    for kind in ("message", "error"):
        (batch,) = batches(stage.text(b'{"type":"%s","data":"hm"}' % kind.encode()))
        assert batch.items[0].topic == f"notice/{kind}".encode()
        assert msgspec.msgpack.decode(batch.items[0].body, type=Notice) == Notice(kind, "hm")
    assert stage.text(b'{"type":"app_code","timestamp":"2026-11-23T08:31:02+05:30"}') == []


ORDER = b'{"type":"order","data":{"order_id":"2611"}}'


def test_an_order_that_every_socket_brings_is_passed_on_once(stage: Stage) -> None:
    second, third = LinkId(1, 2), LinkId(2, 3)
    for link in (LINK, second, third):
        stage.open(INFY, link=link)
    assert len(batches(stage.text(ORDER, second))) == 1
    assert stage.text(ORDER) == stage.text(ORDER, third) == []
    assert len(batches(stage.text(ORDER, second))) == 1  # the same socket may say the same twice
    stage.at_ns += ECHO_NS
    assert len(batches(stage.text(ORDER, third))) == 1  # and after a while it is news again


def test_an_order_by_a_socket_without_a_grant_is_left_to_the_others(stage: Stage) -> None:
    stage.open(INFY)
    fresh = LinkId(1, 2)
    stage.tell(m.OpenLink(1, 2, "fp", stage.at_ns))
    stage.tell(Upgraded(fresh))
    assert stage.text(ORDER, fresh) == []
    assert len(batches(stage.text(ORDER))) == 1


def test_no_end_of_orders_is_remembered(stage: Stage) -> None:
    stage.open(INFY)
    stage.open(INFY, link=LinkId(1, 2))
    for number in range(ECHOES_MAX + 1):
        stage.text(ORDER.replace(b"2611", b"%d" % number))
    assert stage.text(ORDER.replace(b"2611", b"1"), LinkId(1, 2)) == []
    assert len(batches(stage.text(ORDER.replace(b"2611", b"0"), LinkId(1, 2)))) == 1


def test_a_fourth_socket_is_never_opened(stage: Stage) -> None:
    for shard in range(3):
        stage.open(INFY, link=LinkId(shard, shard + 1))
    refusal = m.LinkClosed(0, 9, None, "3 sockets are open or closing already")
    assert stage.tell(m.OpenLink(0, 9, "fp", stage.at_ns)) == [refusal]
    stage.tell(m.CloseLink(0, 1))
    assert stage.tell(m.OpenLink(0, 9, "fp", stage.at_ns)) == [refusal]  # it has not ended yet
    stage.tell(Ended(LINK, 1000, ""))
    assert stage.tell(m.OpenLink(0, 9, "fp", stage.at_ns)) == [Connect(LinkId(0, 9), "fp")]


def test_a_guard_is_watched_and_not_passed_on(stage: Stage) -> None:
    guard = Instrument(NIFTY.token, NIFTY.key, "ltp", is_canary=True, is_guard=True)
    stage.open(INFY, guard)
    index = TickBody(NIFTY.token, LTP, 100, 2_500_000)
    (batch,) = batches(stage.frame(index, tick(INFY)))
    assert batch.topics == [b"tick/NSE:INFY"]
    assert len(batch.bodies) == 1
    assert batches(stage.frame(index)) == []
    assert stage.ticker.links[0].tokens == (INFY.token,)
    (doubt,) = [said for said in stage.run(10.5) if isinstance(said, m.LinkDoubt)]
    assert (doubt.kind, doubt.token) == ("canary", NIFTY.token)


def test_an_instrument_that_becomes_a_guard_is_ended_here(stage: Stage) -> None:
    stage.open(NIFTY)
    stage.frame(TickBody(NIFTY.token, FULL, 100, 2_500_000))
    guard = Instrument(NIFTY.token, NIFTY.key, "ltp", is_canary=True, is_guard=True)
    (ended,) = batches(stage.tell(m.Subscribe(0, 1, (INFY, guard))))
    assert [(item.topic, item.flags) for item in ended.items] == [
        (b"tick/NSE:NIFTY 50", Flag.STALE)
    ]


@pytest.mark.parametrize("order_id", ['"a\\u0000b"', "null", '"a/b"', "12", '""'])
def test_an_order_id_that_is_no_word_cannot_tear_the_topic(stage: Stage, order_id: str) -> None:
    stage.open(INFY)
    payload = b'{"type":"order","data":{"order_id":%s}}' % order_id.encode()
    (batch,) = batches(stage.text(payload))
    assert batch.items[0].topic == b"order/unknown"


# --- beats and confirmations ----------------------------------------------------------------------


def test_an_open_link_beats_when_nothing_was_sent(stage: Stage) -> None:
    stage.open(INFY)
    opened_ns = stage.at_ns
    stage.at_ns += BEAT_NS
    (beat,) = batches(stage.tell(Wake()))
    assert (beat.topics, beat.items, beat.batch_seq, beat.last_frame_boot_ns) == (
        [],
        [],
        1,
        opened_ns,
    )
    stage.at_ns += BEAT_NS - 1
    stage.frame(tick(INFY))
    stage.at_ns += 1
    assert batches(stage.tell(Wake())) == []


def test_first_packets_are_confirmed_together(stage: Stage) -> None:
    stage.open(INFY, TCS)
    stage.frame(tick(INFY))
    stage.at_ns += COALESCE_NS - 1
    assert reports(stage.frame(tick(TCS))) == []
    stage.at_ns += 1
    assert reports(stage.tell(Wake())) == [
        m.Confirmed(0, 1, (INFY.token, TCS.token), (QUOTE, QUOTE))
    ]
    stage.frame(tick(INFY))
    assert not [said for said in stage.run(1) if isinstance(said, m.Confirmed)]


def test_a_new_supervisor_hears_of_freshness_and_all_confirmations(stage: Stage) -> None:
    stage.open(INFY, TCS)
    assert stage.tell(Welcomed()) == []
    stage.frame(tick(INFY), tick(TCS))
    stage.frame(tick(INFY))
    told = [m.LinkFresh(0, 1), m.Confirmed(0, 1, (INFY.token, TCS.token), (QUOTE, QUOTE))]
    assert stage.tell(Welcomed()) == told


def test_what_kite_does_not_answer_is_asked_again_counted_and_confirmed_when_it_comes(
    stage: Stage,
) -> None:
    stage.open(INFY, NIFTY)
    stage.frame(tick(NIFTY, mode=QUOTE))
    assert m.Confirmed(0, 1, (NIFTY.token,), (QUOTE,)) in stage.run(4)
    assert stage.asks[2:] == [
        (2, Ask("subscribe", (INFY.token,))),
        (2, Ask("full", (NIFTY.token,))),
    ]
    assert stage.ticker.counters["asked_again"] == 2
    stage.frame(tick(INFY), tick(NIFTY, mode=FULL))
    assert m.Confirmed(0, 1, (INFY.token, NIFTY.token), (QUOTE, FULL)) in stage.run(1)
    stage.run(600)
    assert len(stage.asks) == 4


def test_the_answer_to_what_was_asked_again_is_no_proof_of_life(stage: Stage) -> None:
    stage.open(INFY)
    stage.run(4)
    for _ in range(2):  # the first one was only late
        (batch,) = batches(stage.frame(tick(INFY)))
        assert batch.flags == [Flag.FIRST_PACKET]
        assert stage.ticker.fresh_tick_ns is None
    (batch,) = batches(stage.frame(tick(INFY, price=158_030)))
    assert batch.flags == [0]
    assert stage.ticker.fresh_tick_ns == stage.at_ns


def test_what_comes_although_it_was_unsubscribed_is_unsubscribed_again(stage: Stage) -> None:
    stage.open(INFY, TCS)
    stage.frame(tick(INFY), tick(TCS))
    stage.tell(m.Subscribe(0, 1, (TCS,)))
    stage.asks.clear()
    for _ in range(60):
        stage.frame(tick(INFY), tick(TCS))
        stage.run(0.25)
    again = Ask("unsubscribe", (INFY.token,))
    assert stage.asks == [(2, again), (5, again), (10, again)]
    assert stage.ticker.counters["asked_again"] == 3
    stage.tell(m.Subscribe(0, 1, (TCS, INFY)))
    stage.asks.clear()
    for _ in range(60):
        stage.frame(tick(INFY), tick(TCS))
        stage.run(0.25)
    assert stage.asks == []


def test_what_was_never_asked_for_is_counted_and_nothing_else(stage: Stage) -> None:
    stage.open(TCS)
    for _ in range(60):
        stage.frame(tick(INFY), tick(TCS))
        stage.run(0.25)
    assert len(stage.asks) == 1
    assert stage.ticker.counters["unknown_tokens"] == 60


def test_what_a_link_did_not_confirm_ends_with_it(stage: Stage) -> None:
    stage.open(INFY)
    stage.tell(m.CloseLink(0, 1))
    stage.run(60)
    assert len(stage.asks) == 1


# --- liveness -------------------------------------------------------------------------------------


def test_the_second_packet_of_a_token_proves_the_link_once(stage: Stage) -> None:
    stage.open(INFY)
    assert reports(stage.frame(tick(INFY))) == []
    assert stage.ticker.fresh_tick_ns is None
    assert reports(stage.frame(tick(INFY))) == [m.LinkFresh(0, 1)]
    assert reports(stage.frame(tick(INFY))) == []
    assert stage.ticker.fresh_tick_ns == stage.at_ns
    assert stage.ticker.links[0].is_streaming


@pytest.mark.parametrize(("age_s", "is_fresh"), [(5, True), (6, False), (-5, True), (-60, False)])
def test_a_first_packet_is_fresh_when_the_exchange_stamped_it_just_now(
    stage: Stage, age_s: int, is_fresh: bool
) -> None:
    stage.open(NIFTY)
    stamped = TickBody(NIFTY.token, FULL, 100, 1, exchange_timestamp=int(UTC_S) - age_s)
    assert (m.LinkFresh(0, 1) in stage.frame(stamped)) == is_fresh


def test_cached_packets_alone_leave_a_link_in_doubt_until_something_is_fresh(stage: Stage) -> None:
    stage.open(INFY, TCS)
    stage.frame(tick(INFY, 111))
    stage.at_ns += 1
    stage.frame(tick(TCS, 222))
    doubt = m.LinkDoubt(0, 1, "unproven", TCS.token, 222, 7)
    doubts = [said for said in stage.run(25) if isinstance(said, m.LinkDoubt)]
    assert doubts == [doubt] * 3  # after 3, 13 and 23 s
    stage.frame(tick(TCS))
    assert "unproven" not in {doubt.kind for doubt in doubts_in(stage.run(25))}


def test_a_canary_is_asked_about_rather_than_what_ticked_last(stage: Stage) -> None:
    stage.open(INFY, NIFTY)
    stage.frame(TickBody(NIFTY.token, FULL, 100, 2_401_060, exchange_timestamp=STALE_S))
    stage.at_ns += 1
    stage.frame(tick(INFY))
    doubts = [said for said in stage.run(3.5) if isinstance(said, m.LinkDoubt)]
    assert doubts == [m.LinkDoubt(0, 1, "unproven", NIFTY.token, 2_401_060)]


def test_an_instrument_whose_market_is_closed_is_no_witness(stage: Stage) -> None:
    closed = Instrument(INFY.token, INFY.key, INFY.mode, is_closed=True)
    stage.open(closed, TCS)
    stage.frame(tick(TCS, 222))
    stage.at_ns += 1
    stage.frame(tick(INFY, 111))
    doubts = [said for said in stage.run(3.5) if isinstance(said, m.LinkDoubt)]
    assert doubts == [m.LinkDoubt(0, 1, "unproven", TCS.token, 222, 7)]


def test_a_feed_that_never_gave_a_packet_is_doubted_with_price_zero(stage: Stage) -> None:
    stage.open(INFY)
    doubts = [said for said in stage.run(3.5) if isinstance(said, m.LinkDoubt)]
    assert doubts == [m.LinkDoubt(0, 1, "unproven", INFY.token, 0)]


def test_nothing_is_doubted_where_nothing_was_asked_or_nothing_arrives(stage: Stage) -> None:
    stage.open()
    assert stage.run(30) == []
    stage.tell(m.Subscribe(0, 1, (INFY,)))
    said = stage.run(9, heartbeat_s=None)
    assert not [each for each in said if isinstance(each, m.LinkDoubt)]


def test_a_stream_on_which_nothing_ticks_is_doubted_every_ten_seconds(stage: Stage) -> None:
    stage.open(INFY, NIFTY)
    assert stage.ticker.handle(Wake(), stage.at_ns) == []
    for _ in range(3):
        stage.frame(tick(INFY), tick(NIFTY, 1, FULL))
    assert doubts_in(stage.run(26)) == [m.LinkDoubt(0, 1, "canary", NIFTY.token, 1)] * 2
    stage.frame(tick(NIFTY, 2, FULL))
    assert not doubts_in(stage.run(9))


def test_what_is_read_after_the_process_stood_still_may_be_as_old_as_that(stage: Stage) -> None:
    stage.open(NIFTY, TCS)
    stage.frame(tick(NIFTY), tick(TCS))
    stage.run(2)
    stood_ns = stage.at_ns
    stage.at_ns += 4 * S  # nothing runs: frames lie in a buffer
    late = [batch for _ in range(3) for batch in batches(stage.frame(tick(NIFTY), tick(TCS)))]
    late += batches(stage.tell(Wake()))
    assert len(late) >= 3
    for batch in late:
        assert batch.received_boot_ns <= stood_ns + 300_000_000
        assert batch.last_frame_boot_ns <= batch.received_boot_ns
        assert batch.canary_boot_ns <= batch.received_boot_ns
    stage.run(0.5)
    (batch,) = batches(stage.frame(tick(TCS)))
    assert batch.received_boot_ns == batch.last_frame_boot_ns == stage.at_ns


def test_what_comes_after_a_silence_of_the_network_may_be_as_old_as_that(stage: Stage) -> None:
    stage.open(NIFTY, TCS)
    stage.frame(tick(TCS))
    stage.run(2.9, heartbeat_s=None)
    (batch,) = batches(stage.frame(tick(TCS)))
    assert batch.received_boot_ns == stage.at_ns
    silent_ns = stage.at_ns
    stage.run(5, heartbeat_s=None)
    late = [batch for _ in range(3) for batch in batches(stage.frame(tick(TCS)))]
    assert [batch.received_boot_ns for batch in late] == [silent_ns] * 3
    assert [batch.last_frame_boot_ns for batch in late] == [silent_ns] * 3
    stage.run(0.5)
    (batch,) = batches(stage.frame(tick(TCS)))
    assert batch.received_boot_ns == batch.last_frame_boot_ns == stage.at_ns


def test_a_list_without_canaries_is_doubted_when_nothing_of_it_ticks(stage: Stage) -> None:
    stage.open(INFY, TCS)
    for price in (100, 101):
        stage.frame(tick(INFY, price, FULL), tick(TCS, price, FULL))
    assert not doubts_in(stage.run(9.5))
    stage.frame(tick(TCS, 102, FULL))  # one is enough
    assert not doubts_in(stage.run(9.5))
    first, second, third = doubts_in(stage.run(75))  # every half minute, each in its turn
    assert first == third == m.LinkDoubt(0, 1, "quiet", TCS.token, 102, None)
    assert second == m.LinkDoubt(0, 1, "quiet", INFY.token, 101, None)
    stage.frame(tick(INFY, 103, FULL), tick(TCS, 103, FULL))
    again = doubts_in(stage.run(11))
    assert again == [m.LinkDoubt(0, 1, "quiet", TCS.token, 103, None)]


def test_nothing_is_asked_about_a_quiet_list_whose_market_is_closed_or_that_has_canaries(
    stage: Stage,
) -> None:
    closed = msgspec.structs.replace(INFY, is_closed=True)
    stage.open(closed)
    for price in (100, 101):
        stage.frame(tick(INFY, price, FULL))
    assert not doubts_in(stage.run(60))
    stage.tell(m.Subscribe(0, 1, (closed, NIFTY)))
    for price in (100, 101):
        stage.frame(tick(NIFTY, price, FULL))
    assert {doubt.kind for doubt in doubts_in(stage.run(60))} == {"canary"}


def test_a_quiet_list_whose_heartbeats_end_is_silent_and_no_more(stage: Stage) -> None:
    stage.open(INFY)
    for price in (100, 101):
        stage.frame(tick(INFY, price, FULL))
    said = stage.run(20, heartbeat_s=None)
    assert not doubts_in(said)
    assert m.LinkSilent(0, 1) in said


def doubts_in(said: list[object]) -> list[m.LinkDoubt]:
    return [each for each in said if isinstance(each, m.LinkDoubt)]


@pytest.mark.parametrize("count", [10, WATCHED_MAX + 1])
def test_however_many_stream_the_last_value_of_a_canary_is_what_is_asked_about(
    stage: Stage, count: int
) -> None:
    many = crowd(count)
    stage.open(*many, NIFTY)
    stage.frame(*(tick(each) for each in many), tick(NIFTY, 1, FULL))
    stage.frame(tick(NIFTY, 2, FULL), tick(NIFTY, 3, FULL))
    stage.at_ns += 1
    stage.frame(tick(many[0]))
    said = stage.run(10.5)
    doubts = [each for each in said if isinstance(each, m.LinkDoubt)]
    assert doubts == [m.LinkDoubt(0, 1, "canary", NIFTY.token, 3, None)]


@pytest.mark.parametrize("count", [10, WATCHED_MAX + 1])
def test_of_a_crowd_of_canaries_what_ticked_last_is_asked_about(stage: Stage, count: int) -> None:
    closed = Instrument(TCS.token, TCS.key, TCS.mode, is_closed=True)
    many = [msgspec.structs.replace(each, is_canary=True) for each in crowd(count)]
    stage.open(*many, closed)
    stage.frame(*(tick(each) for each in many))
    stage.at_ns += 1
    stage.frame(tick(many[1], 7), tick(many[2], 8), tick(closed, 9))
    stage.at_ns += 1
    stage.frame(tick(closed, 10))
    doubts = [each for each in stage.run(10.5) if isinstance(each, m.LinkDoubt)]
    (doubt,) = doubts
    assert (doubt.kind, doubt.token, doubt.last_price) in {
        ("canary", many[1].token, 7),
        ("canary", many[2].token, 8),
    }


def test_a_link_with_many_instruments_still_knows_an_index_that_becomes_a_canary(
    stage: Stage,
) -> None:
    sleeping = msgspec.structs.replace(NIFTY, is_canary=False)
    many = crowd(WATCHED_MAX + 1)
    stage.open(*many, sleeping)
    stage.frame(tick(NIFTY, 5, FULL), *(tick(each) for each in many))
    stage.frame(*(tick(each) for each in many))
    stage.tell(m.Subscribe(0, 1, (*many, NIFTY)))
    (doubt,) = [each for each in stage.run(10.5) if isinstance(each, m.LinkDoubt)]
    assert (doubt.kind, doubt.token, doubt.last_price) == ("canary", NIFTY.token, 5)


def crowd(count: int) -> list[Instrument]:
    return [Instrument((100_000 + n) << 8 | 1, f"NSE:S{n}", "quote") for n in range(count)]


def test_without_canaries_there_is_no_canary_time_and_no_such_doubt(stage: Stage) -> None:
    stage.open(INFY)
    stage.frame(tick(INFY))
    (batch,) = batches(stage.frame(tick(INFY)))
    assert batch.canary_boot_ns == 0
    assert "canary" not in {doubt.kind for doubt in doubts_in(stage.run(40))}


def test_silence_is_reported_once_and_ends_the_link(stage: Stage) -> None:
    stage.open(INFY)
    assert stage.run(9.9, heartbeat_s=None) == []
    assert stage.run(30, heartbeat_s=None) == [m.LinkSilent(0, 1)]
    stage.heartbeat()
    assert stage.run(15, heartbeat_s=None) == []


def test_what_a_buffer_held_while_the_host_slept_is_no_news(stage: Stage) -> None:
    stage.open(INFY)
    stage.frame(tick(INFY))
    stage.at_ns += 3_600 * S
    assert batches(stage.frame(tick(INFY), tick(INFY))) == []
    assert [said for said in stage.run(1) if isinstance(said, m.LinkSilent)] == [m.LinkSilent(0, 1)]


def test_a_new_supervisor_hears_of_a_silence_that_the_last_one_missed(stage: Stage) -> None:
    stage.open(INFY)
    stage.run(11, heartbeat_s=None)
    assert m.LinkSilent(0, 1) in stage.tell(Welcomed())


def test_a_refresh_asks_anew_and_its_packets_are_first_packets(stage: Stage) -> None:
    stage.open(INFY)
    stage.frame(tick(INFY))
    stage.run(1)
    asks = stage.tell(m.Subscribe(0, 1, (INFY,), is_refresh=True))
    assert [command.ask.action for command in asks if isinstance(command, Send)] == [
        "unsubscribe",
        "subscribe",
    ]
    (batch,) = batches(stage.frame(tick(INFY)))
    assert batch.flags == [Flag.FIRST_PACKET]
    assert m.Confirmed(0, 1, (INFY.token,), (QUOTE,)) in stage.run(1)


def test_packets_in_ltp_mode_count_like_others(stage: Stage) -> None:
    ltp = Instrument(INFY.token, INFY.key, "ltp")
    stage.open(ltp)
    assert reports(stage.frame(TickBody(INFY.token, LTP, 100, 5))) == []
    assert reports(stage.frame(TickBody(INFY.token, LTP, 100, 6))) == [m.LinkFresh(0, 1)]


def test_instruments_that_stream_no_more_are_told_to_be_stale(stage: Stage) -> None:
    stage.open(INFY, NIFTY)
    (batch,) = batches(stage.tell(m.Subscribe(0, 1, (NIFTY,))))
    (item,) = batch.items
    assert (item.topic, item.flags) == (b"tick/NSE:INFY", Flag.STALE)
    assert msgspec.msgpack.decode(item.body) is None


def test_a_refresh_ends_no_instrument(stage: Stage) -> None:
    stage.open(INFY, NIFTY)
    assert batches(stage.tell(m.Subscribe(0, 1, (INFY, NIFTY), True))) == []
