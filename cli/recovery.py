"""Waits with a person who just logged in, until prices are live."""

from kitefeed.actors.runtime.config import Settings
from kitefeed.actors.runtime.locks import live_holders
from kitefeed.cli.control import get_status
from kitefeed.cli.waiting import wait_until
from kitefeed.protocol.clock import boot_ns
from kitefeed.protocol.errors import LoginNeeded, TryLater, Unavailable
from kitefeed.protocol.messages.status import StatusReport

RECOVERY_S = (
    30.0  # live 1.5 s after a login at the median; three refused sockets take half a minute
)


def wait(settings: Settings, fingerprint: str, login_ns: int) -> str:
    """Return one sentence, once the daemon is live with this session or cannot be. `login_ns`: boot
    time.

    Raises LoginNeeded when Kite refuses the session, TryLater when prices are not fresh in time.
    """
    if not live_holders(settings.runtime_dir):
        return "no daemon runs that would use it: `kitefeed up`"
    last: list[StatusReport] = []

    def is_settled() -> bool:
        try:
            last[:] = [get_status()]
        except (Unavailable, TryLater):
            return False
        word = _word(last[0], fingerprint)
        if word == "refused":
            return True
        is_judged = word == "valid"
        return is_judged and last[0].feed in ("live", "closed", "paused", "no_entitlement")

    wait_until(is_settled, RECOVERY_S)
    if not last:
        raise TryLater("The session is stored, but the daemon does not answer: `kitefeed status`")
    return told(last[0], fingerprint, (boot_ns() - login_ns) / 1e9)


def told(report: StatusReport, fingerprint: str, took_s: float) -> str:
    """Say what the state of the daemon `took_s` after the login means. Raises as `wait` does."""
    word = _word(report, fingerprint)
    if word == "refused":
        raise LoginNeeded("The session is stored, but Kite refuses it: log in once more")
    if word == "valid" and report.feed == "live":
        return f"live {took_s:.1f} s after the login"
    if word == "valid" and report.feed in ("closed", "paused"):
        return f"Kite accepts it; {report.reason}"
    if word == "valid" and report.feed == "rest":
        return f"Kite accepts it; fresh prices by REST: {report.reason}"
    raise TryLater(
        f"The session is stored ({word}), but {took_s:.0f} s after the login the feed is "
        f"{report.feed}: {report.reason}; `kitefeed status` tells when that is over"
    )


def _word(report: StatusReport, fingerprint: str) -> str:
    """Return the daemon's word for this session."""
    for session in report.sessions:
        if session.fingerprint == fingerprint:
            return session.word
    return "not seen yet"
