"""auth_watcher: looks at the session files and says what they hold. Never talks to Kite."""

import asyncio
import os
import sys
from pathlib import Path
from typing import get_args

from kitefeed.actors.auth_watcher.machine import AuthWatcher, Observed
from kitefeed.actors.policy.machine import Welcomed
from kitefeed.actors.runtime import process, session_file
from kitefeed.actors.runtime.bus import Bus
from kitefeed.actors.runtime.config import Settings
from kitefeed.actors.runtime.driver import Driver
from kitefeed.actors.runtime.hello import hello_of
from kitefeed.actors.runtime.process import Runtime
from kitefeed.actors.runtime.whole_file import clear_leftovers
from kitefeed.protocol.errors import LoginNeeded
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.membership import Beat
from kitefeed.protocol.topology import Role

# Files are looked at, not watched by inotify: macOS has none, and network homes do not send it.
# Recovery is promised within 5 s of a login.
LOOK_S = 0.5
READ_EVERY = 4  # looks: a change that leaves no trace in the file's facts is seen within 2 s


def main() -> int:
    return process.run(Role.AUTH_WATCHER, live)


async def live(runtime: Runtime) -> None:
    loop = asyncio.get_running_loop()
    for path in (runtime.settings.session_path, runtime.settings.standby_path):
        clear_leftovers(path)

    def look() -> None:
        for glance in glances:
            driver.feed(glance.look())
        if not runtime.stopped.is_set():
            loop.call_later(LOOK_S, look)

    def announce(report: m.SessionSeen) -> None:
        bus.send(report)

    glances = [Glance(runtime.settings, slot) for slot in get_args(m.Slot)]
    driver = Driver(AuthWatcher(), announce)
    bus = Bus(
        runtime, lambda: hello_of(runtime), Beat, driver.feed, lambda: driver.feed(Welcomed())
    )
    look()
    await runtime.stopped.wait()
    driver.close()
    bus.close()


class Glance:
    """The content of the files of one slot. They are read when the facts of one have changed, and
    every `READ_EVERY` looks: reading them each time was half of this process's work."""

    def __init__(self, settings: Settings, slot: m.Slot) -> None:
        self._settings = settings
        self._slot = slot
        self._paths = [path for path, _ in session_file.candidates(settings, slot)]
        self._facts: list[tuple[int, ...]] = []
        self._seen: Observed | None = None
        self._looks = 0

    def look(self) -> Observed:
        facts = [_facts(path) for path in self._paths]
        self._looks += 1
        if self._seen is None or facts != self._facts or self._looks >= READ_EVERY:
            self._facts, self._looks = facts, 0
            self._seen = observe(self._settings, self._slot)
        return self._seen


def _facts(path: Path) -> tuple[int, ...]:
    """Return facts of the file that any change of it changes; nothing where there is none."""
    try:
        f = os.lstat(path)
    except OSError:
        return ()
    return (f.st_dev, f.st_ino, f.st_mode, f.st_uid, f.st_size, f.st_mtime_ns, f.st_ctime_ns)


def observe(settings: Settings, slot: m.Slot) -> Observed:
    """Read what the files of `slot` hold now."""
    try:
        sessions = session_file.available(settings, slot)
    except LoginNeeded as error:
        return Observed(slot, None, str(error))
    first, *others = dict.fromkeys([each.fingerprint for each in sessions]) or [None]
    return Observed(slot, first, others=tuple(each for each in others if each))


if __name__ == "__main__":
    sys.exit(main())
