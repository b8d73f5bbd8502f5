"""The session files as the watcher looks at them."""

import os
from pathlib import Path

import pytest

from kitefeed.actors.auth_watcher import process
from kitefeed.actors.auth_watcher.process import READ_EVERY, Glance
from kitefeed.actors.runtime import config, session_file


@pytest.fixture
def settings(tmp_path: Path) -> config.Settings:
    path = tmp_path / "kitefeed.toml"
    path.write_text('runtime_dir = "run"\nstate_dir = "state"\n[kite]\napi_key = "abcdefgh"\n')
    return config.load(path)


def save(settings: config.Settings, token: str) -> str:
    session = session_file.parse(token, "abcdefgh")
    session_file.write(settings.session_path, session)
    return session.fingerprint


def test_each_change_is_seen_at_the_next_look(settings: config.Settings) -> None:
    glance = Glance(settings, "primary")
    assert glance.look().fingerprint is None
    for token in ("AccessToken1111", "AccessToken2222"):
        fingerprint = save(settings, token)
        assert glance.look().fingerprint == fingerprint
    os.chmod(settings.session_path, 0o644)
    assert glance.look().problem
    os.unlink(settings.session_path)
    assert (glance.look().fingerprint, glance.look().problem) == (None, None)


def test_a_file_that_did_not_change_is_read_seldom_but_for_ever(
    settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fingerprint = save(settings, "AccessToken1111")
    reads = []
    whole = process.observe
    monkeypatch.setattr(process, "observe", lambda *given: reads.append(1) or whole(*given))
    glance = Glance(settings, "primary")
    seen = {glance.look().fingerprint for _ in range(10 * READ_EVERY)}
    assert seen == {fingerprint}
    assert len(reads) == 10


def test_all_files_are_told_the_newest_first_and_a_damaged_one_hides_no_good_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "kitefeed.toml"
    path.write_text(
        'runtime_dir = "run"\nstate_dir = "state"\n[kite]\napi_key = "abcdefgh"\n'
        f'[session]\nwatch = "{tmp_path}/watched"\n'
    )
    settings = config.load(path)
    own = save(settings, "AccessToken1111")
    watched = tmp_path / "watched"
    watched.write_text("AccessToken2222")
    watched.chmod(0o600)
    os.utime(settings.session_path, (1_000, 1_000))
    other = session_file.parse("AccessToken2222", "abcdefgh").fingerprint
    glance = Glance(settings, "primary")
    assert glance.look() == process.Observed("primary", other, None, (own,))
    watched.write_text("AccessToken1111")
    assert glance.look() == process.Observed("primary", own)
    watched.write_text("{")
    assert glance.look() == process.Observed("primary", own)
