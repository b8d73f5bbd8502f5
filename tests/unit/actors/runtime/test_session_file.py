import errno
import os
from pathlib import Path

import pytest

from kitefeed.actors.runtime import config, session_file
from kitefeed.actors.runtime.secrets import Secret
from kitefeed.actors.runtime.session_file import Session
from kitefeed.protocol.errors import LoginNeeded, TryLater

TOKEN = "abcdefgh12345678ABCDEFGH12345678"
SESSION = Session("key", Secret(TOKEN), "AB1234", "Asha Rao", "2026-11-23 08:31:02")


def private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_what_is_written_is_read_back_and_private(tmp_path: Path) -> None:
    path = tmp_path / "new" / "session.json"
    session_file.write(path, SESSION)
    assert session_file.read(path) == SESSION
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert os.listdir(path.parent) == ["session.json"]


def test_a_bare_token_belongs_to_the_configured_app(tmp_path: Path) -> None:
    found = session_file.read(private(tmp_path / "token", f"{TOKEN}\n"), "mykey")
    assert found is not None
    assert found.api_key == "mykey"
    assert found.access_token.reveal() == TOKEN


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_file_is_no_session(tmp_path: Path, text: str) -> None:
    assert session_file.read(private(tmp_path / "empty", text), "k") is None


def test_a_missing_file_is_no_session(tmp_path: Path) -> None:
    assert session_file.read(tmp_path / "none") is None


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        '{"access_token": 5}',
        '{"access_token": "short"}',
        '{"access_token": "abcdefgh secret words"}',
        "not a token at all",
        "x" * 5_000,
    ],
)
def test_what_is_no_session_is_refused_without_repeating_it(tmp_path: Path, text: str) -> None:
    path = private(tmp_path / "bad", text)
    with pytest.raises(LoginNeeded) as caught:
        session_file.read(path, "k")
    assert str(path) in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "xxxx" not in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "binary"
    path.write_bytes(b"\xff\xfe\x00")
    path.chmod(0o600)
    with pytest.raises(LoginNeeded, match="not text"):
        session_file.read(path, "k")


def test_a_token_without_an_app_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(LoginNeeded, match=r"kite\.api_key"):
        session_file.read(private(tmp_path / "token", TOKEN))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620])
def test_a_file_others_can_use_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = private(tmp_path / "loose", TOKEN)
    path.chmod(mode)
    with pytest.raises(LoginNeeded, match="chmod 600"):
        session_file.read(path, "k")


def test_a_link_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(private(tmp_path / "target", TOKEN))
    with pytest.raises(LoginNeeded):
        session_file.read(link, "k")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoginNeeded):
        session_file.read(tmp_path, "k")


def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = private(tmp_path / "session.json", TOKEN)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TryLater, match=r"No space left.*log in again"):
        session_file.write(path, SESSION)
    assert path.read_text() == TOKEN
    assert os.listdir(tmp_path) == ["session.json"]


def settings(directory: Path, text: str = "") -> config.Settings:
    path = directory / "kitefeed.toml"
    path.write_text(f'state_dir = "."\n{text}\n[kite]\napi_key = "mykey"\n')
    return config.load(path)


def test_the_newer_of_own_and_watched_file_comes_first(tmp_path: Path) -> None:
    found = settings(tmp_path, 'session.watch = "other"')
    session_file.write(found.session_path, SESSION)
    private(tmp_path / "other", "z" * 32)
    os.utime(found.session_path, (1_000, 1_000))
    newest, own = session_file.available(found, "primary")
    assert (newest.access_token, own) == (Secret("z" * 32), SESSION)
    os.utime(tmp_path / "other", (500, 500))
    assert session_file.available(found, "primary") == [own, newest]


def test_a_bad_watched_file_does_not_hide_a_good_own_one(tmp_path: Path) -> None:
    found = settings(tmp_path, 'session.watch = "other"')
    session_file.write(found.session_path, SESSION)
    os.utime(found.session_path, (1_000, 1_000))
    (tmp_path / "other").write_text("garbage")
    assert session_file.available(found, "primary") == [SESSION]


def test_an_order_finds_its_session_by_fingerprint(tmp_path: Path) -> None:
    found = settings(tmp_path)
    session_file.write(found.standby_path, SESSION)
    assert session_file.by_fingerprint(found, SESSION.fingerprint) == SESSION
    assert session_file.by_fingerprint(found, "0" * 12) is None
