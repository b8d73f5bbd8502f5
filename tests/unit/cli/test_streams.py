"""Commands whose surroundings are not as usual: streams, home, directory, encodings, packages."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kitefeed.protocol.exits import Exit

KITEFEED = str(Path(sys.executable).with_name("kitefeed"))
CONFIGURATION = 'runtime_dir = "run"\nstate_dir = "state"\n[kite]\napi_key = "mykey"\n'
NOBODY_KNOWS_THE_USER = """\
import pwd
def getpwuid(uid):
    raise KeyError(uid)
pwd.getpwuid = getpwuid
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "kitefeed.toml").write_text(CONFIGURATION)
    return tmp_path


def run(
    home: Path,
    *words: str | bytes,
    streams: str = "",
    env: dict[str, str] | None = None,
    without: str = "",
    given: bytes = b"",
) -> "subprocess.CompletedProcess[str]":
    """`kitefeed WORDS` in `home`, its streams redirected as a shell does it."""
    variables = {**os.environ, "KITEFEED_CONFIG": str(home / "kitefeed.toml"), **(env or {})}
    variables.pop(without, None)
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {streams}', "sh", KITEFEED, *words],
        cwd=home,
        env=variables,
        input=given,
        capture_output=True,
        timeout=30,
        check=False,
    )
    out, err = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
    assert "Traceback" not in err, err
    assert "Exception ignored" not in err, err
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


@pytest.mark.parametrize("streams", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_as_good_as_dev_null(home: Path, streams: str) -> None:
    assert run(home, "market", streams=streams).returncode == 0
    assert run(home, "status", streams=streams).returncode == Exit.UNAVAILABLE
    assert run(home, "session", "set", streams=streams).returncode == Exit.BAD_INPUT


@pytest.mark.parametrize("buffering", ["", "1"])
@pytest.mark.parametrize("command", ["--help", "--version", "market"])
def test_a_full_disk_behind_standard_output_is_a_sentence_and_a_code(
    home: Path, command: str, buffering: str
) -> None:
    done = run(home, command, streams=">/dev/full", env={"PYTHONUNBUFFERED": buffering})
    assert done.returncode == Exit.OUTPUT
    assert re.fullmatch(r"kitefeed: standard output cannot be written .+\n", done.stderr)


@pytest.mark.parametrize("command", [["status"], ["nonsense"], ["login", "--paste"]])
def test_a_full_disk_behind_standard_error_changes_no_exit_code_to_a_bug(
    home: Path, command: list[str]
) -> None:
    done = run(home, *command, streams="2>/dev/full")
    assert done.returncode in (Exit.UNAVAILABLE, Exit.USAGE, Exit.OUTPUT)


def test_a_reader_that_has_seen_enough_is_no_error(home: Path) -> None:
    assert run(home, "init", "--print", streams="| true").stderr == ""


@pytest.mark.parametrize("home_variable", [None, "", "not/absolute"])
def test_a_user_without_a_home_is_told_what_to_set(home: Path, home_variable: str | None) -> None:
    (home / "sitecustomize.py").write_text(NOBODY_KNOWS_THE_USER)
    env = {"PYTHONPATH": str(home)} | ({} if home_variable is None else {"HOME": home_variable})
    without = "HOME" if home_variable is None else ""
    assert run(home, "status", env=env, without=without).returncode == Exit.UNAVAILABLE
    elsewhere = env | {"KITEFEED_CONFIG": ""}
    (home / "kitefeed.toml").rename(home / "other.toml")
    for command in (["status"], ["up"], ["init", "--api-key", "k"], ["session", "show"]):
        done = run(home, *command, env=elsewhere, without=without)
        assert done.returncode == Exit.CONFIG, command
        assert "set HOME" in done.stderr
    assert run(home, "market", env=elsewhere, without=without).returncode == 0


def test_a_directory_that_was_removed_is_no_reason_to_fail(home: Path) -> None:
    script = 'mkdir gone && cd gone && rmdir ../gone && "$@"'
    done = subprocess.run(
        ["sh", "-c", script, "sh", KITEFEED, "--config", "x.toml", "status"],
        cwd=home, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == Exit.CONFIG
    assert "has been removed" in done.stderr
    done = subprocess.run(
        ["sh", "-c", script, "sh", KITEFEED, "status"],
        cwd=home, capture_output=True, text=True, check=False,
        env={**os.environ, "HOME": str(home), "KITEFEED_CONFIG": ""},
    )  # fmt: skip
    assert done.returncode == Exit.UNAVAILABLE
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1:strict", "cp1252:strict"])
def test_a_terminal_that_lacks_a_character_gets_the_rest(home: Path, encoding: str) -> None:
    (home / "kitefeed.toml").write_text(CONFIGURATION.replace("mykey", "₹"), "utf-8")
    done = run(home, "session", "show", env={"PYTHONIOENCODING": encoding, "LC_ALL": "C"})
    assert done.returncode == Exit.CONFIG
    assert "kite.api_key" in done.stderr


def test_bytes_that_are_no_text_are_refused_as_input(home: Path) -> None:
    assert run(home, "session", "set", given=b"\xff\xfe\xfa").returncode == Exit.BAD_INPUT
    assert run(home, "market", b"\xff\xfe").returncode == Exit.BAD_INPUT


def test_a_package_that_is_missing_is_named_with_the_extra_that_brings_it(home: Path) -> None:
    missing = "raise ModuleNotFoundError('No module named click', name='click')\n"
    (home / "click.py").write_text(missing)
    done = run(home, "status", env={"PYTHONPATH": str(home)})
    assert done.returncode == Exit.UNAVAILABLE
    assert re.fullmatch(r"kitefeed: .+ click: pip install 'kitefeed\[daemon\]'\n", done.stderr)
