import pytest

from kitefeed.actors.runtime.membership import SUPERVISOR_LOST_NS, Duty, Membership
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.membership import BeatAck, Challenge, Leave, Welcome

S = 1_000_000_000


def welcome(boot_id: str = "sup-1") -> Membership:
    membership = Membership()
    assert membership.heard(Welcome(boot_id), S) is Duty.WELCOMED
    return membership


def test_hello_is_said_until_somebody_welcomes_us() -> None:
    membership = Membership()
    assert membership.turn(0) is Duty.HELLO
    assert membership.turn(S) is Duty.HELLO
    membership.heard(Welcome("sup-1"), S)
    assert membership.turn(S) is Duty.BEAT


def test_a_welcome_that_is_repeated_is_no_news_and_one_of_another_supervisor_is() -> None:
    membership = welcome()
    assert membership.heard(Welcome("sup-1"), S) is None
    assert membership.heard(Welcome("sup-2"), S) is Duty.WELCOMED
    assert membership.supervisor == "sup-2"


def test_after_a_challenge_we_say_hello_and_are_welcomed_anew() -> None:
    membership = welcome()
    assert membership.heard(Challenge(), S) is Duty.HELLO
    assert membership.turn(S) is Duty.HELLO
    assert membership.heard(Welcome("sup-1"), S) is Duty.WELCOMED


@pytest.mark.parametrize(
    ("silent_ns", "due"), [(SUPERVISOR_LOST_NS, Duty.BEAT), (SUPERVISOR_LOST_NS + 1, Duty.HELLO)]
)
def test_a_supervisor_that_is_silent_for_three_beats_is_lost(silent_ns: int, due: Duty) -> None:
    assert welcome().turn(S + silent_ns) is due


def test_every_answer_to_a_beat_keeps_the_supervisor() -> None:
    membership = welcome()
    for second in range(2, 10):
        assert membership.heard(BeatAck(), second * S) is None
        assert membership.turn(second * S) is Duty.BEAT
    assert membership.heard_ns == 9 * S


def test_commands_are_the_actors_own_and_leave_is_leave() -> None:
    membership = welcome()
    assert membership.heard(m.StopPolling(0), S) is Duty.COMMAND
    assert membership.heard(Leave("another"), S) is Duty.LEAVE
