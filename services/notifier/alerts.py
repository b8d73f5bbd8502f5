"""The alerts by their codes: each one's title, what to do, and whom it should wake. Pure."""

from enum import StrEnum
from typing import NamedTuple

import msgspec

from kitefeed.protocol.kite.units import NS_PER_S

MINUTE_NS = 60 * NS_PER_S
DAY_NS = 24 * 60 * MINUTE_NS
DEVELOPERS = "https://developers.kite.trade"
QUIET = "This need wake nobody."


class Code(StrEnum):
    """Stable: rules of users are written for them."""

    LOGIN = "KF-LOGIN"
    REST = "KF-REST"
    RECOVERED = "KF-RECOVERED"
    NOT_READY = "KF-NOT-READY"
    NO_ENTITLEMENT = "KF-NO-ENTITLEMENT"
    CALENDAR = "KF-CALENDAR"
    LIST = "KF-LIST"
    DISK = "KF-DISK"
    LOST = "KF-LOST"
    STOPPED = "KF-STOPPED"
    TEST = "KF-TEST"


class AlertKind(NamedTuple):
    """One code. todo: the next thing to do, in which {login} is replaced.

    wakes: whether somebody loses prices by sleeping on. remind_ns: how long after a message the
    next one of the same condition may come; None for never.
    """

    title: str
    todo: str
    wakes: bool = False
    remind_ns: int | None = None


KINDS: dict[Code, AlertKind] = {
    Code.LOGIN: AlertKind("Kite wants a login", "Log in: {login}", wakes=True, remind_ns=0),
    Code.REST: AlertKind(
        "Prices are polled, not streamed",
        "Nothing: the stream is tried again by itself. Values may be some seconds old.",
    ),
    Code.RECOVERED: AlertKind("Over", "Nothing."),
    Code.NOT_READY: AlertKind("Not ready for the open", "Log in: {login}", wakes=True, remind_ns=0),
    Code.NO_ENTITLEMENT: AlertKind(
        "The app's plan has no market data",
        f"Take a plan with market data at {DEVELOPERS}, then `kitefeed retry`.",
        wakes=True,
        remind_ns=0,
    ),
    Code.CALENDAR: AlertKind(
        "The table of holidays runs out",
        "Name a newer table in market.calendar, or install a newer kitefeed, before the year ends.",
        remind_ns=7 * DAY_NS,
    ),
    Code.LIST: AlertKind(
        "The day's instrument list is not good",
        "Look at it: `kitefeed instruments fetch` says what is wrong; with --believe it is taken "
        "as it is. What streams goes on.",
        remind_ns=DAY_NS,
    ),
    Code.DISK: AlertKind(
        "The disk is full",
        "Make room, or correct the mode: the session, the last values and the instrument list are "
        "written there. Prices go on meanwhile.",
        remind_ns=DAY_NS,
    ),
    Code.LOST: AlertKind(
        "No fresh prices",
        "On the host: `kitefeed doctor` says what is wrong.",
        wakes=True,
        remind_ns=0,
    ),
    Code.STOPPED: AlertKind(
        "Alerts stop",
        "Nothing, if you stopped it; else `kitefeed up`. Until then nobody is told of anything.",
    ),
    Code.TEST: AlertKind("A test", "Nothing: alerts arrive here."),
}


class Alert(msgspec.Struct, frozen=True):
    """One message to the people who are told. text: all of it but the title. at_utc_s: UTC epoch
    seconds."""

    code: Code
    title: str
    text: str
    wakes: bool
    link: str
    at_utc_s: float


class Links(NamedTuple):
    """page: the gateway's address, "" when it is off. host: which machine speaks."""

    page: str
    host: str

    @property
    def login(self) -> str:
        return f"{self.page}/login" if self.page else "`kitefeed login --paste` on the host"


def compose(
    code: Code, what: str, links: Links, utc_ns: int, *, todo: str | None = None, again: str = ""
) -> Alert:
    """what: this occurrence, in a sentence. todo: another one than the code's; again: how long it
    has lasted, in a reminder."""
    kind = KINDS[code]
    do = todo or kind.todo
    is_login = "{login}" in do
    lines = [what, f"Next: {do.replace('{login}', links.login)}"]
    link = ""
    if links.page:
        link = links.login if is_login else f"{links.page}/"
        lines += [] if is_login else [f"See: {link}"]
    if not kind.wakes:
        lines.append(QUIET)
    again = f", still after {again}" if again else ""
    title = f"{code} {kind.title}{again} ({links.host})"
    return Alert(code, title, "\n".join(lines), kind.wakes, link, round(utc_ns / 1e9, 3))


def lasted(duration_ns: int) -> str:
    """Write `12 min 3 s`: the two largest units."""
    seconds = max(0, round(duration_ns / 1e9))
    units = [(seconds // 86_400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min")]
    units.append((seconds % 60, "s"))
    first = next((n for n, (count, _) in enumerate(units) if count), len(units) - 1)
    return " ".join(f"{count} {unit}" for count, unit in units[first : first + 2] if count) or "0 s"
