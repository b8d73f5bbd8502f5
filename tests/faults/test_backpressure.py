"""Tests slow readers beside a healthy one, the daemon, and themselves: at 6,000 ticks a second.

How "changes nothing" is decided: a healthy reader tells the p99 of its latency every second.
Windows with a disturber and windows without alternate in one run, so that whatever else this host
does falls on both; of each window counts the median of its seconds. A window beside the disturber
is compared with those before and after it, and the median of these ratios is judged. On a noisy
host the measurement goes on until the ratios leave no doubt on which side of the bound it is. The
second in which the disturber begins or ends is left out.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any, NamedTuple

import pytest
import zmq

from kitefeed.protocol.topics import LAST_RATES, NUL, TICK, TICKS_TOPIC, last_head
from kitefeed.protocol.topology import FEED, Role, endpoint
from tests.faults import soak
from tests.faults.reader import Reader
from tests.integration.rig import ROOT, Rig, Truth
from tests.support import eventually

pytestmark = [pytest.mark.faults, pytest.mark.full_rate, pytest.mark.timeout(420)]

RATE_MIN = 4_000  # per second; a loaded host is behind the 6,000
PAIRS, PAIRS_MAX = 9, 15
WINDOW_S = 5.0
SETTLE_S = 1.5
SLOWER_MAX = 1.2
PAST_S = 5.0  # two behind on the way, two more in the program's hands, and a slow host
PRESENT_LOOKS = 20  # after the first, a tenth of a second each
NOISE_MS = 0.5  # p99s this near to each other are one and the same
# What may wait in the broadcaster: 10,000 messages for each subscriber, which share the bytes of
# messages that are the same. A tick takes some 500 B there, so 5 MB for those who read `tick/`; a
# chunk of `ticks/all` some 20 kB, and one who reads nothing for a window lets 10 MB of them wait.
GROWTH_MB_MAX = 60


class Full(NamedTuple):
    """A daemon at full rate; `truth` judges what its programs see as fresh."""

    rig: Rig
    truth: Truth


class Program:
    """`tests.faults.programs` in a process; its lines as they come."""

    def __init__(self, full: Full, what: str) -> None:
        self._truth, self._what = full.truth, what
        self.lines: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.programs", what],
            env=full.rig.env, cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            told = json.loads(line)
            for seen in told["seen"]:
                self._truth.saw(*seen, self._what)
            self.lines.append(told)

    def since(self, at_s: float) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["at"] >= at_s]

    def close(self) -> None:
        self.process.kill()
        self.process.wait(5)
        self._thread.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="module")
def full() -> Iterator[Full]:
    options = ("--instruments", str(soak.INSTRUMENTS), "--tick-hz", str(soak.TICK_HZ))
    with Rig(simulator_options=options) as rig:
        rig.start()
        soak.subscribe_all(rig, soak.INSTRUMENTS)
        with Reader(rig) as reader:
            yield Full(rig, reader.truth)
    assert reader.lies == []
    assert reader.judged > 0


@pytest.fixture  # not of the module: the other rows have a host that is busy enough
def healthy(full: Full) -> Iterator[Program]:
    program = Program(full, "healthy")
    try:
        eventually(lambda: program.lines and program.lines[-1]["ticks"] > RATE_MIN, 60)
        yield program
    finally:
        program.close()


@contextmanager
def program(full: Full, what: str) -> Iterator[Program]:
    made = Program(full, what)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def greedy(full: Full) -> Iterator[None]:
    """Subscribes to everything there is, in every way, never reads, and lets nobody cut it."""
    with ExitStack() as stack:
        for _ in range(3):
            made: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
            stack.callback(made.close, 0)
            made.rcvhwm = 1
            for prefix in (b"", TICK, TICKS_TOPIC + NUL, *(last_head(n) for n in LAST_RATES)):
                made.setsockopt(zmq.SUBSCRIBE, prefix)
            made.connect(endpoint(full.rig.run_dir, FEED))
        yield


def rss_mb(rig: Rig) -> float:
    with open(f"/proc/{rig.pid_of(Role.BROADCASTER)}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def p99_ms(healthy: Program) -> float:
    """Over a window that begins now."""
    begin_s = time.monotonic() + SETTLE_S
    end_s = begin_s + WINDOW_S
    eventually(lambda: healthy.since(end_s), WINDOW_S + SETTLE_S + 10)
    seconds = [line for line in healthy.since(begin_s + 1) if line["at"] <= end_s + 1]
    return median(line["p99_ms"] for line in seconds)


DISTURBERS: dict[str, Callable[[Full], Any]] = {
    "stopped": lambda full: program(full, "stopped"),
    "slow": lambda full: program(full, "slow"),
    "greedy": greedy,
}


class Comparison:
    """p99s in ms of windows without and beside a disturber, in turn; one without is the last."""

    def __init__(self, first_ms: float) -> None:
        self.without, self.beside = [first_ms], list[float]()

    @property
    def ratios(self) -> list[float]:
        """Of each window beside it to the two around it, sorted; what is noise is no difference."""
        around = [max(sum(two) / 2, NOISE_MS) for two in itertools.pairwise(self.without)]
        pairs = zip(self.beside, around, strict=True)
        return sorted(max(ms - NOISE_MS, 0) / base for ms, base in pairs)

    @property
    def is_decided(self) -> bool:
        """Whether the interval in which the median lies by 95 % has the bound outside."""
        ratios = self.ratios
        if len(ratios) < PAIRS:
            return False
        outside = len(ratios) // 2 - round(0.98 * len(ratios) ** 0.5)
        return not ratios[outside] <= SLOWER_MAX <= ratios[-1 - outside]


@pytest.mark.parametrize("disturber", DISTURBERS)
def test_41_a_stopped_slow_or_greedy_subscriber_changes_nothing_for_another(
    full: Full, healthy: Program, disturber: str
) -> None:
    before_mb = rss_mb(full.rig)
    lost = (healthy.lines[-1]["gaps"], healthy.lines[-1]["skipped"])
    compared = Comparison(p99_ms(healthy))
    memory_mb = []
    while not compared.is_decided and len(compared.beside) < PAIRS_MAX:
        with DISTURBERS[disturber](full):
            compared.beside.append(p99_ms(healthy))
            memory_mb.append(rss_mb(full.rig))
        compared.without.append(p99_ms(healthy))
    print(
        f"\np99 beside a {disturber} reader {median(compared.beside):.2f} ms, without "
        f"{median(compared.without):.2f} ms, ratio {median(compared.ratios):.2f} over "
        f"{len(compared.beside)} windows; memory {before_mb:.0f} MB before, "
        f"at most {max(memory_mb):.0f}"
        f"\n  without {[round(ms, 1) for ms in compared.without]}"
        f"\n  beside  {[round(ms, 1) for ms in compared.beside]}"
        f"\n  ratios  {[round(ratio, 2) for ratio in compared.ratios]}"
    )
    assert (healthy.lines[-1]["gaps"], healthy.lines[-1]["skipped"]) == lost
    assert median(line["ticks"] for line in healthy.lines[-60:]) > RATE_MIN
    assert max(memory_mb) - before_mb < GROWTH_MB_MAX
    assert median(compared.ratios) <= SLOWER_MAX


@pytest.mark.parametrize("reader", ["told", "told-async"])
def test_42_a_reader_that_was_stopped_for_20_s_goes_on_with_the_present(
    full: Full, reader: str
) -> None:
    with program(full, reader) as told:
        eventually(lambda: told.lines and told.lines[-1]["fresh"] > 2_000, 60)
        # It has to have sent a ping, or it would not be cut, and could read all that it missed.
        eventually(lambda: told.lines[-1]["at"] - told.lines[0]["at"] > 3, 10)
        told.process.send_signal(signal.SIGSTOP)
        before, stopped_s = told.lines[-1], time.monotonic()
        eventually(lambda: time.monotonic() - stopped_s > 20, 25)
        woken_s = time.monotonic()
        told.process.send_signal(signal.SIGCONT)

        def anew() -> list[dict[str, Any]]:
            """Its looks from the first one on whose connection was made after the stop."""
            return [x for x in told.since(woken_s) if x["reconnects"] > before["reconnects"]]

        eventually(lambda: [x for x in anew()[PRESENT_LOOKS:] if x["fresh"] > 2_000], 60)
        after, last = told.since(woken_s), anew()[-1]
        print(f"\n{reader}: before {before}\n  first looks {after[:3]}\n  last {last}")
        # It was given at most what its process held in its hands when it was stopped.
        assert sum(look["ticks"] for look in after if look["oldest_s"] > PAST_S) < 10_000
        assert [look for look in anew()[1:] if look["oldest_s"] > PAST_S] == []
        missed = last["gaps"] + last["skipped"] - before["gaps"] - before["skipped"]
        assert missed > (20 - 3) * RATE_MIN / 2


def test_43_who_lost_ticks_is_told_and_shown(full: Full) -> None:
    def shown() -> dict[str, Any]:
        readers = {row["name"]: row for row in full.rig.status().get("readers", [])}
        return readers.get("slow") or {}

    with program(full, "slow"):
        eventually(lambda: shown().get("skipped", 0) + shown().get("overrun", 0) > 10_000, 30)
        # Not at any moment: who has lost ticks goes on with the newest.
        eventually(lambda: shown().get("lag_ms", 0) > 1_000, 30)
        assert shown()["gaps"] == 0  # it lost by its own slowness, and not on the way
