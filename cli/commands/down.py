"""`kitefeed down`: stops the daemon of this configuration, however it was started."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import click

from kitefeed.actors.runtime import locks
from kitefeed.cli.control import runtime_dir
from kitefeed.cli.processes import is_running, is_supervisord
from kitefeed.cli.waiting import wait_until
from kitefeed.protocol.errors import TryLater, Unavailable

STOPPED_S = 10.0  # supervisord kills what does not end in 5 s


@click.command()
def down() -> None:
    """Stop the running daemon."""
    directory = runtime_dir()
    holders = locks.live_holders(directory)
    if not holders:
        raise Unavailable(f"There is nothing to stop: no kitefeed daemon runs in {directory}")
    pids = targets(holders)
    for pid in pids:
        with suppress(ProcessLookupError):  # it left by itself
            os.kill(pid, signal.SIGTERM)
    if not wait_until(lambda: _is_over(directory, pids), STOPPED_S):
        left = " ".join(str(h.pid) for h in locks.live_holders(directory)) or " ".join(
            map(str, sorted(pids))
        )
        raise TryLater(f"It did not stop within {STOPPED_S:.0f} s: `kill -9 {left}`")
    click.echo(f"kitefeed: stopped ({directory})")


def targets(holders: list[locks.Holder]) -> set[int]:
    """The processes to ask: each holder's supervisord, or itself when it was started by hand.

    A holder is proven by its lock. Its parent is asked only when it really is a supervisord: the
    mark of one in the environment is inherited, and the parent may be anything.
    """
    return {
        h.parent_pid if h.is_supervised and is_supervisord(h.parent_pid) else h.pid for h in holders
    }


def _is_over(directory: Path, pids: set[int]) -> bool:
    return not locks.live_holders(directory) and not any(map(is_running, pids))
