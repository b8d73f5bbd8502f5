"""login: renews the session by the clock, and when somebody else's login has ended it."""

import asyncio
import logging
import sys
from datetime import time

import msgspec

from kitefeed.actors.policy.market import to_ist
from kitefeed.actors.runtime import app_secret, memory, session_file
from kitefeed.actors.runtime.config import Settings
from kitefeed.actors.runtime.config_tables import Config
from kitefeed.actors.runtime.process import Runtime
from kitefeed.actors.runtime.session_file import Session
from kitefeed.actors.runtime.state_file import StateFile
from kitefeed.protocol.clock import utc_ns
from kitefeed.protocol.errors import ConfigError, KitefeedError, LoginNeeded, Unavailable
from kitefeed.protocol.feed import DECODE_ERRORS
from kitefeed.protocol.messages.control import GetStatus, Status
from kitefeed.protocol.messages.status import StatusReport
from kitefeed.protocol.sockets import request
from kitefeed.protocol.topology import CONTROL, endpoint
from kitefeed.services import life
from kitefeed.services.login.machine import Do, LoginRules, LoginState, Machine, Outcome, Seen, Tell
from kitefeed.services.login.token import accepted, printed_by, renewed, session_of

NAME = "login"
LOOK_S = 2.0
ANSWER_S = 1.0  # the supervisor answers from memory
FILE_NAME = "login.json"
FILE_BYTES_MAX = 16_384

log = logging.getLogger(NAME)


def main() -> int:
    memory.close_to_others()  # it holds tokens and the app's secret
    return life.run(NAME, live)


async def live(runtime: Runtime) -> None:
    keeper = Shell(runtime.settings)
    log.info("ready, %s", keeper.told())
    async with life.chores(keeper.watch()):
        await runtime.stopped.wait()


def rules_of(config: Config) -> LoginRules:
    at = time.fromisoformat(config.login.at) if config.login.at else None
    page = f"{config.gateway.url}/login or " if config.gateway.url else ""
    return LoginRules(
        at,
        bool(config.login.words),
        config.session.elsewhere,
        f"{page}`kitefeed login`",
        has_flush=config.market.hours != "always",
    )


class Shell:
    """The machine with the world around it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._control = endpoint(settings.runtime_dir, CONTROL)
        self._file = StateFile(settings.state_dir / FILE_NAME, "failed logins", FILE_BYTES_MAX, log)
        record = self._file.read(_decode) or LoginState()
        self._rules = rules_of(settings.config)
        self._machine = Machine(self._rules, record)
        self._written = b""

    def told(self) -> str:
        """Say what it is going to do."""
        at, due = self._rules.at, self._rules.due_at
        if at is None or due is None:
            return "logs in when somebody else has ended the session"
        moved = f" (not at {at:%H:%M}, because Kite ends every session until then)"
        return f"sees to the session at {due:%H:%M} IST{moved if due != at else ''}"

    async def watch(self) -> None:
        """Looks again and again, for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            while (seen := await asyncio.to_thread(self._seen)) is not None:
                order = self._machine.look(seen, utc_ns())
                self._save()
                if order is None:
                    break
                if isinstance(order, Do):
                    outcome, why = await self._do(order)
                    order = self._machine.done(order, outcome, seen, utc_ns(), why)
                    self._save()
                if order is not None:
                    self._say(order)

    def _seen(self) -> Seen | None:
        """Look at the daemon. None while the supervisor does not answer: it knows the market's
        hours."""
        try:
            reply = request(self._control, GetStatus(), timeout_s=ANSWER_S, tries=1)
        except (Unavailable, *DECODE_ERRORS):
            return None
        if not isinstance(reply, Status):
            return None
        report, session = reply.report, self._session()
        return Seen(
            session.fingerprint if session else None,
            _is_needed(report),
            report.elsewhere_utc_s,
            session is not None and session.refresh_token is not None and self._has_secret(session),
        )

    def _session(self) -> Session | None:
        try:
            return session_file.current(self._settings, "primary")
        except LoginNeeded:
            return None

    def _has_secret(self, session: Session) -> bool:
        try:
            return app_secret.find(self._settings, session.api_key) is not None
        except ConfigError:
            return False

    # --- acting -------------------------------------------------------------------------------

    async def _do(self, what: Do) -> tuple[Outcome, str]:
        try:
            if what is Do.COMMAND:
                login = self._settings.config.login
                # Relative paths start at the configuration's directory, as all of its do.
                source = self._settings.source
                directory = source.parent if source else None
                printed = await printed_by(login.words, login.timeout_s, directory)
                await asyncio.to_thread(self._take, printed)
            else:
                await asyncio.to_thread(self._check if what is Do.CHECK else self._renew)
        except Unavailable as error:
            return "unknown", str(error)
        except KitefeedError as error:
            return "bad", str(error)
        return "good", ""

    def _check(self) -> None:
        accepted(self._settings.config.kite, self._known())

    def _renew(self) -> None:
        self._store(renewed(self._settings, self._known()))

    def _take(self, printed: str) -> None:
        self._store(session_of(self._settings, printed))

    def _known(self) -> Session:
        session = self._session()
        if session is None:
            raise LoginNeeded("there is no session")
        return session

    def _store(self, session: Session) -> None:
        session_file.write(self._settings.session_path, session)
        log.info("a new session=%s user=%s", session.fingerprint, session.user_id)

    def _say(self, tell: Tell) -> None:
        log.log(logging.ERROR if tell.level == "error" else logging.INFO, "%s", tell.text)

    def _save(self) -> None:
        data = msgspec.json.encode(self._machine.record)
        if (data != self._written or self._file.is_failing) and self._file.write(data):
            self._written = data


def _decode(data: bytes) -> LoginState:
    return msgspec.json.decode(data, type=LoginState)


def _is_needed(report: StatusReport) -> bool:
    """Whether anything that is wanted trades now, or will today. Nobody logs in for a holiday, nor
    while the operator paused everything."""
    if report.feed in ("paused", "misconfigured"):
        return False
    if report.feed != "closed":
        return True
    return (report.next_open or "")[:10] == to_ist(utc_ns()).date().isoformat()


if __name__ == "__main__":
    sys.exit(main())
