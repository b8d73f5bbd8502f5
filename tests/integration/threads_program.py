"""Run by test_threads: one feed, used by a dozen threads at once, then closed by one of them.

    python -m tests.integration.threads_program ENDPOINT TICKS KEY...

The n-th tick of an instrument has the price n. Ends when TICKS were given out; says what it saw.
"""

import copy
import json
import pickle
import sys
import threading
import time

from kitefeed import Feed, Tick

TIMEOUT_S = 60.0
# Between two looks. Seven threads that never pause leave those that take ticks so little of Python
# and of the feed's lock that these fall seconds behind, on one machine and not on the next.
PAUSE_S = 0.001


class Program:
    def __init__(self, feed: Feed, keys: list[str], ticks: int) -> None:
        self._feed, self._keys, self._ticks = feed, keys, ticks
        self.given: list[tuple[str, int]] = []  # by all that iterate together
        self.latest: Tick = feed[keys[0]]
        self.wrong: list[str] = []
        self.is_fresh_at_the_end = False
        self._is_over = threading.Event()

    def run(self) -> None:
        ways = [self.iterate, self.iterate, self.take, self.take, self.look_up, self.look_up]
        ways += [self.read, self.read, self.pickle, self.ask, self.wait]
        threading.excepthook = self._failed
        threads = [threading.Thread(target=way) for way in ways]
        for thread in threads:
            thread.start()
        if not self._is_over.wait(TIMEOUT_S):
            self.wrong.append(f"only {len(self.given)} ticks came")
        self._is_over.set()
        give_up_s = time.monotonic() + TIMEOUT_S
        # In the midst of it newer ones have come before a thread has had its turn.
        while not self.is_fresh_at_the_end and time.monotonic() < give_up_s:
            self.is_fresh_at_the_end = all(self._feed[key].is_fresh for key in self._keys)
        self._feed.close()  # while they iterate, wait and read
        for thread in threads:
            thread.join(5)
            if thread.is_alive():
                self.wrong.append("a thread hangs")

    def _failed(self, told: threading.ExceptHookArgs) -> None:
        self.wrong.append(repr(told.exc_value))
        self._is_over.set()

    def _take(self, tick: Tick) -> None:
        self._check(tick)
        self.latest = tick
        self.given.append((tick.instrument, tick.seq))
        if len(self.given) >= self._ticks:
            self._is_over.set()

    def _check(self, tick: Tick) -> None:
        if tick.raw.last_price != tick.seq:
            self.wrong.append(f"{tick} has the price of another one")

    # --- the threads --------------------------------------------------------------------------

    def iterate(self) -> None:
        for tick in self._feed:
            self._take(tick)

    def take(self) -> None:
        while not self._is_over.is_set():
            tick = self._feed.next(0.05)
            if tick is not None:
                self._take(tick)

    def read(self) -> None:
        while not self._is_over.wait(PAUSE_S):
            tick = self.latest
            tick.is_fresh, str(tick), tick.source, tick.age_s, tick.depth

    def pickle(self) -> None:
        while not self._is_over.wait(PAUSE_S):
            again: Tick = pickle.loads(pickle.dumps(self.latest))  # noqa: S301 (our own)
            self._check(again)
            self._check(copy.deepcopy(self.latest))
            if again.is_fresh:
                self.wrong.append("one that was pickled reads fresh")

    def look_up(self) -> None:
        while not self._is_over.wait(PAUSE_S):
            for key in self._keys:
                tick = self._feed.get(key)
                if tick is not None:
                    self._check(tick)

    def ask(self) -> None:
        while not self._is_over.wait(PAUSE_S):
            str(self._feed.status), self._feed.heartbeat, self._feed.gen
            for tick in self._feed.values():
                self._check(tick)

    def wait(self) -> None:
        while not self._is_over.is_set():
            self._feed.wait_for(self._keys[-1], 0.05)


def main() -> None:
    endpoint, ticks, *keys = sys.argv[1:]
    statuses: list[str] = []
    feed = Feed(
        *keys,
        endpoint=endpoint,
        max_age_s=None,
        timeout_s=20,
        on_status=lambda status: statuses.append(status.feed),
    )
    print("ready", flush=True)
    feed.wait_for(keys[0])
    program = Program(feed, keys, int(ticks))
    program.run()
    told = {
        "wrong": program.wrong[:5],
        "given": len(program.given),
        "different": len(set(program.given)),
        "is_fresh_at_the_end": program.is_fresh_at_the_end,
        "lost": feed.gaps + feed.skipped + feed.overrun,
        "after": [program.latest.is_fresh, program.latest.source, program.latest.last_price > 0],
        "statuses": statuses,
    }
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
