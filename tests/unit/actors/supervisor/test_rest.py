"""Tests when quotes are polled, with which session, and how that meets the socket."""

from kitefeed.actors.supervisor.facts import ActorUp, Operate, Persisted
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.membership import Hello, LinkReport
from kitefeed.protocol.topology import Role
from tests.unit.actors.supervisor.bench import MONDAY, Bench


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


def test_a_grant_that_is_acknowledged_twice_has_it_polled_once() -> None:
    bench = Bench()
    order = polling(bench)
    bench.grant()
    assert bench.all(m.StartPolling) == [order]


def test_a_supervisor_that_restarts_while_rest_polls_adopts_the_polling() -> None:
    first = Bench()
    order = polling(first)
    second = Bench(persisted=first.machine.state.persisted)
    second.up(Role.BROADCASTER, Role.TICKER)
    poller_says(second, order.epoch)
    second.up(Role.AUTH_WATCHER, Role.TOKEN_VALIDATOR)
    assert second.last(m.Grant) == m.Grant(0, order.epoch, "rest")
    second.login()
    second.validate("valid")
    second.wait(2)
    assert not second.all(m.StopPolling)
    assert second.state.feed == "rest"


def test_a_supervisor_that_restarts_into_a_pause_stops_the_polling_it_finds() -> None:
    bench = Bench(persisted=Persisted(override="paused"))
    bench.up(Role.BROADCASTER, Role.TICKER)
    poller_says(bench, 7)
    assert bench.all(m.StopPolling)


def test_polling_that_the_fence_has_already_shut_out_is_stopped() -> None:
    bench = Bench()
    bench.wait(6)
    bench.up(Role.BROADCASTER)
    poller_says(bench, 7)
    assert bench.all(m.StopPolling)


def test_the_socket_gets_the_newer_epoch_when_rest_starts_with_it() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("unverified")
    bench.wait(20)
    bench.validate("unverified")
    bench.until(m.Validate)
    bench.validate("valid")
    bench.grant()
    assert bench.last(m.OpenLink).epoch > bench.last(m.StartPolling).epoch


def test_polling_that_starts_during_an_attempt_lets_it_begin_again_under_a_newer_epoch() -> None:
    bench = Bench()
    bench.live()
    bench.wait(30, fresh=True)
    bench.feed(m.LinkClosed(0, bench.machine.state.shards[0].link.epoch, 1006, "reset"))
    for _ in range(2):  # the first attempt hangs for 12 s, the bridge is due during the second
        bench.until(m.Validate)
        bench.validate("valid")
        attempt = bench.last(m.OpenLink).epoch
        bench.wait(4 if bench.all(m.CloseLink) else 12)
    assert bench.machine.state.shards[0].rest.epoch > attempt
    assert bench.last(m.CloseLink).epoch == attempt
    bench.validate("valid")
    assert bench.last(m.OpenLink).epoch > bench.machine.state.shards[0].rest.epoch
    bench.open()
    assert bench.last(m.Subscribe).epoch == bench.last(m.OpenLink).epoch


def test_network_trouble_after_a_refused_socket_is_bridged_by_rest_as_well() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("valid")
    bench.refuse()
    for _ in range(8):
        bench.until(m.Validate)
        bench.validate("valid")
        bench.feed(m.LinkClosed(0, bench.last(m.OpenLink).epoch, None, "unreachable"))
    bench.wait(1)
    assert bench.machine.state.shards[0].rest.epoch


def test_a_market_that_closes_while_rest_polls_ends_the_polling() -> None:
    bench = Bench(hours="calendar", at=MONDAY.replace(hour=15, minute=59, second=50))
    polling(bench)
    bench.forget()
    bench.wait(15)
    assert bench.state.feed == "closed"
    assert bench.all(m.StopPolling)
    assert bench.last(m.Grant).source == "none"
    assert not bench.all(m.StartPolling)


def test_source_rest_with_a_refused_session_polls_once_and_says_login() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.feed(Operate("rest"))
    bench.validate("refused")
    bench.grant()
    bench.poll("token")
    bench.wait(400)
    assert len(bench.all(m.StartPolling)) == 1
    assert bench.state.feed == "login_required"


def test_a_standby_that_is_refused_while_it_polls_gives_way_to_the_honest_answer() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.login("spare", "standby")
    bench.validate("refused")
    bench.validate("valid", "standby")
    bench.grant()
    assert bench.last(m.StartPolling).fingerprint == "spare"
    bench.poll("token")
    bench.grant()
    assert bench.last(m.StartPolling).fingerprint == "first"
    bench.poll("token")
    assert bench.last(m.Grant).source == "none"
    assert bench.machine.state.standby.word == "refused"


def test_the_standby_polls_on_until_a_new_login_is_judged() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.login("spare", "standby")
    bench.validate("refused")
    bench.grant()
    bench.poll()
    bench.forget()
    bench.login("second")
    bench.validate("refused")
    assert not bench.all(m.StopPolling)
    assert bench.state.source == "rest"


def test_a_standby_without_data_does_not_poll_on_while_a_new_login_is_judged() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.login("spare", "standby")
    bench.validate("refused")
    bench.grant()
    bench.login("second")
    bench.poll("permission")
    assert bench.machine.state.shards[0].rest.fingerprint != "spare"
