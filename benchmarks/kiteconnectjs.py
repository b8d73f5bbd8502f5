"""kiteconnectjs beside it, where node and npm are: installed once, under build/."""

import shutil
import subprocess
from pathlib import Path

VERSION = "5.3.0"
HERE = Path(__file__).parent
DIRECTORY = HERE.parent / "build" / "benchmarks" / f"kiteconnectjs-{VERSION}"
MODULE = DIRECTORY / "node_modules" / "kiteconnect"
INSTALL_S = 90.0
NPM = ("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1")


def command(*arguments: str) -> list[str]:
    return ["node", str(HERE / "kiteconnectjs.cjs"), str(MODULE), *arguments]


def why_not() -> str:
    """Installs it if need be; the reason why there is none, or nothing."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "node and npm are not installed"
    if MODULE.exists():
        return ""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    (DIRECTORY / "package.json").write_text('{"private": true}\n')
    trouble = _install()
    if trouble:
        shutil.rmtree(DIRECTORY / "node_modules", ignore_errors=True)
    return trouble


def _install() -> str:
    try:
        done = subprocess.run(
            [*NPM, f"kiteconnect@{VERSION}"],
            cwd=DIRECTORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_S,
        )
    except subprocess.TimeoutExpired:
        return f"npm did not install it within {INSTALL_S:.0f} s"
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    return f"npm could not install it: {lines[0] if lines else done.stderr[-200:]}"
