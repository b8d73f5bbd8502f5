"""The life of a service's process: that of an actor's, and a service may be switched off."""

import logging

from kitefeed.actors.runtime import process
from kitefeed.actors.runtime.process import Main, Runtime
from kitefeed.services.table import SERVICES

log = logging.getLogger("kitefeed")


def run(name: str, main: Main) -> int:
    """Runs the service to its end, and returns its exit code. One that is switched off ends with 0
    at once: supervisord leaves it alone until the daemon is started again."""

    async def live(runtime: Runtime) -> None:
        if SERVICES[name].where(runtime.settings.config):
            await main(runtime)

    return process.run(name, live)
