"""The bridge: the daemon's feed on one side, one connection to NATS after another on the other."""

import asyncio
import contextlib
import hashlib
import logging
import secrets
import socket
from itertools import cycle

from kitefeed.actors.runtime.config import Settings
from kitefeed.actors.runtime.config_tables import NatsTable
from kitefeed.client import nats_wire
from kitefeed.protocol.errors import ConfigError, Unavailable
from kitefeed.protocol.nats import Subjects
from kitefeed.services.nats_bridge.conditions import Conditions
from kitefeed.services.nats_bridge.lease import Keeper
from kitefeed.services.nats_bridge.machine import Machine
from kitefeed.services.nats_bridge.publishing import Publishing
from kitefeed.services.nats_bridge.tap import Tap

AGAIN_S = 0.5  # between two attempts to reach NATS
FAREWELL_S = 1.0
ENDS = nats_wire.ends()

log = logging.getLogger("nats_bridge")


class Bridge:
    def __init__(self, settings: Settings, nats: NatsTable) -> None:
        subjects = Subjects(nats.prefix)
        self._servers = nats.servers
        self._login = nats_wire.Login(settings.nats_credentials_path, settings.nats_tls)
        self.tap = Tap(settings.source, "nats_bridge", self._take, nats.names)
        if nats.orders:
            self.tap.read_orders()
        machine = Machine(subjects, secrets.token_hex(6), nats.wants)
        keeper = Keeper(holder_of(settings))
        self._conditions = Conditions(log)
        self._publishing = Publishing(subjects, machine, self.tap, keeper, nats, self._conditions)

    def _take(self, frame: bytes) -> None:
        self._publishing.take(frame)

    async def run(self, stopped: asyncio.Event) -> None:
        """Publish until `stopped`."""
        for server in cycle(self._servers):
            try:
                await self._serve(server, stopped)
            except ConfigError as error:
                self._conditions.met("nats", f"the feed cannot be published to NATS: {error}")
            except ENDS as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                self._conditions.met(
                    "nats", f"NATS takes no messages ({reason}); tried again by itself"
                )
            if stopped.is_set():
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), AGAIN_S)

    async def _serve(self, server: str, stopped: asyncio.Event) -> None:
        """Serve one connection, to its end. Raises one of ENDS with the reason."""
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def on_lost(reason: str) -> None:
            if not lost.done():
                lost.set_result(reason)

        client = await nats_wire.connect(
            server, self._login, "kitefeed nats_bridge", on_lost, self._on_trouble
        )
        try:
            await self._publishing.begin(client)
            self._conditions.over("nats")
            await nats_wire.first_of(lost, stopped.wait(), *self._publishing.chores())
            if stopped.is_set():
                async with asyncio.timeout(FAREWELL_S):
                    await self._publishing.give_back()
        finally:
            self._publishing.cut()
            await nats_wire.close(client)
        if lost.done():
            raise Unavailable(f"{server}: {lost.result()}")

    def _on_trouble(self, reason: str) -> None:
        self._conditions.met("nats_refused", f"NATS refuses something: {reason}")


def holder_of(settings: Settings) -> str:
    """Return the name under which this daemon's bridge holds the lease: the same in each of its
    lives, and no other daemon's."""
    place = f"{socket.gethostname()}:{settings.runtime_dir}"
    return f"{socket.gethostname()}/{hashlib.sha256(place.encode()).hexdigest()[:8]}"
