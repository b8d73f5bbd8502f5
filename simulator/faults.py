"""Names what can be made to go wrong, with its arguments, and keeps what is in force. Pure.

Some faults happen once (`expire`, `kill`, `drop_ws`, `drop_one`, `market`); the others stand until
`clear`, for one app or for all; those that lose messages, until so many are lost.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

STATUS_DEFAULT = 403
SLOW_S_MAX = 600.0
CLOCK_S_MAX = 86_400
MESSAGES_MAX = 1_000


class Fault(StrEnum):
    EXPIRE = "expire"  # the session is refused from now on; open sockets go on, as on Kite
    KILL = "kill"  # the same, and the open sockets are closed
    REFUSE_WS = "refuse_ws"  # open sockets closed, handshakes answered with a status; REST fine
    SLOW_WS = "slow_ws"  # handshakes are answered after so many seconds
    DROP_WS = "drop_ws"  # every open socket ends once: one close frame or two, FIN or RST
    DROP_ONE = "drop_one"  # the socket that opened last ends once
    SILENCE = "silence"  # open connections say nothing at all, not even to a ping or a close
    MUTE = "mute"  # heartbeats go on, ticks do not, the market moves
    FREEZE = "freeze"  # one instrument ticks no more, and moves on
    REST_STATUS = "rest_status"  # every REST call answers this status
    OMS_STATUS = "oms_status"  # orders and portfolio answer this status, all else is fine
    REST_DOWN = "rest_down"  # REST connections end without an answer
    REST_SLOW = "rest_slow"  # REST answers after so many seconds
    NO_ENTITLEMENT = "no_entitlement"  # a plan without market data: profile fine, quotes not
    NOT_ENABLED = "not_enabled"  # logins are refused: the user is none of the app's
    CLOCK = "clock"  # the `Date` of REST answers is so many seconds ahead; may be negative
    LIST = "list"  # the instrument list is cut, short, odd, or lacks something
    MARKET = "market"  # open or closed
    LOSE_SUBSCRIBE = "lose_subscribe"  # the next so many subscribe messages never arrive
    LOSE_UNSUBSCRIBE = "lose_unsubscribe"  # the same of those that end a subscription
    LOSE_MODE = "lose_mode"  # and of those that set a mode
    GARBAGE = "garbage"  # damaged frames between the good ones
    CLEAR = "clear"  # every standing fault ends; a killed session stays dead


# These strike app 1 when none is named, the others every app: a session belongs to one app.
SESSION_FAULTS = frozenset({Fault.EXPIRE, Fault.KILL})


class Command(NamedTuple):
    """A fault and its checked argument: "" when it takes none, digits for a status."""

    fault: Fault
    argument: str


class FaultError(ValueError):
    """An unknown name or a bad argument; the sentence lists the valid ones."""


def parse_command(name: object, argument: object) -> Command:
    """FaultError unless the name is known and the argument fits it."""
    try:
        fault = Fault(str(name))
    except ValueError:
        names = ", ".join(Fault)
        raise FaultError(f"unknown fault {name!r}; valid are {names}") from None
    text = "" if argument is None else str(argument)
    return Command(fault, _ARGUMENTS[fault](fault, text))


def _none(fault: Fault, text: str) -> str:
    if text:
        raise FaultError(f"{fault} takes no argument, not {text!r}")
    return text


def _status(fault: Fault, text: str) -> str:
    if not text and fault is Fault.REFUSE_WS:
        return str(STATUS_DEFAULT)
    if not (text.isascii() and text.isdigit() and 400 <= int(text) <= 599):
        raise FaultError(f"{fault} takes an HTTP status from 400 to 599, not {text!r}")
    return text


def _drop(fault: Fault, text: str) -> str:
    if text in _ENDINGS:
        return _ENDINGS[text]
    if not (text.isascii() and text.isdigit() and _may_be_sent(int(text))):
        raise FaultError(
            f"{fault} takes close, empty, twice, fin, rst or a close code that may be sent "
            f"(1000 to 1003, 1007 to 1014, 3000 to 4999), not {text!r}"
        )
    return text


# By name, and the three codes that only report how a socket ended (RFC 6455, 7.4.1): they are in
# no frame, so each ends as it is reported after.
_ENDINGS = {
    "": "close", "close": "close", "empty": "empty", "twice": "twice", "fin": "fin", "rst": "rst",
    "1005": "empty", "1006": "fin", "1015": "fin",
}  # fmt: skip


def _may_be_sent(code: int) -> bool:
    return (1000 <= code <= 1014 and code not in (1004, 1005, 1006)) or 3000 <= code <= 4999


def _seconds(fault: Fault, text: str) -> str:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= SLOW_S_MAX:
        raise FaultError(f"{fault} takes seconds from 0 to {SLOW_S_MAX:g}, not {text!r}")
    return text


def _clock(fault: Fault, text: str) -> str:
    if not (text.isascii() and text.removeprefix("-").isdigit() and abs(int(text)) <= CLOCK_S_MAX):
        raise FaultError(f"{fault} takes whole seconds, at most {CLOCK_S_MAX}, not {text!r}")
    return text


def _token(fault: Fault, text: str) -> str:
    if not (text.isascii() and text.isdigit()):
        raise FaultError(f"{fault} takes the token of an instrument, not {text!r}")
    return text


def _messages(fault: Fault, text: str) -> str:
    if text and not (text.isascii() and text.isdigit() and 1 <= int(text) <= MESSAGES_MAX):
        raise FaultError(f"{fault} takes messages from 1 to {MESSAGES_MAX}, not {text!r}")
    return text or "1"


def _list(fault: Fault, text: str) -> str:
    exchange, colon, symbol = text.partition(":")
    is_missing = exchange.isalpha() and exchange.isupper() and bool(symbol) == bool(colon)
    if text not in ("cut", "cut_plain", "short", "odd") and not is_missing:
        raise FaultError(
            f"{fault} takes cut, cut_plain, short, odd, or what is to be missing: an exchange "
            f"(NFO) or an instrument (NSE:INFY), not {text!r}"
        )
    return text


def _market(fault: Fault, text: str) -> str:
    if text not in ("open", "closed"):
        raise FaultError(f"{fault} takes open or closed, not {text!r}")
    return text


_ARGUMENTS: dict[Fault, Callable[[Fault, str], str]] = {
    Fault.EXPIRE: _none,
    Fault.KILL: _none,
    Fault.REFUSE_WS: _status,
    Fault.SLOW_WS: _seconds,
    Fault.DROP_WS: _drop,
    Fault.DROP_ONE: _drop,
    Fault.SILENCE: _none,
    Fault.MUTE: _none,
    Fault.FREEZE: _token,
    Fault.REST_STATUS: _status,
    Fault.OMS_STATUS: _status,
    Fault.REST_DOWN: _none,
    Fault.REST_SLOW: _seconds,
    Fault.NO_ENTITLEMENT: _none,
    Fault.NOT_ENABLED: _none,
    Fault.CLOCK: _clock,
    Fault.LIST: _list,
    Fault.MARKET: _market,
    Fault.LOSE_SUBSCRIBE: _messages,
    Fault.LOSE_UNSUBSCRIBE: _messages,
    Fault.LOSE_MODE: _messages,
    Fault.GARBAGE: _none,
    Fault.CLEAR: _none,
}


class Faults:
    """The standing faults: for every app (number None) or for one."""

    def __init__(self) -> None:
        self._standing: dict[tuple[Fault, int | None], str] = {}

    def stand(self, command: Command, app_number: int | None) -> None:
        self._standing[command.fault, app_number] = command.argument

    def clear(self, app_number: int | None) -> None:
        """End the faults of one app, or all there are."""
        ended = [key for key in self._standing if app_number in (None, key[1])]
        for key in ended:
            del self._standing[key]

    def argument(self, fault: Fault, app_number: int | None) -> str | None:
        """The argument of a fault that stands for this app; None when it does not stand."""
        own = self._standing.get((fault, app_number))
        return own if own is not None else self._standing.get((fault, None))

    def stands(self, fault: Fault, app_number: int | None) -> bool:
        return self.argument(fault, app_number) is not None

    def is_lost(self, fault: Fault, app_number: int) -> bool:
        """Whether the next message of this app is lost; counts it."""
        for key in ((fault, app_number), (fault, None)):
            left = int(self._standing.get(key, 0))
            if left > 1:
                self._standing[key] = str(left - 1)
            elif left:
                del self._standing[key]
            if left:
                return True
        return False

    def standing(self) -> list[dict[str, object]]:
        return [
            {"name": fault.value, "arg": argument or None, "app": app_number}
            for (fault, app_number), argument in self._standing.items()
        ]
