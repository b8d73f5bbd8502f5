"""The services: programs beside the six actors, which read the feed and ask on `control` as any
program of a user may. Any of them may be killed, stopped or slow, and nothing else changes.

To add one: a row here, a section in `supervisor.conf`, a folder with `process.py`.
"""

from collections.abc import Callable
from typing import NamedTuple

from kitefeed.actors.runtime.config_tables import AlertsTable, Config
from kitefeed.protocol.secret import Secret


def alerted(alerts: AlertsTable) -> list[str]:
    """Return the settings that name somebody to tell."""
    names = ("urls", "urls_file", "webhook", "command", "heartbeat_url")
    return [name for name in names if getattr(alerts, name) not in ("", [], Secret(""))]


class Service(NamedTuple):
    """One service. name: its folder, its lock, its program in `supervisor.conf`.

    where: what it serves, such as an address, by the configuration; "" when it is switched off.
    """

    name: str
    does: str
    setting: str  # the one that switches it on and off
    where: Callable[[Config], str]


SERVICES: dict[str, Service] = {
    service.name: service
    for service in (
        Service(
            "gateway",
            "serves the page, health, metrics and values over HTTP",
            "gateway.listen",
            lambda config: config.gateway.listen,
        ),
        Service(
            "kite_endpoint",
            "serves Kite's WebSocket and market-data REST to programs written for Kite",
            "kite_endpoint.listen",
            lambda config: config.kite_endpoint.listen if config.kite_endpoint else "",
        ),
        Service(
            "login",
            "renews the session by the clock, or by a command of the user's",
            "login.at",
            lambda config: config.login.at or "elsewhere" * (config.session.elsewhere == "command"),
        ),
        Service(
            "nats_bridge",
            "publishes the feed to NATS JetStream, for programs on other hosts",
            "nats.servers",
            lambda config: ", ".join(config.nats.servers) if config.nats else "",
        ),
        Service(
            "notifier",
            "tells people of trouble, and a dead man's switch that all is well",
            "alerts",
            lambda config: ", ".join(alerted(config.alerts)),
        ),
        Service(
            "recorder",
            "writes the feed down, to be read, exported and replayed",
            "record.dir",
            lambda config: config.record.dir,
        ),
    )
}


def switched_off(config: Config) -> set[str]:
    """Return the services that would end at once if they were started."""
    return {name for name, service in SERVICES.items() if not service.where(config)}
