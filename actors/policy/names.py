"""Finds the names that somebody may have meant who wrote one that does not exist. Pure."""

import difflib
from collections.abc import Iterable, Sequence

NEAR_MAX = 3
LIKENESS_MIN = 0.75  # of the whole key: two symbols share `NSE:` already


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """Return those of `names` that are much like `name`, the likeliest first."""
    by_capitals = {known.upper(): known for known in names}
    near = difflib.get_close_matches(name.upper(), by_capitals, NEAR_MAX, LIKENESS_MIN)
    return [by_capitals[capitals] for capitals in near]


def did_you_mean(near: Sequence[str]) -> str:
    """Ask `did you mean NSE:A, NSE:B or NSE:C?`; "" when there is nothing near."""
    if not near:
        return ""
    *others, last = near
    return f"did you mean {', '.join(others)}{' or ' if others else ''}{last}?"
