"""kiteconnectjs beside it, where node and npm are."""

from pathlib import Path

from benchmarks import npm

VERSION = "5.3.0"
PACKAGE = f"kiteconnect@{VERSION}"
DIRECTORY = npm.BUILD / "benchmarks" / f"kiteconnectjs-{VERSION}"


def command(*arguments: str) -> list[str]:
    script = Path(__file__).with_name("kiteconnectjs.cjs")
    return ["node", str(script), str(npm.module(DIRECTORY, PACKAGE)), *arguments]


def why_not() -> str:
    """Installs it if need be; the reason why there is none, or nothing."""
    return npm.why_not(DIRECTORY, PACKAGE)
