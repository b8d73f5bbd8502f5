"""An actor's membership of the bus: hello until welcome, then a beat a second. Pure.

The supervisor answers every beat; three unanswered ones and the actor says hello again. Commands
for an absent supervisor are not queued: both sides repeat desired state after a hello.
"""

from enum import Enum, auto

from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.membership import BeatAck, Challenge, Leave, Welcome

HELLO_RETRY_NS = 200_000_000
SUPERVISOR_LOST_NS = 3 * NS_PER_S


class Duty(Enum):
    """The duty of an actor towards the bus."""

    HELLO = auto()  # say who we are
    BEAT = auto()  # show that we live; the next turn is with the next second
    WELCOMED = auto()  # a supervisor that did not know us welcomed us: repeat the reports
    LEAVE = auto()  # another process has the role
    COMMAND = auto()  # the message is for the actor itself


class Membership:
    """An actor's membership. Times are boot-time nanoseconds. `heard_ns`: when the supervisor was
    last heard."""

    def __init__(self, heard_ns: int = 0) -> None:
        self.supervisor: str | None = None  # boot_id of the one that welcomed us
        self.heard_ns = heard_ns

    def turn(self, now_ns: int) -> Duty:
        """Call this again after `HELLO_RETRY_NS` when a hello is due, else every second."""
        if now_ns - self.heard_ns > SUPERVISOR_LOST_NS:
            self.supervisor = None
        return Duty.HELLO if self.supervisor is None else Duty.BEAT

    def heard(self, message: m.BusMessage, now_ns: int) -> Duty | None:
        """Take a message of the supervisor; return what it asks for, None for nothing."""
        self.heard_ns = now_ns
        match message:
            case Welcome(boot_id):
                is_repetition = self.supervisor == boot_id
                self.supervisor = boot_id
                return None if is_repetition else Duty.WELCOMED
            case Challenge():
                self.supervisor = None
                return Duty.HELLO
            case Leave():
                return Duty.LEAVE
            case BeatAck():
                return None
            case _:
                return Duty.COMMAND
