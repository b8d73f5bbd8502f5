"""This host: how kitefeed was built, configuration, modes, descriptors, room on the disk."""

import os
import resource
from pathlib import Path

from kitefeed._hot import BUILD, IS_COMPILED
from kitefeed.actors.runtime import locks, realtime, session_file
from kitefeed.actors.runtime.config import Settings
from kitefeed.actors.runtime.directories import verify_directory
from kitefeed.cli.diagnosis.finding import Finding, of_error, ok, skipped, warning, wrong
from kitefeed.protocol import private_files
from kitefeed.protocol.errors import KitefeedError
from kitefeed.protocol.exits import Exit
from kitefeed.protocol.location import PURE_VARIABLE, is_pure_forced

DESCRIPTORS_MIN = 1_024  # six processes take a few dozen; each program that reads takes one
DISK_WARN_MB, DISK_MIN_MB = 500, 50  # an instrument list is 30 MB, and is written beside the old
MB = 1_048_576
SECRET_BYTES_MAX = MB


def build() -> Finding:
    """Tell which build this is. Both are right, and give the same: Python costs more."""
    if IS_COMPILED:
        return ok("build", BUILD)
    why = f"as ${PURE_VARIABLE} says" if is_pure_forced() else "installed without a C compiler"
    return ok("build", f"{BUILD}, {why}: ticks cost more CPU")


def configuration(settings: Settings) -> Finding:
    name = "configuration"
    if not settings.config.kite.api_key:
        return warning(
            name, f"{settings.source} is good, but kite.api_key is empty",
            "write your app's key there, or give each session file its api_key",
        )  # fmt: skip
    return ok(name, f"{settings.source}, {len(settings.config.instruments)} instruments always")


def modes(settings: Settings) -> Finding:
    """Check the modes of what others must not write, and of what they must not read."""
    name = "modes"
    there = [path for path in (settings.runtime_dir, settings.state_dir) if path.exists()]
    files = [settings.session_path, settings.standby_path]
    try:
        for path in there:
            verify_directory(path)
        for path in files:
            session_file.read(path, settings.config.kite.api_key or "unknown")
        for path in _secrets(settings):
            private_files.read(path, SECRET_BYTES_MAX)
    except KitefeedError as error:
        return of_error(name, error)
    except private_files.Unsafe as error:
        return wrong(name, str(error), "", Exit.LOGIN)
    if not there:
        return skipped(name, "there is nothing yet: the first `kitefeed up` makes it")
    return ok(name, "only you can write there, and only you can read session, secrets and keys")


def _secrets(settings: Settings) -> list[Path]:
    """Return the files of secrets that are there: the app's, keys, passwords and tokens, URLs of
    alerts."""
    found = [*settings.state_dir.glob("api_secret*.json")]
    found += [path for path in settings.keys_path.rglob("*") if not path.is_dir()]
    urls = settings.alert_urls_path
    return found + ([urls] if urls is not None and urls.exists() else [])


def descriptors() -> Finding:
    name = "descriptors"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = "any number" if hard == resource.RLIM_INFINITY else str(hard)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS_MIN:
        return wrong(
            name, f"a process may open {hard} files",
            f"raise the hard limit to {DESCRIPTORS_MIN} or more: `ulimit -Hn`, LimitNOFILE=",
        )  # fmt: skip
    return ok(name, f"{soft}, and {limit} on demand")


def scheduler(settings: Settings) -> Finding:
    """Look at the scheduler of the daemon's processes: they may have other limits than this one."""
    name = "scheduler"
    if not settings.config.realtime:
        return ok(name, "as all other programs have it: realtime is not set")
    found = [locks.live_holder(settings.runtime_dir, role) for role in realtime.PRIORITIES]
    without = [each.role for each in found if each and realtime.runs_without(each.pid)]
    if not any(found):
        text, _, remedy = realtime.refusal().rpartition("; ")
        return warning(name, text, remedy) if text else ok(name, "realtime is allowed here")
    if without:
        return warning(
            name, f"realtime is set, and {', '.join(without)} run without",
            "the daemon's log says why, where it says condition=realtime; then start it again",
        )  # fmt: skip
    return ok(name, f"realtime: {', '.join(each.role for each in found if each)}")


def disk(settings: Settings) -> Finding:
    name = "disk"
    path = _existing(settings.state_dir)
    try:
        facts = os.statvfs(path)
    except OSError as error:
        return wrong(name, f"{path} cannot be looked at ({error.strerror})", "correct its mode")
    free_mb = facts.f_bavail * facts.f_frsize // MB
    text = f"{free_mb:,} MB free at {path}"
    remedy = "make room: the session, the last values and the instrument list are written there"
    if free_mb < DISK_MIN_MB or (facts.f_files and not facts.f_favail):
        return wrong(name, text if facts.f_favail else f"no inode is free at {path}", remedy)
    if not os.access(path, os.W_OK):
        return wrong(name, f"{path} cannot be written", "correct its owner or mode", Exit.CONFIG)
    return warning(name, text, remedy) if free_mb < DISK_WARN_MB else ok(name, text)


def _existing(path: Path) -> Path:
    """Return `path`, or the nearest directory above it that exists."""
    return path if path.exists() or path == path.parent else _existing(path.parent)
