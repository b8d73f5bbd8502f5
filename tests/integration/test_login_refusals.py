"""Tests what is said when Kite refuses a login, by the simulator's answers."""

from collections.abc import Iterator

import pytest

from kitefeed.actors.runtime import kite_login
from kitefeed.actors.runtime.kite_target import Kite
from kitefeed.actors.runtime.session_file import Session
from kitefeed.protocol.errors import KitefeedError, LoginNeeded, Unavailable
from kitefeed.protocol.secret import Secret
from kitefeed.simulator.server import Simulator
from kitefeed.simulator.thread import RunningSimulator, running_simulator


class Stage:
    """Logins of the simulator's first app."""

    def __init__(self, running: RunningSimulator) -> None:
        self.running = running
        self.app = running.simulator.accounts.apps[0]
        self.kite = Kite(api_key=self.app.api_key, rest_url=running.rest_url)

    def request_token(self) -> Secret:
        accounts = self.running.simulator.accounts
        at_ns = self.running.simulator.rest._world.wall_ns()
        return Secret(accounts.new_request_token(self.app, at_ns))

    def exchange(self, token: Secret | None = None, secret: str = "", api_key: str = "") -> Session:
        return kite_login.exchange(
            self.kite,
            api_key or self.app.api_key,
            token or self.request_token(),
            Secret(secret or self.app.api_secret),
        )

    def refused(self, kind: type[KitefeedError] = LoginNeeded, **given: object) -> str:
        with pytest.raises(kind) as caught:
            self.exchange(**given)  # type: ignore[arg-type]
        return str(caught.value)


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSimulator]:
    with running_simulator(Simulator(apps=1, refresh_tokens="yes")) as found:
        yield found


@pytest.fixture
def stage(running: RunningSimulator) -> Stage:
    running.fault("clear")
    return Stage(running)


def test_a_wrong_secret_is_named_and_not_repeated(stage: Stage) -> None:
    told = stage.refused(secret="wrongwrongwrong1wrongwrongwrong1")
    assert "the app's secret is not that of this api_key" in told
    assert "--remember-secret" in told
    assert "wrongwrong" not in told


def test_a_request_token_works_once_and_the_second_time_says_so(stage: Stage) -> None:
    token = stage.request_token()
    stage.exchange(token)
    told = stage.refused(token=token)
    assert "used already, or is more than a few minutes old" in told
    assert token.reveal() not in told


def test_a_user_who_is_not_enabled_for_the_app_is_told_where_to_add_him(stage: Stage) -> None:
    stage.running.fault("not_enabled")
    assert "add the user's id to the app" in stage.refused()


@pytest.mark.parametrize(("ahead_s", "way"), [(3600, "behind"), (-90, "ahead of")])
def test_a_wrong_clock_is_told_beside_the_refusal(stage: Stage, ahead_s: int, way: str) -> None:
    stage.running.fault("clock", str(ahead_s))
    told = stage.refused(token=Secret("neverGivenOut1neverGivenOut1"))
    assert f"s {way} Kite's: put it right" in told
    assert "used already" in told


def test_a_clock_that_is_right_is_not_suspected(stage: Stage) -> None:
    assert "clock" not in stage.refused(token=Secret("neverGivenOut1neverGivenOut1"))


@pytest.mark.parametrize("status", ["500", "502", "503", "504", "429"])
def test_trouble_at_kite_is_no_refusal(stage: Stage, status: str) -> None:
    stage.running.fault("rest_status", status)
    assert "try again" in stage.refused(Unavailable)


def test_a_kite_that_does_not_answer_is_no_refusal(stage: Stage) -> None:
    stage.running.fault("rest_down")
    assert "does not answer" in stage.refused(Unavailable)


def test_a_session_is_renewed_by_its_refresh_token(stage: Stage) -> None:
    first = stage.exchange()
    second = kite_login.renew(stage.kite, first, Secret(stage.app.api_secret))
    assert second.fingerprint != first.fingerprint
    assert second.access_token.reveal() == stage.app.access_token
    assert (second.user_id, second.refresh_token is not None) == (first.user_id, True)


def test_a_refresh_token_of_a_session_before_the_last_is_refused(stage: Stage) -> None:
    old = stage.exchange()
    stage.exchange()
    with pytest.raises(LoginNeeded):
        kite_login.renew(stage.kite, old, Secret(stage.app.api_secret))
