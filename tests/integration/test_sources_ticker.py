"""The ticker as a process, between the simulator and a supervisor and broadcaster we play."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import requests

from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.feed import Flag, Notice, OrderUpdate, Source
from kitefeed.protocol.kite.ticks import FULL, TickBody
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.instruments import Instrument
from kitefeed.protocol.messages.membership import LinkReport
from kitefeed.protocol.topology import Role
from kitefeed.simulator.server import Simulator
from kitefeed.simulator.thread import RunningSimulator, running_simulator
from tests.integration.stage import Stage, deadline_ns
from tests.support import slowness

INFY = Instrument(408065, "NSE:INFY", "full")
SBIN = Instrument(779521, "NSE:SBIN", "ltp")
NIFTY = Instrument(256265, "NSE:NIFTY 50", "full", is_canary=True)

pytestmark = pytest.mark.processes


@pytest.fixture
def kite() -> Iterator[RunningSimulator]:
    with running_simulator(Simulator(tick_hz=10)) as running:
        yield running


def stage_for(kite: RunningSimulator) -> Stage:
    facts = kite.credentials()
    return Stage(kite.rest_url, kite.ws_url, str(facts["api_key"]), str(facts["access_token"]))


@pytest.fixture
def stage(kite: RunningSimulator) -> Iterator[Stage]:
    stage = stage_for(kite)
    try:
        yield stage
    finally:
        stage.close()


# Two of the ticker's clocks run for seconds: their stages are set first and looked at last.


@pytest.fixture(scope="module", autouse=True)
def silent_stage() -> Iterator[Stage]:
    """A link whose server fell silent."""
    with running_simulator() as kite:
        stage = stage_for(kite)
        try:
            stream(stage, INFY)
            stage.report(m.LinkFresh)
            kite.fault("silence")
            yield stage
        finally:
            stage.close()


@pytest.fixture(scope="module", autouse=True)
def unproven_stage() -> Iterator[Stage]:
    """A link that got cached packets and nothing else: the market is closed."""
    with running_simulator() as kite:
        stage = stage_for(kite)
        try:
            kite.fault("market", "closed")
            stream(stage, INFY, NIFTY)
            yield stage
        finally:
            stage.close()


def open_link(stage: Stage, fingerprint: str, epoch: int) -> None:
    stage.send(m.OpenLink(0, epoch, fingerprint, deadline_ns()))
    stage.report(m.LinkOpened, lambda r: r.epoch == epoch)


def stream(stage: Stage, *instruments: Instrument, epoch: int = 1) -> str:
    """A ticker with one open, subscribed link."""
    fingerprint = stage.save_session(next(iter(stage.secrets)))
    stage.start(Role.TICKER)
    open_link(stage, fingerprint, epoch)
    stage.send(m.Subscribe(0, epoch, instruments))
    return fingerprint


def test_a_link_streams_ticks_confirms_them_and_proves_itself_fresh(stage: Stage) -> None:
    stream(stage, INFY, SBIN, NIFTY)
    confirmed: set[int] = set()

    def is_all_confirmed() -> bool:
        for report in stage.reports:
            if isinstance(report, m.Confirmed):
                confirmed.update(report.tokens)
        return confirmed == {INFY.token, SBIN.token, NIFTY.token}

    stage.until(is_all_confirmed)
    stage.report(m.LinkFresh)
    stage.until(lambda: len(stage.items("tick/NSE:INFY")) > 3)
    first, *_, last = stage.items("tick/NSE:INFY")
    body = msgspec.msgpack.decode(last.body, type=TickBody)
    assert (body.instrument_token, body.mode) == (INFY.token, FULL)
    assert (first.flags, last.flags) == (Flag.FIRST_PACKET, 0)
    assert [b.batch_seq for b in stage.batches] == list(range(1, len(stage.batches) + 1))
    assert {b.source for b in stage.batches} == {Source.WEBSOCKET}
    assert stage.batches[-1].canary_boot_ns > 0
    stage.until(lambda: stage.beats and stage.beats[-1].fresh_tick_age_ns >= 0)
    assert stage.beats[-1].counters["frames"] > 0


def test_a_refused_upgrade_is_reported_once_with_its_status(
    kite: RunningSimulator, stage: Stage
) -> None:
    fingerprint = stage.save_session(next(iter(stage.secrets)))
    stage.start(Role.TICKER)
    for epoch, status in enumerate((403, 429, 502), 7):
        kite.fault("refuse_ws", status)
        stage.send(m.OpenLink(0, epoch, fingerprint, deadline_ns()))
        refused = stage.report(m.LinkRefused, lambda r, epoch=epoch: r.epoch == epoch)
        assert refused.status == status
    kite.fault("clear")
    open_link(stage, fingerprint, 10)  # the same process connects as soon as it is told to
    assert len([r for r in stage.reports if isinstance(r, m.LinkRefused | m.LinkClosed)]) == 3


def test_a_killed_session_and_a_changed_file_each_close_the_link_once(
    kite: RunningSimulator, stage: Stage
) -> None:
    fingerprint = stream(stage, INFY)
    stage.report(m.LinkFresh)
    kite.fault("kill")
    closed = stage.report(m.LinkClosed)
    assert (closed.epoch, closed.code) == (1, 1000)
    stage.send(m.OpenLink(0, 2, fingerprint, deadline_ns()))
    assert stage.report(m.LinkRefused) == m.LinkRefused(0, 2, 403)
    stage.save_session("AnotherToken12345")
    stage.send(m.OpenLink(0, 3, fingerprint, deadline_ns()))
    assert stage.report(m.LinkClosed, lambda r: r.epoch == 3).reason == "session changed"


def test_every_way_a_connection_ends_is_one_report(kite: RunningSimulator, stage: Stage) -> None:
    fingerprint = stream(stage, INFY)
    stage.report(m.LinkFresh)
    ways = ("fin", "rst", "close", "1011")
    for epoch, how in enumerate(ways, 1):
        kite.fault("drop_ws", how)
        closed = stage.report(m.LinkClosed, lambda r, epoch=epoch: r.epoch == epoch)
        assert closed.code == {"close": 1000, "1011": 1011}.get(how, 1006)
        open_link(stage, fingerprint, epoch + 1)
    stage.until(lambda: len(stage.beats) > 1)
    assert [r.epoch for r in stage.reports if isinstance(r, m.LinkClosed)] == [1, 2, 3, 4]


def test_a_refused_tcp_connection_is_reported(stage: Stage) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    stage.set_ws_url(f"ws://127.0.0.1:{port}")
    fingerprint = stage.save_session(next(iter(stage.secrets)))
    stage.start(Role.TICKER)
    stage.send(m.OpenLink(0, 1, fingerprint, deadline_ns()))
    assert "refused" in stage.report(m.LinkClosed).reason


def test_a_second_link_opens_beside_the_first_and_the_first_closes_on_command(
    stage: Stage,
) -> None:
    fingerprint = stream(stage, INFY)
    stage.report(m.LinkFresh)
    open_link(stage, fingerprint, 2)
    stage.send(m.Subscribe(0, 2, (INFY,)))
    stage.report(m.LinkFresh, lambda r: r.epoch == 2)
    stage.send(m.CloseLink(0, 1))
    assert stage.report(m.LinkClosed).epoch == 1
    before = len(stage.batches)
    stage.until(lambda: len(stage.batches) > before + 3)
    assert {b.epoch for b in stage.batches[before + 1 :]} == {2}


def test_closing_a_link_that_is_still_connecting_ends_it(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # accepts and never answers
        stage.set_ws_url(f"ws://127.0.0.1:{mute.getsockname()[1]}")
        fingerprint = stage.save_session(next(iter(stage.secrets)))
        stage.start(Role.TICKER)
        stage.send(m.OpenLink(0, 1, fingerprint, deadline_ns()))
        mute.accept()
        stage.send(m.CloseLink(0, 1))
        assert stage.report(m.LinkClosed, within_s=3).epoch == 1


def test_the_address_of_the_socket_has_the_parameters_of_the_configuration(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        stage.set_ws_url(f"ws://127.0.0.1:{mute.getsockname()[1]}")
        with stage.config.open("a") as file:
            file.write('ws_query = { user_id = "AB 1234" }\n')
        fingerprint = stage.save_session(next(iter(stage.secrets)))
        stage.start(Role.TICKER)
        stage.send(m.OpenLink(0, 1, fingerprint, deadline_ns()))
        connection, _ = mute.accept()
        with connection:
            line = connection.recv(4096).split(b"\r\n")[0].decode()
        stage.send(m.CloseLink(0, 1))
        stage.report(m.LinkClosed, within_s=3)
    path, _, query = line.split(" ")[1].partition("?")
    assert path == "/"
    names = [part.partition("=")[0] for part in query.split("&")]
    assert names == ["api_key", "access_token", "user_id"]
    assert query.endswith("&user_id=AB+1234")


def test_orders_and_notices_pass_and_garbage_is_counted(
    kite: RunningSimulator, stage: Stage
) -> None:
    stream(stage, INFY)
    stage.report(m.LinkFresh)
    kite.fault("garbage")
    requests.post(f"{kite.rest_url}/_sim/order", json={"app": 1}, timeout=5)
    notice = {"app": 1, "type": "message", "data": "hello"}
    requests.post(f"{kite.rest_url}/_sim/notice", json=notice, timeout=5)
    requests.post(f"{kite.rest_url}/_sim/notice", json=notice | {"type": "error"}, timeout=5)
    stage.until(lambda: stage.items("order/") and stage.items("notice/error"))
    order = stage.items("order/")[0]
    data = msgspec.msgpack.decode(order.body, type=OrderUpdate).data
    assert order.topic.decode() == f"order/{data['order_id']}"
    sentence = msgspec.msgpack.decode(stage.items("notice/message")[0].body, type=Notice)
    assert (sentence.kind, sentence.text) == ("message", "hello")
    stage.until(lambda: stage.beats and stage.beats[-1].counters["bad_frames"] > 3)
    assert not [r for r in stage.reports if isinstance(r, m.LinkClosed)]


@pytest.mark.parametrize("fault", ["lose_subscribe", "lose_mode"])
def test_what_kite_never_heard_is_asked_again_within_seconds_and_comes_in_its_mode(
    kite: RunningSimulator, stage: Stage, fault: str
) -> None:
    kite.fault(fault, 2)  # the first, and the one that repeats it
    stream(stage, INFY)
    stage.report(m.Confirmed, lambda report: report.modes == (FULL,), within_s=2 + 3 + 3)
    stage.until(lambda: len(stage.items("tick/NSE:INFY")) > 3)
    body = msgspec.msgpack.decode(stage.items("tick/NSE:INFY")[-1].body, type=TickBody)
    assert body.mode == FULL
    stage.until(lambda: stage.beats[-1].counters["asked_again"] >= 2)


def test_an_order_that_came_too_late_or_with_an_old_epoch_is_not_carried_out(
    kite: RunningSimulator, stage: Stage
) -> None:
    fingerprint = stream(stage, INFY, epoch=5)
    stage.send(m.OpenLink(0, 4, fingerprint, deadline_ns()))
    stage.send(m.OpenLink(0, 6, fingerprint, deadline_ns(-1)))
    open_link(stage, fingerprint, 7)
    assert {r.epoch for r in stage.reports if isinstance(r, m.LinkOpened)} == {5, 7}


def test_a_new_supervisor_is_told_of_running_links_and_confirmations(stage: Stage) -> None:
    fingerprint = stream(stage, INFY)
    stage.report(m.Confirmed)
    stage.report(m.LinkFresh)
    hellos = len(stage.hellos)
    stage.reports.clear()
    stage.challenge()
    stage.until(lambda: len(stage.hellos) > hellos)
    (link,) = stage.hellos[-1].links
    assert 0 < link.fresh_boot_ns <= boot_ns()
    told = msgspec.structs.replace(link, fresh_boot_ns=0)
    assert told == LinkReport(0, 1, fingerprint, True, "websocket", (INFY.token,))
    assert stage.hellos[-1].highest_epoch == 1
    assert stage.report(m.Confirmed).tokens == (INFY.token,)


def test_the_process_leaves_when_told_with_links_open(stage: Stage) -> None:
    stream(stage, INFY)
    stage.report(m.LinkFresh)
    assert stage.stop() == 0


def test_a_silent_socket_is_reported_once_and_beats_go_on(silent_stage: Stage) -> None:
    silent_stage.report(m.LinkSilent, within_s=12)
    last_frame_ns = silent_stage.batches[-1].last_frame_boot_ns
    before = len(silent_stage.batches)
    silent_stage.until(lambda: len(silent_stage.batches) > before + 2)
    assert silent_stage.batches[-1].last_frame_boot_ns == last_frame_ns
    silent_stage.send(m.CloseLink(0, 1))
    silent_stage.report(m.LinkClosed, within_s=3)  # though the peer never answers the close
    # Once, and once more for each time that a busy machine made it believe we had gone.
    said = [r for r in silent_stage.reports if isinstance(r, m.LinkSilent)]
    assert len(said) <= len(silent_stage.hellos)


def test_a_closed_market_leaves_the_link_unproven(unproven_stage: Stage) -> None:
    doubt = unproven_stage.report(m.LinkDoubt, within_s=6)
    assert (doubt.kind, doubt.token) == ("unproven", NIFTY.token)
    assert doubt.last_price > 0
    assert not [r for r in unproven_stage.reports if isinstance(r, m.LinkFresh)]


def test_an_exception_in_a_callback_ends_its_link_and_nothing_else(
    kite: RunningSimulator,
) -> None:
    """In a process of its own, for Twisted's sake: one link whose callback raises, then another."""
    script = Path(__file__).with_name("raising_callback.py")
    facts = kite.credentials()
    arguments = [kite.ws_url, str(facts["api_key"]), str(facts["access_token"])]
    done = subprocess.run(
        [sys.executable, script, *arguments],
        capture_output=True, text=True, timeout=20 * slowness(), check=False, cwd=script.parents[2],
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "failure RuntimeError",
        "end None a callback failed: RuntimeError",
        "second link: message",
    ]
    assert done.stderr == ""
