"""Finds the services of the daemon that run. The six actors know nothing of them; their locks
tell."""

from typing import Literal

from kitefeed.actors.runtime import config, locks
from kitefeed.protocol.errors import ConfigError
from kitefeed.services.table import SERVICES

Word = Literal["running", "off", "down"]


def services() -> list[tuple[str, Word, str]]:
    """Return name, state, and where it serves by the configuration; nothing of a broken one."""
    try:
        settings = config.load()
    except ConfigError:
        return []
    found: list[tuple[str, Word, str]] = []
    for name, service in SERVICES.items():
        where = service.where(settings.config)
        is_held = locks.live_holder(settings.runtime_dir, name) is not None
        found.append((name, "running" if is_held and where else "down" if where else "off", where))
    return found
