"""Delivers alerts to each target: by apprise in a process of its own, HTTP, or a program of the
user's. A try ends within DELIVER_S with a problem in words, which names no URL: they hold tokens.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable

import aiohttp
import msgspec

from kitefeed.actors.runtime.config import Settings
from kitefeed.actors.runtime.secrets import remember
from kitefeed.protocol import private_files
from kitefeed.protocol.errors import ConfigError
from kitefeed.protocol.exits import Exit
from kitefeed.protocol.secret import Secret
from kitefeed.services.notifier.alerts import Alert, Links
from kitefeed.services.notifier.by_apprise import ApprisePost

DELIVER_S = 15.0
FILE_BYTES_MAX = 65_536
FILE_URLS_MAX = 100
INSTALL = "pip install 'kitefeed[alerts]'"
_APPRISE = (sys.executable, "-P", "-m", "kitefeed.services.notifier.by_apprise")
_PROBLEMS: dict[int, str] = {
    Exit.BAD_INPUT: "apprise does not know this URL: correct it",
    Exit.UNAVAILABLE: f"apprise is not installed: {INSTALL}",
    Exit.TRY_LATER: "the service did not take it",
}

Deliver = Callable[[Alert], Awaitable[str]]
"""Tells one target; returns the problem, empty when there was none."""


def targets_of(settings: Settings) -> dict[str, Deliver]:
    """Return every target that is named, by setting. Raises ConfigError for a file of URLs that
    cannot be used."""
    alerts = settings.config.alerts
    found: dict[str, Deliver] = {}
    named = [(f"urls[{n}]", url) for n, url in enumerate(alerts.urls)]
    named += [(f"urls_file[{n}]", url) for n, url in enumerate(_from_file(settings))]
    for name, url in named:
        scheme = url.reveal().partition("://")[0]
        found[f"{name} {scheme}"] = _bound(_by_apprise, url)
    if alerts.webhook.reveal():
        found["webhook"] = _bound(_by_webhook, alerts.webhook)
    if alerts.command:
        found["command"] = _bound(_by_command, alerts.command)
    return found


def links_of(settings: Settings) -> Links:
    return Links(settings.config.gateway.url, socket.gethostname())


def _from_file(settings: Settings) -> list[Secret]:
    """Read one URL a line; blank lines and those that start with `#` are none."""
    path = settings.alert_urls_path
    if path is None:
        return []
    try:
        data = private_files.read(path, FILE_BYTES_MAX)
        lines = [] if data is None else data.decode("utf-8-sig").splitlines()
    except private_files.Unsafe as error:
        raise ConfigError(f"alerts.urls_file: {error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"alerts.urls_file: {path} is not UTF-8 text; save it as such") from None
    if data is None:
        raise ConfigError(f"alerts.urls_file: there is no {path}; write it, a URL a line")
    found = []
    for n, line in enumerate(lines, 1):
        url = line.strip()
        if not url or url.startswith("#"):
            continue
        if "://" not in url:
            raise ConfigError(f"alerts.urls_file: {path}, line {n}: is no URL of apprise")
        found.append(remember(Secret(url)))
    if len(found) > FILE_URLS_MAX:
        raise ConfigError(f"alerts.urls_file: {path} has more than {FILE_URLS_MAX} URLs")
    return found


def _bound(how: Callable[..., Awaitable[str]], to: object) -> Deliver:
    async def deliver(alert: Alert) -> str:
        try:
            async with asyncio.timeout(DELIVER_S):
                return await how(to, alert)
        except TimeoutError:
            return f"no answer within {DELIVER_S:g} s"

    return deliver


async def _by_apprise(url: Secret, alert: Alert) -> str:
    """Deliver in a process of its own: apprise takes a second and 50 MB, and a request that hangs
    in it can only be ended with the process."""
    post = ApprisePost(url.reveal(), alert.title, alert.text, alert.wakes)
    code = await _run(_APPRISE, msgspec.json.encode(post))
    return "" if code == 0 else _PROBLEMS.get(code, f"apprise failed ({code})")


async def _by_command(command: list[str], alert: Alert) -> str:
    try:
        code = await _run((*command, alert.code), f"{alert.title}\n{alert.text}\n".encode())
    except OSError as error:
        return f"cannot be run ({error.strerror})"
    return "" if code == 0 else f"ended with {code}"


async def _by_webhook(url: Secret, alert: Alert) -> str:
    body = {**msgspec.to_builtins(alert), "text": f"{alert.title}\n{alert.text}"}
    return await _ask("POST", url, body)


async def heartbeat(url: Secret) -> str:
    """Tell the dead man's switch that all is well; return the problem."""
    try:
        async with asyncio.timeout(DELIVER_S):
            return await _ask("GET", url, None)
    except TimeoutError:
        return f"no answer within {DELIVER_S:g} s"


async def _ask(method: str, url: Secret, body: dict[str, object] | None) -> str:
    # Imported here: a notifier without these URLs does without `requests`.
    from kitefeed.actors.runtime.proxies import proxies_for

    to = url.reveal()
    try:
        proxy = proxies_for(to).get(to.partition(":")[0])
        async with (
            aiohttp.ClientSession() as session,  # without trust_env: it would read a ~/.netrc
            session.request(method, to, json=body, proxy=proxy) as answer,
        ):
            return "" if answer.status < 300 else f"answered {answer.status}"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # The text of some names the URL.
        return f"cannot be reached ({type(error).__name__})"


async def _run(command: tuple[str, ...], stdin: bytes) -> int:
    """Run a program to its end, with its children; nobody reads what it prints."""
    nowhere = asyncio.subprocess.DEVNULL
    child = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=nowhere, stderr=nowhere,
        start_new_session=True,
    )  # fmt: skip
    try:
        await child.communicate(stdin)
        return child.returncode or 0
    finally:
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGKILL)
            await child.wait()
