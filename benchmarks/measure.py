"""Figures out of runs: percentiles of all ticks, medians and ranges over repetitions."""

import os
import platform
import subprocess
from array import array
from pathlib import Path
from statistics import median

import msgspec

ROOT = Path(__file__).parents[1]


class Figure(msgspec.Struct):
    """One value per repetition, in order."""

    values: list[float]

    @property
    def median(self) -> float:
        return median(self.values)

    def times_better(self, other: "Figure", *, is_more_better: bool) -> "Figure":
        """By how much these are better than those, repetition by repetition, as long as both have
        any."""
        pairs = list(zip(self.values, other.values, strict=False))
        if is_more_better:
            return Figure([own / theirs for own, theirs in pairs])
        return Figure([theirs / own for own, theirs in pairs])


def percentile(values: "array[int] | list[int]", percent: float) -> float:
    """Nearest rank; 0 when there are none."""
    if not len(values):
        return 0.0
    ranked = sorted(values)
    return float(ranked[min(len(ranked) - 1, int(len(ranked) * percent / 100))])


def machine() -> str:
    """One line: what it was measured on."""
    cores = os.cpu_count()
    names = [
        line.partition(":")[2].strip()
        for line in _lines("/proc/cpuinfo")
        if line.startswith("model name")
    ]
    name = names[0] if names else platform.processor()
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{cores} x {name}, {memory_gb:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def commit() -> str:
    """The commit, and whether the tree differs from it."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "no git"


def load() -> str:
    """Say what else the machine was doing."""
    return " ".join(f"{value:.1f}" for value in os.getloadavg())


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
