"""The systemd unit of one user: the shipped one, filled in for this installation, and systemd's own
commands for it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from kitefeed.actors.runtime.whole_file import write_atomically
from kitefeed.protocol import location
from kitefeed.protocol.errors import BadInput, ConfigError, Unavailable

SHIPPED = Path(__file__).parents[1] / "kitefeed.service"
NAME = "kitefeed.service"
MODE = 0o644  # it holds no secret, and systemd warns of others
SYSTEMCTL_S = 130.0  # `enable --now` waits until the daemon is ready, systemd for 120 s


def path() -> Path:
    return location.user_units() / NAME


def text(config: Path) -> str:
    """Return the unit that runs this installation with the configuration `config`."""
    program = Path(sys.executable).parent / "kitefeed"
    command = f"{_quoted(str(program))} --config {_quoted(str(config)).replace('$', '$$')} up"
    head = (
        f"# Written by `kitefeed service install --user`. What you change belongs into a file\n"
        f"# beside it: systemctl --user edit {NAME.removesuffix('.service')}\n"
    )
    shipped = SHIPPED.read_text("utf-8")
    body = shipped[shipped.index("[Unit]") :]
    return head + re.sub(r"(?m)^ExecStart=.*$", lambda _: f"ExecStart={command}", body)


def _quoted(word: str) -> str:
    """Quote a word as systemd reads it; `%` begins one of its specifiers."""
    if any(ord(each) < ord(" ") for each in word):
        raise BadInput(f"{word!r} cannot be named in a unit: move it to a path without line ends")
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def systemctl() -> str:
    """Return the path of systemd's command. Raises Unavailable where there is none."""
    found = shutil.which("systemctl")
    if found is None or sys.platform != "linux":
        raise Unavailable(
            "There is no systemd here (no `systemctl`): let what starts programs on this host, as "
            "launchd or cron's @reboot do, run `kitefeed up`; `--print` shows the unit"
        )
    return found


def write(unit: str) -> None:
    """Replace the unit; keep another one beside it. Raises ConfigError."""
    place = path()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists() and place.read_text("utf-8", "replace") != unit:
            shutil.copy2(place, place.with_name(f"{NAME}.old"))
        write_atomically(place, unit.encode())
        place.chmod(MODE)
    except OSError as error:
        raise ConfigError(
            f"{place} cannot be written ({error.strerror or error}); make room there, or correct "
            "the owner or mode of its directory"
        ) from None


def remove() -> None:
    """Remove the unit. Raises Unavailable when there is none, ConfigError when it cannot be
    removed."""
    place = path()
    try:
        place.unlink()
    except FileNotFoundError:
        raise Unavailable(f"There is nothing to remove: {place} does not exist") from None
    except OSError as error:
        raise ConfigError(
            f"{place} cannot be removed ({error.strerror or error}): correct the mode of its "
            "directory"
        ) from None


def run(*words: str) -> str:
    """Run `systemctl --user WORDS`; return why it failed, "" when it did not."""
    try:
        done = subprocess.run(
            [systemctl(), "--user", *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=SYSTEMCTL_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no answer within {SYSTEMCTL_S:.0f} s"
    except OSError as error:
        return error.strerror or str(error)
    told = " ".join((done.stderr or done.stdout).split())
    return (told or f"it ended with {done.returncode}") if done.returncode else ""
