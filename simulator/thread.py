"""A simulator beside synchronous code, such as a test that uses the official client."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from kitefeed.simulator.server import Simulator

START_S_MAX = 10.0
_T = TypeVar("_T")


class RunningSimulator:
    """A started simulator whose event loop runs in a thread of its own."""

    def __init__(self, simulator: Simulator, loop: asyncio.AbstractEventLoop) -> None:
        self.simulator = simulator
        self._loop = loop

    @property
    def rest_url(self) -> str:
        return self.simulator.rest_url

    @property
    def ws_url(self) -> str:
        return self.simulator.ws_url

    def credentials(self, app: int = 1) -> dict[str, object]:
        found = self.simulator.accounts.by_number(app)
        if found is None:
            raise ValueError(f"there is no app {app}")
        return self.simulator.credentials(found)

    def fault(self, name: str, argument: object = None, app: int | None = None) -> None:
        """As `POST /_sim/fault`."""
        self.call(lambda: self.simulator.fault(name, argument, app))

    def call(self, function: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run a coroutine in the simulator's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(function(), self._loop).result(START_S_MAX)


@contextmanager
def running_simulator(simulator: Simulator | None = None) -> Iterator[RunningSimulator]:
    """Starts it (a default one when None is given) and stops it, whatever happens between."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="kite-simulator")
    thread.start()
    running = RunningSimulator(simulator or Simulator(), loop)
    try:
        running.call(running.simulator.start)
        yield running
    finally:
        running.call(running.simulator.stop)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
