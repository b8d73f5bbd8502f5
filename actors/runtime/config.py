"""The configuration: one frozen struct from one TOML file, every key checked.

Secrets are not in it: sessions live in 0600 files, the API secret in $KITEFEED_API_SECRET.
"""

import difflib
import os
import re
import shlex
import tomllib
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from kitefeed.actors.runtime import calendar_file, directories
from kitefeed.actors.runtime.kite_target import ApiKey, Kite
from kitefeed.actors.runtime.secrets import Secret, remember
from kitefeed.actors.runtime.toml_file import digest, read
from kitefeed.protocol import keys, location, passwords
from kitefeed.protocol.errors import ConfigError
from kitefeed.protocol.kite.limits import PER_SOCKET_MAX, SOCKETS_MAX
from kitefeed.protocol.messages.instruments import Mode
from kitefeed.protocol.messages.status import TcpAddress
from kitefeed.protocol.nats import PREFIX, PREFIX_PATTERN
from kitefeed.protocol.topology import IPC_PATH_BYTES_MAX, has_room

InstrumentName = Annotated[str, Meta(pattern=r"^[A-Z]{2,8}:\S.*$", max_length=80)]
Seconds = Annotated[float, Meta(ge=0.05, le=3600)]
Listen = Annotated[str, Meta(pattern=r"^((\d+\.\d+\.\d+\.\d+|\[[0-9A-Fa-f:.]+\]):[1-9]\d{0,4})?\Z")]
HostName = Annotated[
    str, Meta(pattern=r"^([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]+\])(:[1-9]\d{0,4})?\Z")
]
TOKEN_CHARS_MIN = 20
INSTRUMENTS_MAX = SOCKETS_MAX * PER_SOCKET_MAX


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every table: an unknown key is an error."""


class Standby(_Table, frozen=True):
    """A second session that only REST polling uses, when the first is refused."""

    api_key: ApiKey = ""
    file: str = ""


class Session(_Table, frozen=True):
    """file: where kitefeed keeps the session. watch: a token file that another program writes.
    elsewhere: what is done when somebody else logged in, which ends the session."""

    file: str = ""
    watch: str = ""
    elsewhere: Literal["wait", "alert", "command"] = "alert"
    standby: Standby | None = None


class Market(_Table, frozen=True):
    """hours: "calendar" follows the exchange, "always" and "never" are for simulators and tests.
    calendar: a table of the user's own, behind the shipped one."""

    hours: Literal["calendar", "always", "never"] = "calendar"
    calendar: str = ""


class Feed(_Table, frozen=True):
    """tcp: where programs on other hosts may read, empty for nowhere. An address of this host, no
    name: what a name stands for can change."""

    tcp: Annotated[
        str, Meta(pattern=r"^(tcp://(\d+\.\d+\.\d+\.\d+|\[[0-9A-Fa-f:.]+\]):[1-9]\d{0,4})?\Z")
    ] = ""
    keys: str = ""
    tcp_orders: bool = False


class Gateway(_Table, frozen=True):
    """listen: where the gateway serves HTTP, empty for nowhere. An address of this host.

    token: by environment alone; who asks has to give it. names: by which browsers reach it, besides
    its own address. certificate, key: PEM files, needed where other hosts can connect.
    """

    listen: Listen = "127.0.0.1:8787"
    token: Secret = Secret("")
    names: Annotated[list[HostName], Meta(max_length=20)] = []
    certificate: str = ""
    key: str = ""

    @property
    def url(self) -> str:
        """Its root as a browser asks for it: by the first of `names`, else on this host; "" when
        it is off."""
        address, _, port = self.listen.rpartition(":")
        here = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(address, address)  # noqa: S104
        name = self.names[0] if self.names else here
        place = name if name.rpartition(":")[2].isdecimal() else f"{name}:{port}"
        return f"http{'s' * bool(self.certificate)}://{place}" if self.listen else ""

    def problem(self) -> str:
        """As `Kite.problem`."""
        if 0 < len(self.token.reveal()) < TOKEN_CHARS_MIN:
            return (
                f"gateway.token: is shorter than {TOKEN_CHARS_MIN} characters, and can be guessed; "
                "`kitefeed keys --gateway NAME` makes one"
            )
        if bool(self.certificate) is not bool(self.key):
            return "gateway.certificate: certificate and key belong together; name both"
        return ""


class KiteEndpoint(_Table, frozen=True):
    """Kite's WebSocket and REST for programs written for Kite; off without this table.

    password: "made" lets in who has one of `kitefeed keys --endpoint`, "any" every process of this
    user on this host. stale: what programs get while there are no live prices: nothing ("silence"),
    polled ones ("hold"), or the end of their socket ("close"). certificate, key: PEM files, needed
    where other hosts can connect.
    """

    listen: Listen = "127.0.0.1:8788"
    password: Literal["made", "any"] = "made"
    stale: Literal["silence", "hold", "close"] = "silence"
    certificate: str = ""
    key: str = ""


class Nats(_Table, frozen=True):
    """The feed on NATS JetStream; off without this table.

    servers: `nats://HOST:PORT`, or `tls://`; all of one cluster. credentials: a file of mode 0600
    of `nsc`; nkey: one with an nkey's seed. tls: true for the system's authorities, or a PEM file.
    instruments: "all" that stream, or names and patterns of these. history_mb: the most that TICKS
    may take on the server's disk. orders: whether order updates and notices are published.
    """

    servers: Annotated[
        list[Annotated[str, Meta(pattern=r"^(nats|tls)://[^\s/@?#,]+\Z")]], Meta(min_length=1)
    ] = msgspec.field(default_factory=lambda: ["nats://127.0.0.1:4222"])
    credentials: str = ""
    nkey: str = ""
    tls: bool | str = False
    prefix: Annotated[str, Meta(pattern=PREFIX_PATTERN, max_length=64)] = PREFIX
    instruments: Literal["all"] | list[InstrumentName] = "all"
    history_mb: Annotated[int, Meta(ge=16, le=1_048_576)] = 4_096
    orders: bool = False

    @property
    def names(self) -> list[str]:
        """The instruments that are named one by one: these shall stream."""
        return [] if self.instruments == "all" else [n for n in self.instruments if n[-1] != "*"]

    def wants(self, key: str) -> bool:
        """Whether this instrument is published."""
        if self.instruments == "all":
            return True
        return any(
            key.startswith(each[:-1]) if each.endswith("*") else key == each
            for each in self.instruments
        )

    def problem(self) -> str:
        """As `Kite.problem`."""
        if self.credentials and self.nkey:
            return "nats.nkey: stands beside nats.credentials; write one of them"
        for n, server in enumerate(self.servers):
            try:
                here = urlsplit(server).hostname or ""
                is_good = urlsplit(server).port != 0 and bool(here)
            except ValueError:
                is_good = False
            if not is_good:
                return f"nats.servers[{n}]: {server} is no address; write nats://HOST:4222"
            is_open = not (self.credentials or self.nkey)
            if is_open and not _is_here(here):
                return (
                    f"nats.servers[{n}]: {server} is on another host, where anybody could read and "
                    "write; name the file of a user's credentials, or nkey"
                )
        for n, each in enumerate([] if self.instruments == "all" else self.instruments):
            if "*" in each[:-1]:
                return f"nats.instruments[{n}]: a `*` may only stand last, as in NSE:NIFTY*"
        return ""


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Login(_Table, frozen=True):
    """Logging in by the clock. at: IST, off when empty. command: prints a request token or an
    access token; for who has no refresh token."""

    at: Annotated[str, Meta(pattern=r"^(([01]\d|2[0-3]):[0-5]\d)?\Z")] = ""
    command: Annotated[str, Meta(max_length=2_000)] = ""
    timeout_s: Annotated[float, Meta(ge=1, le=600)] = 60

    @property
    def words(self) -> list[str]:
        """The command as a program and its arguments; no shell takes it."""
        return [os.path.expanduser(word) for word in shlex.split(self.command)]

    def problem(self, elsewhere: str) -> str:
        """As `Kite.problem`."""
        try:
            words = self.words
        except ValueError as error:
            return f"login.command: cannot be taken apart ({error}); write it as for a shell"
        if elsewhere == "command" and not words:
            return 'session.elsewhere: is "command", and there is none; write login.command'
        return ""


class Alerts(_Table, frozen=True):
    """Who is told of trouble. urls: of apprise. urls_file: a file of mode 0600 with more of them.
    command: is run with the code as its last argument and the text on its standard input.
    heartbeat_url: is asked for once a minute while all is well."""

    urls: Annotated[list[Secret], Meta(max_length=20)] = []
    urls_file: str = ""
    webhook: Secret = Secret("")
    command: Annotated[list[str], Meta(max_length=50)] = []
    heartbeat_url: Secret = Secret("")
    remind_min: Annotated[int, Meta(ge=15, le=1440)] = 15
    at_night: bool = False

    def problem(self) -> str:
        """As `Kite.problem`; it repeats no URL, because they hold tokens."""
        for n, url in enumerate(self.urls):
            if "://" not in url.reveal():
                return f"alerts.urls[{n}]: write a URL of apprise, such as ntfy://TOPIC"
        for name in ("webhook", "heartbeat_url"):
            url = getattr(self, name).reveal()
            if url and not re.fullmatch(r"https?://[^\s/]\S*", url):
                return f"alerts.{name}: write a URL that starts with https://"
        if self.command and not self.command[0]:
            return "alerts.command[0]: write the program to run, such as /usr/local/bin/page-me"
        return ""


class Record(_Table, frozen=True):
    """Writing the feed down. dir: where, nowhere when empty. keep_days: 0 keeps all. parquet: each
    hour becomes Parquet, too, where the packages for it are."""

    dir: str = ""
    keep_days: Annotated[int, Meta(ge=0, le=36_500)] = 30
    parquet: bool = True


class Config(_Table, frozen=True):
    """Everything a user can set. Paths are resolved by `Settings`, never read from here."""

    instruments: Annotated[list[InstrumentName], Meta(max_length=INSTRUMENTS_MAX)] = []
    mode: Mode = "full"
    canaries: list[InstrumentName] = []
    kite: Kite = Kite()
    session: Session = Session()
    feed: Feed = Feed()
    market: Market = Market()
    gateway: Gateway = Gateway()
    kite_endpoint: KiteEndpoint | None = None
    nats: Nats | None = None
    login: Login = Login()
    alerts: Alerts = Alerts()
    record: Record = Record()
    backoff_s: Annotated[list[Seconds], Meta(min_length=1, max_length=20)] = msgspec.field(
        default_factory=lambda: [5, 15, 30, 60]
    )
    realtime: bool = False
    runtime_dir: str = ""
    state_dir: str = ""


class Settings(msgspec.Struct, frozen=True):
    """A configuration with its place, and the paths that follow from both. digests: of each file
    it was read from, by which a later change of one is known."""

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

    def certificate_paths(self, table: Gateway | KiteEndpoint) -> tuple[Path, Path] | None:
        """Certificate and key of a service, if it has them."""
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
        """As `nats.tls`."""
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
        """Where other hosts read the feed. Raises ConfigError when there is no key for it."""
        address = self.config.feed.tcp
        return TcpAddress(address, keys.read_server(self.keys_path).public) if address else None

    def _path(self, value: str, default: Path) -> Path:
        return location.resolve(value, self.source or Path("_")) if value else default


def load(named: str | Path | None = None) -> Settings:
    """The configuration in force.

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
    """Raises ConfigError for a token in the file, which is read, copied and shown to others."""
    gateway = data.get("gateway")
    if isinstance(gateway, dict) and "token" in gateway:
        raise ConfigError(
            f"{path}: gateway.token: is a secret, and does not belong here; take it out, and let "
            "`kitefeed keys --gateway NAME` make one, or name a file with one in "
            "$KITEFEED_GATEWAY__TOKEN_FILE"
        )


def _check_listening(settings: Settings) -> None:
    """Raises ConfigError for a service that other hosts could reach unprotected."""
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
    """Whether what listens there is reached from this host alone; also when it listens nowhere."""
    return not listen or ip_address(listen.rpartition(":")[0].strip("[]")).is_loopback


def load_for_daemon(named: str | Path | None = None) -> Settings:
    """`load`, and the keys without which nobody may be let in from other hosts. Raises ConfigError
    without them."""
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
    """Defaults in the right directories, for actors that must report a broken configuration."""
    path = location.find_config(named)
    return Settings(Config(), path, location.runtime_dir(path), location.state_dir(path))


def overlaid(data: dict[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    """`data` with the settings of the environment, by their dotted names, before those of the file.

    A value is written as in TOML; a text needs no quotes. A secret may lie in a file that the same
    name with `_FILE` names. Raises ConfigError for a name that is no
    setting, and for the directories: a command without that variable would not find the daemon.
    """
    for place, text in given.items():
        variable = f"${location.variable_of(place)}"
        if place in ("runtime_dir", "state_dir"):
            raise ConfigError(f"{variable}: has to stand in the file, where every command sees it")
        *tables, name = place.split(".")
        try:
            known = _keys_of(".".join(tables))
        except StopIteration:
            known = []
        plain = name.removesuffix("_file")
        if name not in known and plain in known and _is_secret(place.removesuffix("_file")):
            found = location.secret_in_file(variable.removeprefix("$"), text)
            place, name, text = place.removesuffix("_file"), plain, found or ""
            if place in given:
                continue
        if name not in known:
            near = difflib.get_close_matches(name, known or _keys_of(""), n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"{variable}: {place} is not a setting{hint}")
        table = data
        for part in tables:
            table = table.setdefault(part, {})
        table[name] = _value_of(text, _type_of(place))
    return data


def _value_of(text: str, kind: Any) -> object:
    """A text where the setting takes one, else what TOML makes of it."""
    if kind is Secret:
        return text
    try:
        return msgspec.convert(text, kind)
    except msgspec.ValidationError:
        pass
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # refused with the rest, by its place


def _is_secret(place: str) -> bool:
    try:
        return _type_of(place) is Secret
    except StopIteration:
        return False


def _type_of(place: str) -> Any:
    table, _, name = place.rpartition(".")
    fields = msgspec.structs.fields(_table_of(table))
    return next(field.type for field in fields if field.name == name)


def parse(data: dict[str, Any], path: Path) -> Config:
    """`data` as a Config. Raises ConfigError naming file, key, and the nearest valid name."""
    try:
        config = msgspec.convert(data, Config, dec_hook=_secret)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {_explain(str(error), data)}") from None
    problem = (
        config.kite.problem()
        or config.gateway.problem()
        or config.alerts.problem()
        or config.login.problem(config.session.elsewhere)
        or (config.nats.problem() if config.nats else "")
    )
    if problem:
        raise ConfigError(f"{path}: {problem}")
    return config


def _secret(kind: type, value: Any) -> Secret:
    """The one kind of setting that TOML does not have."""
    if kind is not Secret or not isinstance(value, str):
        raise ValueError("Expected a text")
    return remember(Secret(value))


def _explain(message: str, data: dict[str, Any]) -> str:
    """One sentence out of msgspec's: `Object contains unknown field `x` - at `$.kite``."""
    reason, _, where = message.partition(" - at ")
    place = where.strip("`").removeprefix("$").removeprefix(".")
    unknown = re.search(r"unknown field `(.+)`", reason)
    if not unknown:
        # An alert's URL holds a token.
        shown = None if place.startswith("alerts.") or _is_secret(place) else _value_at(data, place)
        given = f" (is {shown!r})" if shown is not None else ""
        return f"{place or 'top level'}: {_in_words(reason, place)}{given}"
    name = unknown.group(1)
    key = f"{place}.{name}" if place else name
    near = difflib.get_close_matches(name, _keys_of(place), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"valid are {', '.join(_keys_of(place))}"
    return f"{key}: is not a setting; {hint}"


# What to write where a value does not match its pattern, by the setting's last name.
_FORMS = {
    "instruments": "write EXCHANGE:SYMBOL, such as NSE:INFY",
    "canaries": "write EXCHANGE:SYMBOL, such as NSE:NIFTY 50",
    "api_key": "write the app's key, letters and digits only",
    "rest_url": "write a URL that starts with https://",
    "login_url": "write a URL that starts with https://",
    "redirect_url": "write the URL that is registered for the app, with http:// or https://",
    "ws_url": "write a URL that starts with wss://",
    "rest_prefix": "write a path, such as /oms, without a slash at its end",
    "at": "write a time of the day in India as HH:MM, such as 08:00",
    "names": "write a host's name or address, such as feed.example.com",
    "listen": "write ADDRESS:PORT with an address of this host, such as 127.0.0.1:8787",
    "servers": "write nats://HOST:PORT, such as nats://127.0.0.1:4222",
    "prefix": "write words of letters, digits, - and _ with dots between, such as kite",
    "tcp": "write tcp://ADDRESS:PORT with an address of this host, such as tcp://127.0.0.1:5556",
}


def _in_words(reason: str, place: str) -> str:
    """msgspec's reason with the remedy in it."""
    name = re.sub(r"\[.*?\]", "", place).rpartition(".")[2]
    if "matching regex" in reason:
        return _FORMS.get(name, reason)
    if "Invalid enum value" in reason:
        return f"is none of {', '.join(map(str, _choices(place)))}; write one of them"
    return f"{reason}; correct it"


def _choices(place: str) -> tuple[object, ...]:
    """The words that a setting may have."""
    table, _, name = place.rpartition(".")
    kinds = {field.name: field.type for field in msgspec.structs.fields(_table_of(table))}
    return get_args(kinds[name])


def _keys_of(place: str) -> list[str]:
    return [field.name for field in msgspec.structs.fields(_table_of(place))]


def _table_of(place: str) -> type[msgspec.Struct]:
    table: type[msgspec.Struct] = Config
    for name in filter(None, place.split(".")):
        field = next(f for f in msgspec.structs.fields(table) if f.name == name)
        options = [field.type, *get_args(field.type)]
        table = next(t for t in options if isinstance(t, type) and issubclass(t, msgspec.Struct))
    return table


def _value_at(data: Any, place: str) -> object:
    """What the file says at `place` (`kite.api_key`, `instruments[2]`), None if not there."""
    for step in re.findall(r"[^.\[\]]+", place):
        try:
            data = data[int(step)] if isinstance(data, list) else data[step]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return data if isinstance(data, str | int | float | bool) else None
