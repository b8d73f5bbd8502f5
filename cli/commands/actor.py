"""`kitefeed actor NAME`: one actor in the foreground; what supervisor.conf starts."""

import click

from kitefeed.cli.entry import imported
from kitefeed.protocol.topology import Role

NAMES = sorted({name for role in Role for name in (role.value, role.value.replace("_", "-"))})


@click.command(hidden=True)
@click.argument("name", type=click.Choice(NAMES), metavar="NAME")
def actor(name: str) -> int:
    """Run one actor: supervisor, broadcaster, ticker, rest_poller, token_validator, auth_watcher.

    supervisord starts these; by hand only to look at one of them.
    """
    module = imported(f"kitefeed.actors.{name.replace('-', '_')}.process")
    code: int = module.main()
    return code
