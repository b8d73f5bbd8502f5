"""A feed that was made before a fork, in the child: an error that says what to do, no hanging."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, json, multiprocessing, os, sys
from kitefeed import AsyncFeed, Feed
from kitefeed.protocol.errors import KitefeedError

class Unheard(Feed):
    def _begin(self, deadline_ns):  # nobody answers here
        pass

feed = Unheard("NSE:INFY", endpoint="ipc:///tmp/kf-nobody.sock")
later = AsyncFeed("NSE:INFY", endpoint="ipc:///tmp/kf-nobody.sock")
CALLS = {
    "get": lambda: feed.get("NSE:INFY"),
    "item": lambda: feed["NSE:INFY"],
    "in": lambda: "NSE:INFY" in feed,
    "snapshot": feed.snapshot,
    "status": lambda: feed.status,
    "next": lambda: feed.next(1),
    "iterate": lambda: next(iter(feed)),
    "wait_for": lambda: feed.wait_for("NSE:INFY", 1),
    "close": lambda: feed.close(),
    "close that was kept": feed.close,
    "async close that was kept": later.close,
    "async get": lambda: later.get("NSE:INFY"),
    "async status": lambda: later.status,
    "async next": lambda: asyncio.run(later.next(1)),
    "async open": lambda: asyncio.run(later.__aenter__()),
    "async close": lambda: later.close(),
    "new": lambda: Unheard("NSE:INFY", endpoint="ipc:///tmp/kf-nobody.sock").get("NSE:INFY"),
}

def outcome(call):
    try:
        return repr(call())
    except BaseException as error:
        return f"{type(error).__name__}: {error}"

def child(writing):
    os.write(writing, json.dumps({name: outcome(call) for name, call in CALLS.items()}).encode())

reading, writing = os.pipe()
if sys.argv[1] == "os":
    pid = os.fork()
    if not pid:
        child(writing)
        os._exit(0)
    os.waitpid(pid, 0)
else:
    process = multiprocessing.get_context("fork").Process(target=child, args=(writing,))
    process.start()
    process.join()
    assert process.exitcode == 0, process.exitcode
os.close(writing)
found = json.loads(os.read(reading, 100_000))
found["parent"] = outcome(lambda: feed.get("NSE:INFY"))
feed.close()
later.close()
print(json.dumps(found))
"""


@pytest.mark.parametrize("way", ["os", "multiprocessing"])
def test_in_a_forked_child_every_call_is_an_error_with_the_remedy_but_close(way: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, way], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    names = [name for name in found if "close" in name or name in ("new", "parent")]
    harmless = {name: found.pop(name) for name in names}
    assert len(harmless) == 6
    assert set(harmless.values()) == {"None"}
    for name, outcome in found.items():
        assert outcome.startswith("BadInput: this Feed was made before the fork"), (name, outcome)
        assert "make a new one there" in outcome
