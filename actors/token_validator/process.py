"""token_validator: asks Kite whether a session is alive, on request. Decides nothing."""

import sys

from kitefeed.actors.runtime import process, session_file
from kitefeed.actors.runtime.blocking import Blocking
from kitefeed.actors.runtime.bus import Bus
from kitefeed.actors.runtime.config import Settings
from kitefeed.actors.runtime.driver import Driver
from kitefeed.actors.runtime.hello import hello_of
from kitefeed.actors.runtime.kite_rest import KiteRest, RestFailure
from kitefeed.actors.runtime.process import Runtime
from kitefeed.actors.token_validator.machine import (
    CALLS_MAX,
    TIMEOUT_NS,
    Answered,
    Ask,
    Command,
    TokenValidator,
)
from kitefeed.protocol.kite.rest import RestFault
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.membership import Beat
from kitefeed.protocol.topology import Role


def main() -> int:
    return process.run(Role.TOKEN_VALIDATOR, live)


async def live(runtime: Runtime) -> None:
    calls = Blocking("profile", CALLS_MAX)

    def perform(command: Command) -> None:
        match command:
            case Ask():
                calls.start(lambda: validate(runtime.settings, command), driver.feed)
            case m.Validated():
                bus.send(command)

    driver = Driver(TokenValidator(), perform)
    bus = Bus(runtime, lambda: hello_of(runtime), Beat, driver.feed)
    await runtime.stopped.wait()
    driver.close()
    bus.close()


def validate(settings: Settings, ask: Ask) -> Answered:
    """Ask for the profile once, with the session that the fingerprint names. Blocks; raises
    nothing."""
    session = session_file.by_fingerprint(settings, ask.fingerprint)
    if session is None:
        return Answered(ask.request_id, "unverified", detail="session changed")
    rest = KiteRest(settings.config.kite, session, TIMEOUT_NS / 1e9)
    try:
        profile = rest.profile()
    except RestFailure as error:
        verdict: m.Verdict = "refused" if error.fault is RestFault.TOKEN else "unverified"
        return Answered(ask.request_id, verdict, detail=error.detail)
    return Answered(ask.request_id, "valid", profile.user_id, profile.user_name)


if __name__ == "__main__":
    sys.exit(main())
