"""`kitefeed up`: the daemon in the foreground, by supervisord on the shipped supervisor.conf."""

import os
import pwd
import sys
from pathlib import Path

import click

from kitefeed.actors.runtime import config, descriptors, locks, realtime
from kitefeed.actors.runtime.config import Settings
from kitefeed.actors.runtime.directories import prepare_directory
from kitefeed.cli import environment, streams
from kitefeed.cli.processes import is_running
from kitefeed.cli.waiting import wait_until
from kitefeed.protocol.errors import TryLater
from kitefeed.protocol.topology import Role

LEAVING_S = 3.0  # actors look for their parent every second, then close their sockets
# supervisord closes what it inherits from 5 on, and its programs what they inherit from 3 on.
START_LOCK_DESCRIPTOR = 3
NO_API_KEY = (
    "kitefeed: kite.api_key is empty in {}: a login needs it, and only a session file that names "
    "its own api_key can be used; {}"
)
SHIPPED = Path(__file__).parents[2] / "supervisor.conf"


@click.command()
def up() -> None:
    """Run the daemon in the foreground; Ctrl-C stops it."""
    settings = config.load_for_daemon()
    descriptors.raise_limit()
    for directory in (settings.runtime_dir, settings.state_dir):
        prepare_directory(directory)
    take_start(settings.runtime_dir)
    if settings.source is not None:
        environment.name_config(settings.source)
    environment.prefer_own_programs()
    environment.forget_secrets()
    _announce(settings)
    if not settings.config.kite.api_key:
        page = settings.config.gateway.url
        remedy = f"enter it on {page}/" if page else "write your app's key there and start again"
        streams.complain(NO_API_KEY.format(settings.source, remedy))
    if settings.config.realtime and (why := realtime.refusal()):
        streams.complain(f"kitefeed: {why}")
    os.umask(0o077)  # supervisord writes its pid file before it takes the umask of its settings
    command = supervisord_command(link_configuration(settings.runtime_dir))
    os.execv(command[0], command)  # noqa: S606 - the same process goes on as supervisord


def take_start(runtime_dir: Path) -> None:
    """Wait until nobody holds a role, and keep any other `up` from starting here as long as this
    process (supervisord, soon) lives. Raises TryLater when a daemon runs there, or starts at this
    moment.

    Holders whose supervisord has gone are about to leave: they are given the time.
    """
    if not wait_until(lambda: not _holders(runtime_dir) and _take_lock(runtime_dir), LEAVING_S):
        raise _running(locks.live_holders(runtime_dir), runtime_dir)


def _take_lock(runtime_dir: Path) -> bool:
    handle = locks.lock_named(runtime_dir / "up.lock")
    if handle is None:
        return False
    if handle != START_LOCK_DESCRIPTOR:
        os.dup2(handle, START_LOCK_DESCRIPTOR)
        os.close(handle)
    os.set_inheritable(START_LOCK_DESCRIPTOR, True)
    return True


def _holders(runtime_dir: Path) -> list[locks.Holder]:
    holders = locks.live_holders(runtime_dir)
    if any(is_running(holder.parent_pid) for holder in holders):
        raise _running(holders, runtime_dir)
    return holders


def _running(holders: list[locks.Holder], runtime_dir: Path) -> TryLater:
    pids = ", ".join(f"{holder.role} {holder.pid}" for holder in holders) or "it is just starting"
    return TryLater(
        f"A kitefeed daemon already runs in {runtime_dir} ({pids}): see `kitefeed status`, "
        "or stop it with `kitefeed down`"
    )


def link_configuration(runtime_dir: Path) -> Path:
    """Puts the shipped supervisor.conf into `runtime_dir` by a link: it is the same file, and its
    `%(here)s` is the directory in which supervisord may write."""
    link = runtime_dir / "supervisor.conf"
    fresh = runtime_dir / f".supervisor.conf.{os.getpid()}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(SHIPPED)
    fresh.replace(link)
    return link


def supervisord_command(configuration: Path) -> list[str]:
    """Return the command. -P: a `supervisor.py` in the user's directory is not the package. -u: as
    root supervisord wants to be told that root is meant."""
    command = [sys.executable, "-P", "-m", "supervisor.supervisord", "-n", "-c", str(configuration)]
    is_root = os.geteuid() == 0 and _has_name(0)
    return [*command, "-u", "root"] if is_root else command


def _has_name(uid: int) -> bool:
    """Whether the user has a name: containers without /etc/passwd know nobody by name, and
    supervisord would look him up."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _announce(settings: Settings) -> None:
    """Say that it starts. It starts where nothing can be written, too: prices matter more than
    their log."""
    try:
        print(
            f"kitefeed: starting {len(Role)} processes in {settings.runtime_dir} with "
            f"{settings.source}; look with `kitefeed status`, stop with Ctrl-C",
            flush=True,
        )
    except OSError as error:
        streams.complain(
            f"kitefeed: standard output cannot be written ({error.strerror}): the daemon starts, "
            "and what it would log is lost until it can"
        )
