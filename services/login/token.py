"""Makes a session of what the user's command prints. What it prints is never said: it may hold a
token, a password, anything."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import msgspec

from kitefeed.actors.runtime import app_secret, kite_login, session_file
from kitefeed.actors.runtime.config import Settings
from kitefeed.actors.runtime.kite_target import Kite
from kitefeed.actors.runtime.session_file import Session
from kitefeed.protocol.errors import BadInput, KitefeedError, LoginNeeded, Unavailable
from kitefeed.protocol.kite.rest import RestFault
from kitefeed.protocol.kite.session import request_token_from_redirect, unquoted
from kitefeed.protocol.secret import Secret

OUTPUT_BYTES_MAX = 16 * 1024
CHECK_S = 5.0
ENDING_S = 1.0  # a killed process has ended long before


async def printed_by(words: list[str], timeout_s: float, directory: Path | None = None) -> str:
    """Run a program without a shell to its end, in `directory`; return its standard output. Its
    children go with it. Raises BadInput when it fails, which repeats nothing of what it printed."""
    nowhere = asyncio.subprocess.DEVNULL
    try:
        child = await asyncio.create_subprocess_exec(
            *words, cwd=directory,
            stdin=nowhere, stdout=asyncio.subprocess.PIPE, stderr=nowhere, start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise BadInput(f"it cannot be run ({getattr(error, 'strerror', error)})") from None
    is_over = False
    try:
        async with asyncio.timeout(timeout_s):
            data = await _output(child)
            code = await child.wait()
        is_over = True
    except TimeoutError:
        raise BadInput(f"it took longer than {timeout_s:g} s, and was ended") from None
    finally:
        if not is_over:
            await _end(child)
    if code:
        raise BadInput(f"it ended with {code}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput("it printed what is no text") from None


async def _end(child: asyncio.subprocess.Process) -> None:
    """Kill it with its children, and read its output to the end, which closes the pipe."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ENDING_S):
            while child.stdout is not None and await child.stdout.read(OUTPUT_BYTES_MAX):
                pass
            await child.wait()


async def _output(child: asyncio.subprocess.Process) -> bytes:
    if child.stdout is None:
        raise RuntimeError("its output was not asked for")
    data = b""
    while piece := await child.stdout.read(OUTPUT_BYTES_MAX):
        data += piece
        if len(data) > OUTPUT_BYTES_MAX:
            raise BadInput(f"it printed more than {OUTPUT_BYTES_MAX} bytes")
    return data


def session_of(settings: Settings, printed: str) -> Session:
    """Return the session that was printed, or the one that Kite gives for a printed request token:
    bare, in the redirected address, or a JSON object as in the session file. Of several lines the
    last counts. The session has been shown to Kite. Blocking. Raises KitefeedError, which repeats
    nothing of it."""
    kite = settings.config.kite
    lines = [line for line in printed.splitlines() if line.strip()]
    if not lines:
        raise BadInput("it printed nothing")
    is_json = printed.lstrip()[:1] == "{"
    text = _from_json(printed) if is_json else unquoted(lines[-1]).removeprefix("access_token=")
    if "request_token=" in text:
        return _exchanged(settings, text)
    given = session_file.parse(text, kite.api_key)
    try:
        return accepted(kite, given)
    except LoginNeeded as error:
        if is_json or app_secret.find(settings, kite.api_key) is None:
            raise LoginNeeded(
                f"Kite does not accept it as an access token ({error}); for a request token the "
                "app's secret is needed: `kitefeed login --remember-secret`"
            ) from None
    try:
        return _exchanged(settings, text)
    except (LoginNeeded, BadInput) as error:
        raise LoginNeeded(f"it is no access token that Kite accepts; {error}") from None


class _Printed(msgspec.Struct):
    request_token: str = ""


def _from_json(text: str) -> str:
    """Return a request token in it as a query; else the text, which may be a session."""
    try:
        token = msgspec.json.decode(text, type=_Printed).request_token
    except (msgspec.DecodeError, UnicodeDecodeError):
        token = ""
    return f"request_token={token}" if token else text


def _exchanged(settings: Settings, text: str) -> Session:
    secret = app_secret.find(settings, settings.config.kite.api_key)
    if secret is None:
        raise LoginNeeded(
            "it printed a request token, and for that the app's secret is needed: "
            "`kitefeed login --remember-secret`"
        )
    try:
        request_token = request_token_from_redirect(unquoted(text))
    except ValueError as error:
        raise BadInput(str(error)) from None
    kite = settings.config.kite
    return kite_login.exchange(kite, kite.api_key, Secret(request_token), secret)


def renewed(settings: Settings, session: Session) -> Session:
    """Return the next session by the refresh token of this one. Blocking; raises as
    `kite_login.renew`."""
    secret = app_secret.find(settings, session.api_key)
    if secret is None:
        raise LoginNeeded("the app's secret is not kept: `kitefeed login --remember-secret`")
    return kite_login.renew(settings.config.kite, session, secret)


def accepted(kite: Kite, session: Session) -> Session:
    """Return the session with its user as Kite names him. Blocking. Raises LoginNeeded when Kite
    refuses it, Unavailable when Kite cannot be asked."""
    # Imported here: it takes a third of a second.
    from kitefeed.actors.runtime.kite_rest import KiteRest, RestFailure

    try:
        profile = KiteRest(kite, session, CHECK_S).profile()
    except RestFailure as error:
        kind: type[KitefeedError] = LoginNeeded if error.fault is RestFault.TOKEN else Unavailable
        raise kind(error.detail) from None
    return msgspec.structs.replace(
        session,
        user_id=session.user_id or profile.user_id,
        user_name=session.user_name or profile.user_name,
    )
