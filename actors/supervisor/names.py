"""Names of instruments: what the day's list says of them, and what a new list would lack."""

from collections.abc import Callable, Sequence
from typing import Protocol

from kitefeed.actors.policy.names import did_you_mean
from kitefeed.actors.supervisor.subscriptions import NOT_LISTED, WAITING, Subscriptions
from kitefeed.protocol import messages as m
from kitefeed.protocol.instrument_list import Facts, ListDamaged
from kitefeed.protocol.kite.instruments import Listed

NEAR_MAX = 5  # unknown names that get near matches in one turn: each costs up to 50 ms of the loop
LACKING_NAMED_MAX = 5  # of what a new list lacks; the rest is counted
PATTERN = "a pattern means what streams already and asks for nothing: name each instrument"
FIND_IT = f"{NOT_LISTED}: `kitefeed instruments find TEXT` searches it"


class List(Protocol):
    """A list of the day, see `InstrumentsDb`. Each may raise ListDamaged."""

    def facts(self) -> Facts | None: ...
    def resolve(self, keys: Sequence[str]) -> dict[str, Listed]: ...
    def owners(self, tokens: Sequence[int]) -> dict[int, str]: ...


class Names:
    """`near` finds what somebody may have meant, in the list in use."""

    def __init__(
        self, subscriptions: Subscriptions, used: List, near: Callable[[str], list[str]]
    ) -> None:
        self._subscriptions = subscriptions
        self._used = used
        self._near = near
        self._near_left = NEAR_MAX

    def turn(self) -> None:
        """Once a second: near matches may be searched for again."""
        self._near_left = NEAR_MAX

    def look_up(self, keys: Sequence[str] | None = None) -> dict[str, str]:
        """Resolves names, of all that are wanted by default; returns why some cannot be had. While
        there is no list, or a damaged one, they stay unresolved and are shown so."""
        unresolved = self._subscriptions.unresolved(keys)
        if not unresolved:
            return {}
        try:
            if self._used.facts() is None:
                self._subscriptions.waiting = WAITING
                return {}
            found = self._used.resolve(unresolved)
            missing = {key: self._explain(key) for key in unresolved if key not in found}
        except ListDamaged as error:
            self._subscriptions.waiting = f"{error}; it is fetched anew"
            return {}
        self._subscriptions.resolved(found, missing)
        return missing

    def of(self, tokens: Sequence[int]) -> dict[int, str] | None:
        """What those of `tokens` that exist are called; None without a usable list."""
        try:
            return None if self._used.facts() is None else self._used.owners(tokens)
        except ListDamaged:
            return None

    def relist(self, day_ist: str) -> None:
        """The list in use is another one. One that is damaged changes nothing."""
        before = self._subscriptions.in_use()
        try:
            found = self._used.resolve(list(before))
            gone = [listed.token for key, listed in before.items() if key not in found]
            owners = self._used.owners(gone)
        except ListDamaged:
            return
        self._subscriptions.relisted(found, owners, day_ist)

    def lacking(self, offer: m.InstrumentsOffered, offered: List) -> m.InstrumentsLacking:
        """What is in use and not in the list that is offered. What the list in use lacks as well is
        no news."""
        before = {
            key: listed
            for key, listed in self._subscriptions.in_use().items()
            if key not in self._subscriptions.kept and not listed.is_expired(offer.day_ist)
        }
        try:
            found = offered.resolve(list(before))
        except ListDamaged:
            found = {}
        gone = [k for k, was in before.items() if k not in found or found[k].token != was.token]
        return m.InstrumentsLacking(offer.digest, len(gone), tuple(gone[:LACKING_NAMED_MAX]))

    def _explain(self, key: str) -> str:
        if key.endswith("*"):
            return PATTERN
        if self._near_left <= 0:
            return FIND_IT
        self._near_left -= 1
        near = self._near(key)
        return f"{NOT_LISTED}; {did_you_mean(near)}" if near else FIND_IT
