"""KiteTicker beside the official one, whose names it has; and without a daemon."""

import inspect
import logging
import threading
from pathlib import Path

import kiteconnect
import pytest

from kitefeed import BadInput, KiteTicker, to_dict
from kitefeed.client import kite_run, kite_ticker
from kitefeed.client.kite_dict import kite_dict
from kitefeed.client.tick import NOBODY, Arrival, Tick
from kitefeed.protocol.feed import Source
from kitefeed.protocol.kite.ticks import FULL, LTP, QUOTE, TickBody, encode_frame
from tests.support import decode_frame, eventually

OFFICIAL = kiteconnect.KiteTicker("key", "token")
INFY, NIFTY = 408065, 256265


@pytest.fixture
def ticker(tmp_path: Path) -> KiteTicker:
    return KiteTicker("key", "token", endpoint=f"ipc://{tmp_path}/feed.sock", connect_timeout=0.05)


def test_it_has_every_public_attribute_of_the_official_one(ticker: KiteTicker) -> None:
    names = {name for name in dir(OFFICIAL) if not name.startswith("_")}
    assert names - set(dir(ticker)) == set()
    for name in names:
        value = getattr(OFFICIAL, name)
        if name not in ("socket_url", "connect_timeout") and not callable(value):
            assert getattr(ticker, name) == value, name


def test_its_methods_take_what_those_of_the_official_one_take() -> None:
    for name, method in inspect.getmembers(kiteconnect.KiteTicker, inspect.isfunction):
        if name.startswith("_") and name != "__init__":
            continue
        theirs = inspect.signature(method).parameters
        ours = list(inspect.signature(getattr(KiteTicker, name)).parameters)
        assert ours[: len(theirs)] == list(theirs), name


def test_the_token_is_kept_nowhere() -> None:
    assert "s3cr3t" not in repr(vars(KiteTicker("key", "s3cr3t")))


def test_tries_and_delays_are_bounded_as_in_the_official_one() -> None:
    for arguments in ({"reconnect_max_tries": 999}, {"reconnect_max_delay": 1}):
        ours, theirs = (
            KiteTicker("k", "t", **arguments),
            kiteconnect.KiteTicker("k", "t", **arguments),
        )
        assert ours.reconnect_max_tries == theirs.reconnect_max_tries
        assert ours.reconnect_max_delay == theirs.reconnect_max_delay


def test_what_makes_no_sense_here_is_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kite_ticker, "_said", set())
    with caplog.at_level(logging.WARNING, "kitefeed"):
        for _ in range(2):
            KiteTicker("key", "s3cr3t", root="wss://elsewhere", reconnect=False)
    assert [record.getMessage().rpartition(" as ")[2] for record in caplog.records] == [
        "api_key, access_token, root, reconnect is not used"
    ]
    with pytest.raises(BadInput, match="stale='close'"):
        KiteTicker("key", "token", stale="close")  # type: ignore[arg-type]


def test_a_daemon_that_is_not_there_is_waited_for_and_told_of(
    ticker: KiteTicker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kite_run, "DELAY_S", 0.01)
    monkeypatch.setattr(kite_run, "DELAY_FACTOR", 1.0)
    told: list[tuple[object, ...]] = []
    threads = set()

    def note(name: str) -> None:
        def callback(ws: KiteTicker, *arguments: object) -> None:
            threads.add(threading.get_ident())
            told.append((name, *arguments))

        setattr(ticker, name, callback)

    for name in ("on_connect", "on_error", "on_close", "on_reconnect", "on_noreconnect"):
        note(name)
    ticker.reconnect_max_tries = 2
    ticker.connect()  # returns: it has tried often enough
    why = told[0][2]
    assert "No kitefeed daemon answers" in str(why)
    failed = [("on_error", 1006, why), ("on_close", 1006, why)]
    assert told == [
        *failed,
        *failed, ("on_reconnect", 1),
        *failed, ("on_reconnect", 2), ("on_noreconnect",),
    ]  # fmt: skip
    assert threads == {threading.get_ident()}
    assert not ticker.is_connected()


def test_waiting_ends_by_stop_by_close_and_by_stop_retry(ticker: KiteTicker) -> None:
    ticker.stop()  # before all
    for end in (ticker.stop, ticker.close, ticker.stop_retry):
        ticker.connect(threaded=True)
        thread = ticker.websocket_thread
        assert thread is not None
        assert thread.is_alive()
        ticker.connect()  # is said, and does nothing
        end()
        thread.join(5)
        assert not thread.is_alive()


def test_a_program_that_stops_in_on_close_ends(ticker: KiteTicker) -> None:
    told = []
    ticker.on_close = lambda ws, code, reason: (told.append(code), ws.stop())
    ticker.on_reconnect = lambda ws, count: told.append(count)
    ticker.connect()
    assert told == [1006]
    ticker.on_close = lambda ws, code, reason: told.append(code)
    ticker.connect(threaded=True)  # and may begin again
    eventually(lambda: told[:2] == [1006, 1006], 5)
    ticker.stop()


def test_a_callback_that_raises_ends_nothing(
    ticker: KiteTicker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kite_run, "DELAY_S", 0.01)
    told = []

    def fail(ws: KiteTicker, code: int, reason: str) -> None:
        told.append(code)
        raise RuntimeError("of the program")

    ticker.on_error = ticker.on_close = fail
    ticker.reconnect_max_tries = 0
    ticker.connect()
    assert told == [1006, 1006]
    assert "on_error of the program failed" in caplog.text


@pytest.mark.parametrize("token", [INFY, NIFTY, 3 + (5 << 8), 6 + (5 << 8), 12 + (5 << 8)])
def test_a_dictionary_of_a_lower_mode_is_what_kite_would_have_sent_in_it(token: int) -> None:
    whole = TickBody(
        token, FULL, 100, 150_050, 1, 150_000, 2, 3, 4, 150_100, 150_200, 149_000, 149_900,
        1_790_000_000, 5, 6, 7, 1_790_000_001, bytes(range(120)),
    )  # fmt: skip
    (body,), _ = decode_frame(encode_frame([whole]))
    tick = Tick("NSE:X", body, 1, 0, Arrival(1, 0, 1, Source.WEBSOCKET, 0, 0, 0, NOBODY, 0))
    for mode in (LTP, QUOTE, FULL):
        body.mode = mode
        official = OFFICIAL._parse_binary(encode_frame([body]))
        body.mode = FULL
        assert [kite_dict(tick, mode)] == official
    assert kite_dict(tick) == to_dict(tick, kite=True)
