from kitefeed.actors.supervisor.roster import Roster
from kitefeed.protocol.messages.membership import Beat, Hello
from kitefeed.protocol.messages.status import ActorStatus
from kitefeed.protocol.topology import Role

S = 1_000_000_000


def hello(role: Role = Role.TICKER, boot_id: str = "one", pid: int = 7) -> Hello:
    return Hello(role, boot_id, pid, 70, "1")


def turn(roster: Roster, seconds: range) -> list[Role]:
    return [member.hello.role for second in seconds for member in roster.lost(second * S)]


def test_a_first_hello_is_new_and_its_repetition_is_not() -> None:
    roster = Roster(0)
    assert roster.hello(hello(), b"p", 0) == (True, None)
    assert roster.hello(hello(), b"p", S) == (False, None)


def test_another_process_replaces_the_one_that_held_the_role() -> None:
    roster = Roster(0)
    roster.hello(hello(), b"p", 0)
    is_new, replaced = roster.hello(hello(boot_id="two"), b"q", S)
    assert is_new
    assert replaced is not None
    assert replaced.peer == b"p"
    assert roster.peer_of(Role.TICKER) == b"q"
    assert roster.heard(b"p", S) is None


def test_the_same_process_on_another_connection_is_reached_there() -> None:
    roster = Roster(0)
    roster.hello(hello(), b"p", 0)
    assert roster.hello(hello(), b"q", S) == (False, None)
    assert roster.peer_of(Role.TICKER) == b"q"


def test_a_peer_that_never_said_hello_is_nobody() -> None:
    assert Roster(0).heard(b"p", 0) is None


def test_five_seconds_of_silence_are_a_loss_that_is_told_once() -> None:
    roster = Roster(0)
    roster.hello(hello(), b"p", 0)
    assert turn(roster, range(1, 6)) == []
    assert turn(roster, range(6, 20)) == [Role.TICKER]
    assert roster.peer_of(Role.TICKER) is None
    assert roster.heard(b"p", 20 * S) is None


def test_whoever_is_heard_is_not_lost() -> None:
    roster = Roster(0)
    roster.hello(hello(), b"p", 0)
    for second in range(1, 20):
        roster.heard(b"p", second * S)
        assert roster.lost(second * S) == []


def test_a_lost_process_that_says_hello_again_is_new_and_replaces_nobody() -> None:
    roster = Roster(0)
    roster.hello(hello(), b"p", 0)
    turn(roster, range(1, 7))
    assert roster.hello(hello(), b"p", 7 * S) == (True, None)


def test_after_a_pause_of_our_own_silence_proves_nothing_for_two_seconds() -> None:
    roster = Roster(0)
    roster.hello(hello(), b"p", 0)
    roster.lost(1 * S)
    assert turn(roster, range(60, 63)) == []
    assert turn(roster, range(63, 64)) == [Role.TICKER]


def test_the_report_has_a_row_for_each_other_actor() -> None:
    roster = Roster(0)
    roster.hello(hello(), b"p", 0)
    member = roster.heard(b"p", 0)
    assert member is not None
    member.beat = Beat(lag_ns=2_500_000, counters={"frames": 3})
    rows = {row.role: row for row in roster.report(S // 2)}
    assert set(rows) == set(Role) - {Role.SUPERVISOR}
    assert rows["ticker"] == ActorStatus("ticker", "up", 7, 0.5, 2.5, {"frames": 3})
    assert rows["broadcaster"].state == "absent"


def test_an_actor_is_suspect_before_it_is_lost() -> None:
    roster = Roster(0)
    roster.hello(hello(), b"p", 0)
    assert roster.members[Role.TICKER].state(3 * S) == "up"
    assert roster.members[Role.TICKER].state(3 * S + 1) == "suspect"
    turn(roster, range(1, 7))
    assert roster.members[Role.TICKER].state(7 * S) == "absent"
