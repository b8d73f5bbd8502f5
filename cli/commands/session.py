"""`kitefeed session`: the file that holds Kite's access token. Works with and without a daemon."""

import os
import sys
from pathlib import Path

import click
import msgspec

from kitefeed.actors.runtime import config, session_file
from kitefeed.actors.runtime.session_file import Session
from kitefeed.cli import output
from kitefeed.cli.control import get_status
from kitefeed.cli.session_store import (
    configured_api_key,
    force_option,
    path_of,
    standby_option,
    store,
    without_api_key,
)
from kitefeed.protocol.clock import utc_ns
from kitefeed.protocol.errors import BadInput, LoginNeeded, TryLater, Unavailable
from kitefeed.protocol.messages.bus import Slot
from kitefeed.protocol.messages.status import SessionStatus


@click.group()
def session() -> None:
    """Set, show or clear the Kite session."""


@session.command("set")
@standby_option
@click.option("--api-key", default="", help="The app of the token. Default: kite.api_key.")
@click.option("--user-id", default=None, help="Whose session it is; only shown.")
@force_option
def set_(is_standby: bool, api_key: str, user_id: str | None, is_forced: bool) -> None:
    """Take an access token from standard input, or ask for it.

    A bare token, or a JSON object with access_token, api_key, user_id and user_name. One that Kite
    refuses is not stored. A running daemon notices within a second.
    """
    settings = config.load()
    try:
        given = parse(_read_token(), api_key or configured_api_key(settings, is_standby))
    except session_file.NoApiKey:
        raise without_api_key(settings, is_standby) from None
    if api_key:
        given = msgspec.structs.replace(given, api_key=api_key)
    if user_id:
        given = msgspec.structs.replace(given, user_id=user_id)
    click.echo(store(settings, given, is_standby=is_standby, is_forced=is_forced))


@session.command()
@standby_option
def show(is_standby: bool) -> None:
    """Show whose session it is, never the token.

    Several files may hold one (`session.watch`): the one in use comes first, and of each it is
    said what Kite made of it, as far as the daemon knows.
    """
    settings = config.load()
    slot: Slot = "standby" if is_standby else "primary"
    sessions = session_file.available(settings, slot)
    if not sessions:
        path = path_of(settings, is_standby)
        raise LoginNeeded(f"There is no session in {path}: `kitefeed login`")
    known = {} if is_standby else _known()
    found = []
    for path, api_key in session_file.candidates(settings, slot):
        try:
            one = session_file.read(path, api_key)
        except LoginNeeded as error:
            click.echo(str(error), err=True)
            continue
        if one is not None:
            found.append((path, one, known.get(one.fingerprint)))
    found.sort(key=lambda each: not (each[2] and each[2].is_in_use))
    blocks = [
        "\n".join(f"{name:<12} {value}" for name, value in _facts(path, one, status))
        for path, one, status in found
    ]
    click.echo("\n\n".join(blocks))


def _known() -> dict[str, SessionStatus]:
    """Return the sessions that the daemon knows, by fingerprint; none without a daemon."""
    try:
        return {each.fingerprint: each for each in get_status().sessions}
    except (Unavailable, TryLater):
        return {}


@session.command()
@standby_option
def clear(is_standby: bool) -> None:
    """Remove the session file. The token itself stays valid at Kite until it expires."""
    path = path_of(config.load(), is_standby)
    path.unlink(missing_ok=True)
    click.echo(f"no session in {path} any more")


def _read_token() -> str:
    """Read the token, never from the command line, which other users of the machine can read."""
    if sys.stdin.isatty():
        prompted: str = click.prompt("Access token", hide_input=True, err=True)
        return prompted
    return sys.stdin.read(session_file.FILE_BYTES_MAX + 1)


def parse(text: str, api_key: str) -> Session:
    """Read a session out of what a person gave. Raises BadInput, which repeats none of the text,
    and NoApiKey when neither it nor `api_key` names the app."""
    if len(text) > session_file.FILE_BYTES_MAX:
        raise BadInput(f"It is longer than {session_file.FILE_BYTES_MAX} bytes; give one token")
    try:
        return session_file.parse(text, api_key)
    except session_file.NoApiKey:
        raise
    except LoginNeeded as error:
        raise BadInput(f"What was given cannot be used: {error}") from None


def _state(status: SessionStatus | None) -> str:
    if status is None:
        return "no daemon has looked at it"
    words = {
        "valid": "Kite accepts it",
        "refused": "Kite refuses it",
        "unverified": "Kite could not be asked",
    }
    said = words.get(status.word, "not asked of Kite yet")
    detail = f" ({status.detail})" if status.detail else ""
    return f"{'in use' if status.is_in_use else 'not in use'}; {said}{detail}"


def _facts(path: Path, found: Session, status: SessionStatus | None) -> list[tuple[str, str]]:
    stat = os.stat(path)
    user = f"{found.user_name or '?'} ({found.user_id})" if found.user_id else output.NOTHING
    return [
        ("api key", found.api_key),
        ("user", user),
        ("login time", found.login_time or output.NOTHING),
        ("fingerprint", found.fingerprint),
        ("state", _state(status)),
        ("file", f"{path} (mode {stat.st_mode & 0o777:04o})"),
        ("written", f"{output.age(utc_ns() / 1e9 - stat.st_mtime)} ago"),
    ]
