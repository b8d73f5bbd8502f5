"""Prepares the environment of the processes that commands start: variables and descriptors.

Only `protocol.location` reads settings from the environment; this module writes it, and passes it
on.
"""

import os
import sys
from pathlib import Path
from typing import Any

from kitefeed.protocol import location
from kitefeed.protocol.location import CONFIG_VARIABLE, SECRET_VARIABLE, SUPERVISORD_VARIABLE


def name_config(path: str | Path) -> None:
    """Makes `path` the configuration of this process and of every one it starts."""
    os.environ[CONFIG_VARIABLE] = str(location.absolute(path))


def prefer_own_programs() -> None:
    """Puts the directory of this Python first in PATH, where its `kitefeed` is."""
    own = os.path.dirname(sys.executable)
    others = os.environ.get("PATH") or os.defpath
    if others.split(os.pathsep)[0] != own:
        os.environ["PATH"] = f"{own}{os.pathsep}{others}"


def name_supervisord() -> None:
    """Tell the programs who their parent is: a program misses one that dies before it looks."""
    os.environ[SUPERVISORD_VARIABLE] = str(os.getpid())


def forget_secrets() -> None:
    """Hide the app's secret from what this process starts. Only a login needs it, and other
    programs of the same user could read it in the environment of any process that has it."""
    os.environ.pop(SECRET_VARIABLE, None)


def temporary_directory_is(path: Path) -> dict[str, str]:
    """Return the environment for a child whose temporary files go to `path`."""
    return {**os.environ, "TMPDIR": str(path)}


def forget_settings() -> None:
    """Remove the user's settings, for a daemon of its own, such as the demo's."""
    for place in location.settings_from_environment():
        os.environ.pop(location.variable_of(place), None)


def supervisord_rpc() -> Any:
    """Connect to the supervisord that started this process; it named its socket in the
    environment."""
    # Imported here: it is needed once in a long while.
    from supervisor.childutils import getRPCInterface

    return getRPCInterface(os.environ)
