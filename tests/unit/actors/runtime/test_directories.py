import grp
import os
import pwd
from pathlib import Path

import pytest

from kitefeed.actors.runtime import config, directories
from kitefeed.protocol import location
from kitefeed.protocol.errors import ConfigError

NOBODY = 65_534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")


def test_a_directory_others_can_write_to_is_refused(tmp_path: Path) -> None:
    loose = tmp_path / "loose"
    loose.mkdir()
    for mode in (0o777, 0o770, 0o702):
        loose.chmod(mode)
        with pytest.raises(ConfigError, match="chmod 700"):
            directories.prepare_directory(loose)


def test_a_missing_directory_is_made_private_with_its_parents(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        directories.prepare_directory(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    for path in (tmp_path / "a", tmp_path / "a" / "b"):
        assert path.stat().st_mode & 0o777 == 0o700


def test_a_file_in_the_place_of_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be made"):
        directories.prepare_directory(tmp_path / "file")


@needs_root
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, -1)
    with pytest.raises(ConfigError, match="another user"):
        directories.prepare_directory(tmp_path)
    os.chown(tmp_path, os.geteuid(), -1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "kitefeed.toml"
    made.write_text('runtime_dir = "run"\n')
    return made


def test_a_configuration_others_can_write_is_refused(path: Path) -> None:
    for mode in (0o666, 0o602):
        path.chmod(mode)
        with pytest.raises(ConfigError, match="chmod go-w"):
            config.load(path)


@needs_root
def test_a_configuration_of_another_user_is_refused_and_leads_no_program_astray(path: Path) -> None:
    os.chown(path, NOBODY, -1)
    with pytest.raises(ConfigError, match="another user"):
        config.load(path)
    assert location.runtime_dir(path) == location.home() / "run"


@needs_root
def test_a_group_may_write_only_if_it_is_the_users_own(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(path, -1, 4_321)
    path.chmod(0o664)
    name = pwd.getpwuid(os.geteuid()).pw_name
    members: list[str] = []
    monkeypatch.setattr(grp, "getgrgid", lambda gid: grp.struct_group((name, "x", gid, members)))
    config.load(path)
    members.append("somebody")
    with pytest.raises(ConfigError, match="chmod go-w"):
        config.load(path)
