"""`kitefeed service NAME`: one service in the foreground; what supervisor.conf starts."""

import importlib

import click

from kitefeed.cli.waiting import pause
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.exits import Exit
from kitefeed.services.table import SERVICES

# supervisord starts a service that failed again at once, because for it one that is switched off
# and ends immediately must count as started (startsecs=0). The pause between two tries is ours.
LIVED_S_MIN = 5.0


@click.command(hidden=True)
@click.argument("name", type=click.Choice(list(SERVICES)), metavar="NAME")
def service(name: str) -> int:
    """Run one service: gateway, kite_endpoint, login, notifier.

    supervisord starts these; by hand only to look at one of them.
    """
    began_ns = boot_ns()
    code = int(Exit.BUG)
    try:
        module = importlib.import_module(f"kitefeed.services.{name}.process")
        code = int(module.main())
    finally:
        if code:
            pause(max(0.0, LIVED_S_MIN - (boot_ns() - began_ns) / 1e9))
    return code
