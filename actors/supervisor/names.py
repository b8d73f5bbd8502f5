"""Names of instruments: what the day's list says of them, and what a new list would lack. Pure: a
question to a list is a `LookUp`, and the answer a `Found`."""

from collections.abc import Generator, Sequence
from typing import TypeVar

import msgspec

from kitefeed.actors.policy.names import did_you_mean
from kitefeed.actors.supervisor.subscriptions import NOT_LISTED, WAITING, Subscriptions
from kitefeed.protocol.kite.instruments import Listed
from kitefeed.protocol.messages import bus as m

NEAR_MAX = 5  # unknown names that get near matches in one turn: each costs up to 50 ms of the loop
LACKING_NAMED_MAX = 5  # of the instruments that a new list lacks; the rest is counted
PATTERN = "a pattern means what streams already and asks for nothing: name each instrument"
FIND_IT = f"{NOT_LISTED}: `kitefeed instruments find TEXT` searches it"

T = TypeVar("T")


class LookUp(msgspec.Struct, frozen=True):
    """A question to a list of the day: what these `keys` are, which keys have these `tokens`, and
    what somebody may have meant by the names in `near`. is_offered: the list that is offered, not
    the one in use."""

    keys: tuple[str, ...] = ()
    tokens: tuple[int, ...] = ()
    near: tuple[str, ...] = ()
    is_offered: bool = False


class Found(msgspec.Struct, frozen=True):
    """The list's answer. `damage`: why it has none, a sentence without an end."""

    listed: dict[str, Listed] = {}
    owners: dict[int, str] = {}
    near: dict[str, list[str]] = {}
    is_there: bool = True
    damage: str = ""

    @property
    def is_usable(self) -> bool:
        return self.is_there and not self.damage


Asking = Generator[LookUp, Found, T]
"""Yields what is to be looked up, is sent what was found, and returns a T."""


class Names:
    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions
        self._near_left = NEAR_MAX

    def turn(self) -> None:
        """Allow more searches for near matches; called once a second."""
        self._near_left = NEAR_MAX

    def look_up(self, keys: Sequence[str] | None = None) -> Asking[dict[str, str]]:
        """Resolve names, by default all that are wanted; return why some cannot be had. While there
        is no list, or a damaged one, they stay unresolved and are shown so."""
        unresolved = self._subscriptions.unresolved(keys)
        if not unresolved:
            return {}
        found = yield LookUp(tuple(unresolved))
        missing = [key for key in unresolved if key not in found.listed]
        near: dict[str, list[str]] = {}
        if found.is_usable and missing:
            sought = [key for key in missing if not key.endswith("*")][: self._near_left]
            self._near_left -= len(sought)
            if sought:
                searched = yield LookUp(near=tuple(sought))
                near, found = searched.near, found if searched.is_usable else searched
        if not found.is_usable:
            why = f"{found.damage}; it is fetched anew" if found.damage else WAITING
            self._subscriptions.wait_for(why)
            return {}
        unknown = {key: _explain(key, near.get(key, [])) for key in missing}
        self._subscriptions.resolved(found.listed, unknown)
        return unknown

    def of(self, tokens: Sequence[int]) -> Asking[dict[int, str] | None]:
        """Return the names of those of `tokens` that exist; None without a usable list."""
        found = yield LookUp(tokens=tuple(tokens))
        return found.owners if found.is_usable else None

    def relist(self, day_ist: str) -> Asking[None]:
        """Apply another list that is in use now. A damaged one changes nothing."""
        before = self._subscriptions.in_use()
        tokens = tuple(listed.token for listed in before.values())
        found = yield LookUp(tuple(before), tokens)
        if not found.damage:
            self._subscriptions.relisted(found.listed, found.owners, day_ist)

    def lacking(self, offer: m.InstrumentsOffered) -> Asking[m.InstrumentsLacking]:
        """Return the instruments in use that the offered list lacks, or has with another token. One
        that the list in use lacks as well is no news."""
        before = {
            key: listed
            for key, listed in self._subscriptions.in_use().items()
            if key not in self._subscriptions.kept and not listed.is_expired(offer.day_ist)
        }
        found = (yield LookUp(tuple(before), is_offered=True)).listed
        gone = [k for k, was in before.items() if k not in found or found[k].token != was.token]
        return m.InstrumentsLacking(offer.digest, len(gone), tuple(gone[:LACKING_NAMED_MAX]))


def _explain(key: str, near: list[str]) -> str:
    if key.endswith("*"):
        return PATTERN
    return f"{NOT_LISTED}; {did_you_mean(near)}" if near else FIND_IT
