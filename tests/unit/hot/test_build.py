"""The extension: that it is there where it can be, and that one can do without."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from kitefeed import _hot
from kitefeed.protocol.location import PURE_VARIABLE, is_pure_forced, settings_from_environment

can_compile = bool(
    shutil.which("cc") and Path(sysconfig.get_paths()["include"], "Python.h").exists()
)
needs_extension = pytest.mark.skipif(not _hot.IS_COMPILED, reason="the extension is not here")


def build(pure: str) -> str:
    """Return which build a new process has."""
    code = "from kitefeed._hot import BUILD; from kitefeed.protocol.kite import repack as r;"
    code += "print(BUILD, r.repack_frame.__name__, sep=', ')"
    environment = {**os.environ, PURE_VARIABLE: pure}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.skipif(not can_compile, reason="there is no compiler here, or no Python.h")
def test_where_there_is_a_compiler_there_is_the_extension() -> None:
    assert build("") == "compiled, repack_compiled"


@pytest.mark.parametrize("value", ["1", "yes"])
def test_python_can_be_forced(value: str) -> None:
    assert build(value) == "pure Python, repack_in_python"


@needs_extension
def test_an_extension_of_another_revision_is_as_good_as_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert _hot._is_there()
    monkeypatch.setattr(_hot, "REVISION", _hot.REVISION + 1)
    assert not _hot._is_there()


def test_what_forces_python_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PURE_VARIABLE, "1")
    assert is_pure_forced()
    assert "pure" not in settings_from_environment()
    monkeypatch.setenv(PURE_VARIABLE, "0")
    assert not is_pure_forced()
