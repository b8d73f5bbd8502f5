"""A connection to NATS, with every option in one place. Needs the extra `kitefeed[nats]`.

A connection that is lost is given up with all that waits in it, and another one made by whoever
wants it: what was lost on the way is then ours to say, and not hidden in a buffer of the library.
"""

import asyncio
import contextlib
import os
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from kitefeed.client.nats_endpoint import SCHEMES
from kitefeed.protocol import private_files
from kitefeed.protocol.errors import BadInput, ConfigError, Unavailable
from kitefeed.protocol.nats import PREFIX

if TYPE_CHECKING:
    from nats.aio.client import Client

CONNECT_S = 2
PING_S = 1  # two unanswered ones end the connection: no silence goes unnoticed for over three
PINGS_MAX = 2
CLOSE_S = 1.0
FILE_BYTES_MAX = 16_384
INSTALL = "pip install 'kitefeed[nats]'"

FileName = str | os.PathLike[str]


class Address(NamedTuple):
    """`nats://host:4222/prefix`; several servers are separated by commas."""

    servers: tuple[str, ...]
    prefix: str


class Login(NamedTuple):
    """credentials: a file of mode 0600, with what `nsc` made (JWT and seed) or an nkey's seed.
    tls: True for the system's authorities, or a file with those that sign the server's certificate;
    False for whatever the address says."""

    credentials: Path | None = None
    tls: bool | Path = False


def address_of(endpoint: str) -> Address:
    """Raises BadInput for what is no address of NATS."""
    servers, prefixes = [], set()
    for one in endpoint.split(","):
        parts = urlsplit(one.strip())
        try:
            is_good = f"{parts.scheme}://" in SCHEMES and parts.hostname and parts.port != 0
        except ValueError:
            is_good = False
        if not is_good:
            raise BadInput(f"{one!r} is no address of NATS: write nats://HOST:4222")
        if parts.username or parts.password:
            raise BadInput(
                "an address of NATS is shown and logged: put the password's place, a credentials "
                "file, into credentials="
            )
        servers.append(f"{parts.scheme}://{parts.netloc}")
        prefixes.add(parts.path.strip("/"))
    prefixes.discard("")
    if len(prefixes) > 1:
        raise BadInput(f"{endpoint}: the servers are to be of one prefix")
    return Address(tuple(servers), prefixes.pop() if prefixes else PREFIX)


def login_of(credentials: FileName | None, tls: bool | FileName) -> Login:
    """Raises ConfigError when a file cannot be used."""
    path = None if credentials is None else Path(credentials).expanduser()
    if path is not None:
        _read(path)
    login = Login(path, tls if isinstance(tls, bool) else Path(tls).expanduser())
    _context(login)
    return login


async def connect(
    server: str,
    login: Login,
    name: str,
    on_lost: Callable[[str], None],
    on_trouble: Callable[[str], None],
) -> "Client":
    """Open one connection. on_lost: called once when it has ended, with the reason; on_trouble:
    when a message was dropped here, or the server refused something.

    Raises Unavailable, with the reason, when there is none within `CONNECT_S`.
    """
    client = new_client()
    from nats.errors import SlowConsumerError

    async def on_error(error: Exception) -> None:
        """Pass on trouble; `on_closed` tells the end of the connection."""
        if isinstance(error, SlowConsumerError) or "permissions" in str(error).lower():
            on_trouble(_words(error))

    async def on_closed() -> None:
        on_lost(_words(client.last_error) if client.last_error else "the connection was closed")

    try:
        await asyncio.wait_for(
            client.connect(
                servers=[server],
                name=name,
                allow_reconnect=False,
                connect_timeout=CONNECT_S,
                ping_interval=PING_S,
                max_outstanding_pings=PINGS_MAX,
                no_echo=True,
                error_cb=on_error,
                closed_cb=on_closed,
                **_options(server, login),
            ),
            2 * CONNECT_S,
        )
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - the library's, the network's and the nkeys' kinds
        raise Unavailable(f"{server}: {_words(error)}") from None
    return client


def new_client() -> "Client":
    """Raises ConfigError without the library."""
    try:
        from nats.aio.client import Client
    except ImportError:
        raise ConfigError(f"reading and writing NATS needs its client: `{INSTALL}`") from None
    return Client()


def _options(server: str, login: Login) -> dict[str, Any]:
    from nats.aio.client import RawCredentials

    options: dict[str, Any] = {}
    if login.credentials is not None:
        text = _read(login.credentials)
        if "BEGIN NATS USER JWT" in text:
            options["user_credentials"] = RawCredentials(text)
        else:
            options["nkeys_seed_str"] = text.strip()
    context = _context(login, is_wanted=server.startswith("tls://"))
    if context is not None:
        options["tls"] = context
        options["tls_hostname"] = urlsplit(server).hostname
    return options


def _read(path: Path) -> str:
    """Read a credentials file. Raises ConfigError without repeating any of it."""
    try:
        data = private_files.read(path, FILE_BYTES_MAX)
    except private_files.Unsafe as error:
        raise ConfigError(str(error)) from None
    if data is None:
        raise ConfigError(f"{path} does not exist: name the credentials file of a user of NATS")
    text = data.decode(errors="replace")
    if "BEGIN NATS USER JWT" not in text and not text.strip().startswith("SU"):
        raise ConfigError(
            f"{path} holds neither credentials of `nsc` nor a user's nkey seed (SU...); "
            "name the file that does"
        )
    return text


def _context(login: Login, *, is_wanted: bool = False) -> ssl.SSLContext | None:
    if login.tls is False:
        return ssl.create_default_context() if is_wanted else None
    if login.tls is True:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=str(login.tls))
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "strerror", None) or "it holds no certificate"
        raise ConfigError(f"{login.tls} cannot be used ({reason}); name a PEM file") from None


def _words(error: Exception | str | None) -> str:
    """The library's sentence without its own name, on one line."""
    text = " ".join(str(error or "").split()).removeprefix("nats: ")
    return text or type(error).__name__


def ends() -> tuple[type[Exception], ...]:
    """Return the errors that end a connection, or a question to JetStream."""
    from nats.errors import Error

    return (Error, Unavailable, TimeoutError, OSError)


async def close(client: "Client") -> None:
    with contextlib.suppress(*ends()):
        async with asyncio.timeout(CLOSE_S):
            await client.close()


async def first_of(*waited: "asyncio.Future[Any] | Coroutine[Any, Any, Any]") -> None:
    """Wait until the first of these ends, and end the others. Raises what it raised."""
    tasks = [asyncio.ensure_future(each) for each in waited]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            if not task.done():
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
