"""The session file: the one place that holds Kite's access token.

Format (JSON, mode 0600, at most 4 KiB), also for other programs that share the session::

    {"version": 1, "api_key": "…", "access_token": "…",
     "user_id": "AB1234", "user_name": "…", "login_time": "2026-11-23 08:31:02"}

`api_key` and `access_token` are required; `refresh_token` is there for
apps that Kite gives one. It is replaced atomically, never rewritten in place. A
file that somebody else could read is refused: its token can trade.
"""

import json
from datetime import datetime
from pathlib import Path

import msgspec

from kitefeed.actors.runtime.config import Settings
from kitefeed.actors.runtime.secrets import Secret, fingerprint_of, remember
from kitefeed.actors.runtime.whole_file import clear_leftovers, write_atomically
from kitefeed.protocol import private_files
from kitefeed.protocol.errors import LoginNeeded, TryLater
from kitefeed.protocol.kite.session import unquoted
from kitefeed.protocol.kite.units import IST
from kitefeed.protocol.messages.bus import Slot

FILE_BYTES_MAX = 4_096


class Session(msgspec.Struct, frozen=True):
    """One Kite session. `login_time` is Kite's text, IST."""

    api_key: str
    access_token: Secret
    user_id: str | None = None
    user_name: str | None = None
    login_time: str | None = None
    refresh_token: Secret | None = None  # individuals get none

    @property
    def fingerprint(self) -> str:
        return fingerprint_of(self.api_key, self.access_token)

    @property
    def logged_in(self) -> datetime | None:
        """The time at which its user logged in, IST; None where Kite's text is missing or no
        time."""
        try:
            return datetime.fromisoformat(self.login_time or "").replace(tzinfo=IST)
        except ValueError:
            return None


class NoApiKey(LoginNeeded):
    """Neither the session nor the configuration names the app that the session belongs to."""


class _Record(msgspec.Struct, omit_defaults=True):
    access_token: str
    api_key: str = ""
    version: int = 0
    user_id: str | None = None
    user_name: str | None = None
    login_time: str | None = None
    refresh_token: str | None = None


def parse(text: str, api_key: str) -> Session:
    """Read a session from a JSON object with `access_token`, or from a bare token.

    `api_key` is used where the text names none. Raises LoginNeeded, which repeats none of the
    text; NoApiKey where there is neither.
    """
    text = unquoted(text)
    try:
        record = msgspec.json.decode(text, type=_Record) if text[:1] == "{" else _Record(text)
    except msgspec.DecodeError:
        raise LoginNeeded("it is not a session: a JSON object with access_token") from None
    token = record.access_token
    if not (8 <= len(token) <= 256 and token.isascii() and token.isalnum()):
        raise LoginNeeded("its access_token is not one: letters and digits, 8 or more")
    key = record.api_key or api_key
    if not key:
        raise NoApiKey("it names no api_key, and neither does the configuration: set kite.api_key")
    return Session(
        key,
        remember(Secret(token)),
        record.user_id,
        record.user_name,
        record.login_time,
        remember(Secret(record.refresh_token)) if record.refresh_token else None,
    )


def read(path: Path, api_key: str = "") -> Session | None:
    """Return the session in `path`; None when there is no file, or an empty one.

    Raises LoginNeeded (one sentence with the remedy) for a file others can read, one that is not
    ours, a link, or one that holds no session.
    """
    try:
        data = private_files.read(path, FILE_BYTES_MAX)
    except private_files.Unsafe as error:
        raise LoginNeeded(str(error)) from None
    if data is None:
        return None
    try:
        text = data.decode("utf-8-sig")
        return parse(text, api_key) if text.strip() else None
    except (UnicodeDecodeError, LoginNeeded) as error:
        what = error if isinstance(error, LoginNeeded) else "it is not text"
        raise LoginNeeded(f"{path}: {what}; `kitefeed session set` writes a good one") from None


def write(path: Path, session: Session) -> None:
    """Replace `path` atomically, mode 0600; its directory is made 0700 when it is missing. Raises
    TryLater when the disk refuses; the old session is still there then."""
    record = {
        "version": 1,
        "api_key": session.api_key,
        "access_token": session.access_token.reveal(),
        "user_id": session.user_id,
        "user_name": session.user_name,
        "login_time": session.login_time,
    }
    if session.refresh_token is not None:
        record["refresh_token"] = session.refresh_token.reveal()
    clear_leftovers(path)  # each would hold a token
    try:
        write_atomically(path, (json.dumps(record, indent=1) + "\n").encode())
    except OSError as error:
        raise TryLater(
            f"{path} cannot be written ({error.strerror or error}): make room there or correct its "
            "mode, then log in again"
        ) from None


def candidates(settings: Settings, slot: Slot) -> list[tuple[Path, str]]:
    """Return the files that may hold the session of `slot`, with the api_key that a bare token
    belongs to.

    The newest comes first, because its session is the latest login; a file without a session that
    Kite accepts is passed over (`actors/supervisor/session.py`).
    """
    config = settings.config
    if slot == "standby":
        standby = config.session.standby
        key = (standby.api_key if standby else "") or config.kite.api_key
        return [(settings.standby_path, key)]
    paths = [settings.session_path, *([settings.watch_path] if settings.watch_path else [])]
    return [(path, config.kite.api_key) for path in sorted(paths, key=_age_order)]


def _age_order(path: Path) -> float:
    """Sort the newest first, a missing file last."""
    try:
        return -path.stat().st_mtime
    except OSError:
        return 1.0


def available(settings: Settings, slot: Slot) -> list[Session]:
    """Return the sessions in the files of `slot`, the newest file first: the first that Kite
    accepts is in force. Raises as `read` does when none can be used and one of them is wrong."""
    problem: LoginNeeded | None = None
    sessions: list[Session] = []
    for path, api_key in candidates(settings, slot):
        try:
            session = read(path, api_key)
        except LoginNeeded as error:
            problem = problem or error
            continue
        if session is not None:
            sessions.append(session)
    if problem and not sessions:
        raise problem
    return sessions


def current(settings: Settings, slot: Slot, in_use: str | None = None) -> Session | None:
    """Return the session that a daemon uses (`in_use`: its fingerprint, if the daemon told), else
    the newest, which is tried first. Raises as `available` does."""
    sessions = available(settings, slot)
    named = [session for session in sessions if session.fingerprint == in_use]
    return next(iter([*named, *sessions]), None)


def by_fingerprint(settings: Settings, fingerprint: str) -> Session | None:
    """Return the session that an order names, or None when the files hold another by now."""
    slots: tuple[Slot, ...] = ("primary", "standby")
    for slot in slots:
        for path, api_key in candidates(settings, slot):
            try:
                session = read(path, api_key)
            except LoginNeeded:
                continue
            if session and session.fingerprint == fingerprint:
                return session
    return None
