"""A setting that kitefeed writes into the user's own file."""

import tomllib
from pathlib import Path

import pytest

from kitefeed.actors.runtime import config_file
from kitefeed.protocol.errors import ConfigError

KEY = {"kite.api_key": "mykey"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# mine\n",
        'instruments = ["NSE:INFY"]\n[market]\nhours = "always"\n',
        '[kite]\napi_key = ""  # from developers.kite.trade\nsockets_max = 2\n',
        '[market]\nhours = "always"\n\n[kite]\n# the key\n\n[gateway]\nlisten = ""\n',
        'kite = { api_key = "", sockets_max = 2 }\n',
        'kite.api_key = "old"\nkite.sockets_max = 2\n',
        '[session]\n[session.standby]\napi_key = "other"\n[kite]\nrest_prefix = "/oms"\n',
        '\ufeff[kite]\r\napi_key = "old"\r\n',
        '[kite]\napi_key = """\n"""',
    ],
)
def test_one_setting_is_another_and_all_else_stays(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kitefeed.toml"
    path.write_bytes(text.encode())
    before = tomllib.loads(text.removeprefix("\ufeff"))
    assert config_file.change(path, KEY).kite.api_key == "mykey"
    after = path.read_text("utf-8")
    before.setdefault("kite", {})["api_key"] = "mykey"
    assert tomllib.loads(after) == before
    for comment in ("# mine", "# from developers.kite.trade", "# the key"):
        assert (comment in after) is (comment in text)


def test_what_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "kitefeed.toml"
    path.write_text('[kite]\napi_key = "old"\n')
    for values in ({"kite.api_key": "my key"}, KEY | {"kite.redirect_url": "ftp://x"}):
        with pytest.raises(ConfigError, match=r"kite\."):
            config_file.change(path, values)
    assert path.read_text() == '[kite]\napi_key = "old"\n'


def test_what_the_environment_sets_is_not_written_in_vain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kitefeed.toml"
    path.write_text("")
    monkeypatch.setenv("KITEFEED_KITE__API_KEY", "theirs")
    with pytest.raises(ConfigError, match="KITEFEED_KITE__API_KEY"):
        config_file.change(path, KEY)


@pytest.mark.parametrize("text", ["[kite\n", "kite = 1\n"])
def test_a_file_that_is_broken_is_told_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kitefeed.toml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        config_file.change(path, KEY)
    assert path.read_text() == text


def test_a_file_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kitefeed.toml"
    path.write_text("")

    def refuse(path: Path, data: bytes) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(config_file, "write_atomically", refuse)
    with pytest.raises(ConfigError, match=r"kitefeed\.toml cannot be written \(Permission denied"):
        config_file.change(path, KEY)


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real.toml").write_text("")
    path = tmp_path / "kitefeed.toml"
    path.symlink_to("real.toml")
    config_file.change(path, KEY)
    assert path.is_symlink()
    assert "mykey" in (tmp_path / "real.toml").read_text()
