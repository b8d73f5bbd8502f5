"""Decides when the session is renewed without a person, and when a person is told that it is not.
Pure: facts and times in, orders out; each order's outcome is told before the next look.

There are two causes: the hour of the day that the user set, and somebody else's login that ended
the session. Each is answered once. The user's own command logs in at Kite with a password, and
Kite locks accounts: it has three failures, over restarts too, until the next login.
"""

from datetime import datetime, time
from enum import Enum
from typing import Literal, NamedTuple

import msgspec

from kitefeed.actors.policy.market import TOKEN_FLUSH, to_ist, to_utc_ns
from kitefeed.protocol.kite.units import IST, NS_PER_S

FAILURES_MAX = 3
PAUSES_NS = (60 * NS_PER_S, 300 * NS_PER_S)  # after the first failure, and after the second
ASK_AGAIN_NS = 30 * NS_PER_S  # Kite could not be asked: that is nobody's failure
TAKEOVERS_MAX = 3  # in a day; two programs that take turns would never end


class LoginRules(NamedTuple):
    """at: IST, None for never. elsewhere: as `session.elsewhere`. login: what tells a person how to
    log in. has_flush: whether Kite ends every session in the morning; a simulator does not."""

    at: time | None
    has_command: bool
    elsewhere: str
    login: str
    has_flush: bool = True

    @property
    def not_before(self) -> time:
        """The hour before which no login lasts: Kite's flush ends every session that is made
        before."""
        return TOKEN_FLUSH if self.has_flush else time()

    @property
    def due_at(self) -> time | None:
        return max(self.at, self.not_before) if self.at is not None else None


class Seen(NamedTuple):
    """One look at the daemon. fingerprint: of the session in force. is_needed: the market is open,
    or opens later today. elsewhere_utc_s: when somebody else ended the session. can_renew: there
    are a refresh token and the app's secret."""

    fingerprint: str | None
    is_needed: bool
    elsewhere_utc_s: float | None = None
    can_renew: bool = False


class LoginState(msgspec.Struct):
    """The facts that must survive a restart. fingerprint: of the last login. answered_utc_ns: the
    last hour that was answered. takeovers_utc_ns: when a login of ours answered somebody else's.
    not_before_utc_ns: of the next try, after one that failed or was cut short."""

    fingerprint: str = ""
    failures: int = 0
    answered_utc_ns: int = 0
    elsewhere_utc_s: float = 0.0
    takeovers_utc_ns: list[int] = []
    not_before_utc_ns: int = 0


class Do(Enum):
    """check: ask Kite whether the session is good. The other two make a new one."""

    CHECK = "check"
    RENEW = "renew"
    COMMAND = "command"


class Tell(NamedTuple):
    level: Literal["error", "info"]
    text: str


Order = Do | Tell
# good: there is a session that Kite accepts. bad: there is none, or it was refused. unknown: Kite
# could not be asked.
Outcome = Literal["good", "bad", "unknown"]


class Machine:
    def __init__(self, rules: LoginRules, record: LoginState) -> None:
        self._rules = rules
        self.record = record
        self._is_checked = False  # Kite has said that the session in force is not good
        self._is_waiting_said = False
        self._refused_renewal = ""  # the session whose refresh token Kite does not take

    def look(self, seen: Seen, utc_ns: int) -> Order | None:
        """Return the order of this moment; a `Do` is followed by `done`."""
        if seen.fingerprint and seen.fingerprint != self.record.fingerprint:  # a new login
            self.record.fingerprint = seen.fingerprint
            self.record.failures = 0
            self._is_checked = False
            self.record.not_before_utc_ns = 0
        if self._cause(seen, utc_ns) is None:
            self._is_checked = False
            return None
        # A clock that was put back must not keep us waiting.
        if utc_ns < self.record.not_before_utc_ns <= utc_ns + max(PAUSES_NS):
            return None
        if not self._is_checked and seen.fingerprint is not None:
            return Do.CHECK
        return self._log_in(seen, utc_ns)

    def done(
        self, what: Do, outcome: Outcome, seen: Seen, utc_ns: int, why: str = ""
    ) -> Tell | None:
        """Take the outcome of an order; return what is to be said of it. why: of one that is not
        good."""
        if outcome == "good":
            self._answer(seen, utc_ns, is_login=what is not Do.CHECK)
            return Tell("info", _GOOD[what])
        if what is Do.COMMAND:
            return self._failed(why, utc_ns)
        if outcome == "unknown":
            self.record.not_before_utc_ns = utc_ns + ASK_AGAIN_NS
            is_said, self._is_waiting_said = self._is_waiting_said, True
            text = f"Kite cannot be asked, and is again every {ASK_AGAIN_NS // NS_PER_S} s: {why}"
            return None if is_said else Tell("info", text)
        self._is_waiting_said = False
        if what is Do.CHECK:
            self._is_checked = True
            return Tell("info", f"a login is due: {why}")
        self._refused_renewal = seen.fingerprint or ""
        return Tell("info", f"the session cannot be renewed: {why}")

    # --- causes -------------------------------------------------------------------------------

    def _cause(self, seen: Seen, utc_ns: int) -> Literal["hour", "elsewhere"] | None:
        now = to_ist(utc_ns)
        if not seen.is_needed or now.time() < self._rules.not_before:
            return None
        due_ns = self._due_utc_ns(now)
        if due_ns is not None and self.record.answered_utc_ns != due_ns <= utc_ns:
            return "hour"
        is_news = seen.elsewhere_utc_s not in (None, self.record.elsewhere_utc_s)
        return "elsewhere" if is_news and self._rules.elsewhere != "wait" else None

    def _due_utc_ns(self, now: datetime) -> int | None:
        at = self._rules.due_at
        return None if at is None else to_utc_ns(datetime.combine(now.date(), at, IST))

    def _answer(self, seen: Seen, utc_ns: int, *, is_login: bool = False) -> None:
        """Note that both causes are over: one login is enough for both."""
        self.record.not_before_utc_ns = 0
        due_ns = self._due_utc_ns(to_ist(utc_ns))
        if due_ns is not None and due_ns <= utc_ns:
            self.record.answered_utc_ns = due_ns
        if seen.elsewhere_utc_s is not None:
            if is_login:
                self.record.takeovers_utc_ns.append(utc_ns)
            self.record.elsewhere_utc_s = seen.elsewhere_utc_s
        self._is_checked = self._is_waiting_said = False

    # --- logging in ---------------------------------------------------------------------------

    def _log_in(self, seen: Seen, utc_ns: int) -> Order:
        """Log in by the first way that there is; without one, tell a person, once for each
        cause."""
        rules = self._rules
        if self._cause(seen, utc_ns) == "elsewhere":
            if rules.elsewhere == "alert":
                return self._give_up(seen, utc_ns, "somebody else logged in with this app")
            today = to_ist(utc_ns).date()
            self.record.takeovers_utc_ns = [
                each for each in self.record.takeovers_utc_ns if to_ist(each).date() == today
            ]
            if len(self.record.takeovers_utc_ns) >= TAKEOVERS_MAX:
                return self._give_up(
                    seen, utc_ns, "somebody else logs in with this app again and again"
                )
        if seen.can_renew and self._refused_renewal != seen.fingerprint:
            return Do.RENEW
        if not rules.has_command:
            return self._give_up(seen, utc_ns, "there is neither a refresh token nor login.command")
        if self.record.failures >= FAILURES_MAX:
            return self._give_up(
                seen, utc_ns,
                f"login.command failed {FAILURES_MAX} times, and is not run again until somebody "
                "has logged in (Kite locks accounts)",
            )  # fmt: skip
        # Counted before the command runs, so that a crash in it counts and a pause follows.
        self.record.failures += 1
        self.record.not_before_utc_ns = utc_ns + self._pause_ns()
        return Do.COMMAND

    def _pause_ns(self) -> int:
        """Return the pause after the failures so far, this one included."""
        return PAUSES_NS[min(self.record.failures, len(PAUSES_NS)) - 1]

    def _give_up(self, seen: Seen, utc_ns: int, why: str) -> Tell:
        self._answer(seen, utc_ns)
        return Tell("error", f"login needed, {why}: {self._rules.login}")

    def _failed(self, why: str, utc_ns: int) -> Tell:
        """Tell of a failure; `failures` counts this one already."""
        count = self.record.failures
        if count >= FAILURES_MAX:
            self.record.not_before_utc_ns = 0
            return Tell("error", f"login.command failed, {count} of {FAILURES_MAX}: {why}")
        pause_ns = self._pause_ns()
        self.record.not_before_utc_ns = utc_ns + pause_ns
        again = f"again in {pause_ns // NS_PER_S} s"
        return Tell("error", f"login.command failed, {count} of {FAILURES_MAX}: {why}; {again}")


_GOOD = {
    Do.CHECK: "no login is due: Kite accepts the session",
    Do.RENEW: "the session was renewed by its refresh token",
    Do.COMMAND: "logged in by login.command",
}
