"""auth_watcher: looks at the session files and says what they hold. Never talks to Kite."""

import asyncio
import sys
from typing import get_args

from kitefeed.actors.auth_watcher.machine import AuthWatcher, Observed, Welcomed
from kitefeed.actors.runtime import process, session_file
from kitefeed.actors.runtime.bus import Bus
from kitefeed.actors.runtime.config import Settings
from kitefeed.actors.runtime.driver import Driver
from kitefeed.actors.runtime.hello import hello_of
from kitefeed.actors.runtime.process import Runtime
from kitefeed.actors.runtime.whole_file import clear_leftovers
from kitefeed.protocol import messages as m
from kitefeed.protocol.errors import LoginNeeded
from kitefeed.protocol.topology import Role

# Files are read, not watched by inotify: macOS has none, network homes do not send it, and a look
# at two files of 300 bytes costs nothing. Recovery is promised within 5 s of a login.
LOOK_S = 0.25


def main() -> int:
    return process.run(Role.AUTH_WATCHER, live)


async def live(runtime: Runtime) -> None:
    loop = asyncio.get_running_loop()
    for path in (runtime.settings.session_path, runtime.settings.standby_path):
        clear_leftovers(path)

    def look() -> None:
        for slot in get_args(m.Slot):
            driver.feed(observe(runtime.settings, slot))
        if not runtime.stopped.is_set():
            loop.call_later(LOOK_S, look)

    def announce(report: m.SessionSeen) -> None:
        bus.send(report)

    driver = Driver(AuthWatcher(), announce)
    bus = Bus(
        runtime, lambda: hello_of(runtime), m.Beat, driver.feed, lambda: driver.feed(Welcomed())
    )
    look()
    await runtime.stopped.wait()
    driver.close()
    bus.close()


def observe(settings: Settings, slot: m.Slot) -> Observed:
    """What the file of `slot` holds now."""
    try:
        session = session_file.current(settings, slot)
    except LoginNeeded as error:
        return Observed(slot, None, str(error))
    return Observed(slot, session.fingerprint if session else None)


if __name__ == "__main__":
    sys.exit(main())
