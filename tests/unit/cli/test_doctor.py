"""`kitefeed doctor` without a daemon, beside a Kite that answers, refuses, or is not there."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kitefeed.cli.diagnosis import kite as way
from kitefeed.cli.diagnosis.kite import RootResponse
from kitefeed.cli.main import main
from kitefeed.protocol.exits import Exit
from kitefeed.simulator.server import Simulator
from kitefeed.simulator.thread import RunningSimulator, running_simulator


@pytest.fixture(scope="module")
def kite() -> Iterator[RunningSimulator]:
    with running_simulator(Simulator(port=0, apps=1)) as found:
        yield found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kite: RunningSimulator) -> Path:
    configure(tmp_path, kite.rest_url, kite.ws_url)
    monkeypatch.setenv("KITEFEED_CONFIG", str(tmp_path / "kitefeed.toml"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def configure(home: Path, rest: str, ws: str) -> None:
    (home / "kitefeed.toml").write_text(
        f'runtime_dir = "run"\nstate_dir = "state"\n[kite]\napi_key = "mykey"\n'
        f'rest_url = "{rest}"\nws_url = "{ws}"\n'
    )


def log_in(home: Path, kite: RunningSimulator) -> str:
    """A session of now in the session file; its token."""
    kite.simulator.accounts.login(kite.simulator.accounts.apps[0])
    account = kite.credentials()
    (home / "state").mkdir(mode=0o700, exist_ok=True)
    path = home / "state" / "session.json"
    path.write_text(json.dumps({k: account[k] for k in ("api_key", "access_token")}))
    path.chmod(0o600)
    return str(account["access_token"])


def stats(kite: RunningSimulator) -> dict[str, Any]:
    with urllib.request.urlopen(f"{kite.rest_url}/_sim/stats", timeout=5) as answer:  # noqa: S310
        found: dict[str, Any] = json.load(answer)
        return found


def examine(capsys: pytest.CaptureFixture[str], code: int) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    assert main(["doctor", "--json"]) == code
    return {found["name"]: found for found in json.loads(capsys.readouterr().out)["findings"]}


def test_each_question_has_its_line_and_what_is_wrong_its_remedy(
    home: Path, kite: RunningSimulator, capsys: pytest.CaptureFixture[str]
) -> None:
    token = log_in(home, kite)
    assert main(["doctor"]) == Exit.UNAVAILABLE  # no daemon
    shown = capsys.readouterr().out
    for name in ("build", "configuration", "modes", "descriptors", "disk", "name, REST",
                 "name, socket", "proxy", "TLS", "REST", "clock", "WebSocket", "session",
                 "entitlement", "processes", "duplicates", "list"):  # fmt: skip
        assert f" {name} " in shown, name
    assert "-> `kitefeed up`" in shown
    assert token not in shown
    for name in ("configuration", "modes", "REST", "clock", "WebSocket", "session"):
        assert f"✓ {name} " in shown, name
    assert "✗ processes " in shown


def test_it_takes_no_socket_of_the_key(
    home: Path, kite: RunningSimulator, capsys: pytest.CaptureFixture[str]
) -> None:
    log_in(home, kite)
    before = stats(kite)
    found = examine(capsys, Exit.UNAVAILABLE)
    assert "(403), rightly" in found["WebSocket"]["text"]
    after = stats(kite)
    assert after["sockets"]["most_open"] == before["sockets"]["most_open"] == 0


def test_a_refused_session_a_plan_without_data_and_no_session_are_told_apart(
    home: Path, kite: RunningSimulator, capsys: pytest.CaptureFixture[str]
) -> None:
    found = examine(capsys, Exit.LOGIN)
    assert "kitefeed login" in found["session"]["remedy"]
    log_in(home, kite)
    kite.fault("no_entitlement")
    try:
        found = examine(capsys, Exit.LOGIN)
    finally:
        kite.fault("clear")
    assert (found["session"]["state"], found["entitlement"]["state"]) == ("ok", "wrong")
    assert "plan" in found["entitlement"]["remedy"]
    kite.fault("expire", None, 1)
    found = examine(capsys, Exit.LOGIN)
    assert found["session"]["state"] == "wrong"
    assert "entitlement" not in found


def test_where_nothing_answers_that_is_said_once_and_nothing_is_guessed_from_it(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(home, "http://127.0.0.1:9", "ws://127.0.0.1:9")
    found = examine(capsys, Exit.UNAVAILABLE)
    assert found["REST"]["state"] == found["WebSocket"]["state"] == "wrong"
    assert "clock" not in found
    configure(home, "https://no-such-host.invalid", "wss://no-such-host.invalid")
    found = examine(capsys, Exit.UNAVAILABLE)
    assert "resolv.conf" in found["name, REST"]["remedy"]


def test_a_broken_configuration_is_the_first_thing_to_mend(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "kitefeed.toml").write_text("nonsense = 1\n")
    assert "nonsense" in examine(capsys, Exit.CONFIG)["configuration"]["text"]


def test_modes_that_let_others_in_are_wrong(
    home: Path, kite: RunningSimulator, capsys: pytest.CaptureFixture[str]
) -> None:
    log_in(home, kite)
    (home / "state" / "session.json").chmod(0o644)
    found = examine(capsys, Exit.LOGIN)
    assert found["modes"]["state"] == "wrong"
    assert "chmod 600" in found["modes"]["text"]


@pytest.mark.parametrize(
    "name", ["api_secret.json", "keys/gateway/phone.password", "keys/server.key", "urls.txt"]
)
def test_a_secret_that_others_can_read_is_wrong(
    home: Path, kite: RunningSimulator, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    log_in(home, kite)
    config = home / "kitefeed.toml"
    config.write_text(config.read_text() + '[alerts]\nurls_file = "state/urls.txt"\n')
    path = home / "state" / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text("hunter2")
    path.chmod(0o640)
    found = examine(capsys, Exit.LOGIN)
    assert found["modes"]["state"] == "wrong"
    assert f"chmod 600 ~/state/{name}" in found["modes"]["text"]
    path.chmod(0o600)
    assert examine(capsys, Exit.UNAVAILABLE)["modes"]["state"] == "ok"


def test_what_goes_to_support_names_no_user_and_no_home(
    home: Path, kite: RunningSimulator, capsys: pytest.CaptureFixture[str]
) -> None:
    token = log_in(home, kite)
    capsys.readouterr()
    main(["doctor", "--json"])
    shown = capsys.readouterr().out
    account = kite.simulator.accounts.apps[0]
    for private in (str(home), token, "mykey", kite.credentials()["user_id"], account.user_name):
        assert private not in shown, private


@pytest.mark.parametrize(
    ("offset_s", "state"),
    [(0.4, "ok"), (-1.4, "ok"), (2.0, "warning"), (-3.0, "warning"), (5.0, "wrong"),
     (-3_600.0, "wrong"), (None, "skipped")],
)  # fmt: skip
def test_a_clock_that_is_off_is_told_by_how_much(offset_s: float | None, state: str) -> None:
    found = way.clock(RootResponse(200, 0.1, offset_s))
    assert found.state == state
    assert ("NTP" in found.remedy) == (state in ("warning", "wrong"))


def test_a_proxy_is_named_without_its_password(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(home, "https://no-such-host.invalid", "wss://no-such-host.invalid")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hunter2@127.0.0.1:9")
    found = examine(capsys, Exit.UNAVAILABLE)
    assert "127.0.0.1:9" in found["proxy"]["text"]
    assert "hunter2" not in json.dumps(found)
