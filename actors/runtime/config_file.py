"""Writes a setting into the configuration's file, where kitefeed does that itself."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from kitefeed.actors.runtime import config_parser, toml_file
from kitefeed.actors.runtime.config_tables import Config
from kitefeed.actors.runtime.whole_file import write_atomically
from kitefeed.protocol import location
from kitefeed.protocol.errors import ConfigError


def change(path: Path, values: Mapping[str, str]) -> Config:
    """Write these settings (by their dotted names) into `path`, and leave all else in it as it is,
    comments too. Return the configuration that the file then holds.

    Raises ConfigError, and then nothing was written: for a value that cannot be used, one that the
    environment sets, or a file that cannot be read or written.
    """
    given = location.settings_from_environment()
    for place in values:
        if place in given:
            raise ConfigError(
                f"{place} is set by ${location.variable_of(place)}, which goes before {path}: "
                "change it there, and start the daemon again"
            )
    toml_file.read(path)  # checks its owner, and that it is TOML
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise _unwritten(path, error) from None
    for place, value in values.items():
        text = toml_file.with_value(text, place, value)
    found = config_parser.parse(config_parser.overlaid(tomllib.loads(text), given), path)
    try:
        write_atomically(path.resolve(), text.encode())  # for a link, the file that it leads to
    except OSError as error:
        raise _unwritten(path, error) from None
    return found


def _unwritten(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"{path} cannot be written ({error.strerror or error}): make room there, or correct the "
        "owner or mode of its directory"
    )
