"""`kitefeed init`, run in this process."""

import io
import sys
import tomllib
from pathlib import Path

import pytest

from kitefeed.actors.runtime import config, config_parser
from kitefeed.actors.runtime.config_tables import Config
from kitefeed.actors.runtime.kite_target import Kite
from kitefeed.cli.main import main
from kitefeed.protocol.exits import Exit


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home without anything in it, who is in another directory."""
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("KITEFEED_CONFIG", "")
    for name in ("user", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    return tmp_path / "user"


def written(home: Path) -> Config:
    path = home / ".kitefeed" / "kitefeed.toml"
    return config_parser.parse(tomllib.loads(path.read_text("utf-8")), path)


def answer(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Type these lines, as a person does at a terminal."""
    typed = iter(lines)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: next(typed))


def test_by_options_alone_it_makes_the_directory_and_a_file_with_every_setting(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "https://me.example/cb?x=1"
    given = ("--api-key", "mykey", "--redirect-url", url, "--instrument", "NSE:INFY",
             "--instrument", "NSE:NIFTY 50")  # fmt: skip
    assert main(["init", *given]) == 0
    found = written(home)
    assert found == Config(["NSE:INFY", "NSE:NIFTY 50"], kite=Kite("mykey", redirect_url=url))
    assert config.load().config == found
    path = home / ".kitefeed" / "kitefeed.toml"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.read_text("utf-8").count("#") > 20
    said = capsys.readouterr().out
    assert str(path) in said
    assert url in said
    assert "kitefeed login" in said


def test_without_a_terminal_it_names_the_option_that_is_needed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init"]) == Exit.BAD_INPUT
    assert "--api-key" in capsys.readouterr().err
    assert list(home.iterdir()) == []


def test_at_a_terminal_it_asks_again_until_an_answer_is_good(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(monkeypatch, "my key!", "mykey", "localhost", "", "infy", "NSE:INFY, NSE:TCS")
    assert main(["init"]) == 0
    assert written(home) == Config(["NSE:INFY", "NSE:TCS"], kite=Kite("mykey"))
    asked = capsys.readouterr().err
    assert "letters and digits only" in asked
    assert "http://" in asked
    assert "EXCHANGE:SYMBOL" in asked


def test_who_has_no_key_yet_is_led_to_the_page(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(monkeypatch, "", "", "")
    assert main(["init"]) == 0
    assert written(home) == Config(["NSE:NIFTY 50"])
    assert "open http://127.0.0.1:8787/ in a browser" in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong",
    [("--api-key", "my key"), ("--redirect-url", "127.0.0.1"),
     ("--instrument", "INFY"), ("--instrument", 'NSE:"]\nmode = "ltp')],
)  # fmt: skip
def test_an_option_that_cannot_be_used_writes_nothing(
    home: Path, capsys: pytest.CaptureFixture[str], wrong: tuple[str, str]
) -> None:
    assert main(["init", "--api-key", "mykey", *wrong]) == Exit.BAD_INPUT
    assert "Nothing was written" in capsys.readouterr().err
    assert list(home.iterdir()) == []


def test_what_is_there_is_left_alone_and_kept_when_it_is_replaced(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["init", "--api-key", "first"])
    assert main(["init", "--api-key", "second"]) == Exit.BAD_INPUT
    assert "--force" in capsys.readouterr().err
    assert written(home).kite.api_key == "first"
    assert main(["init", "--api-key", "second", "--force"]) == 0
    assert written(home).kite.api_key == "second"
    assert 'api_key = "first"' in (home / ".kitefeed" / "kitefeed.toml.old").read_text()


def test_a_configuration_that_is_in_force_here_is_the_one_that_counts(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("kitefeed.toml").write_text("")
    assert main(["init", "--api-key", "mykey"]) == Exit.BAD_INPUT
    assert str(Path.cwd() / "kitefeed.toml") in capsys.readouterr().err
    assert list(home.iterdir()) == []


def test_a_named_file_is_written_there_with_its_directory(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "dir" / "mine.toml"
    assert main(["--config", str(path), "init", "--api-key", "mykey"]) == 0
    assert config.load(path).config.kite.api_key == "mykey"


def test_a_directory_where_nothing_can_be_written_is_one_sentence(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / ".kitefeed").write_text("a file, no directory")
    assert main(["init", "--api-key", "mykey"]) == Exit.CONFIG
    assert ".kitefeed" in capsys.readouterr().err


def test_the_example_is_printed_for_who_wants_to_see_it(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "--print"]) == 0
    assert config_parser.parse(tomllib.loads(capsys.readouterr().out), Path("x")) == Config()
    assert list(home.iterdir()) == []
