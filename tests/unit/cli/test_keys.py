"""`kitefeed keys`, and what the daemon says without them."""

from pathlib import Path

import pytest

from kitefeed.actors.runtime import config
from kitefeed.cli.main import main
from kitefeed.protocol import keys
from kitefeed.protocol.errors import ConfigError
from kitefeed.protocol.exits import Exit


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kitefeed.toml"
    path.write_text(
        'runtime_dir = "run"\nstate_dir = "state"\n[feed]\ntcp = "tcp://127.0.0.1:5556"\n'
    )
    monkeypatch.setenv("KITEFEED_CONFIG", str(path))
    return tmp_path


def test_a_client_gets_a_file_that_the_daemon_knows_and_nobody_else_can_read(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keys"]) == 0
    assert main(["keys", "--client", "desk-2"]) == 0
    directory = home / "state" / "keys"
    path = keys.client_path(directory, "desk-2")
    client = keys.read_client(path)
    server = keys.read_server(directory)
    assert client.server == server.public
    assert keys.allowed(directory) == {client.own.public: "desk-2"}
    for made in (directory, directory / "clients"):
        assert made.stat().st_mode & 0o777 == 0o700
    for made in (path, keys.server_path(directory)):
        assert made.stat().st_mode & 0o777 == 0o600
    shown = capsys.readouterr()
    for pair in (client.own, server):
        assert pair.secret.reveal() not in shown.out + shown.err


@pytest.mark.parametrize("words", [["keys"], ["keys", "--client", "desk"]])
def test_existing_keys_are_not_replaced(
    home: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    before = {path: path.read_bytes() for path in home.rglob("*.key")}
    assert main(words) == Exit.BAD_INPUT
    assert {path: path.read_bytes() for path in home.rglob("*.key")} == before
    assert "not replaced" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../evil", "", "a/b", ".hidden", "x" * 65, "a b"])
def test_a_name_that_is_no_plain_one_makes_no_file(home: Path, name: str) -> None:
    assert main(["keys", "--client", name]) == Exit.BAD_INPUT
    assert list(home.rglob("*.key")) == []


def test_up_refuses_a_tcp_feed_without_keys_and_says_how_to_make_them(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["up"]) == Exit.CONFIG
    said = capsys.readouterr().err
    assert "feed.tcp is set" in said
    assert "kitefeed keys" in said


@pytest.mark.parametrize("path", ["", "server.key"])
def test_the_daemon_refuses_keys_that_others_can_get_at(home: Path, path: str) -> None:
    assert main(["keys"]) == 0
    assert config.load_for_daemon().keys_path == home / "state" / "keys"
    (home / "state" / "keys" / path).chmod(0o777 if path == "" else 0o644)
    with pytest.raises(ConfigError, match="chmod"):
        config.load_for_daemon()


def test_without_a_tcp_feed_no_keys_are_asked_for(home: Path) -> None:
    (home / "kitefeed.toml").write_text('runtime_dir = "run"\nstate_dir = "state"\n')
    assert config.load_for_daemon().config.feed.tcp == ""
