"""rest_poller, token_validator and auth_watcher as processes, beside the simulator."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import requests

from kitefeed.protocol.feed import OrderUpdate, Source
from kitefeed.protocol.instrument_list import InstrumentsDb
from kitefeed.protocol.kite.instruments import Listed
from kitefeed.protocol.kite.ticks import TickBody
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.instruments import Instrument
from kitefeed.protocol.topology import Role
from kitefeed.simulator.server import Simulator
from kitefeed.simulator.thread import RunningSimulator, running_simulator
from tests.integration.stage import Stage

SECOND_NS = 1_000_000_000
INFY = Instrument(408065, "NSE:INFY", "full")
NIFTY = Instrument(256265, "NSE:NIFTY 50", "quote")
GONE = Instrument(4711169, "NSE:GONE", "full")

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


@pytest.fixture(scope="module", autouse=True)
def hung_stage() -> Iterator[Stage]:
    """A validator whose first call hangs; made first and looked at last, for its 3 s. The second
    question, asked when Kite answers again, is number 2."""
    with running_simulator() as kite:
        stage = stage_for(kite)
        try:
            fingerprint = stage.save_session(next(iter(stage.secrets)))
            stage.start(Role.TOKEN_VALIDATOR)
            kite.fault("rest_slow", 20)
            stage.send(m.Validate(1, fingerprint))
            stage.until(lambda: kite.simulator.stats.requests() and stage.beats)
            kite.fault("clear")
            stage.send(m.Validate(2, fingerprint))
            yield stage
        finally:
            stage.close()


def poll(stage: Stage, *instruments: Instrument, epoch: int = 1) -> str:
    fingerprint = stage.save_session(next(iter(stage.secrets)))
    stage.start(Role.REST_POLLER)
    stage.send(m.StartPolling(0, epoch, fingerprint, 1 * SECOND_NS, instruments))
    return fingerprint


def test_polled_values_come_every_period_with_confirmations_and_beats(stage: Stage) -> None:
    poll(stage, INFY, NIFTY, GONE)
    assert stage.report(m.Confirmed).tokens == (INFY.token, NIFTY.token)
    assert stage.report(m.Polled).outcome == "ok"
    stage.until(lambda: len(stage.items("tick/NSE:INFY")) >= 2)
    values = [batch for batch in stage.batches if batch.topics]
    assert {b.source for b in stage.batches} == {Source.REST}
    assert values[1].received_boot_ns - values[0].received_boot_ns >= SECOND_NS
    assert values[0].period_ns >= SECOND_NS
    assert len(stage.batches) > len(values)  # beats between the answers
    body = msgspec.msgpack.decode(values[0].bodies[0], type=TickBody)
    assert (body.instrument_token, body.divisor) == (INFY.token, 100)
    stage.send(m.StopPolling(0))
    stage.until(lambda: stage.beats and stage.beats[-1].counters["absent"] >= 1)


def test_a_dead_session_parks_polling_until_a_new_epoch(
    kite: RunningSimulator, stage: Stage
) -> None:
    poll(stage, INFY)
    assert stage.report(m.Polled).outcome == "ok"
    kite.fault("expire")
    refused = stage.report(m.Polled, lambda r: r.outcome != "ok")
    assert refused.outcome == "token"
    token = str(kite.call(lambda: _login(kite))["access_token"])
    fingerprint = stage.save_session(token)
    stage.send(m.StartPolling(0, 2, fingerprint, SECOND_NS, (INFY,)))
    assert stage.report(m.Polled, lambda r: r.epoch == 2).outcome == "ok"


async def _login(kite: RunningSimulator) -> dict[str, object]:
    kite.simulator.accounts.login(kite.simulator.accounts.apps[0])
    return kite.credentials()


def test_a_failed_poll_says_whose_remedy_it_needs(kite: RunningSimulator, stage: Stage) -> None:
    """In one process, one epoch after the other; the bucket makes each wait a second."""
    faults = [("rest_down", None, "network"), ("no_entitlement", None, "permission")]
    faults += [("rest_status", 429, "rate")]
    kite.fault(faults[0][0], faults[0][1])
    fingerprint = poll(stage, INFY)
    for epoch, (fault, argument, outcome) in enumerate(faults, 1):
        kite.fault("clear")
        kite.fault(fault, argument)
        stage.send(m.StartPolling(0, epoch, fingerprint, 60 * SECOND_NS, (INFY,)))
        polled = stage.report(m.Polled, lambda r, epoch=epoch: r.epoch == epoch)
        assert polled.outcome == outcome
    stage.send(m.Probe(5, fingerprint, INFY.token))
    assert stage.report(m.Probed).outcome == "rate"  # at once: the bucket is held for 10 s


def test_the_order_book_is_read_on_order_whatever_quotes_wait_for(
    kite: RunningSimulator, stage: Stage
) -> None:
    _make_up(kite, 1, "COMPLETE")
    _make_up(kite, 2, "REJECTED")  # another user's
    fingerprint = poll(stage, INFY)
    kite.fault("oms_status", 503)
    stage.send(m.ReadOrders(1, fingerprint))
    assert stage.report(m.OrdersUnread).outcome == "network"
    kite.fault("clear")
    stage.until(lambda: any(batch.book for batch in stage.batches), 15)
    (book,) = [batch.book for batch in stage.batches if batch.book]
    assert (book.reading, book.user_id) == (1, kite.credentials()["user_id"])
    (item,) = book.orders
    data = msgspec.msgpack.decode(item.body, type=OrderUpdate).data
    assert data["status"] == "COMPLETE"
    assert data["user_id"] == book.user_id
    assert item.topic.decode() == f"order/{data['order_id']}"
    stage.until(lambda: len(stage.items("tick/NSE:INFY")) >= 2)


def _make_up(kite: RunningSimulator, app: int, status: str) -> None:
    wish = {"app": app, "status": status}
    requests.post(f"{kite.rest_url}/_sim/order", json=wish, timeout=5).raise_for_status()


def test_a_probe_compares_the_quote_with_what_the_stream_gave(
    kite: RunningSimulator, stage: Stage
) -> None:
    kite.fault("market", "closed")
    fingerprint = stage.save_session(next(iter(stage.secrets)))
    stage.start(Role.REST_POLLER)
    stage.send(m.Probe(1, fingerprint, INFY.token))
    stage.send(m.Probe(2, fingerprint, INFY.token, 1))
    answers = [stage.report(m.Probed, lambda r, n=n: r.request_id == n).outcome for n in (1, 2)]
    assert answers == ["same", "moved"]


def test_the_instrument_dump_is_fetched_at_start_and_announced_after_each_welcome(
    stage: Stage,
) -> None:
    stage.start(Role.REST_POLLER)
    ready = stage.report(m.InstrumentsReady, within_s=10)
    database = InstrumentsDb(stage.state_dir / "instruments.sqlite")
    facts = database.facts()
    assert facts is not None
    assert (facts.rows, facts.day_ist) == (ready.rows, ready.day_ist)
    assert database.resolve(["NSE:INFY", "NSE:NONE"]) == {"NSE:INFY": Listed(INFY.token)}
    stage.reports.clear()
    stage.challenge()
    assert stage.report(m.InstrumentsReady) == ready


def test_a_failed_dump_is_said_once_and_leaves_no_file(
    kite: RunningSimulator, stage: Stage
) -> None:
    kite.fault("rest_down")
    stage.start(Role.REST_POLLER)
    stage.until(lambda: "cannot be fetched" in stage.log_text())
    assert not (stage.state_dir / "instruments.sqlite").exists()


def test_a_session_is_valid_refused_or_unverified(kite: RunningSimulator, stage: Stage) -> None:
    fingerprint = stage.save_session(next(iter(stage.secrets)))
    stage.start(Role.TOKEN_VALIDATOR)

    def verdict(number: int, of: str = fingerprint) -> m.Validated:
        stage.send(m.Validate(number, of))
        return stage.report(m.Validated, lambda r: r.request_id == number)

    valid = verdict(1)
    assert (valid.verdict, valid.user_id) == ("valid", kite.credentials()["user_id"])
    kite.fault("rest_status", 502)
    assert verdict(2).verdict == "unverified"
    kite.fault("clear")
    kite.fault("expire")
    assert verdict(3).verdict == "refused"
    assert verdict(4, "another").detail == "session changed"


def test_a_session_file_is_announced_by_content(stage: Stage) -> None:
    stage.start(Role.AUTH_WATCHER)
    absent = stage.report(m.SessionSeen, lambda r: r.slot == "primary")
    assert absent == m.SessionSeen("primary", None)
    first = stage.save_session(next(iter(stage.secrets)))
    stage.report(m.SessionSeen, lambda r: r.fingerprint == first, within_s=1)
    stage.save_session(next(iter(stage.secrets)))  # the same again: no news
    second = stage.save_session("AnotherToken12345", "standby")
    stage.report(m.SessionSeen, lambda r: r.fingerprint == second and r.slot == "standby")
    path: Path = stage.state_dir / "session.json"
    os.chmod(path, 0o644)
    problem = stage.report(m.SessionSeen, lambda r: r.problem is not None)
    assert "chmod 600" in (problem.problem or "")
    assert len([r for r in stage.reports if r == m.SessionSeen("primary", first)]) == 1
    stage.reports.clear()
    stage.challenge()
    stage.report(m.SessionSeen, lambda r: r.slot == "standby" and r.fingerprint == second)


def test_a_hung_call_is_unverified_after_three_seconds_and_blocks_nobody(
    hung_stage: Stage,
) -> None:
    hung = hung_stage.report(m.Validated, lambda r: r.request_id == 1)
    assert (hung.verdict, hung.detail) == ("unverified", "no answer within 3 s")
    assert hung_stage.report(m.Validated, lambda r: r.request_id == 2).verdict == "valid"
    assert hung_stage.reports[0] != hung  # the second question did not wait for the first
    assert hung_stage.stop() == 0  # at once, whatever hangs
