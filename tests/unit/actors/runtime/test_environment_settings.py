"""Settings, and the app's secret, by environment."""

from pathlib import Path
from typing import Any

import pytest

from kitefeed.actors.runtime import config, config_tables
from kitefeed.cli import environment
from kitefeed.protocol import location
from kitefeed.protocol.errors import ConfigError


def loaded(tmp_path: Path, text: str = "") -> config_tables.Config:
    path = tmp_path / "kitefeed.toml"
    path.write_text(text)
    return config.load(path).config


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("KITEFEED_KITE__API_KEY", "12345", lambda c: c.kite.api_key == "12345"),
        ("KITEFEED_INSTRUMENTS", '["NSE:INFY"]', lambda c: c.instruments == ["NSE:INFY"]),
        ("KITEFEED_MODE", "ltp", lambda c: c.mode == "ltp"),
        ("KITEFEED_GATEWAY__LISTEN", "", lambda c: c.gateway.listen == ""),
        ("KITEFEED_KITE__SOCKETS_MAX", "2", lambda c: c.kite.sockets_max == 2),
        ("KITEFEED_FEED__TCP_ORDERS", "true", lambda c: c.feed.tcp_orders is True),
        ("KITEFEED_SESSION__STANDBY__API_KEY", "k2", lambda c: c.session.standby.api_key == "k2"),
    ],
)
def test_every_setting_may_come_by_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, read: Any
) -> None:
    monkeypatch.setenv(name, value)
    assert read(loaded(tmp_path, 'mode = "full"\n[kite]\napi_key = "other"\n'))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("KITEFEED_KITE__API_KEI", "k", "did you mean 'api_key'"),
        ("KITEFEED_NOSUCH__THING", "k", "KITEFEED_NOSUCH__THING"),
        ("KITEFEED_KITE__SOCKETS_MAX", "many", "kite.sockets_max"),
        ("KITEFEED_RUNTIME_DIR", "/tmp/x", "in the file"),  # noqa: S108
    ],
)
def test_a_bad_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path)
    assert said in str(error.value)


def test_a_secret_may_lie_in_a_file_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(location.SECRET_VARIABLE, raising=False)
    file = tmp_path / "secret"
    file.write_text("s3cret\n")
    monkeypatch.setenv(location.SECRET_FILE_VARIABLE, str(file))
    assert location.secret_from_environment(location.SECRET_VARIABLE) == "s3cret"
    file.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        location.secret_from_environment(location.SECRET_VARIABLE)


def test_the_demo_is_not_set_by_what_the_user_has_set_for_his_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KITEFEED_KITE__API_KEY", "mine")
    monkeypatch.setenv("KITEFEED_MODE", "ltp")
    environment.forget_settings()
    assert loaded(tmp_path).mode == "full"
    assert loaded(tmp_path).kite.api_key == ""


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("KITEFEED_GATEWAY__TOKEN", lambda c: c.gateway.token),
        ("KITEFEED_ALERTS__WEBHOOK", lambda c: c.alerts.webhook),
        ("KITEFEED_ALERTS__HEARTBEAT_URL", lambda c: c.alerts.heartbeat_url),
    ],
)
def test_every_secret_setting_may_lie_in_a_file_and_goes_by_its_own_name_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, read: Any
) -> None:
    secret = "https://example.com/hunter2hunter2"
    file = tmp_path / "secret"
    file.write_text(f"{secret}\n")
    monkeypatch.setenv(f"{name}_FILE", str(file))
    assert read(loaded(tmp_path)).reveal() == secret
    monkeypatch.setenv(name, f"{secret}2")
    assert read(loaded(tmp_path)).reveal() == f"{secret}2"
    monkeypatch.delenv(name)
    file.unlink()
    with pytest.raises(ConfigError, match=f"{name}_FILE.*cannot be read"):
        loaded(tmp_path)


def test_what_is_no_secret_has_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITEFEED_MODE_FILE", "/etc/hostname")
    with pytest.raises(ConfigError, match="KITEFEED_MODE_FILE: mode_file is not a setting"):
        loaded(tmp_path)


@pytest.mark.parametrize("token", ["hunter2", "1234567890", "[1, 2]", "true"])
def test_a_token_that_can_be_guessed_is_refused_and_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("KITEFEED_GATEWAY__TOKEN", token)
    with pytest.raises(ConfigError, match=r"gateway\.token: is shorter than 20") as error:
        loaded(tmp_path)
    assert token not in str(error.value)


def test_a_token_of_digits_is_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITEFEED_GATEWAY__TOKEN", "1" * 30)
    assert loaded(tmp_path).gateway.token.reveal() == "1" * 30
