import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from kitefeed._hot import BUILD
from kitefeed.cli import main as main_module
from kitefeed.cli.main import COMMANDS, main
from kitefeed.protocol.errors import (
    BadInput,
    ConfigError,
    KitefeedError,
    LoginNeeded,
    TryLater,
    Unavailable,
)
from kitefeed.protocol.exits import MEANING, Exit

PAGE = Path(__file__).parents[3] / "docs" / "commands.md"


def lazily(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    """Return what `main` makes of an error that a command raises."""

    @click.command()
    def broken() -> None:
        raise error

    monkeypatch.setattr(main_module.LazyGroup, "get_command", lambda *_: broken)
    return main(["anything"])


def test_every_command_can_be_imported_and_explains_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in COMMANDS:
        assert main([name, "--help"]) == 0
        assert "Usage: kitefeed" in capsys.readouterr().out


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    assert "  status " in listed
    assert "supervisord-listener" not in listed


def test_the_list_says_what_each_command_says_of_itself() -> None:
    commands = {name: main_module.cli.get_command(click.Context(main_module.cli), name)
                for name in COMMANDS}  # fmt: skip
    said = {
        name: command.get_short_help_str(57)
        for name, command in commands.items()
        if command is not None and not command.hidden
    }
    assert said == main_module.SUMMARIES


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(rf"kitefeed \d+\.\d+\.\d+ \({BUILD}\)\n", capsys.readouterr().out)


@pytest.mark.parametrize("kind", [BadInput, Unavailable, TryLater, LoginNeeded, ConfigError])
def test_an_expected_error_is_one_sentence_and_its_exit_code(
    kind: type[KitefeedError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lazily(monkeypatch, kind("Do this")) == kind.exit_code
    assert capsys.readouterr().err == "kitefeed: Do this\n"


def test_interruption_is_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lazily(monkeypatch, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err.strip() == ""


def test_a_wrong_command_line_is_2() -> None:
    assert main(["nonsense"]) == Exit.USAGE
    assert main(["status", "--nonsense"]) == Exit.USAGE
    assert main(["actor", "nobody"]) == Exit.USAGE


def test_errors_do_not_repeat_a_known_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lazily(monkeypatch, LoginNeeded("x?access_token=abc123")) == Exit.LOGIN
    assert "abc123" not in capsys.readouterr().err


def test_a_command_does_not_load_what_it_does_not_need() -> None:
    heavy = ("kiteconnect", "aiohttp", "rich", "twisted", "requests", "sqlite3")
    code = (
        "import sys\n"
        "from kitefeed.cli.main import main\n"
        "main(['status'])\n"
        f"print([name for name in {heavy!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/"
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_readme_lists_every_exit_code_with_its_meaning() -> None:
    rows = dict(re.findall(r"^\| (\d+) \| (.+) \|$", PAGE.read_text("utf-8"), re.MULTILINE))
    assert rows == {str(int(code)): text for code, text in MEANING.items()} | {
        "130": "ended by Ctrl-C"
    }


@pytest.mark.parametrize(
    "program",
    [[sys.executable, "-m", "kitefeed.cli"], [str(Path(sys.executable).parent / "kitefeed")]],
)
def test_ctrl_c_while_it_still_imports_is_as_quiet_as_later(
    tmp_path: Path, program: list[str]
) -> None:
    interrupting = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
    (tmp_path / "click.py").write_text(interrupting)
    done = subprocess.run(
        [*program, "status"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
