"""A story as it is told: what a subscriber read, what Kite was asked, what was logged, and when.

Calls are timed by the simulator's stamps, and everything counts from the beginning of the story.
"""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any, Self

from kitefeed.protocol.clock import boot_ns, utc_ns
from tests.integration.rig import INSTRUMENTS, Rig, Truth
from tests.support import eventually

QUOTE, PROFILE = "GET /quote", "GET /user/profile"


class Story:
    """Begins when it is entered, with a reader of all instruments; `tell` prints all of it.

    slack_s: how far behind the market a value may be that reads fresh (see Truth).
    """

    def __init__(self, rig: Rig, slack_s: float = 3.5) -> None:
        self.rig = rig
        self.feed = rig.feed(*INSTRUMENTS)
        for key in INSTRUMENTS:
            assert self.feed.wait_for(key, 10), key
        self.truth = Truth(rig.simulator, slack_s)
        self.events: list[tuple[float, str]] = []
        self.arrivals: list[tuple[float, str]] = []  # of one instrument: when, from which source
        self._log_chars = len(rig.output())
        self._before = rig.simulator.stats()["requests"]
        self._start_ns = utc_ns()
        self._seen_seq = 0
        self._read = ""

    def __enter__(self) -> Self:
        self.truth.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.truth.__exit__()
        self.feed.close()
        print(self.tell())

    # --- the story goes on --------------------------------------------------------------------

    @property
    def now_s(self) -> float:
        return (utc_ns() - self._start_ns) / 1e9

    def does(self, what: str, act: Callable[[], Any]) -> float:
        """Something happens to the feed; when it began."""
        at_s = self.now_s
        self.events.append((at_s, f"* {what}"))
        act()
        return at_s

    def until(self, condition: Callable[[], object], within_s: float) -> float:
        """Reads on until `condition` holds; when it did."""
        eventually(lambda: self._look() and condition(), within_s)
        return self.now_s

    def reads_on(self, seconds: float) -> None:
        until_ns = boot_ns() + int(seconds * 1e9)
        eventually(lambda: self._look() and boot_ns() >= until_ns, seconds + 5)

    def is_fresh(self, source: str) -> bool:
        """Whether every instrument reads fresh, from this source."""
        ticks = [self.feed[key] for key in INSTRUMENTS]
        return all(tick.is_fresh and tick.source == source for tick in ticks)

    def is_cached(self) -> bool:
        """Whether every instrument has its last value, with its age and no claim to be current."""
        ticks = [self.feed[key] for key in INSTRUMENTS]
        return all(t.last_price > 0 and not t.is_fresh and t.source == "cache" for t in ticks)

    def _look(self) -> bool:
        while (tick := self.feed.next(0)) is not None:
            if tick.instrument == "NSE:INFY" and not tick.flags and tick.seq > self._seen_seq:
                self._seen_seq = tick.seq
                self.arrivals.append((self.now_s, tick.source))
        tick = self.feed["NSE:INFY"]
        status = self.feed.status
        quality = "fresh" if tick.is_fresh else "stale"
        read = f"feed={status.feed} source={status.source}; NSE:INFY from {tick.source}, {quality}"
        if read != self._read:
            self._read = read
            self.events.append((self.now_s, f"{read}, {tick.age_s:.1f} s old"))
        for key in INSTRUMENTS:
            self.truth.judge(self.feed[key])
        return True

    # --- what Kite was asked, by its own stamps -----------------------------------------------

    def calls(self, route: str, since_s: float = 0.0) -> list[float]:
        recent = self.rig.simulator.stats()["requests"]["recent_ns"].get(route, [])
        return [at_s for at_s in self._since(recent) if at_s >= since_s]

    def calls_of(self, app: int, route: str) -> int:
        now, before = self.rig.simulator.stats()["requests"], self._before
        return sum(
            sign * stats["apps"].get(str(app), {}).get(route, 0)
            for sign, stats in ((1, now), (-1, before))
        )

    def handshakes(self, status: int) -> list[float]:
        recent = self.rig.simulator.stats()["handshakes"]["recent"]
        return self._since([row["at_ns"] for row in recent if row["status"] == status])

    def _since(self, stamps: list[int]) -> list[float]:
        return [(at_ns - self._start_ns) / 1e9 for at_ns in stamps if at_ns >= self._start_ns]

    # --- what was logged ----------------------------------------------------------------------

    def lines(self) -> list[str]:
        return self.rig.output()[self._log_chars :].splitlines()

    def said(self) -> Counter[str]:
        """Error and warning lines by condition, those of no condition by their text."""
        loud = [
            line for line in self.lines() if re.search(r" (ERROR|CRIT|CRITICAL|WARN\w*) ", line)
        ]
        return Counter(_condition(line) or line for line in loud)

    def over(self) -> Counter[str]:
        """Lines that tell the end of a condition."""
        return Counter(_condition(line) for line in self.lines() if " over after " in line)

    def has_said(self, conditions: dict[str, int], *, is_over: bool = False) -> bool:
        """Whether these are all the error and warning lines, each with its end when `is_over`.
        Lines come by way of a thread and of supervisord: soon, and then no more of them."""

        def is_all() -> bool:
            return self.said() == conditions and (not is_over or self.over() == conditions)

        self.until(is_all, 3)
        self.reads_on(0.3)
        return is_all()

    def tell(self) -> str:
        stats = self.rig.simulator.stats()
        handshakes = {row["status"] for row in stats["handshakes"]["recent"]}
        rows = [f"{at_s:7.2f} s  {what}" for at_s, what in sorted(self.events)]
        rows += [f"{route} at {_times(self.calls(route))}" for route in (PROFILE, QUOTE)]
        rows += [f"handshake {n} at {_times(self.handshakes(n))}" for n in sorted(handshakes)]
        rows.append(f"{len(self.lines())} log lines; loud {dict(self.said())}")
        rows.append(
            f"gaps {self.feed.gaps}; {self.truth.judged} values read as fresh were compared"
        )
        return "\n".join(rows)


def _condition(line: str) -> str:
    found = re.search(r"condition=(\w+)", line)
    return found[1] if found else ""


def _times(stamps: list[float]) -> str:
    return " ".join(f"{at_s:.2f}" for at_s in stamps) or "no time"
