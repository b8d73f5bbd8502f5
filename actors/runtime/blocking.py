"""Blocking calls beside the loop: one daemon thread each, bounded in number.

Not an executor: its threads are joined at exit, so that one hung call would hold up a shutdown and,
in a pool of one, every call after it.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


class Blocking:
    """Runs calls in threads and hands their results to the loop that made it."""

    def __init__(self, name: str, threads_max: int) -> None:
        self._name = name
        self._threads_max = threads_max
        self._running = 0
        self._loop = asyncio.get_running_loop()

    @property
    def has_room(self) -> bool:
        return self._running < self._threads_max

    def start(self, call: Callable[[], Result], done: Callable[[Result], None]) -> bool:
        """Run `call` in a thread, then `done(result)` on the loop; False when all threads are busy.

        An exception of `call` is a bug and is raised on the loop: expected failures are results.
        """
        if not self.has_room:
            return False
        self._running += 1

        def work() -> None:
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - raised again, on the loop
                self._deliver(self._fail, error)
            else:
                self._deliver(self._finish, done, result)

        threading.Thread(target=work, name=self._name, daemon=True).start()
        return True

    def _deliver(self, function: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop has closed: nobody waits for the answer any more
            pass

    def _finish(self, done: Callable[[Result], None], result: Result) -> None:
        self._running -= 1
        done(result)

    def _fail(self, error: BaseException) -> None:
        self._running -= 1
        raise error
