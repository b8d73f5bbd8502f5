"""The broadcaster as a process, read by the client and by plain sockets."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from kitefeed.client.feed import Feed
from kitefeed.client.tick import Tick
from kitefeed.protocol import feed as f
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.errors import BadInput, Unavailable
from kitefeed.protocol.feed import Flag
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.control import Answer
from kitefeed.protocol.topics import NUL, tick_topic
from tests.integration.broadcaster_kit import FakeSource, Stage, item, kill, settle
from tests.support import eventually, slowness

pytestmark = pytest.mark.processes

INFY = "NSE:INFY"


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as made:
        yield made


def fresh(feed: Feed, key: str = INFY) -> Tick | None:
    tick = feed.get(key)
    return tick if tick is not None and tick.is_fresh else None


def wait_fresh(feed: Feed, source: FakeSource, price: int = 1_500_00) -> Tick:
    """Sends until the value reads fresh: the grant may come after the first batch."""

    def attempt() -> Any:
        source.send([item(INFY, price)])
        tick = fresh(feed)
        return tick if tick is not None and tick.raw.last_price == price else None

    tick: Tick = eventually(attempt, 5, every_s=0.05)
    return tick


def receive_replay(socket: zmq.Socket[bytes], topic: bytes) -> f.FeedMessage:
    def attempt() -> Any:
        while socket.poll(0):
            got, array = f.split_frame(socket.recv())
            message = f.decode_feed_message(array)
            if got == topic and message.flags & Flag.REPLAY:
                return message
        return None

    replay: f.FeedMessage = eventually(attempt, 3)
    return replay


def test_a_tick_of_the_granted_source_arrives_fresh_with_its_source_and_price(stage: Stage) -> None:
    stage.start()
    _, source = stage.live(epoch=7)
    feed = stage.feed(INFY)
    tick = wait_fresh(feed, source)
    assert (tick.last_price, tick.source, tick.origin, tick.epoch) == (
        1500.0, "websocket", "websocket", 7,
    )  # fmt: skip
    assert tick.age_s < slowness()
    assert (str(feed.status), feed.status.user_name) == ("live", "Asha")


def test_an_exact_subscriber_gets_the_last_value_with_the_same_seq(stage: Stage) -> None:
    stage.start()
    _, source = stage.live()
    feed = stage.feed(INFY)
    settle(feed, source, {INFY: 1_500_00})
    plain = stage.plain(tick_topic(INFY) + NUL)
    replay = receive_replay(plain, tick_topic(INFY))
    assert replay.seq == feed[INFY].seq
    assert feed.duplicates == 0


def test_a_prefix_reader_has_every_value_when_its_constructor_returns(stage: Stage) -> None:
    stage.start()
    _, source = stage.live()
    wait_fresh(stage.feed(INFY), source)
    source.send([item(f"NFO:S{n}", 100 + n) for n in range(250)])
    eventually(lambda: len(stage.feed().snapshot()) == 251, 3)


def test_three_thousand_exact_topics_arrive(stage: Stage) -> None:
    stage.start()
    supervisor, source = stage.live()
    wait_fresh(stage.feed(INFY), source)
    keys = [f"NFO:STRIKE{n}" for n in range(3_000)]
    feed = stage.feed(*keys)
    for start in range(0, len(keys), 200):
        source.send([item(key, 100) for key in keys[start : start + 200]])
    eventually(lambda: len(feed.snapshot()) == 3_000, 5)
    eventually(
        lambda: (
            isinstance(w := supervisor.last(m.ListenersWant), m.ListenersWant)
            and len(w.keys) == 3_001
        ),
        3,
    )


def test_nothing_of_a_source_without_the_grant_is_published(stage: Stage) -> None:
    stage.start()
    _, source = stage.live(epoch=7)
    feed = stage.feed()
    wait_fresh(feed, source)
    stale = stage.source(epoch=6)
    for _ in range(20):
        stale.send([item("NSE:OLD", 1)])
        source.send([item("NSE:NEW", 1)])
    eventually(lambda: feed.get("NSE:NEW"), 3)
    assert feed.get("NSE:OLD") is None


def test_stopping_the_broadcaster_makes_every_value_stale_within_three_seconds(
    stage: Stage,
) -> None:
    process = stage.start()
    _, source = stage.live()
    feed = stage.feed()
    wait_fresh(feed, source)
    process.send_signal(signal.SIGSTOP)
    eventually(lambda: not any(tick.is_fresh for tick in feed.values()), 3)
    assert feed.status.feed == "lost"
    assert {tick.source for tick in feed.values()} == {"cache"}
    process.send_signal(signal.SIGCONT)
    wait_fresh(feed, source)


def test_values_of_a_source_that_was_killed_read_stale_within_two_and_a_half_seconds(
    stage: Stage,
) -> None:
    stage.start()
    _, source = stage.live()
    feed = stage.feed(INFY)
    wait_fresh(feed, source)
    source.stop()
    began_ns = boot_ns()
    eventually(lambda: fresh(feed) is None, 2.5)
    assert boot_ns() - began_ns > 1_000_000_000


def test_a_killed_broadcaster_comes_back_with_a_new_gen_and_the_reader_goes_on(
    stage: Stage,
) -> None:
    process = stage.start()
    _, source = stage.live()
    feed = stage.feed(INFY)
    wait_fresh(feed, source)
    gen = feed.gen
    kill(process)
    stage.start()
    eventually(lambda: feed.gen > gen, 5)
    assert wait_fresh(feed, source, 1_600_00).last_price == 1600.0


def test_values_from_disk_are_cached_and_keep_their_age_and_origin(stage: Stage) -> None:
    process = stage.start()
    supervisor, source = stage.live()
    wait_fresh(stage.feed(INFY), source)
    process.terminate()
    assert process.wait(2 * slowness()) == 0
    source.stop()
    supervisor.stop_ordering()
    stage.start()
    feed = stage.feed(INFY)
    tick = feed[INFY]
    assert tick.flags & Flag.CACHED
    assert (tick.source, tick.origin, tick.is_fresh) == ("cache", "websocket", False)
    assert tick.age_s > 0


def test_a_damaged_file_is_set_aside_and_the_broadcaster_starts_empty(stage: Stage) -> None:
    stage.state.mkdir()
    path = stage.state / "last_values.msgpack"
    path.write_bytes(b"not msgpack")
    stage.start()
    assert stage.feed().snapshot() == {}
    assert path.with_name("last_values.msgpack.damaged").exists()


def test_a_client_of_nothing_is_told_so_at_once(tmp_path: Path) -> None:
    began_ns = boot_ns()
    with pytest.raises(Unavailable, match="kitefeed up"):
        Feed(INFY, endpoint=f"ipc://{tmp_path}/feed.sock", timeout_s=0.3)
    assert boot_ns() - began_ns < 2_000_000_000 * slowness()


def test_an_instrument_the_supervisor_refuses_is_bad_input_with_its_words(stage: Stage) -> None:
    stage.start()
    supervisor, _ = stage.live()
    supervisor.refused["NSE:INFI"] = "NSE:INFI is not listed; did you mean NSE:INFY?"
    with pytest.raises(BadInput, match="did you mean NSE:INFY"):
        stage.asking_feed("NSE:INFI")
    assert stage.asking_feed(INFY).answers == (Answer(INFY, "accepted"),)


def test_the_supervisor_hears_who_listens_and_what_is_granted(stage: Stage) -> None:
    stage.start()
    supervisor, _ = stage.live(epoch=9)
    feed = stage.feed(INFY)
    eventually(lambda: supervisor.last(m.ListenersWant) == m.ListenersWant((INFY,)), 3)
    eventually(lambda: supervisor.last(m.Granted) == m.Granted(0, 9, "websocket"), 3)
    eventually(lambda: feed.status.subscribers == 1, 3)
    feed.close()
    eventually(lambda: supervisor.last(m.ListenersWant) == m.ListenersWant(()), 3)


def test_rubbish_on_ingest_is_counted_and_the_feed_goes_on(stage: Stage) -> None:
    stage.start()
    _, source = stage.live()
    feed = stage.feed(INFY)
    wait_fresh(feed, source)
    for rubbish in (b"", b"\xc1", b"\x91" * 200_000, f.encode([9, 9])):
        source.send_raw(rubbish)
    assert wait_fresh(feed, source, 1_700_00).last_price == 1700.0


def test_a_broken_configuration_is_told_in_every_heartbeat(stage: Stage) -> None:
    stage.config.write_text(stage.config.read_text() + "no_such_key = 1\n")
    process = stage.start()
    feed = stage.feed()
    assert feed.status.feed == "misconfigured"
    assert "no_such_key" in feed.status.reason
    process.terminate()
    assert process.wait(2 * slowness()) == 0


def test_an_announced_state_reaches_readers_and_those_who_come_later(stage: Stage) -> None:
    stage.start()
    supervisor, _ = stage.live()
    early = stage.feed()
    eventually(lambda: early.status.feed == "live", 3)
    state = f.FeedState(feed="login_required", source="cache", session="refused", reason="403")
    supervisor.order(m.Announce(state))
    eventually(lambda: early.status.feed == "login_required", 3)
    late = stage.feed().status
    assert (late.feed, late.session, late.reason) == ("login_required", "refused", "403")


def test_a_deleted_socket_file_is_mended_for_those_who_come_later(stage: Stage) -> None:
    stage.start()
    stage.feed()
    (stage.run / "feed.sock").unlink()
    assert stage.feed(timeout_s=5).status.feed
