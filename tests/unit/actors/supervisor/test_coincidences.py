"""Late, doubled and lost reports, and restarts of single actors."""

from kitefeed.actors.supervisor.facts import ActorLost, ActorUp, Operate
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.membership import Hello, LinkReport
from kitefeed.protocol.topology import Role
from tests.unit.actors.supervisor.bench import NIFTY, Bench


def polling(bench: Bench) -> m.StartPolling:
    """The operator chose REST, and it is polled."""
    bench.up()
    bench.login()
    bench.feed(Operate("rest"))
    bench.validate("valid")
    bench.grant()
    bench.poll()
    return bench.last(m.StartPolling)


def poller_says(
    bench: Bench, *epochs: int, is_new: bool = True, fingerprint: str = "first"
) -> None:
    links = tuple(LinkReport(0, epoch, fingerprint, True, "rest") for epoch in epochs)
    hello = Hello(Role.REST_POLLER, "boot", 7, 7, "1", links=links)
    bench.feed(ActorUp(hello, is_new))


def test_an_opened_report_that_comes_twice_leaves_the_socket_alone() -> None:
    bench = Bench()
    epoch = bench.live()
    bench.feed(m.LinkOpened(0, epoch))
    assert not bench.all(m.CloseLink)
    assert bench.state.feed == "live"


def test_a_quote_about_an_earlier_socket_proves_nothing_about_the_next_one() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("valid")
    epoch = bench.open()
    bench.feed(m.LinkDoubt(0, epoch, "unproven", NIFTY.token, 100))
    bench.feed(m.LinkClosed(0, epoch, 1006, "gone"))
    bench.wait(0.1)
    bench.validate("valid")
    bench.open()
    bench.feed(m.Probed(bench.last(m.Probe).request_id, "same"))
    assert bench.state.feed == "stale"


def test_an_opened_report_that_was_lost_is_made_up_for_by_the_next_hello() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("valid")
    epoch = bench.last(m.OpenLink).epoch
    running = LinkReport(0, epoch, "first", False, "websocket")
    bench.up(Role.TICKER, links=(running,), is_new=False)
    assert bench.last(m.Grant) == m.Grant(0, epoch, "websocket")


def test_a_ticker_that_says_hello_again_is_told_again_what_to_stream() -> None:
    bench = Bench()
    epoch = bench.live()
    before = len(bench.all(m.Subscribe))
    running = LinkReport(0, epoch, "first", True, "websocket")
    bench.up(Role.TICKER, links=(running,), is_new=False)
    assert len(bench.all(m.Subscribe)) == before + 1


def test_an_order_to_poll_that_was_lost_is_given_again_under_a_new_epoch() -> None:
    bench = Bench()
    order = polling(bench)
    poller_says(bench, is_new=False)
    bench.grant()
    assert bench.last(m.StartPolling).epoch > order.epoch


def test_a_poller_that_says_hello_again_goes_on_undisturbed() -> None:
    bench = Bench()
    order = polling(bench)
    bench.forget()
    poller_says(bench, order.epoch, is_new=False)
    assert not bench.all(m.StopPolling)
    assert not bench.all(m.Grant)
    assert bench.state.feed == "rest"


def test_a_grant_that_names_another_source_starts_nothing() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.feed(Operate("rest"))
    bench.validate("valid")
    wanted = bench.last(m.Grant)
    bench.feed(m.Granted(0, wanted.epoch, "none"))
    assert not bench.all(m.StartPolling)
    bench.wait(1.1)
    assert bench.all(m.Grant)[-2:] == [wanted, wanted]
    bench.feed(m.Granted(0, wanted.epoch, "rest"))
    assert bench.last(m.StartPolling).epoch == wanted.epoch


def test_a_broadcaster_that_knows_a_newer_epoch_gets_one_that_is_newer_still() -> None:
    bench = Bench()
    epoch = bench.live()
    bench.feed(m.Granted(0, epoch + 50, "websocket"))
    assert bench.last(m.CloseLink).epoch == epoch
    bench.wait(0.1)
    bench.validate("valid")
    assert bench.last(m.OpenLink).epoch > epoch + 50


def test_a_broadcaster_that_comes_back_while_rest_polls_gets_the_same_grant() -> None:
    bench = Bench()
    order = polling(bench)
    bench.restart(Role.BROADCASTER)
    assert bench.last(m.Grant) == m.Grant(0, order.epoch, "rest")
    bench.grant()
    bench.poll()
    assert bench.state.feed == "rest"


def test_a_poller_that_dies_while_it_polls_polls_again_under_a_new_grant() -> None:
    bench = Bench()
    order = polling(bench)
    bench.restart(Role.REST_POLLER)
    assert bench.last(m.Grant).epoch > order.epoch
    bench.grant()
    assert bench.last(m.StartPolling).epoch == bench.last(m.Grant).epoch


def test_a_rotation_while_the_broadcaster_is_away_is_granted_when_it_comes() -> None:
    bench = Bench()
    bench.live()
    bench.login("second")
    bench.validate("valid")
    bench.feed(ActorLost(Role.BROADCASTER))
    new = bench.last(m.OpenLink).epoch
    bench.feed(m.LinkOpened(0, new))
    assert bench.last(m.Grant).epoch != new
    bench.up(Role.BROADCASTER)
    assert bench.last(m.Grant) == m.Grant(0, new, "websocket")
    bench.grant()
    assert bench.last(m.Subscribe).epoch == new
