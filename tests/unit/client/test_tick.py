"""A tick as a plain value: copied, pickled, printed; with its feed and without."""

import copy
import pickle

import pytest

from kitefeed.client import tick as tick_module
from kitefeed.client.tick import Tick
from tests.unit.client.view_kit import Reader, S


@pytest.fixture
def reader() -> Reader:
    made = Reader()
    made.heartbeat()
    made.tick()
    return made


def pickled(tick: Tick) -> Tick:
    again: Tick = pickle.loads(pickle.dumps(tick))  # noqa: S301 (our own)
    return again


def test_a_copy_is_judged_by_the_same_feed(reader: Reader) -> None:
    for made in (copy.copy(reader.value()), copy.deepcopy(reader.value())):
        assert (made.is_fresh, made.source) == (True, "websocket")
        assert made.raw == reader.value().raw
    assert copy.deepcopy(reader.value()).raw is not reader.value().raw
    made = copy.deepcopy(reader.value())
    reader.tick(seq=2)
    assert not made.is_fresh


def test_a_pickled_tick_is_a_value_that_is_never_fresh(reader: Reader) -> None:
    tick = reader.value()
    again = pickled(pickled(tick))
    assert (again.is_fresh, again.source, again.origin) == (False, "cache", "websocket")
    assert (again.instrument, again.raw, again.seq) == (tick.instrument, tick.raw, tick.seq)
    assert (again.last_price, again.depth) == (tick.last_price, tick.depth)
    assert (again.epoch, again.received_at, repr(again)) == (7, tick.received_at, repr(tick))


def test_the_age_of_a_pickled_tick_goes_on_by_the_wall_clock_on_a_host_with_another_boot_time(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks = {"boot": reader.now_ns, "utc": reader.utc_ns}
    monkeypatch.setattr(tick_module, "boot_ns", lambda: clocks["boot"])
    monkeypatch.setattr(tick_module, "utc_ns", lambda: clocks["utc"])
    reader.tick(seq=2, t_rx_ns=reader.utc_ns - 3 * S)
    clocks["boot"] += 4 * S
    clocks["utc"] += 4 * S
    assert reader.value().age_s == 7
    packed = pickle.dumps(reader.value())
    clocks["boot"] = 5 * S
    clocks["utc"] += 10 * S
    again: Tick = pickle.loads(packed)  # noqa: S301 (our own)
    assert again.age_s == 17
    clocks["boot"] += 1 * S
    assert again.age_s == 18


def test_nothing_of_a_tick_can_be_changed(reader: Reader) -> None:
    with pytest.raises(AttributeError):
        reader.value().seq = 9  # type: ignore[misc]
