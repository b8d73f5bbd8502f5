"""The tables of the configuration file: every key, its bounds, and its default."""

import os
import re
import shlex
from ipaddress import ip_address
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from kitefeed.actors.runtime.kite_target import ApiKey, Kite
from kitefeed.actors.runtime.secrets import Secret
from kitefeed.protocol.kite.limits import PER_SOCKET_MAX, SOCKETS_MAX
from kitefeed.protocol.messages.instruments import Mode
from kitefeed.protocol.nats import PREFIX, PREFIX_PATTERN

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


class StandbyTable(_Table, frozen=True):
    """A second session that only REST polling uses, when the first is refused."""

    api_key: ApiKey = ""
    file: str = ""


class SessionTable(_Table, frozen=True):
    """The session's files. file: where kitefeed keeps the session. watch: a token file that another
    program writes. elsewhere: what is done when somebody else logged in, which ends the session."""

    file: str = ""
    watch: str = ""
    elsewhere: Literal["wait", "alert", "command"] = "alert"
    standby: StandbyTable | None = None


class MarketTable(_Table, frozen=True):
    """hours: "calendar" follows the exchange, "always" and "never" are for simulators and tests.
    calendar: a table of the user's own, behind the shipped one."""

    hours: Literal["calendar", "always", "never"] = "calendar"
    calendar: str = ""


class FeedTable(_Table, frozen=True):
    """tcp: the address at which programs on other hosts may read, empty for none. An address of
    this host, no name: a name can come to mean another one."""

    tcp: Annotated[
        str, Meta(pattern=r"^(tcp://(\d+\.\d+\.\d+\.\d+|\[[0-9A-Fa-f:.]+\]):[1-9]\d{0,4})?\Z")
    ] = ""
    keys: str = ""
    tcp_orders: bool = False


class GatewayTable(_Table, frozen=True):
    """listen: the address at which the gateway serves HTTP, empty for none. An address of this
    host.

    token: by environment alone; every caller has to give it. names: by which browsers reach it,
    besides its own address. certificate, key: PEM files, needed where other hosts can connect.
    """

    listen: Listen = "127.0.0.1:8787"
    token: Secret = Secret("")
    names: Annotated[list[HostName], Meta(max_length=20)] = []
    certificate: str = ""
    key: str = ""

    @property
    def url(self) -> str:
        """Its root as a browser asks for it: by the first of `names`, else on this host; "" when
        the gateway is off."""
        address, _, port = self.listen.rpartition(":")
        here = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(address, address)  # noqa: S104
        name = self.names[0] if self.names else here
        place = name if name.rpartition(":")[2].isdecimal() else f"{name}:{port}"
        return f"http{'s' * bool(self.certificate)}://{place}" if self.listen else ""

    def problem(self) -> str:
        """Say what cannot be used, as `Kite.problem` does."""
        if 0 < len(self.token.reveal()) < TOKEN_CHARS_MIN:
            return (
                f"gateway.token: is shorter than {TOKEN_CHARS_MIN} characters, and can be guessed; "
                "`kitefeed keys --gateway NAME` makes one"
            )
        if bool(self.certificate) is not bool(self.key):
            return "gateway.certificate: certificate and key belong together; name both"
        return ""


class KiteEndpointTable(_Table, frozen=True):
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


class NatsTable(_Table, frozen=True):
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
        """The instruments that are named one by one: these have to stream."""
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
        """Say what cannot be used, as `Kite.problem` does."""
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


class LoginTable(_Table, frozen=True):
    """Logging in by the clock. at: IST, off when empty. command: prints a request token or an
    access token; needed without a refresh token."""

    at: Annotated[str, Meta(pattern=r"^(([01]\d|2[0-3]):[0-5]\d)?\Z")] = ""
    command: Annotated[str, Meta(max_length=2_000)] = ""
    timeout_s: Annotated[float, Meta(ge=1, le=600)] = 60

    @property
    def words(self) -> list[str]:
        """The command as a program and its arguments; no shell takes it."""
        return [os.path.expanduser(word) for word in shlex.split(self.command)]

    def problem(self, elsewhere: str) -> str:
        """Say what cannot be used, as `Kite.problem` does."""
        try:
            words = self.words
        except ValueError as error:
            return f"login.command: cannot be taken apart ({error}); write it as for a shell"
        if elsewhere == "command" and not words:
            return 'session.elsewhere: is "command", and there is none; write login.command'
        return ""


class AlertsTable(_Table, frozen=True):
    """Alerts of trouble. urls: of apprise. urls_file: a file of mode 0600 with more of them.
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
        """Say what cannot be used, as `Kite.problem` does; repeat no URL, because they hold
        tokens."""
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


class RecordTable(_Table, frozen=True):
    """Recording the feed. dir: where, nowhere when empty. keep_days: 0 keeps all. parquet: each
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
    session: SessionTable = SessionTable()
    feed: FeedTable = FeedTable()
    market: MarketTable = MarketTable()
    gateway: GatewayTable = GatewayTable()
    kite_endpoint: KiteEndpointTable | None = None
    nats: NatsTable | None = None
    login: LoginTable = LoginTable()
    alerts: AlertsTable = AlertsTable()
    record: RecordTable = RecordTable()
    backoff_s: Annotated[list[Seconds], Meta(min_length=1, max_length=20)] = msgspec.field(
        default_factory=lambda: [5, 15, 30, 60]
    )
    realtime: bool = False
    runtime_dir: str = ""
    state_dir: str = ""
