"""Where things are: the configuration file and the runtime directory. The one module that reads
the environment.

Defaults do not depend on the environment, so that a daemon started with none (by init, by cron) and
a command typed into a login shell meet in the same place.
"""

import os
import tomllib
from pathlib import Path

CONFIG_VARIABLE = "KITEFEED_CONFIG"
SECRET_VARIABLE = "KITEFEED_API_SECRET"  # for `kitefeed login`, and for nobody else
SUPERVISORD_VARIABLE = "KITEFEED_SUPERVISORD"
CONFIG_NAME = "kitefeed.toml"
HOME_NAME = ".kitefeed"


def home() -> Path:
    """The default directory of everything kitefeed writes: `~/.kitefeed`."""
    return Path.home() / HOME_NAME


def find_config(named: str | os.PathLike[str] | None = None) -> Path | None:
    """The configuration file in force, or None.

    Order: `named` (--config), $KITEFEED_CONFIG, ./kitefeed.toml, ~/.kitefeed/kitefeed.toml. A named
    one is returned whether or not it exists, so that its absence is an error and not a fallback.
    """
    chosen = named or os.environ.get(CONFIG_VARIABLE)
    if chosen:
        return Path(os.path.abspath(Path(chosen).expanduser()))
    for candidate in (Path.cwd() / CONFIG_NAME, home() / CONFIG_NAME):
        if candidate.is_file():
            return candidate
    return None


def supervisord_pid() -> int | None:
    """The supervisord that started this process, as it said itself; None when none did."""
    value = os.environ.get(SUPERVISORD_VARIABLE, "")
    return int(value) if value.isdecimal() else None


def secret_from_environment(name: str) -> str | None:
    """A secret that the user chose to pass by environment, or None when unset or empty."""
    return os.environ.get(name) or None


def runtime_dir(config: Path | None) -> Path:
    """The directory of the sockets, as `config` says it, else the default.

    Deliberately tolerant: a client, or an actor that is about to report a broken configuration,
    needs the directory even when the rest of the file cannot be used.
    """
    return _directory(config, "runtime_dir", home() / "run")


def state_dir(config: Path | None) -> Path:
    """The directory of what survives restarts; see `runtime_dir`."""
    return _directory(config, "state_dir", home() / "state")


def _directory(config: Path | None, key: str, default: Path) -> Path:
    if config is None:
        return default
    try:
        # A ./kitefeed.toml of somebody else must not lead a program to his prices; the daemon and
        # the commands that read the whole file refuse it with a sentence.
        if config.stat().st_uid not in (os.geteuid(), 0):
            return default
        value = tomllib.loads(config.read_text("utf-8")).get(key)
    except (OSError, ValueError):
        return default
    return resolve(value, config) if isinstance(value, str) and value else default


def resolve(value: str, config: Path) -> Path:
    """A path of the configuration: `~` is expanded, relative ones start at the file's directory."""
    return Path(os.path.abspath(config.parent / Path(value).expanduser()))
