"""`kitefeed session`: the file that holds Kite's access token. Works with and without a daemon."""

import os
import sys
from pathlib import Path

import click
import msgspec

from kitefeed.actors.runtime import config, session_file
from kitefeed.actors.runtime.config import Settings
from kitefeed.actors.runtime.session_file import Session
from kitefeed.cli import output
from kitefeed.protocol.clock import utc_ns
from kitefeed.protocol.errors import BadInput, LoginNeeded

standby_option = click.option("--standby", "is_standby", is_flag=True, help="The standby session.")


@click.group()
def session() -> None:
    """Set, show or clear the Kite session."""


@session.command("set")
@standby_option
@click.option("--api-key", default="", help="The app of the token. Default: kite.api_key.")
@click.option("--user-id", default=None, help="Whose session it is; only shown.")
def set_(is_standby: bool, api_key: str, user_id: str | None) -> None:
    """Take an access token from standard input, or ask for it.

    A bare token, or a JSON object with access_token, api_key, user_id and user_name. A running
    daemon notices within a second.
    """
    settings = config.load()
    given = parse(_read_token(), api_key or default_api_key(settings, is_standby))
    if api_key:
        given = msgspec.structs.replace(given, api_key=api_key)
    if user_id:
        given = msgspec.structs.replace(given, user_id=user_id)
    click.echo(store(settings, given, is_standby))


@session.command()
@standby_option
def show(is_standby: bool) -> None:
    """Show whose session it is, never the token."""
    settings = config.load()
    path = path_of(settings, is_standby)
    found = session_file.read(path, default_api_key(settings, is_standby))
    if found is None:
        raise LoginNeeded(f"There is no session in {path}: `kitefeed login --paste`")
    click.echo("\n".join(f"{name:<12} {value}" for name, value in _facts(path, found)))


@session.command()
@standby_option
def clear(is_standby: bool) -> None:
    """Remove the session file. The token itself stays valid at Kite until it expires."""
    path = path_of(config.load(), is_standby)
    path.unlink(missing_ok=True)
    click.echo(f"no session in {path} any more")


def _read_token() -> str:
    """Never from the command line, which other users of the machine can read."""
    if sys.stdin.isatty():
        prompted: str = click.prompt("Access token", hide_input=True, err=True)
        return prompted
    return sys.stdin.read(session_file.FILE_BYTES_MAX + 1)


def parse(text: str, api_key: str) -> Session:
    """A session out of what a person gave. Raises BadInput, which repeats none of the text."""
    if len(text) > session_file.FILE_BYTES_MAX:
        raise BadInput(f"It is longer than {session_file.FILE_BYTES_MAX} bytes; give one token")
    try:
        return session_file.parse(text, api_key)
    except LoginNeeded as error:
        raise BadInput(f"What was given cannot be used: {error}") from None


def path_of(settings: Settings, is_standby: bool) -> Path:
    return settings.standby_path if is_standby else settings.session_path


def default_api_key(settings: Settings, is_standby: bool) -> str:
    """The app that a token belongs to when nothing else is said."""
    standby = settings.config.session.standby
    own = standby.api_key if is_standby and standby else ""
    return own or settings.config.kite.api_key


def store(settings: Settings, given: Session, is_standby: bool) -> str:
    """Writes the session; returns the line that says so.

    Raises LoginNeeded when the file there is readable by others: whoever made it so should know.
    """
    path = path_of(settings, is_standby)
    _refuse_loose(path)
    session_file.write(path, given)
    return f"session {given.fingerprint} of {given.user_id or given.api_key} is in {path}"


def _refuse_loose(path: Path) -> None:
    try:
        mode = path.stat().st_mode & 0o777
    except OSError:
        return
    if mode & 0o077:
        raise LoginNeeded(f"{path} has mode {mode:04o}, others can read it: `chmod 600 {path}`")


def _facts(path: Path, found: Session) -> list[tuple[str, str]]:
    stat = os.stat(path)
    user = f"{found.user_name or '?'} ({found.user_id})" if found.user_id else output.NOTHING
    return [
        ("api key", found.api_key),
        ("user", user),
        ("login time", found.login_time or output.NOTHING),
        ("fingerprint", found.fingerprint),
        ("file", f"{path} (mode {stat.st_mode & 0o777:04o})"),
        ("written", f"{output.age(utc_ns() / 1e9 - stat.st_mtime)} ago"),
    ]
