"""`make demo-nats`: a simulated Kite, the daemon with its bridge, a NATS server, two readers, one
of which is killed and comes back; then the server is. Under a minute, and nothing is left behind.

    python deploy/nats/demo.py                       # all of it
    python deploy/nats/demo.py read NAME URL SINCE   # one reader, as a program of its own
"""

import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from datetime import datetime
from pathlib import Path

from kitefeed import Feed
from kitefeed.cli.demo_stage import Stage
from kitefeed.protocol.kite.units import IST

SHOWN = "NSE:INFY"
READY_S = 30.0
SERVER = Path(sysconfig.get_path("scripts")) / "nats-server"


def read(name: str, url: str, since: str) -> None:
    """Prints once a second what a strategy knows, and at the beginning what it had missed."""
    missed, line_due_s = 0, 0.0
    began = f"{datetime.now(IST):%H:%M:%S}"
    with Feed(SHOWN, endpoint=url, since=since or None, timeout_s=20) as feed:
        while True:
            tick = feed.next(0.2)
            if since and tick is not None:
                missed += f"{tick.received_at:%H:%M:%S}" < began
            if time.monotonic() > line_due_s and SHOWN in feed:
                line_due_s = time.monotonic() + 1
                _show(name, feed, missed)
                missed = 0


def _show(name: str, feed: Feed, missed: int) -> None:
    tick, status = feed[SHOWN], feed.status
    mark = "fresh" if tick.is_fresh else f"NOT CURRENT ({tick.why_stale})"
    caught = f"; caught up on {missed} ticks" if missed else ""
    print(
        f"  {name}: {SHOWN} {tick.last_price:.2f} {mark}, {tick.age_s:.1f} s old, feed "
        f"{status}, gaps {feed.gaps}, clock {1_000 * (status.clock_ahead_s or 0):+.1f} ms{caught}",
        flush=True,
    )


class House(Stage):
    """The demo's daemon, with a bridge to a server of its own."""

    def __init__(self) -> None:
        super().__init__()
        with socket.create_server(("127.0.0.1", 0)) as found:
            self._port = found.getsockname()[1]
        self.url = f"nats://127.0.0.1:{self._port}"
        self.fresh: list[threading.Event] = []

    def _configuration(self) -> str:
        return f'{super()._configuration()}[nats]\nservers = ["{self.url}"]\n'

    def start_server(self) -> "subprocess.Popen[bytes]":
        path = self.directory / "nats.conf"
        store = self.directory / "nats"
        path.write_text(f'listen: "127.0.0.1:{self._port}"\njetstream {{ store_dir: "{store}" }}\n')
        return self._spawn([str(SERVER), "-c", str(path)])

    def start_reader(self, name: str, since: str = "") -> "subprocess.Popen[bytes]":
        child = self._spawn(
            [sys.executable, "-P", __file__, "read", name, self.url, since],
            stdout=subprocess.PIPE,
        )
        is_fresh = threading.Event()
        threading.Thread(target=_pass_on, args=(child, is_fresh), daemon=True).start()
        self.fresh.append(is_fresh)
        return child

    def wait_until_fresh(self) -> None:
        """Until each reader that was started since the last call has read a fresh price."""
        fresh, self.fresh = self.fresh, []
        for each in fresh:
            each.wait(READY_S)


def _pass_on(child: "subprocess.Popen[bytes]", is_fresh: threading.Event) -> None:
    for line in child.stdout or ():
        print(line.decode(), end="", flush=True)
        if b" fresh," in line:
            is_fresh.set()


def _kill(child: "subprocess.Popen[bytes]") -> None:
    child.send_signal(signal.SIGKILL)
    child.wait()


def say(text: str, then_s: float) -> None:
    print(f"\n{text}", flush=True)
    time.sleep(then_s)


def show() -> None:
    house = House()
    try:
        server = house.start_server()
        house.start()
        say("A NATS server, a simulated Kite, and the daemon with its bridge begin ...", 5)
        house.start_reader("one")
        second = house.start_reader("two")
        say("Two readers, as if on two other hosts.", 0)
        house.wait_until_fresh()
        time.sleep(3)
        _kill(second)
        now = f"{datetime.now(IST):%H:%M:%S}"
        say("kill -9 reader two. The other reads on.", 5)
        house.start_reader("two", now)
        say(f"Reader two is back, and asks for all since {now}.", 0)
        house.wait_until_fresh()
        time.sleep(3)
        _kill(server)
        say("kill -9 the NATS server. No price is called fresh that may not be.", 6)
        server = house.start_server()
        say("The server is back, and so is everything else, by itself.", 8)
        print("\nThat is all; everything is stopped now.", flush=True)
    finally:
        house.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["read"]:
        read(*sys.argv[2:5])
    else:
        show()
