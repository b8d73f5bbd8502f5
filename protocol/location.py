"""The places of things: the configuration file and the runtime directory. The one module that reads
the environment.

Defaults do not depend on the environment, so that a daemon started with none (by init, by cron) and
a command typed into a login shell meet in the same place.
"""

import os
import pwd
import stat
import tomllib
from pathlib import Path

from kitefeed.protocol.errors import ConfigError

CONFIG_VARIABLE = "KITEFEED_CONFIG"
SECRET_VARIABLE = "KITEFEED_API_SECRET"  # for `kitefeed login`, and for nobody else
SUPERVISORD_VARIABLE = "KITEFEED_SUPERVISORD"
PURE_VARIABLE = "KITEFEED_PURE"  # 1: the loops in Python, also where there are compiled ones
SETTING_PREFIX = "KITEFEED_"  # KITEFEED_KITE__API_KEY is the setting kite.api_key
SECRET_FILE_VARIABLE = "KITEFEED_API_SECRET_FILE"
SECRET_FILE_BYTES_MAX = 1_024
CONFIG_NAME = "kitefeed.toml"
HOME_NAME = ".kitefeed"
LIST_NAME = "instruments.sqlite"  # the day's instruments, in `state_dir`


def home() -> Path:
    """Return the default directory of everything kitefeed writes: `~/.kitefeed`. Raises ConfigError
    for a user without a home directory, as services and containers have them."""
    named = os.environ.get("HOME", "")
    if os.path.isabs(named):
        return Path(named) / HOME_NAME
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir) / HOME_NAME
    except KeyError:
        raise ConfigError(
            f"User {os.geteuid()} has no home directory, neither by $HOME nor by name: set HOME, "
            "or name with --config a configuration that has runtime_dir and state_dir"
        ) from None


def find_config(named: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the configuration file in force, or None.

    Order: `named` (--config), $KITEFEED_CONFIG, ./kitefeed.toml, ~/.kitefeed/kitefeed.toml. A named
    one is returned whether or not it exists, so that its absence is an error and not a fallback.
    """
    chosen = named or os.environ.get(CONFIG_VARIABLE)
    if chosen:
        return absolute(chosen)
    if os.path.isfile(CONFIG_NAME):  # also where the directory itself cannot be named or read
        return absolute(CONFIG_NAME)
    try:
        own = home() / CONFIG_NAME
    except ConfigError:
        return None
    return own if _is_there(own) else None


def _is_there(path: Path) -> bool:
    """Whether the file is there, also when only somebody else may look: reading it is an error
    then, and no fallback."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except PermissionError:
        return True
    except OSError:
        return False


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return `path` without `~`, from the root. Raises ConfigError when there is nothing to start
    from."""
    try:
        return Path(os.path.abspath(Path(path).expanduser()))
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: the current directory has been removed; cd to another"
        ) from None
    except RuntimeError:
        raise ConfigError(
            f"{path}: there is no such home directory; write the whole path"
        ) from None


def supervisord_pid() -> int | None:
    """Return the pid of the supervisord that started this process, as it said itself; None when
    none did."""
    value = os.environ.get(SUPERVISORD_VARIABLE, "")
    return int(value) if value.isdecimal() else None


def is_pure_forced() -> bool:
    """Whether Python has to do the work of the extension (`kitefeed._hot`)."""
    return os.environ.get(PURE_VARIABLE, "") not in ("", "0")


def service_manager() -> str:
    """Return the socket at which systemd wants to hear how the daemon is (sd_notify(3)); "" when
    nobody does."""
    return os.environ.get("NOTIFY_SOCKET", "")


def user_units() -> Path:
    """Return the directory of this user's systemd units. Raises ConfigError for a user without a
    home directory."""
    named = os.environ.get("XDG_CONFIG_HOME", "")
    base = Path(named) if os.path.isabs(named) else home().parent / ".config"
    return base / "systemd/user"


def secret_from_environment(name: str) -> str | None:
    """Return a secret from the variable `name`, or from the file that `<name>_FILE` names, as
    containers give it; None when there is neither. Raises ConfigError for a file that cannot be
    read."""
    value = os.environ.get(name)
    if value:
        return value
    named = os.environ.get(f"{name}_FILE")
    return secret_in_file(f"{name}_FILE", named) if named else None


def secret_in_file(variable: str, path: str) -> str | None:
    """Return the one line of the file that `variable` names, None when it is empty. Raises
    ConfigError for a file that cannot be read."""
    try:
        with open(path, "rb") as file:
            text = file.read(SECRET_FILE_BYTES_MAX).decode().strip()
    except (OSError, UnicodeDecodeError, ValueError):
        raise ConfigError(f"${variable}: {path} cannot be read; name a text file") from None
    return text or None


def settings_from_environment() -> dict[str, str]:
    """Return settings by environment: `KITEFEED_KITE__API_KEY=abc` as `{"kite.api_key": "abc"}`."""
    others = {
        CONFIG_VARIABLE, SECRET_VARIABLE, SECRET_FILE_VARIABLE, SUPERVISORD_VARIABLE, PURE_VARIABLE,
    }  # fmt: skip
    return {
        name.removeprefix(SETTING_PREFIX).lower().replace("__", "."): value
        for name, value in os.environ.items()
        if name.startswith(SETTING_PREFIX) and name not in others
    }


def variable_of(place: str) -> str:
    """Return `KITEFEED_KITE__API_KEY` of `kite.api_key`."""
    return SETTING_PREFIX + place.upper().replace(".", "__")


def runtime_dir(config: Path | None) -> Path:
    """Return the directory of the sockets, as `config` says it, else the default.

    Deliberately tolerant: a client, or an actor that is about to report a broken configuration,
    needs the directory even when the rest of the file cannot be used.
    """
    return _directory(config, "runtime_dir") or home() / "run"


def state_dir(config: Path | None) -> Path:
    """Return the directory of everything that survives restarts; see `runtime_dir`."""
    return _directory(config, "state_dir") or home() / "state"


def record_dir(config: Path | None) -> Path | None:
    """Return the directory of recordings; None when nothing is recorded. See `runtime_dir`."""
    value = settings_from_environment().get("record.dir")
    if value is not None:
        return resolve(value, config or Path("_")) if value else None
    return _directory(config, "record", "dir")


def key_locks_dir(config: Path | None) -> Path:
    """Return the directory in which the tickers of this user, of whatever daemon, lock API keys. A
    user without a home has one for each `state_dir`."""
    try:
        return home() / "keys"
    except ConfigError:
        return state_dir(config) / "key-locks"


def _directory(config: Path | None, *keys: str) -> Path | None:
    if config is None:
        return None
    try:
        # Somebody else's ./kitefeed.toml must not lead a program to that user's prices. The daemon
        # and the commands that read the whole file refuse it with a sentence.
        if config.stat().st_uid not in (os.geteuid(), 0):
            return None
        value: object = tomllib.loads(config.read_text("utf-8-sig"))
    except (OSError, ValueError):
        return None
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return resolve(value, config) if isinstance(value, str) and value else None


def resolve(value: str, config: Path) -> Path:
    """Resolve a path of the configuration: `~` is expanded, relative ones start at the file's
    directory."""
    expanded = absolute(value) if value.startswith("~") else Path(value)
    return absolute(config.parent / expanded)
