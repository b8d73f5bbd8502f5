"""`kitefeed alerts test`: whether alerts reach the people who are to be told of trouble. Works with
and without a daemon."""

import asyncio

import click

from kitefeed.actors.runtime import config
from kitefeed.actors.runtime.config import Settings
from kitefeed.protocol.clock import utc_ns
from kitefeed.protocol.errors import ConfigError
from kitefeed.protocol.exits import Exit
from kitefeed.services.notifier.alerts import Code, compose
from kitefeed.services.notifier.targets import heartbeat, links_of, targets_of
from kitefeed.services.table import alerted


@click.group()
def alerts() -> None:
    """Tell people of trouble: try whether they are reached."""


@alerts.command()
def test() -> int:
    """Send a test to everybody that [alerts] names, and say whom it reached.

    Ends with 0 when it reached all of them.
    """
    settings = config.load()
    if not alerted(settings.config.alerts):
        raise ConfigError(
            f"{settings.source}: [alerts] names nobody: write urls, webhook, command or "
            "heartbeat_url there"
        )
    problems = asyncio.run(_try_all(settings))
    for name, problem in problems.items():
        mark = click.style("✗", fg="red") if problem else click.style("✓", fg="green")
        click.echo(f"{mark} alerts.{name}" + (f": {problem}" if problem else ""))
    return Exit.UNAVAILABLE if any(problems.values()) else Exit.OK


async def _try_all(settings: Settings) -> dict[str, str]:
    """Try every target; return the problem of each, empty when it was reached."""
    alert = compose(Code.TEST, "This is what an alert looks like.", links_of(settings), utc_ns())
    targets = targets_of(settings)
    url = settings.config.alerts.heartbeat_url
    if url.reveal():
        targets["heartbeat_url"] = lambda _: heartbeat(url)
    problems = await asyncio.gather(*(deliver(alert) for deliver in targets.values()))
    return dict(zip(targets, problems, strict=True))
