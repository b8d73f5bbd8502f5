"""The wheel, installed into fresh environments, in a directory that holds hostile names."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.integration.cli_kit import Home, home_beside_simulator

pytestmark = [pytest.mark.processes, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
NOT_SOURCE = shutil.ignore_patterns(
    ".*", "build", "dist", "*.egg-info", "__pycache__", "tests", "benchmarks"
)
CLIENT_PACKAGES = {"kitefeed", "msgspec", "pyzmq"}


def run(*command: str | Path, cwd: Path) -> str:
    """Its output; the test fails with all it wrote when it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def clean_environment() -> dict[str, str]:
    """As a user's shell: nothing that leads back to this checkout."""
    own = ("PYTHON", "KITEFEED", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is written into the checkout."""
    directory = tmp_path_factory.mktemp("build")
    source = directory / "source"
    shutil.copytree(ROOT, source, symlinks=True, ignore=NOT_SOURCE)
    run(sys.executable, "-m", "build", "--wheel", "--outdir", directory, source, cwd=directory)
    return next(directory.glob("*.whl"))


def new_environment(directory: Path, requirement: str) -> Path:
    """A virtual environment with `requirement` in it; returns its `bin`."""
    run(sys.executable, "-m", "venv", "--without-pip", directory, cwd=directory.parent)
    python = directory / "bin" / "python"
    run(
        sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python,
        "install", "--quiet", "--no-compile", "-c", ROOT / "constraints.txt", requirement,
        cwd=directory.parent,
    )  # fmt: skip
    return directory / "bin"


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A user's directory in which every plain name that we could import by accident raises."""
    for name in (
        "protocol",
        "client",
        "actors",
        "services",
        "cli",
        "simulator",
        "supervisor",
        "messages",
    ):
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('imported {name}.py')\n")
    return tmp_path


def test_the_wheel_holds_the_package_and_no_plain_names(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"kitefeed"}
    files = (
        "py.typed", "supervisor.conf", "kitefeed.example.toml", "kitefeed.service",
        "client/feed.py",
    )  # fmt: skip
    for data in (*files, "actors/policy/calendar.toml"):
        assert f"kitefeed/{data}" in names


def test_the_client_needs_two_packages_only(
    wheel: Path, tmp_path_factory: pytest.TempPathFactory, hostile: Path
) -> None:
    programs = new_environment(tmp_path_factory.mktemp("client") / "venv", str(wheel))
    code = (
        "import importlib.metadata as m, kitefeed\n"
        "from kitefeed import Feed\n"
        "assert m.version('kitefeed') == kitefeed.__version__\n"
        "print(*sorted(d.name.lower() for d in m.distributions()))\n"
    )
    assert set(run(programs / "python", "-c", code, cwd=hostile).split()) == CLIENT_PACKAGES
    refused = subprocess.run(
        [programs / "kitefeed", "status"], cwd=hostile, env=clean_environment(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert refused.returncode == 69
    assert refused.stderr.count("\n") == 1
    assert "kitefeed[daemon]" in refused.stderr


@pytest.fixture
def installed(
    wheel: Path, tmp_path_factory: pytest.TempPathFactory, hostile: Path
) -> Iterator[tuple[Path, Home]]:
    programs = new_environment(tmp_path_factory.mktemp("daemon") / "venv", f"{wheel}[daemon]")
    with home_beside_simulator(hostile) as (home, _):
        yield programs, home


def test_the_installed_daemon_goes_live_and_is_read(
    installed: tuple[Path, Home], hostile: Path
) -> None:
    programs, home = installed
    assert run(programs / "kitefeed", "--version", cwd=hostile).startswith("kitefeed ")
    run(programs / "kitefeed", "--config", "new.toml", "init", "--api-key", "mykey", cwd=hostile)
    assert 'api_key = "mykey"' in (hostile / "new.toml").read_text()
    home.log_in()
    home.start(str(programs / "kitefeed"), "up", env=clean_environment())

    home.wait_for("live")
    shown = run(programs / "kitefeed", "status", "--json", cwd=hostile)
    assert msgspec.json.decode(shown)["feed"] == "live"
    code = (
        "from kitefeed import Feed\n"
        "with Feed('NSE:INFY') as feed:\n"
        "    print(feed.wait_for('NSE:INFY', 5).last_price > 0)\n"
    )
    assert run(programs / "python", "-c", code, cwd=hostile) == "True\n"
    run(programs / "kitefeed", "down", cwd=hostile)
