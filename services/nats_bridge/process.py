"""nats_bridge: the feed on NATS JetStream, for programs on other hosts."""

import logging
import sys

from kitefeed.actors.runtime.config_tables import NatsTable
from kitefeed.actors.runtime.process import Runtime
from kitefeed.client import nats_wire
from kitefeed.protocol.errors import ConfigError
from kitefeed.services import life

NAME = "nats_bridge"
TERMS = "Kite's terms forbid to pass its data on to third parties"

log = logging.getLogger(NAME)


def main() -> int:
    return life.run(NAME, live)


async def live(runtime: Runtime) -> None:
    nats = runtime.settings.config.nats or NatsTable()
    try:
        nats_wire.new_client()
    except ConfigError as error:
        log.error("%s condition=nats", error)
        await runtime.stopped.wait()  # started again it would say the same
        return
    # Imported here: they need the library.
    from kitefeed.services.nats_bridge.bridge import Bridge

    bridge = Bridge(runtime.settings, nats)
    log.info("ready, publishes %s.* to %s; %s", nats.prefix, ", ".join(nats.servers), TERMS)
    try:
        async with life.chores(life.opened(bridge.tap, runtime.settings.source)):
            await bridge.run(runtime.stopped)
    finally:
        bridge.tap.close()


if __name__ == "__main__":
    sys.exit(main())
