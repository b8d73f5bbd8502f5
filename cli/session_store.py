"""Stores a Kite session for commands: in which file, for which app, and whether Kite accepts it."""

from datetime import datetime, timedelta
from pathlib import Path

import click
import msgspec

from kitefeed.actors.policy.market import FLUSH_FROM, TOKEN_FLUSH
from kitefeed.actors.runtime import session_file
from kitefeed.actors.runtime.config import Settings
from kitefeed.actors.runtime.session_file import Session
from kitefeed.cli import output
from kitefeed.protocol.errors import ConfigError, LoginNeeded
from kitefeed.protocol.kite.rest import RestFault
from kitefeed.protocol.kite.units import IST

CHECK_S = 5.0  # per connect and wait; a person waits for it

standby_option = click.option("--standby", "is_standby", is_flag=True, help="The standby session.")
force_option = click.option(
    "--force", "is_forced", is_flag=True, help="Store it without asking Kite whether it is good."
)


def path_of(settings: Settings, is_standby: bool) -> Path:
    return settings.standby_path if is_standby else settings.session_path


def configured_api_key(settings: Settings, is_standby: bool) -> str:
    """Return the app of this session as the configuration names it, empty when it does not. The
    first session's app is never the standby's by itself: a login with it would end the first
    session."""
    if not is_standby:
        return settings.config.kite.api_key
    standby = settings.config.session.standby
    return standby.api_key if standby else ""


def without_api_key(settings: Settings, is_standby: bool) -> ConfigError:
    """Return the error for a configuration that names no key where one is needed."""
    if not is_standby:
        return ConfigError(
            f"{settings.source}: kite.api_key is not set: write your app's key there"
        )
    return ConfigError(
        f"{settings.source}: there is no session.standby.api_key, and a login with the first app "
        'would end the first session: write [session.standby] and api_key = "the other app\'s key"'
    )


def store(settings: Settings, given: Session, *, is_standby: bool, is_forced: bool) -> str:
    """Write the session; return what to tell of it. It is shown to Kite before, unless forced.

    Raises LoginNeeded when Kite refuses it, and when others can read the file there: the person who
    made it so should know. The file is left as it was then.
    """
    path = path_of(settings, is_standby)
    _refuse_loose(path)
    verdict = "not shown to Kite"
    if not is_forced:
        given, verdict = _checked(settings, given)
    session_file.write(path, given)
    who = given.user_id or given.api_key
    return f"session {given.fingerprint} of {who} is in {path}: {verdict}"


def _checked(settings: Settings, given: Session) -> tuple[Session, str]:
    """Return the session with its user as Kite names him, and what Kite said."""
    # Imported here: it takes a third of a second.
    from kitefeed.actors.runtime.kite_rest import KiteRest, RestFailure

    kite = settings.config.kite
    try:
        profile = KiteRest(kite, given, CHECK_S).profile()
    except RestFailure as error:
        if error.fault is RestFault.TOKEN:
            raise LoginNeeded(
                f"Kite refuses this session ({error.detail}), so nothing was changed: log in and "
                "give the new one, or store it all the same with --force"
            ) from None
        return given, (
            f"stored unchecked, because Kite cannot be asked at {kite.rest_url} ({error.detail}); "
            "`kitefeed status` tells whether it is accepted"
        )
    user_id = given.user_id or profile.user_id
    user_name = given.user_name or profile.user_name
    return msgspec.structs.replace(given, user_id=user_id, user_name=user_name), "Kite accepts it"


def lifetime(found: Session, now_utc_s: float) -> str:
    """Say when its user logged in, and when Kite ends it, in IST; empty when the former is
    unknown."""
    began = found.logged_in
    if began is None:
        return ""
    now = datetime.fromtimestamp(now_utc_s, IST)
    logged_in = f"logged in {began:%a %d %b %H:%M}, {output.age((now - began).total_seconds())} ago"
    until = datetime.combine(began.date(), TOKEN_FLUSH, IST)
    until += timedelta(days=1) * (until <= began)
    beginning = datetime.combine(until.date(), FLUSH_FROM, IST)  # nobody knows the minute
    if now >= until:
        return f"{logged_in}; Kite ended it by {until:%a %H:%M} IST"
    if now >= beginning:
        return f"{logged_in}; Kite may end it at any moment until {until:%H:%M} IST"
    return f"{logged_in}; Kite ends it {beginning:%a %d %b %H:%M}-{until:%H:%M} IST"


def _refuse_loose(path: Path) -> None:
    try:
        mode = path.stat().st_mode & 0o777
    except OSError:
        return
    if mode & 0o077:
        raise LoginNeeded(f"{path} has mode {mode:04o}, others can read it: `chmod 600 {path}`")
