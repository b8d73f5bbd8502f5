"""Kite's instrument list of a simulated day, and what of it lies on the poller's disk."""

from collections.abc import Sequence

from kitefeed.actors.rest_poller.dump_schedule import DumpEnded
from kitefeed.protocol.instrument_list import Facts
from kitefeed.protocol.kite.instruments import Listed, Loss
from tests.simulation.exchange import LISTED

ROWS = 90_000


class Listing:
    """A list on disk: None before there is one."""

    def __init__(self) -> None:
        self.rows: dict[str, Listed] | None = None
        self.day_ist = ""

    def facts(self) -> Facts | None:
        return Facts(ROWS, self.day_ist) if self.rows is not None else None

    def resolve(self, keys: Sequence[str]) -> dict[str, Listed]:
        rows = self.rows or {}
        return {key: rows[key] for key in keys if key in rows}

    def owners(self, tokens: Sequence[int]) -> dict[int, str]:
        return {row.token: key for key, row in (self.rows or {}).items() if row.token in tokens}


class Lists:
    """`forgotten`: keys that Kite's list lacks now. What was once taken stays on the disk."""

    def __init__(self) -> None:
        self.forgotten: frozenset[str] = frozenset()
        self.used, self.offered = Listing(), Listing()

    def fetch(self, day_ist: str) -> DumpEnded:
        rows = {k: Listed(token) for k, token in LISTED.items() if k not in self.forgotten}
        self.offered.rows, self.offered.day_ist = rows, day_ist
        digest, losses = " ".join(sorted(rows)), None
        if self.used.rows is not None:
            lost = len(self.used.rows.keys() - rows.keys())
            losses = (Loss("NSE", "NSE", len(self.used.rows), lost),)
        return DumpEnded(ROWS, day_ist, digest, losses)

    def take(self) -> None:
        self.used.rows, self.used.day_ist = self.offered.rows, self.offered.day_ist

    def read(self) -> tuple[int, str]:
        """Rows and day of the list in use."""
        return (ROWS, self.used.day_ist) if self.used.rows is not None else (0, "")
