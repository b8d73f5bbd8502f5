"""The headline says of a stream what its values say."""

from kitefeed.protocol import messages as m
from tests.unit.actors.supervisor.bench import Bench


def beats(bench: Bench, seconds: int, *alive: int) -> None:
    for _ in range(seconds):
        bench.feed(m.Beat(alive_shards=list(alive)))
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
    bench.feed(m.Beat(values=5))
    bench.wait(10, fresh=True)
    assert bench.state.feed == "live"


def test_a_socket_that_is_replaced_begins_without_the_doubt_about_the_one_before() -> None:
    bench = Bench()
    epoch = bench.live()
    beats(bench, 4)
    bench.feed(m.LinkClosed(0, epoch, 1006, "gone"))
    assert bench.machine.state.shards[0].link.unproven_since_ns == 0
