"""Tests what `kitefeed session set` and `login` store, beside a Kite that judges sessions."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kitefeed.actors.runtime import session_file
from kitefeed.cli.main import main
from kitefeed.protocol.exits import Exit
from kitefeed.simulator.server import Simulator
from kitefeed.simulator.thread import RunningSimulator, running_simulator

DEAD = "deadtoken" + "x" * 20


@pytest.fixture(scope="module")
def kite() -> Iterator[RunningSimulator]:
    with running_simulator(Simulator(port=0, apps=1)) as found:
        yield found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kite: RunningSimulator) -> Path:
    """A configuration in force, with the simulator's first app."""
    configure(tmp_path, account(kite))
    monkeypatch.setenv("KITEFEED_CONFIG", str(tmp_path / "kitefeed.toml"))
    monkeypatch.delenv("KITEFEED_API_SECRET", raising=False)
    return tmp_path


def account(kite: RunningSimulator) -> dict[str, Any]:
    """The app's key, and a session of now."""
    kite.simulator.accounts.login(kite.simulator.accounts.apps[0])
    return kite.credentials()


def configure(home: Path, app: dict[str, Any], more: str = "") -> None:
    (home / "kitefeed.toml").write_text(
        'runtime_dir = "run"\nstate_dir = "state"\n'
        f'[kite]\napi_key = "{app["api_key"]}"\nrest_url = "{app["rest"]}"\n'
        f'login_url = "{app["rest"]}/connect/login"\n{more}'
    )


def give(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def stored(home: Path, name: str = "session.json") -> session_file.Session | None:
    return session_file.read(home / "state" / name)


@pytest.mark.parametrize("options", [(), ("--standby",)])
def test_a_session_that_kite_refuses_leaves_the_good_one_and_force_stores_it(
    home: Path,
    kite: RunningSimulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
) -> None:
    name = "standby.json" if options else "session.json"
    good = account(kite)
    give(monkeypatch, json.dumps(good))
    assert main(["session", "set", *options]) == 0
    assert "Kite accepts it" in capsys.readouterr().out
    before = stored(home, name)
    assert before is not None
    assert before.access_token.reveal() == good["access_token"]
    give(monkeypatch, json.dumps(good | {"access_token": DEAD}))
    assert main(["session", "set", *options]) == Exit.LOGIN
    said = capsys.readouterr().err
    assert "nothing was changed" in said
    assert "--force" in said
    assert DEAD not in said
    assert stored(home, name) == before
    give(monkeypatch, json.dumps(good | {"access_token": DEAD}))
    assert main(["session", "set", "--force", *options]) == 0
    after = stored(home, name)
    assert after is not None
    assert after.access_token.reveal() == DEAD


def test_a_bare_token_is_stored_with_the_user_that_kite_names(
    home: Path, kite: RunningSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = account(kite)
    configure(home, good)
    give(monkeypatch, f'"{good["access_token"]}"\r\n')
    assert main(["session", "set"]) == 0
    found = stored(home)
    assert found is not None
    assert found.user_name == "Asha Rao"


@pytest.mark.parametrize(
    "fault", [("rest_down", None), ("rest_status", "503"), ("rest_status", "429")]
)
def test_where_kite_does_not_answer_the_session_is_stored_and_that_is_said(
    home: Path,
    kite: RunningSimulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: tuple[str, str | None],
) -> None:
    give(monkeypatch, DEAD)
    kite.fault(*fault)
    try:
        assert main(["session", "set"]) == 0
    finally:
        kite.fault("clear")
    assert stored(home) is not None
    said = capsys.readouterr().out
    assert "stored unchecked" in said
    assert DEAD not in said


@pytest.mark.parametrize(
    "more", ["", "[session.standby]\n", '[session.standby]\nfile = "other.json"\n']
)
def test_a_standby_login_without_an_app_of_its_own_never_touches_the_first_one(
    home: Path,
    kite: RunningSimulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: str,
) -> None:
    good = account(kite)
    configure(home, good, more)
    give(monkeypatch, "")
    assert main(["login", "--paste", "--standby"]) == Exit.CONFIG
    said = capsys.readouterr().err
    assert "[session.standby]" in said
    assert str(home / "kitefeed.toml") in said
    assert "connect/login" not in said
    give(monkeypatch, good["access_token"])
    assert main(["session", "set", "--standby"]) == Exit.CONFIG
    assert "[session.standby]" in capsys.readouterr().err
    assert not (home / "state").exists()


def test_a_standby_login_with_the_first_app_says_what_that_means(
    home: Path, kite: RunningSimulator, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    good = account(kite)
    configure(home, good, f'[session.standby]\napi_key = "{good["api_key"]}"\n')
    give(monkeypatch, "")
    assert main(["login", "--paste", "--standby"]) == Exit.BAD_INPUT
    assert "as another user" in capsys.readouterr().err


def test_without_an_api_key_both_ways_name_the_setting(
    home: Path, kite: RunningSimulator, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    configure(home, account(kite) | {"api_key": ""})
    for command in (["login", "--paste"], ["session", "set"]):
        give(monkeypatch, DEAD)
        assert main(command) == Exit.CONFIG
        assert "kite.api_key" in capsys.readouterr().err
