from pathlib import Path

import pytest

from kitefeed.actors.runtime import calendar_file, config
from kitefeed.protocol.errors import ConfigError


def write(directory: Path, table: bytes) -> Path:
    (directory / "mine.toml").write_bytes(table)
    path = directory / "kitefeed.toml"
    path.write_text('[market]\ncalendar = "mine.toml"\n')
    return path


def test_the_shipped_table_is_used_alone_unless_another_is_named(tmp_path: Path) -> None:
    assert calendar_file.load().last_year == 2026
    settings = config.load(write(tmp_path, b"years = [2030]\n"))
    assert settings.calendar_path == tmp_path / "mine.toml"
    assert calendar_file.load(settings.calendar_path).last_year == 2030


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (b"= 3", "is not TOML"),
        (b"\xff\xfe", "cannot be read"),
        (b"[[day]]\ndate = 2027-01-26\nsegment = []\n", "day[0]: Object contains unknown field"),
        (b"#" * (calendar_file.FILE_BYTES_MAX + 1), "is larger than"),
    ],
)
def test_a_configuration_with_a_bad_table_is_refused(
    tmp_path: Path, table: bytes, says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(write(tmp_path, table))
    assert f"{tmp_path / 'mine.toml'}: " in str(caught.value)
    assert says in str(caught.value)


def test_a_table_that_is_not_there_is_no_fallback(tmp_path: Path) -> None:
    path = write(tmp_path, b"")
    (tmp_path / "mine.toml").unlink()
    with pytest.raises(ConfigError, match=r"no such file; create it or correct market\.calendar"):
        config.load(path)
