"""Tests what a quote, or the lack of one, costs a socket; and how it is told what reads stale
meanwhile."""

from typing import Literal

import pytest

from kitefeed.actors.supervisor.facts import FUTILE_AGAIN_NS
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.instruments import Instrument
from kitefeed.protocol.messages.membership import Beat, Held
from tests.unit.actors.supervisor.bench import INFY, NIFTY, Bench, S
from tests.unit.actors.supervisor.test_report import status

INDICES = 9
FUTILE_AGAIN_S = FUTILE_AGAIN_NS / S
Kind = Literal["unproven", "canary", "quiet"]


def ask(
    bench: Bench,
    outcome: m.ProbeOutcome,
    kind: Kind = "canary",
    *,
    quote: int = 0,
    is_unchanged: bool = False,
    is_alone: bool = False,
    is_ticking: bool = False,
) -> None:
    """The last socket is doubted, and a quote says this, two seconds before the next doubt.
    `is_ticking`: something on it ticks meanwhile."""
    opened = bench.last(m.OpenLink)
    flags = {"is_unchanged": is_unchanged, "is_alone": is_alone}
    bench.feed(m.LinkDoubt(0, opened.epoch, kind, NIFTY.token, 100, **flags))
    bench.wait(0.2)
    bench.feed(m.Probed(bench.last(m.Probe).request_id, outcome, last_price=quote))
    bench.wait(2, fresh=is_ticking)


def reopen(bench: Bench) -> None:
    """The next socket opens; nothing ticks on it."""
    bench.validate("valid")
    bench.open()


def closes(bench: Bench) -> int:
    return len(bench.all(m.CloseLink))


@pytest.mark.parametrize("outcome", ["network", "input", "rate"])
def test_a_socket_on_which_others_tick_outlives_every_quote_that_cannot_be_had(
    outcome: m.ProbeOutcome,
) -> None:
    bench = Bench()
    bench.live()
    for _ in range(20):
        ask(bench, outcome)
        bench.wait(10, fresh=True)
    assert closes(bench) == 0


def test_quotes_that_cannot_be_had_count_only_in_one_silence() -> None:
    bench = Bench()
    bench.live()
    bench.wait(12)
    for _ in range(10):  # something ticks every 12 s
        ask(bench, "network")
        bench.wait(1, fresh=True)
        bench.wait(11)
    assert closes(bench) == 0


@pytest.mark.parametrize("outcome", ["same", "moved", "network", "input"])
def test_the_silence_of_one_alone_costs_no_socket(outcome: m.ProbeOutcome) -> None:
    bench = Bench()
    epoch = bench.live()
    bench.wait(12)
    for _ in range(3):
        ask(bench, outcome, is_alone=True)
    assert closes(bench) == 0
    told = {"same": "same", "moved": "moved", "input": "lacking"}.get(outcome)
    verdicts = [(v.epoch, v.token, v.outcome) for v in bench.all(m.DoubtSettled)]
    assert verdicts == ([(epoch, NIFTY.token, told)] * 3 if told else [])


def test_one_alone_whose_quote_moves_while_others_tick_is_told_as_frozen() -> None:
    bench = Bench()
    bench.live()
    ask(bench, "moved", is_alone=True, is_ticking=True)
    assert bench.last(m.DoubtSettled).outcome == "moved"


def test_a_dead_session_met_because_of_one_alone_costs_no_socket_that_ticks() -> None:
    bench = Bench()
    bench.live()
    ask(bench, "token", is_alone=True)
    assert closes(bench) == 0
    assert bench.state.feed == "live"
    assert bench.state.session == "refused"


def test_the_ticker_is_told_that_nothing_is_missing() -> None:
    bench = Bench()
    epoch = bench.live()
    bench.wait(12)
    ask(bench, "same")
    assert bench.last(m.DoubtSettled) == m.DoubtSettled(0, epoch, NIFTY.token, "same")


@pytest.mark.parametrize("kind", ["unproven", "canary", "quiet"])
def test_a_quote_that_differs_for_long_costs_one_socket(kind: Kind) -> None:
    """A settlement price: it reaches quotes, and no stream."""
    bench = Bench()
    bench.live()
    bench.wait(12)
    ask(bench, "moved", kind, quote=150)
    assert closes(bench) == 1
    reopen(bench)
    for _ in range(60):
        ask(bench, "moved", kind, quote=150, is_unchanged=True)
        bench.wait(8)
    assert closes(bench) == 1
    assert bench.last(m.DoubtSettled).outcome == "moved"


def test_a_list_whose_quotes_differ_costs_one_socket_whichever_of_it_is_asked_about() -> None:
    bench = Bench()
    bench.live()
    bench.wait(12)
    ask(bench, "moved", "quiet", quote=150)
    reopen(bench)
    epoch = bench.last(m.OpenLink).epoch
    for n in range(8):
        token = INFY.token if n % 2 else NIFTY.token
        bench.feed(m.LinkDoubt(0, epoch, "quiet", token, 100, is_unchanged=True))
        bench.feed(m.Probed(bench.last(m.Probe).request_id, "moved", last_price=150 + n % 2))
        bench.wait(30)
    assert closes(bench) == 1


def test_a_stream_that_changed_with_the_new_socket_is_replaced_again_at_once() -> None:
    bench = Bench()
    bench.live()
    bench.wait(12)
    for n in range(3):
        ask(bench, "moved", quote=150 + n)
        assert closes(bench) == n + 1
        reopen(bench)


def test_a_market_that_moves_on_is_reason_for_another_socket_after_minutes() -> None:
    bench = Bench()
    bench.live()
    bench.wait(12)
    ask(bench, "moved", quote=150)
    reopen(bench)
    for n in range(4):
        ask(bench, "moved", quote=151 + n, is_unchanged=True)
    assert closes(bench) == 1
    bench.wait(FUTILE_AGAIN_S)
    ask(bench, "moved", quote=160, is_unchanged=True)
    assert closes(bench) == 2


def test_what_has_ticked_since_the_last_reconnect_is_judged_anew() -> None:
    bench = Bench()
    bench.live()
    bench.wait(12)
    ask(bench, "moved", quote=150)
    reopen(bench)
    bench.wait(2, fresh=True)
    bench.wait(12)
    ask(bench, "moved", quote=150, is_unchanged=True)
    assert closes(bench) == 2


def test_a_stream_about_which_nothing_can_be_known_is_replaced_once_and_then_after_minutes() -> (
    None
):
    bench = Bench()
    bench.live()
    bench.wait(12)
    for _ in range(2):
        ask(bench, "network")
    assert closes(bench) == 1
    reopen(bench)
    for _ in range(10):
        ask(bench, "network")
    assert closes(bench) == 1
    bench.wait(FUTILE_AGAIN_S)
    ask(bench, "network")
    assert closes(bench) == 2


# --- what reads stale meanwhile -------------------------------------------------------------------


def hold(bench: Bench, *holds: Held, seconds: int = 1) -> None:
    for _ in range(seconds):
        bench.feed(Beat(fresh_tick_age_ns=0, last_tick_age_ns=0, held=holds))
        bench.wait(1)


def held_lines(bench: Bench) -> list[tuple[str, str]]:
    return [(say.level, say.text) for say in bench.said if "condition=held" in say.text]


def test_what_is_held_is_told_by_status_at_once_and_in_one_line_after_a_while() -> None:
    bench = Bench()
    epoch = bench.live()
    frozen = Held(0, epoch, "segment", (NIFTY.token,), INDICES)
    hold(bench, frozen, seconds=2)
    assert held_lines(bench) == []
    (told,) = status(bench).held
    assert (told.shard, told.silent, told.held) == (0, ["NSE:NIFTY 50"], "INDICES")
    assert "NSE:NIFTY 50 is silent" in status(bench).reason
    assert bench.state.feed == "live"
    hold(bench, frozen, seconds=60)
    ((level, text),) = held_lines(bench)
    assert level == "warning"
    assert "NSE:NIFTY 50 is silent while others on socket 0 tick" in text
    assert "INDICES read stale" in text
    assert status(bench).held[0].age_s == pytest.approx(62, abs=1)
    hold(bench)
    assert status(bench).held == []
    assert bench.state.reason == "streaming"
    assert [level for level, _ in held_lines(bench)] == ["warning", "info"]


def test_a_stream_in_doubt_is_told_as_a_whole() -> None:
    bench = Bench()
    epoch = bench.live()
    hold(bench, Held(0, epoch, "stream", (NIFTY.token,)))
    assert status(bench).held[0].held == "all of this socket"
    assert "NSE:NIFTY 50 and all else on socket 0 are silent" in bench.state.reason


def test_what_a_ticker_tells_of_another_link_is_not_held() -> None:
    bench = Bench()
    epoch = bench.live()
    hold(bench, Held(0, epoch - 1, "segment", (NIFTY.token,), INDICES))
    assert status(bench).held == []


def test_of_many_silent_canaries_a_line_names_a_few() -> None:
    many = tuple(Instrument(n << 8 | INDICES, f"NSE:I{n}", "full", True) for n in range(5))
    bench = Bench(instruments=(*many, INFY))
    epoch = bench.live()
    hold(bench, Held(0, epoch, "segment", tuple(i.token for i in many), INDICES))
    assert "NSE:I0, NSE:I1, NSE:I2 and 2 more are silent" in bench.state.reason
    assert len(status(bench).held[0].silent) == 5
