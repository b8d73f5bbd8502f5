"""The lists of the day as the supervisor's shell asks them: SQLite files, opened for each look."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from kitefeed.actors.runtime import instrument_search
from kitefeed.actors.runtime.instruments_db import offered_path
from kitefeed.actors.supervisor.names import Found, LookUp
from kitefeed.protocol.instrument_list import Facts, InstrumentsDb, ListDamaged
from kitefeed.protocol.kite.instruments import Listed


class Listing(Protocol):
    """A list of the day, see `InstrumentsDb`. Each may raise ListDamaged."""

    def facts(self) -> Facts | None: ...
    def resolve(self, keys: Sequence[str]) -> dict[str, Listed]: ...
    def owners(self, tokens: Sequence[int]) -> dict[int, str]: ...


def look_up(asked: LookUp, listing: Listing, near: Callable[[str], list[str]]) -> Found:
    """Answer from `listing`; `near` finds names that somebody may have meant."""
    try:
        if listing.facts() is None:
            return Found(is_there=False)
        return Found(
            listing.resolve(asked.keys),
            listing.owners(asked.tokens),
            {key: near(key) for key in asked.near},
        )
    except ListDamaged as error:
        return Found(damage=str(error))


class Lists:
    """The list at `path`, and the one that is offered beside it."""

    def __init__(self, path: Path) -> None:
        self._used, self._offered = InstrumentsDb(path), InstrumentsDb(offered_path(path))

    def look_up(self, asked: LookUp) -> Found:
        db = self._offered if asked.is_offered else self._used
        return look_up(asked, db, partial(instrument_search.near, db))
