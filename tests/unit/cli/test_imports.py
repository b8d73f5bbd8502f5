"""Tests what is loaded, because it costs: milliseconds at the start of a command, megabytes in an
actor."""

import subprocess
import sys
from pathlib import Path

import pytest

from kitefeed._hot import IS_COMPILED
from kitefeed.services.table import SERVICES

ROOT = Path(__file__).parents[3]
HEAVY = {
    "aiohttp", "asyncio", "autobahn", "ctypes", "dateutil", "kiteconnect", "logging", "numpy",
    "pandas", "requests", "rich", "sqlite3", "ssl", "subprocess", "supervisor", "twisted",
    "urllib3",
}  # fmt: skip
ACTORS = {
    "auth_watcher": {"asyncio", "logging", "ssl", "subprocess"},
    "broadcaster": {"asyncio", "logging", "ssl", "subprocess"},
    "supervisor": {"asyncio", "logging", "sqlite3", "ssl", "subprocess"},
}
WITH_KITE = HEAVY - {"aiohttp", "numpy", "pandas", "rich", "supervisor"}
STATUS = {
    "kitefeed", "kitefeed.actors", "kitefeed.actors.runtime", "kitefeed.actors.runtime.directories",
    "kitefeed.actors.runtime.locks", "kitefeed.actors.runtime.memory",
    "kitefeed.actors.runtime.secrets", "kitefeed.actors.runtime.toml_file", "kitefeed.cli",
    "kitefeed.cli.control", "kitefeed.cli.entry", "kitefeed.cli.environment", "kitefeed.cli.main",
    "kitefeed.cli.commands", "kitefeed.cli.commands.status", "kitefeed.cli.output",
    "kitefeed.cli.signals", "kitefeed.cli.streams", "kitefeed.cli.waiting", "kitefeed.protocol",
    "kitefeed.protocol.clock", "kitefeed.protocol.errors", "kitefeed.protocol.exits",
    "kitefeed.protocol.keys", "kitefeed.protocol.kite",
    "kitefeed.protocol.kite.units",
    "kitefeed.protocol.location", "kitefeed.protocol.messages",
    "kitefeed.protocol.messages.control", "kitefeed.protocol.messages.envelope",
    "kitefeed.protocol.messages.instruments", "kitefeed.protocol.messages.status",
    "kitefeed.protocol.private_files", "kitefeed.protocol.secret", "kitefeed.protocol.sockets",
    "kitefeed.protocol.topics", "kitefeed.protocol.topology", "kitefeed.protocol.zap",
    "kitefeed._hot", *(["kitefeed._hot.loops"] if IS_COMPILED else []),
}  # fmt: skip


def loaded_by(code: str) -> set[str]:
    """Modules of a new process that has run `code`, less what an empty one has here anyway."""
    show = "import sys; sys.stderr.write('\\n'.join(sys.modules))"
    found = []
    for text in (code, "pass"):
        done = subprocess.run(
            [sys.executable, "-c", f"{text}\n{show}"],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
        )
        found.append(set(done.stderr.split("\n")))
    return found[0] - found[1]


def command(*arguments: str) -> str:
    return f"from kitefeed.cli.main import main\nmain({list(arguments)!r})"


def test_status_loads_this_and_nothing_heavy() -> None:
    # As far as an answer: where nothing runs it ends before it opens a socket.
    code = "import kitefeed.protocol.sockets\n" + command("status", "--help")
    loaded = loaded_by(code)
    assert {name for name in loaded if name.split(".")[0] == "kitefeed"} == STATUS
    assert loaded & HEAVY == set()


def test_help_loads_no_command() -> None:
    loaded = loaded_by(command("--help"))
    assert {name for name in loaded if name.startswith("kitefeed.cli.")} == {
        "kitefeed.cli.entry",
        "kitefeed.cli.environment",
        "kitefeed.cli.main",
        "kitefeed.cli.streams",
    }
    assert not loaded & {*HEAVY, "msgspec", "zmq"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_that_is_switched_off_is_not_imported(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "kitefeed.toml"
    config.write_text('[gateway]\nlisten = ""\n')
    monkeypatch.setenv("KITEFEED_CONFIG", str(config))
    loaded = loaded_by(command("service", name))
    assert "kitefeed.services.table" in loaded
    assert not any(module.startswith(f"kitefeed.services.{name}") for module in loaded)
    assert not loaded & {"aiohttp", "asyncio", "kiteconnect", "requests", "rich", "zmq"}


@pytest.mark.parametrize("name", ["market", "instruments", "subscribe", "source", "down", "tail"])
def test_no_everyday_command_loads_the_kite_client(name: str) -> None:
    loaded = loaded_by(command(name, "--help"))
    assert not loaded & {"aiohttp", "kiteconnect", "requests", "rich", "supervisor", "twisted"}


@pytest.mark.parametrize("name", ACTORS)
def test_an_actor_that_never_talks_to_kite_loads_none_of_its_libraries(name: str) -> None:
    loaded = loaded_by(f"import kitefeed.actors.{name}.process")
    assert loaded & HEAVY <= ACTORS[name]


@pytest.mark.parametrize(
    "module", ["rest_poller.process", "rest_poller.dump", "token_validator.process"]
)
def test_an_actor_that_asks_kite_by_rest_loads_no_websocket(module: str) -> None:
    loaded = loaded_by(f"import kitefeed.actors.{module}")
    assert "kiteconnect.connect" in loaded
    assert loaded & HEAVY <= WITH_KITE - {"autobahn", "twisted"}


def test_who_wants_all_of_the_official_client_after_that_gets_it() -> None:
    code = (
        "from kitefeed.actors.runtime.kite_rest import KiteConnect\n"
        "import kiteconnect, kiteconnect.ticker\n"
        "assert issubclass(KiteConnect, kiteconnect.KiteConnect)\n"
        "assert kiteconnect.KiteTicker is kiteconnect.ticker.KiteTicker is not None\n"
    )
    assert "twisted" in loaded_by(code)


def test_the_ticker_loads_the_official_client_and_no_more() -> None:
    loaded = loaded_by("import kitefeed.actors.ticker.kite_socket")
    assert "kiteconnect" in loaded
    assert loaded & HEAVY <= WITH_KITE
