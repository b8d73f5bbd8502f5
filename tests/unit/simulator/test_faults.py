import pytest

from kitefeed.cli.commands.simulate import simulate
from kitefeed.simulator.faults import Command, Fault, FaultError, Faults, parse_command


@pytest.mark.parametrize(
    ("name", "argument", "command"),
    [
        ("expire", None, Command(Fault.EXPIRE, "")),
        ("refuse_ws", None, Command(Fault.REFUSE_WS, "403")),
        ("refuse_ws", 503, Command(Fault.REFUSE_WS, "503")),
        ("drop_ws", None, Command(Fault.DROP_WS, "close")),
        ("drop_ws", "rst", Command(Fault.DROP_WS, "rst")),
        ("drop_ws", "1011", Command(Fault.DROP_WS, "1011")),
        ("drop_ws", "twice", Command(Fault.DROP_WS, "twice")),
        ("drop_ws", "1005", Command(Fault.DROP_WS, "empty")),
        ("drop_one", 1006, Command(Fault.DROP_ONE, "fin")),
        ("drop_ws", "4000", Command(Fault.DROP_WS, "4000")),
        ("slow_ws", 6, Command(Fault.SLOW_WS, "6")),
        ("freeze", 408065, Command(Fault.FREEZE, "408065")),
        ("rest_status", "502", Command(Fault.REST_STATUS, "502")),
        ("oms_status", 503, Command(Fault.OMS_STATUS, "503")),
        ("rest_slow", 0.5, Command(Fault.REST_SLOW, "0.5")),
        ("market", "closed", Command(Fault.MARKET, "closed")),
        ("lose_subscribe", None, Command(Fault.LOSE_SUBSCRIBE, "1")),
        ("lose_mode", 3, Command(Fault.LOSE_MODE, "3")),
        ("list", "cut", Command(Fault.LIST, "cut")),
        ("list", "NFO", Command(Fault.LIST, "NFO")),
        ("list", "NSE:INFY", Command(Fault.LIST, "NSE:INFY")),
    ],
)
def test_a_fault_has_a_name_and_a_checked_argument(
    name: str, argument: object, command: Command
) -> None:
    assert parse_command(name, argument) == command


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("explode", None),
        (None, None),
        ("expire", "now"),
        ("refuse_ws", "101"),
        ("refuse_ws", "soon"),
        ("drop_ws", "gently"),
        ("drop_ws", "999"),
        ("drop_ws", "1004"),
        ("drop_one", "1016"),
        ("drop_ws", "2999"),
        ("drop_ws", "5000"),
        ("rest_status", None),
        ("oms_status", "200"),
        ("rest_slow", "-1"),
        ("rest_slow", "nan"),
        ("rest_slow", None),
        ("market", "shut"),
        ("slow_ws", None),
        ("freeze", "NSE:INFY"),
        ("freeze", None),
        ("lose_mode", "0"),
        ("lose_subscribe", "all"),
        ("list", None),
        ("list", "long"),
        ("list", "NSE:"),
    ],
)
def test_anything_else_is_refused_with_a_sentence(name: object, argument: object) -> None:
    with pytest.raises(FaultError) as caught:
        parse_command(name, argument)
    assert "valid are" in str(caught.value) or " takes " in str(caught.value)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(FaultError) as caught:
        parse_command("explode", None)
    assert all(fault in str(caught.value) for fault in Fault)


def test_a_fault_stands_for_its_app_or_for_all_until_it_is_cleared() -> None:
    faults = Faults()
    faults.stand(Command(Fault.MUTE, ""), None)
    faults.stand(Command(Fault.REFUSE_WS, "429"), 2)
    assert faults.stands(Fault.MUTE, 1)
    assert faults.argument(Fault.REFUSE_WS, 1) is None
    assert faults.argument(Fault.REFUSE_WS, 2) == "429"
    faults.clear(2)
    assert not faults.stands(Fault.REFUSE_WS, 2)
    assert faults.stands(Fault.MUTE, 2)
    faults.clear(None)
    assert faults.standing() == []


def test_the_help_of_the_command_names_every_fault() -> None:
    text = simulate.commands["fault"].help or ""
    assert all(fault.value in text for fault in Fault)


def test_so_many_messages_are_lost_as_were_ordered_of_one_app_and_of_all() -> None:
    faults = Faults()
    faults.stand(Command(Fault.LOSE_MODE, "2"), None)
    faults.stand(Command(Fault.LOSE_MODE, "1"), 1)
    assert [faults.is_lost(Fault.LOSE_MODE, 1) for _ in range(4)] == [True, True, True, False]
    assert not faults.is_lost(Fault.LOSE_SUBSCRIBE, 1)
    assert faults.standing() == []
