"""A TOML file as it lies on the disk, whatever its keys mean. Commands that only ask where the
daemon is need no more, and start sooner without the rest."""

import hashlib
import os
import tomllib
from pathlib import Path
from typing import Any

from kitefeed.actors.runtime import directories
from kitefeed.protocol.errors import ConfigError


def digest(path: Path) -> str:
    """Digest the content of the file; empty when it cannot be read."""
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError:
        return ""


def read(path: Path) -> dict[str, Any]:
    """Read the file. Raises ConfigError, which names file and remedy."""
    try:
        with path.open("rb") as file:
            directories.check_owner(path, os.fstat(file.fileno()))
            return tomllib.loads(file.read().decode("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such file; `kitefeed init` writes it, or correct the name"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; save it as such") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error}); correct its owner or mode") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not TOML: {error}; correct that line") from None


def with_value(text: str, place: str, value: object) -> str:
    """Return `text`, which is TOML, with another value at `place` (`kite.api_key`); comments, order
    and all else stay as they are. Raises ConfigError where a table is something else."""
    # Imported here: only a process that writes a configuration needs it.
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    *tables, name = place.split(".")
    document = tomlkit.parse(text)
    table: Any = document
    try:
        for part in tables:
            table = table.setdefault(part, tomlkit.table())
        table[name] = value
    except (TOMLKitError, TypeError, AttributeError):
        raise ConfigError(f"{place} cannot be written: write it into the file by hand") from None
    return tomlkit.dumps(document)
