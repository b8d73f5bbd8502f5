"""The dial region: it decides when a socket is tried, and what its refusal means.

Every attempt is preceded by a validation of the session (`PREFLIGHT`). Every refusal is followed by
a quote that tells a dead session, a plan without data and a socket-only refusal apart
(`CLASSIFYING`; the answer is heard in `doubt.py`). A key's sockets are opened one after the other:
once one is let in, the next follows; when one is refused, all that are closed wait together.
`link.py` says what happens to a socket that is open.

The table of `moves.py` says what happens to an attempt, by its state and the news.
"""

from kitefeed.actors.supervisor import closing, session
from kitefeed.actors.supervisor.facts import (
    Link,
    Shard,
    SocketState,
)
from kitefeed.actors.supervisor.moves import MOVES, to_first_rungs
from kitefeed.actors.supervisor.news import (
    Due,
    Failed,
    Forbidden,
    Free,
    Judged,
    Lost,
    News,
    NewSession,
    NoPlan,
    Opened,
    Outdated,
    Refused,
    Retry,
    SessionJudged,
    Unneeded,
)
from kitefeed.actors.supervisor.state import State
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.topology import Role


def hear(s: State, news: News) -> None:
    """Make the move that `MOVES` has for this news in this state, if any: nothing else changes the
    attempt's state. A move acts while the state is still the one before."""
    move = MOVES.get((s.dial.state, type(news)))
    if move is not None:
        state = move.make(s, news)
        s.dial.state = state


def advance(s: State) -> None:
    """Start an attempt that is wanted and due, end one that is not wanted, give up one that took
    too long."""
    judged = s.take(SessionJudged)
    if judged is not None:
        _judged(s, judged.verdict)
    closing.advance(s)
    if _must_end(s):
        hear(s, Forbidden())
        return
    if 0 < s.dial.until_ns <= s.now_ns:
        hear(s, Due())
    if s.session.fingerprint is not None and not s.misconfigured:
        hear(s, Free())


def _must_end(s: State) -> bool:
    """Whether no socket may be open: paused, REST only, no ticker, or the session was taken away. A
    session not yet heard of (this supervisor is new) is no reason to drop a socket that streams."""
    is_overridden = s.override not in ("auto", "websocket")
    is_logged_out = s.session.word == "absent"
    return is_overridden or is_logged_out or Role.TICKER not in s.actors_up


def _judged(s: State, verdict: m.Verdict) -> None:
    is_good = verdict == "valid" or (verdict == "unverified" and session.was_valid_today(s))
    s.dial.good_ns = s.now_ns if is_good else 0
    hear(s, Judged(verdict, is_good))


def let_in(s: State) -> Link:
    """Return the attempt's socket, which is open; the way is free for the next one."""
    opened = Link(SocketState.PRIMING, s.dial.epoch, s.dial.fingerprint)
    hear(s, Opened())
    return opened


def refused(s: State, epoch: int, status: int) -> None:
    closing.over(s, epoch)
    if epoch == s.dial.epoch:
        hear(s, Refused(status))


def failed(s: State, epoch: int, reason: str) -> None:
    if epoch == s.dial.epoch:
        hear(s, Failed(reason))


def lost(s: State, reason: str) -> None:
    """Note that an open socket has ended. It waits as the others do, or is the first to try."""
    s.dial.good_ns = 0
    if s.dial.is_move:
        hear(s, Unneeded())
    hear(s, Lost(reason))


def outdated(s: State, shard: Shard) -> None:
    """Begin the attempt under way again, because REST took a newer epoch; not if it is about to
    end, because its session is dead."""
    if s.heard_of(SessionJudged) != SessionJudged("refused"):
        hear(s, Outdated(shard.number))


def retry_now(s: State) -> None:
    """Try now, whatever the attempt waits for, with the ladders at their first rung."""
    to_first_rungs(s)
    hear(s, Retry())


def begin_anew(s: State) -> None:
    """Try at once, also what Kite limited: at the operator's word, or after a new login."""
    for shard in s.shards:
        shard.limited_until_ns = 0
    retry_now(s)


def session_changed(s: State) -> None:
    """Take another session file as a new chance. An open socket stays until the new session is
    proven."""
    forget_refusals(s)
    s.has_no_entitlement = False
    begin_anew(s)
    hear(s, NewSession())
    s.dial.move_ns = s.dial.good_ns = 0


def retried(s: State) -> None:
    """Do `kitefeed retry`: ask anew also for a plan without data."""
    s.has_no_entitlement = False
    begin_anew(s)


def no_plan(s: State) -> None:
    """Note that neither source can work: say it once, ask again every 15 minutes."""
    s.has_no_entitlement = True
    if s.closed:
        hear(s, NoPlan())


def has_plan(s: State) -> None:
    """Note that there is data: an earlier quote's word is not true any more."""
    s.has_no_entitlement = False
    retry_now(s)


def network_is_stable(s: State) -> None:
    """Treat the next loss as a new one, tried again at once."""
    s.ladders.network.reset()


def forget_refusals(s: State) -> None:
    s.consecutive_403 = 0
    s.is_socket_refusal = False
    s.ladders.socket.reset()
    s.ladders.session.reset()
