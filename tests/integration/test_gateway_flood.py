"""Thousands of connections to the gateway, under a reader that loses no tick."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kitefeed.client.feed import Feed
from kitefeed.protocol.clock import boot_ns
from kitefeed.services.listening import CONNECTIONS_MAX
from tests.integration.rig import Rig
from tests.integration.test_gateway import Gateway, free_port
from tests.support import eventually, slowness

pytestmark = [pytest.mark.processes, pytest.mark.timeout(150)]

CONNECTIONS = 5_000
DESCRIPTORS_MAX = CONNECTIONS_MAX + 64  # and what it has of its own
GROWTH_MB_MAX = 40.0

# Opens connections, sends to each what was given, and keeps those that stand.
FLOOD = """
import resource, socket, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
standing = []
while len(standing) < int(sys.argv[2]):
    made = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=30)
    standing.append(made)
    try:
        made.sendall(sys.argv[3].encode().decode("unicode_escape").encode())
    except OSError:
        pass  # it was cut already
print("all", flush=True)
sys.stdin.read()
"""


def megabytes(pid: int) -> float:
    """Return how much memory it holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def read_until(feed: Feed, condition: Callable[[], bool], within_s: float) -> None:
    """Takes every tick, and looks at the condition after each."""
    start_ns = boot_ns()
    while not condition():
        assert feed.next(5 * slowness()) is not None, "no tick for 5 s"
        assert boot_ns() - start_ns < within_s * slowness() * 1e9


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 2 * CONNECTIONS,
    reason="this host allows fewer files",
)
@pytest.mark.parametrize(
    "says",
    [
        "",
        "GET /health HTTP/1.1\\r\\nHost: ",
        "GET /api/stream?i=NSE:INFY HTTP/1.1\\r\\nHost: 127.0.0.1:{port}\\r\\n\\r\\n",
    ],
    ids=["silent", "half a request", "a stream each"],
)
def test_five_thousand_connections_cost_the_feed_no_tick(says: str) -> None:
    port = free_port()
    with Rig(gateway=f"127.0.0.1:{port}") as rig:
        rig.start()
        gateway = Gateway(rig, port)
        gateway.until("/readyz", 200, 20)
        pid = rig.pid_of("gateway")
        before = megabytes(pid)
        most = [0, 0.0]
        with rig.feed("NSE:INFY", "NSE:RELIANCE") as feed:
            flood = subprocess.Popen(
                [sys.executable, "-c", FLOOD, str(port), str(CONNECTIONS), says.format(port=port)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
            try:
                assert flood.stdout is not None
                os.set_blocking(flood.stdout.fileno(), False)

                def all_came() -> bool:
                    most[0] = max(most[0], descriptors(pid))
                    most[1] = max(most[1], megabytes(pid))
                    assert flood.stdout is not None
                    return bool(flood.stdout.read())

                read_until(feed, all_came, 90)
                if not says.endswith("\\r\\n\\r\\n"):
                    # Those that say nothing make room for one that asks.
                    assert gateway.get("/livez")[0] == 200
            finally:
                flood.kill()
                flood.communicate()
            assert (feed.gaps, feed.skipped, feed.overrun) == (0, 0, 0)
        assert most[0] <= DESCRIPTORS_MAX
        assert most[1] - before <= GROWTH_MB_MAX
        assert rig.pid_of("gateway") == pid
        eventually(lambda: gateway.get("/livez")[0] == 200, 10)
        assert rig.errors() == []
