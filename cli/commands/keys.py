"""`kitefeed keys`: who may read the tcp feed, enter the Kite endpoint, and ask the gateway."""

import re
import secrets
from pathlib import Path

import click

from kitefeed.actors.runtime import config
from kitefeed.actors.runtime.directories import prepare_directory
from kitefeed.protocol import keys as files
from kitefeed.protocol import passwords, private_files
from kitefeed.protocol.errors import BadInput, ConfigError

ENDPOINT_USE = "enters the Kite endpoint with this as access_token"
GATEWAY_USE = (
    "enters the gateway with this: in a browser at its page, in a program as `Authorization: "
    "Bearer TOKEN`. From now on everybody is asked for one"
)


@click.command()
@click.option("--client", "name", metavar="NAME", help="Make a key for one program or host.")
@click.option("--endpoint", "program", metavar="NAME", help="Make a password for a Kite program.")
@click.option("--gateway", "person", metavar="NAME", help="Make a token for the gateway.")
@click.option("--nats", "user", metavar="NAME", help="Make an nkey for a user of NATS.")
def keys(name: str | None, program: str | None, person: str | None, user: str | None) -> None:
    """Make the keys of the tcp feed: the daemon's own, and one for each client. Or a password, with
    which a program written for Kite enters the Kite endpoint; or a token of the gateway, which then
    asks everybody for one; or an nkey, by which a NATS server knows the bridge or a reader.

    Existing keys are never replaced: remove the file first. A client's file holds all that
    `Feed(endpoint="tcp://…", keys=FILE)` needs; take it there by a safe way, such as scp.
    """
    for given in (name, program, person, user):
        if given is not None and not re.fullmatch(files.NAME_PATTERN, given):
            raise BadInput(f"{given!r} is no name for a key: letters, digits, - and _, at most 64")
    directory = config.load().keys_path
    if user is not None:
        _make_nkey(directory, user)
        return
    if person is not None:
        _make_password(directory, person, passwords.GATEWAY, GATEWAY_USE)
        return
    if program is not None:
        _make_password(directory, program, passwords.PROGRAMS, ENDPOINT_USE)
        return
    for path in (directory, directory / files.CLIENTS_NAME):
        prepare_directory(path)
    if name is None:
        _make_server(directory)
    else:
        _make_client(directory, name)


def _make_password(directory: Path, name: str, kind: passwords.Kind, use: str) -> None:
    path = passwords.path_of(directory, name, kind)
    for folder in (directory, path.parent):
        prepare_directory(folder)
    password = passwords.new_password()
    _create(path, passwords.text_of(password))
    click.echo(f"{name} {use}; it is shown this once, and removing {path} ends it:", err=True)
    click.echo(password)


def _make_nkey(directory: Path, name: str) -> None:
    """Make an nkey. The seed is the secret; a NATS server is told the public key alone."""
    try:
        import nkeys
    except ImportError:
        raise ConfigError("an nkey needs NATS' library: `pip install 'kitefeed[nats]'`") from None

    path = directory / "nats" / f"{name}.nk"
    for folder in (directory, path.parent):
        prepare_directory(folder)
    seed = nkeys.encode_seed(secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER)
    _create(path, seed.decode() + "\n")
    click.echo(f"{path} is the key of {name}; the server's configuration takes:", err=True)
    click.echo(nkeys.from_seed(seed).public_key.decode())


def _make_server(directory: Path) -> None:
    # Imported here: `--help` does without ZeroMQ.
    from kitefeed.protocol.sockets import new_key_pair

    path = files.server_path(directory)
    _create(path, files.server_text(new_key_pair()))
    click.echo(f"the daemon's key is in {path}; next: `kitefeed keys --client NAME`")


def _make_client(directory: Path, name: str) -> None:
    from kitefeed.protocol.sockets import new_key_pair

    if not files.server_path(directory).exists():
        _make_server(directory)
    server = files.read_server(directory)
    path = files.client_path(directory, name)
    _create(path, files.client_text(files.ClientKeys(server.public, new_key_pair())))
    click.echo(f"{name} may read the feed with {path}; removing that file ends it")


def _create(path: Path, text: str) -> None:
    try:
        private_files.create(path, text.encode())
    except FileExistsError:
        raise BadInput(
            f"{path} exists and is not replaced: who uses it would be locked out; remove it first"
        ) from None
