"""Packages of npm, where node is: installed once, under build/."""

import fcntl
import shutil
import subprocess
from pathlib import Path

BUILD = Path(__file__).parents[1] / "build"
INSTALL_S = 90.0
NPM = ("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1")


def why_not(directory: Path, *packages: str) -> str:
    """Installs `packages` (name@version) in `directory` if need be; the reason why they are not
    there, or nothing."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "node and npm are not installed"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another worker of the tests may be installing them
        return _have(directory, packages)


def _have(directory: Path, packages: tuple[str, ...]) -> str:
    if all(module(directory, package).exists() for package in packages):
        return ""
    (directory / "package.json").write_text('{"private": true}\n')
    trouble = _install(directory, packages)
    if trouble:
        shutil.rmtree(directory / "node_modules", ignore_errors=True)
    return trouble


def module(directory: Path, package: str) -> Path:
    """Return the directory of `package` (name@version), once it is installed."""
    return directory / "node_modules" / package.rpartition("@")[0]


def _install(directory: Path, packages: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(
            [*NPM, *packages],
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_S,
        )
    except subprocess.TimeoutExpired:
        return f"npm did not install {' '.join(packages)} within {INSTALL_S:.0f} s"
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    because = lines[0] if lines else done.stderr[-200:]
    return f"npm could not install {' '.join(packages)}: {because}"
