from collections.abc import Sequence
from typing import TypeVar

import pytest

from kitefeed.actors.supervisor.listings import look_up
from kitefeed.actors.supervisor.names import LACKING_NAMED_MAX, NEAR_MAX, Asking, Names
from kitefeed.actors.supervisor.subscriptions import Subscriptions
from kitefeed.protocol.instrument_list import Facts, ListDamaged
from kitefeed.protocol.kite.instruments import Listed
from kitefeed.protocol.messages import bus as m

DAY = "2026-11-24"
INFY, SBIN, OPTION = "NSE:INFY", "NSE:SBIN", "NFO:NIFTY26NOV24000CE"
T = TypeVar("T")
ROWS = {INFY: Listed(408065), SBIN: Listed(779521), OPTION: Listed(9, DAY)}


class Listing:
    """A list of the day, which may be missing or damaged."""

    def __init__(self, rows: dict[str, Listed] | None) -> None:
        self.rows = rows
        self.is_damaged = False

    def facts(self) -> Facts | None:
        return Facts(len(self._good), DAY) if self.rows is not None else None

    def resolve(self, keys: Sequence[str]) -> dict[str, Listed]:
        return {key: self._good[key] for key in keys if key in self._good}

    def owners(self, tokens: Sequence[int]) -> dict[int, str]:
        return {listed.token: k for k, listed in self._good.items() if listed.token in tokens}

    @property
    def _good(self) -> dict[str, Listed]:
        if self.is_damaged:
            raise ListDamaged(__file__, "its digest is wrong")  # type: ignore[arg-type]
        return self.rows or {}


class Office:
    def __init__(self, *wanted: str) -> None:
        self.subscriptions = Subscriptions(wanted, (), "quote", {})
        self.listing = Listing(dict(ROWS))
        self.searched: list[str] = []
        self.names = Names(self.subscriptions)

    def answered(self, asking: Asking[T], offered: Listing | None = None) -> T:
        """Answer each of its questions; return what comes of it."""
        found = None
        while True:
            try:
                asked = asking.send(found)  # type: ignore[arg-type]
            except StopIteration as end:
                result: T = end.value
                return result
            listing = offered or Listing(None) if asked.is_offered else self.listing
            found = look_up(asked, listing, self._near)

    def look_up(self) -> dict[str, str]:
        return self.answered(self.names.look_up())

    def relist(self) -> None:
        self.answered(self.names.relist(DAY))

    def _near(self, key: str) -> list[str]:
        self.searched.append(key)
        return [INFY]

    @property
    def keys(self) -> list[str]:
        return [i.key for i in self.subscriptions.instruments()]

    def lacking(self, rows: dict[str, Listed], day_ist: str = DAY) -> tuple[str, ...]:
        offer = m.InstrumentsOffered("d", day_ist)
        answer = self.answered(self.names.lacking(offer), Listing(rows))
        assert answer.digest == "d"
        assert answer.count >= len(answer.keys)
        return answer.keys


def test_a_damaged_list_is_not_a_list_without_the_name() -> None:
    office = Office(INFY)
    office.listing.is_damaged = True
    assert office.look_up() == {}
    assert office.subscriptions.unknown == {}
    answer = office.subscriptions.answer(INFY, "connecting")
    assert answer.outcome == "accepted"
    assert "is damaged" in answer.detail
    office.listing.is_damaged = False
    office.look_up()
    assert office.keys == [INFY]


def test_a_list_that_is_damaged_when_it_is_announced_unsubscribes_nothing() -> None:
    office = Office(INFY)
    office.look_up()
    office.listing.is_damaged = True
    office.relist()
    assert office.keys == [INFY]


def test_a_new_list_that_forgot_what_streams_unsubscribes_nothing() -> None:
    office = Office(INFY, SBIN)
    office.look_up()
    office.listing.rows = {SBIN: ROWS[SBIN]}
    office.relist()
    assert office.look_up() == {}
    assert office.keys == [INFY, SBIN]
    office.listing.rows = {SBIN: ROWS[SBIN], "NSE:OTHER": ROWS[INFY]}
    office.relist()
    assert office.keys == [SBIN]


def test_an_unknown_name_is_looked_up_in_every_new_list() -> None:
    office = Office("NSE:NEW")
    assert "did you mean NSE:INFY?" in office.look_up()["NSE:NEW"]
    assert office.listing.rows is not None
    office.listing.rows["NSE:NEW"] = Listed(77)
    office.relist()
    office.look_up()
    assert office.keys == ["NSE:NEW"]


def test_what_is_in_use_and_not_in_the_offered_list_is_named() -> None:
    office = Office(INFY, SBIN, OPTION)
    office.look_up()
    assert office.lacking(ROWS) == ()
    assert office.lacking({SBIN: ROWS[SBIN]}) == (INFY, OPTION)
    assert office.lacking({SBIN: ROWS[SBIN]}, "2026-11-25") == (INFY,)  # the option has expired
    assert office.lacking(ROWS | {INFY: Listed(1)}) == (INFY,)  # another instrument's prices


def test_what_the_list_in_use_lacks_already_is_no_reason_to_doubt_the_next() -> None:
    office = Office(INFY, SBIN)
    office.look_up()
    office.listing.rows = {SBIN: ROWS[SBIN]}
    office.relist()
    assert office.lacking({SBIN: ROWS[SBIN]}) == ()


def test_of_many_that_are_lacking_a_few_are_named() -> None:
    many = {f"NSE:X{n}": Listed(n + 1) for n in range(100)}
    office = Office(*many)
    office.listing.rows = many
    office.look_up()
    answer = office.answered(office.names.lacking(m.InstrumentsOffered("d", DAY)), Listing({}))
    assert (answer.count, len(answer.keys)) == (100, LACKING_NAMED_MAX)


@pytest.mark.parametrize("wanted", [NEAR_MAX + 3])
def test_near_names_are_searched_for_a_few_times_a_turn(wanted: int) -> None:
    office = Office(*(f"NSE:NO{n}" for n in range(wanted)))
    office.look_up()
    assert len(office.searched) == NEAR_MAX
    assert len(office.subscriptions.unknown) == wanted
    office.answered(office.names.look_up(["NSE:OF_THE_SAME_TURN"]))
    assert len(office.searched) == NEAR_MAX
    office.names.turn()
    office.answered(office.names.look_up(["NSE:OF_THE_NEXT"]))
    assert office.searched[NEAR_MAX:] == ["NSE:OF_THE_NEXT"]


def test_tokens_are_named_while_there_is_a_usable_list() -> None:
    office = Office()
    token = ROWS[INFY].token
    assert office.answered(office.names.of((token, 1))) == {token: INFY}
    office.listing.is_damaged = True
    assert office.answered(office.names.of((token,))) is None
