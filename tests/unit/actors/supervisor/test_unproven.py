"""The headline says of a stream what its values say."""

from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.membership import Beat
from tests.unit.actors.supervisor.bench import INFY, MONDAY, Bench


def beats(bench: Bench, seconds: int, *alive: int) -> None:
    for _ in range(seconds):
        bench.feed(Beat(alive_shards=list(alive)))
        bench.wait(1)


def test_a_stream_whose_values_read_stale_is_not_called_live() -> None:
    bench = Bench()
    bench.live()
    beats(bench, 2, 0)
    assert bench.state.feed == "live"
    beats(bench, 2)
    beats(bench, 1)
    assert bench.state.feed == "stale"
    assert "read stale until something ticks" in bench.state.reason
    assert bench.state.fresh_shards == [0]  # the values are the broadcaster's to judge
    beats(bench, 1, 0)
    assert (bench.state.feed, bench.state.reason) == ("live", "streaming")
    assert not bench.all(m.CloseLink)


def test_a_moment_of_doubt_is_no_headline() -> None:
    bench = Bench()
    bench.live()
    bench.forget()
    before = len(bench.all(m.Announce))
    for _ in range(3):
        beats(bench, 1)
        beats(bench, 1, 0)
    assert {each.state.feed for each in bench.all(m.Announce)[before:]} <= {"live"}
    assert bench.state.feed == "live"


def test_a_broadcaster_that_does_not_tell_changes_nothing() -> None:
    bench = Bench()
    bench.live()
    bench.feed(Beat(values=5))
    bench.wait(10, fresh=True)
    assert bench.state.feed == "live"


def test_a_socket_that_is_replaced_begins_without_the_doubt_about_the_one_before() -> None:
    bench = Bench()
    epoch = bench.live()
    beats(bench, 4)
    bench.feed(m.LinkClosed(0, epoch, 1006, "gone"))
    assert bench.machine.state.shards[0].link.unproven_since_ns == 0


# --- quotes prove it, and nothing ticks ---------------------------------------------------------


def quiet_lines(bench: Bench) -> list[tuple[str, str]]:
    return [(line.level, line.text) for line in bench.said if "condition=quiet" in line.text]


def test_a_market_that_is_open_by_the_calendar_alone_is_told_once_and_its_end_once() -> None:
    bench = Bench(hours="calendar", at=MONDAY)
    bench.live()
    bench.forget()
    bench.wait(299)
    assert bench.state.reason == "streaming"
    bench.wait(3_600)
    assert bench.state.feed == "live"
    assert "nothing has ticked since 10:00" in bench.state.reason
    assert [level for level, _ in quiet_lines(bench)] == ["warning"]
    bench.wait(2, fresh=True)
    assert bench.state.reason == "streaming"
    assert [level for level, _ in quiet_lines(bench)] == ["warning", "info"]
    assert len(bench.said) == 2, "no other line all the while"


def test_the_night_before_the_open_is_no_quiet_market() -> None:
    bench = Bench(hours="calendar", at=MONDAY.replace(hour=9, minute=1))
    bench.live()
    bench.wait(14 * 60 + 120)  # 09:17; it opened at 09:15
    assert not quiet_lines(bench)
    bench.wait(240)
    assert quiet_lines(bench)


def test_a_list_without_an_index_may_be_quiet_for_as_long_as_it_likes() -> None:
    bench = Bench(hours="calendar", at=MONDAY, instruments=(INFY,))
    bench.live()
    bench.wait(3_600)
    assert not quiet_lines(bench)
