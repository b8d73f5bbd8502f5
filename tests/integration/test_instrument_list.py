"""The day's instrument list comes short, cut, odd or lacking, and the one on disk is damaged, while
instruments stream."""

import os
import signal
from collections.abc import Callable

import pytest

from kitefeed.protocol.exits import Exit
from kitefeed.protocol.topology import Role
from tests.integration.rig import Rig
from tests.support import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

INFY = 408065


def fetched(rig: Rig, *options: str) -> tuple[int, str]:
    """`kitefeed instruments fetch`: its exit code, and what it said."""
    done = rig.kitefeed("instruments", "fetch", *options)
    return done.returncode, done.stdout + done.stderr


def unsubscribed(rig: Rig) -> int:
    messages: dict[str, int] = rig.simulator.stats([INFY])["messages"]
    return messages.get("unsubscribe", 0)


def lines(rig: Rig, text: str) -> int:
    return sum(text in line for line in rig.output().splitlines())


@pytest.fixture
def listed(rig: Rig) -> Callable[[], None]:
    """The list as Kite has it when all is well, and a check that nothing was ever unsubscribed."""
    rig.simulator.fault("clear")
    assert fetched(rig, "--believe")[0] == 0
    before = unsubscribed(rig)

    def is_well() -> None:
        with rig.feed("NSE:INFY") as feed:
            eventually(lambda: feed["NSE:INFY"].is_fresh, 5)
        assert unsubscribed(rig) == before
        assert rig.status()["subscriptions"]["refused"] == {}

    return is_well


def test_a_list_that_lacks_what_streams_is_doubted_until_the_good_one_is_back(
    rig: Rig, listed: Callable[[], None]
) -> None:
    rig.simulator.fault("list", "NSE:INFY")
    code, said = fetched(rig)
    assert code == Exit.TRY_LATER
    assert "NSE:INFY" in said
    assert "--believe" in said
    listed()
    status = rig.status()["instrument_list"]
    assert (status["outcome"], status["rows"] > 50) == ("doubted", True)
    assert fetched(rig)[0] == Exit.TRY_LATER
    assert lines(rig, "condition=instruments") == 1  # once, however often it comes
    rig.simulator.fault("clear")
    assert rig.kitefeed("retry").returncode == 0
    eventually(lambda: rig.status()["instrument_list"]["outcome"] == "taken", 15)
    eventually(lambda: lines(rig, "condition=instruments") == 2, 5)
    listed()


@pytest.mark.parametrize(
    ("fault", "word"),
    [("short", "instruments that should still be there"), ("NFO", "of NFO it lacks all")],
)
def test_a_list_that_lost_much_is_doubted(
    rig: Rig, listed: Callable[[], None], fault: str, word: str
) -> None:
    rig.simulator.fault("list", fault)
    code, said = fetched(rig)
    assert (code, word in said) == (Exit.TRY_LATER, True)
    listed()


@pytest.mark.parametrize("fault", ["cut", "cut_plain"])
def test_a_cut_transfer_is_an_error(rig: Rig, listed: Callable[[], None], fault: str) -> None:
    rig.simulator.fault("list", fault)
    code, said = fetched(rig)
    assert (code, "cut" in said) == (Exit.TRY_LATER, True)
    listed()


def test_what_streams_is_kept_when_the_operator_believes_a_list_without_it(
    rig: Rig, listed: Callable[[], None]
) -> None:
    rig.simulator.fault("list", "NSE:INFY")
    code, said = fetched(rig, "--believe")
    assert (code, "are in use" in said) == (0, True)
    listed()
    assert list(rig.status()["instrument_list"]["kept"]) == ["NSE:INFY"]
    assert (
        "NSE:INFY: not in today's instrument list; it streams on" in rig.kitefeed("status").stdout
    )
    before = rig.pid_of(Role.SUPERVISOR)
    os.kill(before, signal.SIGKILL)
    eventually(lambda: rig.pid_of(Role.SUPERVISOR) not in (0, before), 10)
    rig.until("live", 15)
    eventually(lambda: list(rig.status()["instrument_list"]["kept"]) == ["NSE:INFY"], 10)
    listed()
    rig.simulator.fault("clear")
    assert fetched(rig)[0] == 0
    assert rig.status()["instrument_list"]["kept"] == {}


def test_a_list_with_other_columns_is_taken_and_what_was_left_out_is_said(
    rig: Rig, listed: Callable[[], None]
) -> None:
    rig.simulator.fault("list", "odd")
    code, said = fetched(rig)
    assert (code, "4 rows that name nothing were left out" in said) == (0, True)
    assert fetched(rig)[0] == 0
    assert lines(rig, "4 rows of the instrument dump name nothing") == 1
    listed()


def test_a_damaged_list_is_said_to_be_one_set_aside_and_made_anew(
    rig: Rig, listed: Callable[[], None]
) -> None:
    path = rig.root / "state" / "instruments.sqlite"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    found = rig.kitefeed("instruments", "find", "INFY")
    assert "No instrument matches" not in found.stderr
    eventually(lambda: rig.kitefeed("instruments", "find", "INFY").returncode == 0, 20)
    assert path.with_name("instruments.sqlite.damaged").exists()
    assert lines(rig, "is damaged") == 1
    listed()
