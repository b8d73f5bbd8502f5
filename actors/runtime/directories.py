"""Owners and modes, verified at every start: whoever can write where the daemon reads commands
it."""

import grp
import os
import pwd
from pathlib import Path

from kitefeed.protocol.errors import ConfigError


def prepare_directory(path: Path) -> None:
    """Make `path`, 0700. Raises ConfigError when it is not ours or others can write to it: its
    sockets command a trading session. (What is in it is 0600, so others may look at its names.)"""
    try:
        _make(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be made ({error.strerror}); correct its parent") from None
    verify_directory(path)


def verify_directory(path: Path) -> None:
    """Raise ConfigError when `path` is missing, not ours, or others can write to it."""
    try:
        facts = path.stat()
    except OSError as error:
        raise ConfigError(f"{path} cannot be used ({error.strerror}); make it") from None
    if facts.st_uid != os.geteuid():
        raise ConfigError(f"{path} belongs to another user; choose another directory")
    if facts.st_mode & 0o022:
        raise ConfigError(f"{path} can be written by others: `chmod 700 {path}`")


def _make(path: Path) -> None:
    """Make it and all its parents 0700: `mkdir(parents=True)` gives parents the mode of the
    umask."""
    if not path.parent.exists():
        _make(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)


def check_owner(path: Path, facts: os.stat_result) -> None:
    """Raise ConfigError when somebody else could have written the configuration `path`: it says
    where the session is sent."""
    if facts.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"{path}: belongs to another user; make a copy of your own")
    if facts.st_mode & 0o002 or (facts.st_mode & 0o020 and not _is_own_group(facts.st_gid)):
        raise ConfigError(f"{path}: can be written by others: `chmod go-w {path}`")


def _is_own_group(gid: int) -> bool:
    """Whether `gid` is the group that many systems make for one user alone, under his name. Its
    files may be group-writable (umask 002), and no other user is in it."""
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
        group = grp.getgrgid(gid)
    except KeyError:
        return False
    return group.gr_name == name and set(group.gr_mem) <= {name}
