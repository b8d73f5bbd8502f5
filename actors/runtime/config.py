"""The configuration: one frozen struct from one TOML file, every key checked.

Secrets are not in it: sessions live in 0600 files, the API secret in $KITEFEED_API_SECRET.
"""

from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec

from kitefeed.actors.runtime import calendar_file, directories
from kitefeed.actors.runtime.config_parser import overlaid, parse
from kitefeed.actors.runtime.config_tables import Config, GatewayTable, KiteEndpointTable
from kitefeed.actors.runtime.toml_file import digest, read
from kitefeed.protocol import keys, location, passwords
from kitefeed.protocol.errors import ConfigError
from kitefeed.protocol.messages.status import TcpAddress
from kitefeed.protocol.topology import IPC_PATH_BYTES_MAX, has_room


class Settings(msgspec.Struct, frozen=True):
    """A configuration with its place, and the paths that follow from both. digests: one of each
    file that was read, so that a later change of it is noticed."""

    config: Config
    source: Path | None
    runtime_dir: Path
    state_dir: Path
    digests: dict[str, str] = {}

    @property
    def session_path(self) -> Path:
        return self._path(self.config.session.file, self.state_dir / "session.json")

    @property
    def watch_path(self) -> Path | None:
        return self._path(self.config.session.watch, Path()) if self.config.session.watch else None

    @property
    def standby_path(self) -> Path:
        standby = self.config.session.standby
        return self._path(standby.file if standby else "", self.state_dir / "standby.json")

    @property
    def instruments_path(self) -> Path:
        """The instrument dump as an SQLite file, written by the poller, read by everybody."""
        return self.state_dir / location.LIST_NAME

    @property
    def calendar_path(self) -> Path | None:
        """The user's own table of sessions and holidays, if there is one."""
        own = self.config.market.calendar
        return self._path(own, Path()) if own else None

    def certificate_paths(
        self, table: GatewayTable | KiteEndpointTable
    ) -> tuple[Path, Path] | None:
        """Return certificate and key of a service, if it has them."""
        if not table.certificate:
            return None
        return self._path(table.certificate, Path()), self._path(table.key, Path())

    @property
    def nats_credentials_path(self) -> Path | None:
        """The file by which the bridge proves itself to NATS, if one is named."""
        nats = self.config.nats
        own = (nats.credentials or nats.nkey) if nats else ""
        return self._path(own, Path()) if own else None

    @property
    def nats_tls(self) -> bool | Path:
        """The value of `nats.tls`; a file as a path."""
        own = self.config.nats.tls if self.config.nats else False
        return own if isinstance(own, bool) else self._path(own, Path())

    @property
    def record_path(self) -> Path | None:
        """The directory of recordings; None when nothing is recorded."""
        own = self.config.record.dir
        return self._path(own, Path()) if own else None

    @property
    def keys_path(self) -> Path:
        """The directory of the tcp feed's keys."""
        return self._path(self.config.feed.keys, self.state_dir / "keys")

    @property
    def has_gateway_token(self) -> bool:
        """Whether the gateway asks everybody for a token: as soon as there is one."""
        given = self.config.gateway.token.reveal()
        return bool(given) or passwords.are_there(self.keys_path, passwords.GATEWAY)

    @property
    def alert_urls_path(self) -> Path | None:
        """The file with more URLs for alerts, if one is named."""
        own = self.config.alerts.urls_file
        return self._path(own, Path()) if own else None

    @property
    def tcp_feed(self) -> TcpAddress | None:
        """The address at which other hosts read the feed. Raises ConfigError when there is no key
        for it."""
        address = self.config.feed.tcp
        return TcpAddress(address, keys.read_server(self.keys_path).public) if address else None

    def _path(self, value: str, default: Path) -> Path:
        return location.resolve(value, self.source or Path("_")) if value else default


def load(named: str | Path | None = None) -> Settings:
    """Load the configuration in force.

    Raises ConfigError when there is none, or one that cannot be used; the sentence names file, key
    and remedy.
    """
    path = location.find_config(named)
    if path is None:
        raise ConfigError(
            f"There is no configuration: neither ./{location.CONFIG_NAME} nor "
            f"{location.home() / location.CONFIG_NAME} exists. `kitefeed init` writes one, "
            "or name yours with --config"
        )
    digests = {str(path): digest(path)}  # before it is read: a change in between is told, too
    data = read(path)
    _check_no_token(data, path)
    config = parse(overlaid(data, location.settings_from_environment()), path)
    runtime_dir, state_dir = location.runtime_dir(path), location.state_dir(path)
    settings = Settings(config, path, runtime_dir, state_dir, digests)
    if not has_room(settings.runtime_dir):
        raise ConfigError(
            f"{path}: runtime_dir: {settings.runtime_dir} is too long for a socket "
            f"({IPC_PATH_BYTES_MAX} bytes with the file name); choose a shorter one"
        )
    if settings.standby_path == settings.session_path:
        raise ConfigError(
            f"{path}: session.standby.file: is the file of the first session, too; the two would "
            "overwrite each other: name another one"
        )
    _check_listening(settings)
    if settings.calendar_path is not None:
        digests[str(settings.calendar_path)] = digest(settings.calendar_path)
        calendar_file.check(settings.calendar_path)
    return settings


def _check_no_token(data: dict[str, Any], path: Path) -> None:
    """Raise ConfigError for a token in the file, which is read, copied and shown to others."""
    gateway = data.get("gateway")
    if isinstance(gateway, dict) and "token" in gateway:
        raise ConfigError(
            f"{path}: gateway.token: is a secret, and does not belong here; take it out, and let "
            "`kitefeed keys --gateway NAME` make one, or name a file with one in "
            "$KITEFEED_GATEWAY__TOKEN_FILE"
        )


def _check_listening(settings: Settings) -> None:
    """Raise ConfigError for a service that other hosts could reach unprotected."""
    config, path = settings.config, settings.source
    gateway, endpoint = config.gateway, config.kite_endpoint
    if not is_loopback(gateway.listen) and not gateway.certificate:
        raise ConfigError(
            f"{path}: gateway.listen: {gateway.listen} can be reached from other hosts, and prices "
            "and tokens would cross the network unencrypted; name gateway.certificate and key, and "
            "let `kitefeed keys --gateway NAME` make a token. Or write an address such as "
            "127.0.0.1:8787, and reach it by `ssh -L`"
        )
    if endpoint is None or is_loopback(endpoint.listen):
        return
    if endpoint.password == "any":
        raise ConfigError(
            f"{path}: kite_endpoint.password: `any` is for this host alone, and "
            f"{endpoint.listen} can be reached from others; write `made`"
        )
    if not (endpoint.certificate and endpoint.key):
        raise ConfigError(
            f"{path}: kite_endpoint.listen: {endpoint.listen} can be reached from other hosts, and "
            "passwords would cross the network unencrypted; name kite_endpoint.certificate and key"
        )


def is_loopback(listen: str) -> bool:
    """Whether only this host can reach what listens there; also true when it listens nowhere."""
    return not listen or ip_address(listen.rpartition(":")[0].strip("[]")).is_loopback


def load_for_daemon(named: str | Path | None = None) -> Settings:
    """Load the configuration, and check the keys without which nobody may be let in from other
    hosts. Raises ConfigError without them."""
    settings = load(named)
    gateway = settings.config.gateway
    if not is_loopback(gateway.listen) and not settings.has_gateway_token:
        raise ConfigError(
            f"{settings.source}: gateway.listen: {gateway.listen} can be reached from other hosts, "
            "and whoever reached it could read and command; `kitefeed keys --gateway NAME` makes a "
            "token for you, without which nobody is let in then"
        )
    if settings.config.feed.tcp:
        try:
            keys.read_server(settings.keys_path)
            directories.verify_directory(settings.keys_path)
        except ConfigError as error:
            raise ConfigError(f"{settings.source}: feed.tcp is set, but {error}") from None
    return settings


def fallback(named: str | Path | None = None) -> Settings:
    """Return defaults in the right directories, for actors that must report a broken
    configuration."""
    path = location.find_config(named)
    return Settings(Config(), path, location.runtime_dir(path), location.state_dir(path))
