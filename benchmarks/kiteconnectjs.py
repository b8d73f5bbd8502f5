"""kiteconnectjs beside it, where node and npm are: installed once, under build/."""

import shutil
import subprocess
from pathlib import Path

VERSION = "5.3.0"
HERE = Path(__file__).parent
DIRECTORY = HERE.parent / "build" / "benchmarks" / f"kiteconnectjs-{VERSION}"


def command(*arguments: str) -> list[str]:
    module = DIRECTORY / "node_modules" / "kiteconnect"
    return ["node", str(HERE / "kiteconnectjs.cjs"), str(module), *arguments]


def why_not() -> str:
    """Installs it if need be; the reason why there is none, or nothing."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "node and npm are not installed"
    if (DIRECTORY / "node_modules" / "kiteconnect").exists():
        return ""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    (DIRECTORY / "package.json").write_text('{"private": true}\n')
    done = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", f"kiteconnect@{VERSION}"],
        cwd=DIRECTORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return ""
    shutil.rmtree(DIRECTORY / "node_modules", ignore_errors=True)
    return "npm could not install it: " + (done.stderr.strip().splitlines() or ["?"])[-1]
