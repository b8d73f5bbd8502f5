"""Keys of the tcp feed: CURVE key pairs in TOML files of mode 0600, made by `kitefeed keys`.

    <keys>/server.key            public_key, secret_key: the daemon's own pair
    <keys>/clients/<name>.key    server_key, public_key, secret_key: all that one program needs

The daemon lets in whoever proves a `public_key` of `clients`; it uses nothing else of those files,
so the line `secret_key` may be deleted there once the program has its copy. A file that is taken
away closes the door for new connections at once.
"""

import re
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from kitefeed.protocol import private_files
from kitefeed.protocol.errors import ConfigError
from kitefeed.protocol.secret import Secret

SERVER_NAME = "server.key"
CLIENTS_NAME = "clients"
FILE_BYTES_MAX = 4_096
CLIENTS_MAX = 256  # files are read at every handshake
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
_Z85 = re.compile(r"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")


class KeyPair(NamedTuple):
    """A key pair, each key in Z85 (40 characters)."""

    public: str
    secret: Secret


class ClientKeys(NamedTuple):
    server: str
    own: KeyPair


def server_path(keys: Path) -> Path:
    return keys / SERVER_NAME


def client_path(keys: Path, name: str) -> Path:
    return keys / CLIENTS_NAME / f"{name}.key"


def read_server(keys: Path) -> KeyPair:
    """Read the daemon's pair. Raises ConfigError when there is none or it cannot be used."""
    table = _table(server_path(keys))
    return KeyPair(table["public_key"], Secret(table["secret_key"]))


def read_client(path: Path) -> ClientKeys:
    """Read the keys that a program needs. Raises ConfigError when the file is missing or cannot be
    used."""
    table = _table(path, "server_key")
    return ClientKeys(
        table["server_key"], KeyPair(table["public_key"], Secret(table["secret_key"]))
    )


def allowed(keys: Path) -> dict[str, str]:
    """Return public key -> client's name, as the files are now. A file that is damaged, or that
    others could have written, lets nobody in."""
    found: dict[str, str] = {}
    for path in sorted((keys / CLIENTS_NAME).glob("*.key"))[:CLIENTS_MAX]:
        try:
            found[_read(path).get("public_key", "")] = path.stem
        except ConfigError:
            continue
    return {key: name for key, name in found.items() if _is_key(key)}


def server_text(own: KeyPair) -> str:
    return (
        "# kitefeed's key for the tcp feed. Keep it secret: who has it can pose as this daemon.\n"
        + _pair_text(own)
    )


def client_text(keys: ClientKeys) -> str:
    return (
        "# One program's key to the tcp feed. Keep it secret: who has it can read the feed.\n"
        f'server_key = "{keys.server}"\n' + _pair_text(keys.own)
    )


def _pair_text(pair: KeyPair) -> str:
    return f'public_key = "{pair.public}"\nsecret_key = "{pair.secret.reveal()}"\n'


def _table(path: Path, *more: str) -> dict[str, str]:
    table = _read(path)
    for name in ("public_key", "secret_key", *more):
        if not _is_key(table.get(name)):
            raise ConfigError(f"{path}: {name} is missing or no key: `kitefeed keys` makes them")
    return table


def _read(path: Path) -> dict[str, Any]:
    try:
        data = private_files.read(path, FILE_BYTES_MAX)
    except private_files.Unsafe as error:
        raise ConfigError(str(error)) from None
    if data is None:
        raise ConfigError(f"{path} does not exist: `kitefeed keys` makes it")
    try:
        return tomllib.loads(data.decode())
    except ValueError:  # not TOML, not text; its own message would repeat a part of the file
        raise ConfigError(f"{path} is damaged: remove it, then `kitefeed keys`") from None


def _is_key(value: object) -> bool:
    return isinstance(value, str) and _Z85.fullmatch(value) is not None
