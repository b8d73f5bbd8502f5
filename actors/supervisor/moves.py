"""The moves of an attempt to open a socket: its next state, by the news that it hears (`news.py`).

`MOVES`, the table at the end, has all that may happen to an attempt. A move acts while the state is
still the one before, and returns the next one; `dial.hear` makes it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from kitefeed.actors.supervisor import closing, probe, session
from kitefeed.actors.supervisor.facts import (
    CLOSED_RETRY_NS,
    CONNECT_LIMIT_NS,
    GOOD_FOR_NS,
    REFUSALS_BEFORE_REST,
    SOCKET_REFUSED_RETRY_NS,
    Cause,
    Dial,
    DialState,
    Shard,
    SocketState,
)
from kitefeed.actors.supervisor.news import (
    Adopted,
    Classified,
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
    Proven,
    Refused,
    Retry,
    SessionDied,
    TickerEnded,
    Unneeded,
)
from kitefeed.actors.supervisor.state import State
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.topology import Role

LIMIT_WAIT_S = (30, 60)  # HTTP 429: a 4th socket; Kite says no time, users found half a minute
IDLE, WAITING, PREFLIGHT, CONNECTING, CLASSIFYING = DialState
TRYING = (PREFLIGHT, CONNECTING, CLASSIFYING)


def to_first_rungs(s: State) -> None:
    s.ladders.session.reset()
    s.ladders.network.reset()
    s.ladders.socket.reset()


# --- how an attempt begins ----------------------------------------------------------------------


def _go_on(s: State, _: Free) -> DialState:
    """Try the next socket that is due, if any."""
    shard = _next_due(s)
    if shard is None:
        if s.closed:  # all of them were answered 429
            return _wait_until(s, "limit", min(shard.limited_until_ns for shard in s.closed))
    elif s.has_no_entitlement and not shard.is_open:
        return _wait(s, "entitlement", 0)
    elif not s.dial.good_ns or s.now_ns - s.dial.good_ns > GOOD_FOR_NS:
        return _preflight(s, shard)
    elif _ours(s) < s.capacity.sockets:
        return _connect(s, shard)
    elif shard.is_open and not s.closing:
        s.say(f"new login: socket {shard.number} moves to it with a short pause")
        closing.hang_up(s, shard)
    return IDLE


def _next_due(s: State) -> Shard | None:
    """Return a shard without a socket, else one whose socket is of another login than the good
    one."""
    closed = [shard for shard in s.closed if shard.limited_until_ns <= s.now_ns]
    if closed:
        return closed[0]
    if s.now_ns < s.dial.move_ns or not session.is_good(s):
        return None
    old = [sh for sh in s.used if sh.link.fingerprint != s.session.fingerprint]
    return next((sh for sh in old if _is_movable(s, sh)), None)


def _is_movable(s: State, shard: Shard) -> bool:
    """Whether the shard's socket may be replaced. One that is not proven yet will be soon, if its
    market is open; while that is closed there is no proof to wait for, and a move costs nothing."""
    is_idle = shard.link.state is SocketState.PRIMING and not s.has_hours(shard)
    return is_idle or shard.link.state is SocketState.LIVE


def _ours(s: State) -> int:
    """Count the sockets that Kite may count as ours. It would refuse one more than it allows, or
    than others of the key leave us."""
    return sum(shard.is_open for shard in s.shards) + len(s.closing)


def _preflight(s: State, shard: Shard) -> DialState:
    s.dial.is_move = shard.is_open
    s.dial.until_ns = 0  # the validation owns the deadline
    session.request(s, s.session)
    return PREFLIGHT


def _connect(s: State, shard: Shard) -> DialState:
    dial = s.dial
    dial.shard, dial.is_move = shard.number, shard.is_open
    dial.epoch, dial.fingerprint = s.next_epoch(), s.session.fingerprint or ""
    dial.until_ns = s.now_ns + CONNECT_LIMIT_NS
    s.attempts += not dial.is_move
    s.send(Role.TICKER, m.OpenLink(shard.number, dial.epoch, dial.fingerprint, dial.until_ns))
    return CONNECTING


def _preflight_ended(s: State, news: Judged) -> DialState:
    if news.is_good:
        s.dial.is_move = False
        return IDLE
    if not s.closed:  # for a move: the old socket streams on
        return _abandon_move(s)
    if news.verdict == "refused":
        return _wait(s, "session", s.ladders.session.next_ns())
    why = s.session.detail or "Kite cannot be asked whether the session is valid"
    return _wait_network(s, why)


def _begin_again(s: State, news: Outdated) -> DialState:
    if s.dial.shard != news.shard:
        return CONNECTING
    _give_up(s)
    return _preflight(s, s.shards[news.shard])


# --- how one ends -------------------------------------------------------------------------------


def _has_opened(s: State, _: Opened) -> DialState:
    dial = s.dial
    dial.until_ns = 0
    dial.epoch, dial.is_move, dial.connect_failures = 0, False, 0
    s.shards[dial.shard].limited_until_ns = 0
    return IDLE


def _was_refused(s: State, news: Refused) -> DialState:
    dial = s.dial
    if dial.is_move:
        return _abandon_move(s, is_over=True)
    if news.status == 403:
        s.consecutive_403 += 1
        dial.refused_shard = dial.shard
        dial.until_ns = 0  # the probe owns the deadline
        probe.ask(s, "classify")
        return CLASSIFYING
    if news.status == 429:
        _limited(s)
        return IDLE
    return _wait_network(s, f"Kite answered the connection with HTTP {news.status}", is_over=True)


def _limited(s: State) -> None:
    """Make every closed socket wait: Kite counts sockets per key, so all would be answered the
    same."""
    _give_up(s, is_over=True)
    s.dial.until_ns = s.dial.good_ns = 0
    s.is_socket_refusal = False  # a 403 before it must not keep REST from bridging
    low, high = LIMIT_WAIT_S
    wait_ns = int((low + (high - low) * s.jitter()) * NS_PER_S)
    if s.consecutive_403 >= REFUSALS_BEFORE_REST:  # their one attempt a minute is spent
        wait_ns = SOCKET_REFUSED_RETRY_NS
    for shard in s.closed:
        shard.limited_until_ns = s.now_ns + _in_hours(s, wait_ns)


def _has_failed(s: State, news: Failed) -> DialState:
    if s.dial.is_move:
        return _abandon_move(s, is_over=True)
    return _wait_network(s, news.reason, is_over=True)


def _took_too_long(s: State, _: Due) -> DialState:
    if s.dial.is_move:
        return _abandon_move(s)
    return _wait_network(s, "no connection within 12 s")


def _judged_meanwhile(s: State, news: Judged) -> DialState:
    """End the attempt under way if a quote, or a question of something else, found the session
    dead."""
    if news.verdict != "refused":
        return s.dial.state
    if s.dial.state is CONNECTING and s.dial.is_move:
        return _abandon_move(s)
    return _wait(s, "session", s.ladders.session.next_ns())


def _classified(s: State, news: Classified) -> DialState:
    """Wait after a 403 whose session is good: a plan without data, or a refusal of the socket
    alone."""
    if news.outcome == "permission":
        s.has_no_entitlement = True
        return _wait(s, "entitlement", 0)
    s.is_socket_refusal = True
    is_rest_due = s.consecutive_403 >= REFUSALS_BEFORE_REST
    wait_ns = SOCKET_REFUSED_RETRY_NS if is_rest_due else s.ladders.socket.next_ns()
    return _wait(s, "socket", wait_ns)


def _abandon_move(s: State, *, is_over: bool = False) -> DialState:
    """Give up a replacement that did not come up: the old socket goes on, and is replaced a minute
    later."""
    _give_up(s, is_over=is_over)
    s.dial.until_ns = 0
    s.dial.move_ns = s.now_ns + SOCKET_REFUSED_RETRY_NS
    s.dial.good_ns = 0
    return IDLE


def _let_go(s: State, _: Unneeded) -> DialState:
    _give_up(s)
    s.dial.until_ns = 0
    return IDLE


def _give_way(s: State, news: Adopted) -> DialState:
    return _let_go(s, Unneeded()) if s.dial.shard == news.shard else CONNECTING


def _ticker_ended(s: State, _: TickerEnded) -> DialState:
    return _wait_network(s, "the ticker process ended", is_over=True)


def _drop(s: State, _: Forbidden) -> DialState:
    _give_up(s)
    s.dial = Dial()
    for shard in s.shards:
        shard.limited_until_ns = 0
        if shard.is_open:
            closing.hang_up(s, shard)
    return IDLE


def _forget(s: State, _: NewSession) -> DialState:
    _give_up(s)
    s.dial = Dial()
    return IDLE


def _give_up(s: State, *, is_over: bool = False) -> None:
    """End the attempt under way; later news of it from the ticker counts no more. `is_over`: the
    ticker has told the end; else the socket is to be closed."""
    if s.dial.state is CONNECTING and not is_over:
        closing.give_up(s, s.dial.shard, s.dial.epoch)
    s.dial.epoch, s.dial.is_move = 0, False


# --- waits --------------------------------------------------------------------------------------


def _wait(s: State, cause: Cause, wait_ns: int) -> DialState:
    """Wait for `wait_ns`; with 0, until something else ends it."""
    return _wait_until(s, cause, s.now_ns + _in_hours(s, wait_ns) if wait_ns else 0)


def _wait_until(s: State, cause: Cause, until_ns: int, *, is_over: bool = False) -> DialState:
    _give_up(s, is_over=is_over)
    s.dial.cause = cause
    s.dial.until_ns = until_ns
    s.dial.good_ns = 0
    return WAITING


def _in_hours(s: State, wait_ns: int) -> int:
    return wait_ns if s.is_market_open else max(wait_ns, CLOSED_RETRY_NS)


def _wait_network(s: State, reason: str, *, is_over: bool = False) -> DialState:
    """Wait for the network. `is_over`: the ticker has told the attempt's end; else it is to be
    closed."""
    dial = s.dial
    dial.closed_reason = reason
    s.is_socket_refusal = False  # the network's turn: REST may bridge
    dial.connect_failures += dial.state in (PREFLIGHT, CONNECTING)
    rung_ns = s.ladders.network.next_ns()
    jittered_ns = int(rung_ns * (0.8 + 0.4 * s.jitter()))
    # Network trouble does not end a series of refusals: the socket's one attempt a minute is spent.
    is_spent = s.consecutive_403 >= REFUSALS_BEFORE_REST and dial.state is not PREFLIGHT
    wait_ns = SOCKET_REFUSED_RETRY_NS if is_spent else max(1, jittered_ns)
    return _wait_until(s, "network", s.now_ns + _in_hours(s, wait_ns), is_over=is_over)


def _was_lost(s: State, news: Lost) -> DialState:
    if s.dial.state is WAITING and s.dial.cause != "limit":
        return WAITING
    return _wait_network(s, news.reason)


def _judged_while_waiting(s: State, news: Judged) -> DialState:
    if news.verdict == "refused" and s.dial.cause == "network":
        # A quote found the session dead: Kite is not asked the same as soon as the network is back.
        s.dial.until_ns = max(s.dial.until_ns, s.now_ns + s.ladders.session.next_ns())
    elif news.verdict == "valid" and s.dial.cause == "session":
        to_first_rungs(s)  # the session came back to life while something else asked
        s.dial.until_ns = s.now_ns
    return WAITING


def _wait_for_session(s: State, news: SessionDied) -> DialState:
    """Wait for a session. A socket that streams, or is tried, with another one is not concerned."""
    waits_for = s.dial.cause if s.dial.state is WAITING else ""
    is_affected = news.is_doubted or waits_for == "entitlement" or s.dial.state is CLASSIFYING
    if waits_for == "session" or not is_affected:
        return s.dial.state
    s.has_no_entitlement = False
    return _wait(s, "session", s.ladders.session.next_ns())


def _wait_for_plan(s: State, _: NoPlan) -> DialState:
    return _wait(s, "entitlement", 0)


def _end_wait(s: State, _: Retry) -> DialState:
    if s.dial.cause == "entitlement":
        s.has_no_entitlement = False
    s.dial.until_ns = s.now_ns
    return WAITING


def _forget_cause(s: State, _: Proven) -> DialState:
    s.dial.cause = ""
    return IDLE


def _wait_is_over(s: State, _: Due) -> DialState:
    s.dial.until_ns = 0
    return IDLE


# --- the table ----------------------------------------------------------------------------------


class Move(NamedTuple):
    """The action of a move, and the states to which it may lead."""

    make: Callable[[State, Any], DialState]
    to: tuple[DialState, ...]


# News that a state does not list changes nothing. ARCHITECTURE.md prints where moves lead.
MOVES: dict[tuple[DialState, type[News]], Move] = {
    (IDLE, Free): Move(_go_on, (IDLE, WAITING, PREFLIGHT, CONNECTING)),
    (IDLE, Lost): Move(_was_lost, (WAITING,)),
    (IDLE, Proven): Move(_forget_cause, (IDLE,)),
    (WAITING, Due): Move(_wait_is_over, (IDLE,)),
    (WAITING, Judged): Move(_judged_while_waiting, (WAITING,)),
    (WAITING, Lost): Move(_was_lost, (WAITING,)),
    (WAITING, Retry): Move(_end_wait, (WAITING,)),
    (PREFLIGHT, Judged): Move(_preflight_ended, (IDLE, WAITING)),
    (PREFLIGHT, Unneeded): Move(_let_go, (IDLE,)),
    (CONNECTING, Opened): Move(_has_opened, (IDLE,)),
    (CONNECTING, Refused): Move(_was_refused, (IDLE, WAITING, CLASSIFYING)),
    (CONNECTING, Failed): Move(_has_failed, (IDLE, WAITING)),
    (CONNECTING, Due): Move(_took_too_long, (IDLE, WAITING)),
    (CONNECTING, Judged): Move(_judged_meanwhile, (IDLE, WAITING, CONNECTING)),
    (CONNECTING, Outdated): Move(_begin_again, (PREFLIGHT, CONNECTING)),
    (CONNECTING, Unneeded): Move(_let_go, (IDLE,)),
    (CONNECTING, Adopted): Move(_give_way, (IDLE, CONNECTING)),
    (CONNECTING, TickerEnded): Move(_ticker_ended, (WAITING,)),
    (CLASSIFYING, Classified): Move(_classified, (WAITING,)),
    (CLASSIFYING, Judged): Move(_judged_meanwhile, (WAITING, CLASSIFYING)),
    **{(state, Forbidden): Move(_drop, (IDLE,)) for state in DialState},
    **{(state, NewSession): Move(_forget, (IDLE,)) for state in TRYING},
    **{(state, NoPlan): Move(_wait_for_plan, (WAITING,)) for state in DialState},
    **{
        (state, SessionDied): Move(_wait_for_session, tuple({WAITING, state}))
        for state in DialState
    },
}
