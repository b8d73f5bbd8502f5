"""The dial region: when a socket is tried, and what its refusal means.

Every attempt is preceded by a validation of the session (`PREFLIGHT`); every refusal by a quote
that tells a dead session, a plan without data and a socket-only refusal apart (`CLASSIFYING`; the
answer is heard in `doubt.py`). A key's sockets are opened one after the other: once one is let in,
the next follows; when one is refused, all that are closed wait together. What happens to a socket
that is open stands in `link.py`.
"""

from kitefeed.actors.supervisor import probe, session
from kitefeed.actors.supervisor.facts import (
    CLOSED_RETRY_NS,
    CLOSING_NS,
    CONNECT_LIMIT_NS,
    GOOD_FOR_NS,
    REFUSALS_BEFORE_REST,
    SOCKET_REFUSED_RETRY_NS,
    Cause,
    Dial,
    Link,
    LinkState,
    S,
    Shard,
)
from kitefeed.actors.supervisor.state import State
from kitefeed.protocol import messages as m
from kitefeed.protocol.topology import Role

LIMIT_WAIT_S = (30, 60)  # HTTP 429: a 4th socket; Kite says no time, users found half a minute
TRYING = (LinkState.PREFLIGHT, LinkState.CONNECTING, LinkState.CLASSIFYING)


# From where an attempt goes where: ARCHITECTURE.md prints it. (A new `Dial` begins idle.)
MOVES: dict[LinkState, tuple[LinkState, ...]] = {
    LinkState.IDLE: (LinkState.PREFLIGHT, LinkState.CONNECTING, LinkState.WAITING),
    LinkState.WAITING: (LinkState.IDLE,),
    LinkState.PREFLIGHT: (LinkState.IDLE, LinkState.WAITING),
    LinkState.CONNECTING: (
        LinkState.IDLE, LinkState.PREFLIGHT, LinkState.CLASSIFYING, LinkState.WAITING,
    ),
    LinkState.CLASSIFYING: (LinkState.WAITING,),
}  # fmt: skip


def move(s: State, state: LinkState) -> None:
    """The one place that says where the attempt is."""
    s.dial.state = state


# --- what the region decides by itself ----------------------------------------------------------


def advance(s: State) -> None:
    """Starts what is wanted and due, ends what is not wanted, gives up what took too long."""
    verdict, s.verdict_news = s.verdict_news, None
    if verdict is not None:
        _hear_verdict(s, verdict)
    s.closing = {epoch: until for epoch, until in s.closing.items() if until > s.now_ns}
    if _must_end(s):
        _drop(s)
        return
    dial = s.dial
    if 0 < dial.until_ns <= s.now_ns:
        if dial.state is LinkState.CONNECTING:
            _timed_out(s)
        else:
            move(s, LinkState.IDLE)
            dial.until_ns = 0
    if dial.state is LinkState.IDLE and _may_start(s):
        _go_on(s)


def _may_start(s: State) -> bool:
    return s.session.fingerprint is not None and not s.misconfigured


def _must_end(s: State) -> bool:
    """Paused, REST only, no ticker, or the session was taken away. A session not yet heard of (this
    supervisor is new) is no reason to drop a socket that streams."""
    is_overridden = s.override not in ("auto", "websocket")
    is_logged_out = s.session.word == "absent"
    return is_overridden or is_logged_out or Role.TICKER not in s.actors_up


def _drop(s: State) -> None:
    give_up(s)
    s.dial = Dial()
    for shard in s.shards:
        shard.limited_until_ns = 0
        if shard.is_open:
            hang_up(s, shard)


def _go_on(s: State) -> None:
    """The way is free: the next socket that is due, if any."""
    shard = _next_due(s)
    if shard is None:
        if s.closed:  # all of them were answered 429
            wait_until(s, "limit", min(shard.limited_until_ns for shard in s.closed))
    elif s.has_no_entitlement and not shard.is_open:
        wait(s, "entitlement", 0)
    elif not s.dial.good_ns or s.now_ns - s.dial.good_ns > GOOD_FOR_NS:
        _preflight(s, shard)
    elif _ours(s) < s.capacity.sockets:
        _connect(s, shard)
    elif shard.is_open and not s.closing:
        s.say(f"new login: socket {shard.number} moves to it with a short pause")
        hang_up(s, shard)


def _next_due(s: State) -> Shard | None:
    """A shard without a socket, else one whose socket is of another login than the good one."""
    closed = [shard for shard in s.closed if shard.limited_until_ns <= s.now_ns]
    if closed:
        return closed[0]
    if s.now_ns < s.dial.move_ns or not session.is_good(s):
        return None
    old = [sh for sh in s.used if sh.link.fingerprint != s.session.fingerprint]
    return next((sh for sh in old if _is_movable(s, sh)), None)


def _is_movable(s: State, shard: Shard) -> bool:
    """An open socket that is not proven yet will be soon, if its market is open; while that is
    closed there is no proof to wait for, and a move costs nothing."""
    is_idle = shard.link.state is LinkState.PRIMING and not s.has_hours(shard)
    return is_idle or shard.link.state is LinkState.LIVE


def _ours(s: State) -> int:
    """Sockets that Kite may count as ours; one more than it allows, or than others of the key leave
    us, would be refused."""
    return sum(shard.is_open for shard in s.shards) + len(s.closing)


def _preflight(s: State, shard: Shard) -> None:
    move(s, LinkState.PREFLIGHT)
    s.dial.is_move = shard.is_open
    s.dial.until_ns = 0  # the validation owns the deadline
    session.request(s, s.session)


def _hear_verdict(s: State, verdict: m.Verdict) -> None:
    """The primary session was validated, or a quote found it dead."""
    dial = s.dial
    is_good = verdict == "valid" or (verdict == "unverified" and session.was_valid_today(s))
    dial.good_ns = s.now_ns if is_good else 0
    match dial.state:
        case LinkState.PREFLIGHT if is_good:
            move(s, LinkState.IDLE)
        case LinkState.PREFLIGHT if not s.closed:  # for a move: the old socket streams on
            _abandon_move(s)
        case LinkState.CONNECTING if verdict == "refused" and dial.is_move:
            _abandon_move(s)
        case _ if verdict == "refused" and dial.state in TRYING:
            wait(s, "session", s.ladders.session.next_ns())
        case LinkState.PREFLIGHT:
            why = s.session.detail or "Kite cannot be asked whether the session is valid"
            wait_network(s, why)
        case LinkState.WAITING if verdict == "refused" and dial.cause == "network":
            # A quote found it dead: when the network is back, Kite is not asked the same at once.
            dial.until_ns = max(dial.until_ns, s.now_ns + s.ladders.session.next_ns())
        case LinkState.WAITING if verdict == "valid" and dial.cause == "session":
            retry_now(s)  # the session came back to life while something else asked


def _connect(s: State, shard: Shard) -> None:
    dial = s.dial
    move(s, LinkState.CONNECTING)
    dial.shard, dial.is_move = shard.number, shard.is_open
    dial.epoch, dial.fingerprint = s.next_epoch(), s.session.fingerprint or ""
    dial.until_ns = s.now_ns + CONNECT_LIMIT_NS
    s.attempts += not dial.is_move
    s.send(Role.TICKER, m.OpenLink(shard.number, dial.epoch, dial.fingerprint, dial.until_ns))


def _timed_out(s: State) -> None:
    if s.dial.is_move:
        _abandon_move(s)
    else:
        wait_network(s, "no connection within 12 s")


def _abandon_move(s: State) -> None:
    """The replacement did not come up: the old socket goes on, and is replaced a minute later."""
    give_up(s)
    move(s, LinkState.IDLE)
    s.dial.until_ns = 0
    s.dial.move_ns = s.now_ns + SOCKET_REFUSED_RETRY_NS
    s.dial.good_ns = 0


def give_up(s: State) -> None:
    """Ends the attempt under way; what the ticker says of it later is of no interest."""
    if s.dial.state is LinkState.CONNECTING:
        order_close(s, s.dial.shard, s.dial.epoch)
        s.closing[s.dial.epoch] = s.now_ns + CLOSING_NS
    s.dial.epoch, s.dial.is_move = 0, False


def order_close(s: State, number: int, epoch: int) -> None:
    s.send(Role.TICKER, m.CloseLink(number, epoch))


def hang_up(s: State, shard: Shard) -> None:
    """Closes an open socket."""
    order_close(s, shard.number, shard.link.epoch)
    s.closing[shard.link.epoch] = s.now_ns + CLOSING_NS
    shard.link = Link()


# --- how an attempt ends ------------------------------------------------------------------------


def let_in(s: State) -> Link:
    """The attempt's socket is open: what it is; the way is free for the next one."""
    dial, shard = s.dial, s.shards[s.dial.shard]
    opened = Link(LinkState.PRIMING, dial.epoch, dial.fingerprint)
    move(s, LinkState.IDLE)
    dial.until_ns = 0
    dial.epoch, dial.is_move, dial.connect_failures = 0, False, 0
    shard.limited_until_ns = 0
    return opened


def refused(s: State, epoch: int, status: int) -> None:
    dial = s.dial
    s.closing.pop(epoch, None)
    if epoch != dial.epoch or dial.state is not LinkState.CONNECTING:
        return
    if dial.is_move:
        _ended(s)
        _abandon_move(s)
    elif status == 403:
        s.consecutive_403 += 1
        dial.refused_shard = dial.shard
        move(s, LinkState.CLASSIFYING)
        dial.until_ns = 0  # the probe owns the deadline
        probe.ask(s, "classify")
    elif status == 429:
        _limited(s)
    else:
        wait_network(s, f"Kite answered the connection with HTTP {status}", is_over=True)


def _limited(s: State) -> None:
    """Kite counts sockets per key, so every closed one would be answered the same."""
    _ended(s)
    s.is_socket_refusal = False  # a 403 before it must not keep REST from bridging
    low, high = LIMIT_WAIT_S
    wait_ns = int((low + (high - low) * s.jitter()) * S)
    if s.consecutive_403 >= REFUSALS_BEFORE_REST:  # their one attempt a minute is spent
        wait_ns = SOCKET_REFUSED_RETRY_NS
    for shard in s.closed:
        shard.limited_until_ns = s.now_ns + _in_hours(s, wait_ns)
    s.dial.good_ns = 0


def _ended(s: State) -> None:
    move(s, LinkState.IDLE)
    s.dial.until_ns, s.dial.epoch = 0, 0


def failed(s: State, epoch: int, reason: str) -> None:
    """The attempt came to nothing, and it was not Kite's answer."""
    dial = s.dial
    if epoch != dial.epoch or dial.state is not LinkState.CONNECTING:
        return
    if dial.is_move:
        _ended(s)
        _abandon_move(s)
    else:
        wait_network(s, reason, is_over=True)


def lost(s: State, reason: str) -> None:
    """An open socket has ended. It joins whatever the others wait for, or is the first to try."""
    dial = s.dial
    dial.good_ns = 0
    if dial.state in (LinkState.PREFLIGHT, LinkState.CONNECTING) and dial.is_move:
        give_up(s)
        move(s, LinkState.IDLE)
    is_waiting = dial.state is LinkState.WAITING and dial.cause != "limit"
    if not is_waiting and dial.state not in TRYING:
        wait_network(s, reason)


def outdated(s: State, shard: Shard) -> None:
    """REST took a newer epoch than the attempt under way: the fence would refuse the socket, so the
    attempt begins again; unless it is about to end, because its session is dead."""
    is_trying = s.dial.state is LinkState.CONNECTING and s.verdict_news != "refused"
    if is_trying and s.dial.shard == shard.number:
        give_up(s)
        _preflight(s, shard)


# --- waits and resets ---------------------------------------------------------------------------


def wait(s: State, cause: Cause, wait_ns: int) -> None:
    """Waits for `wait_ns`; 0 waits for something else to end it."""
    wait_until(s, cause, s.now_ns + _in_hours(s, wait_ns) if wait_ns else 0)


def wait_until(s: State, cause: Cause, until_ns: int) -> None:
    give_up(s)
    move(s, LinkState.WAITING)
    s.dial.cause = cause
    s.dial.until_ns = until_ns
    s.dial.good_ns = 0


def _in_hours(s: State, wait_ns: int) -> int:
    return wait_ns if s.is_market_open else max(wait_ns, CLOSED_RETRY_NS)


def wait_network(s: State, reason: str, *, is_over: bool = False) -> None:
    """`is_over`: the ticker has told the attempt's end; else it is to be closed."""
    dial = s.dial
    dial.closed_reason = reason
    s.is_socket_refusal = False  # the network's turn: REST may bridge
    dial.connect_failures += dial.state in (LinkState.PREFLIGHT, LinkState.CONNECTING)
    rung_ns = s.ladders.network.next_ns()
    jittered_ns = int(rung_ns * (0.8 + 0.4 * s.jitter()))
    # Network trouble does not end a series of refusals: the socket's one attempt a minute is spent.
    is_spent = s.consecutive_403 >= REFUSALS_BEFORE_REST and dial.state is not LinkState.PREFLIGHT
    if is_over:
        _ended(s)
    wait(s, "network", SOCKET_REFUSED_RETRY_NS if is_spent else max(1, jittered_ns))


def retry_now(s: State) -> None:
    """Whatever is waited for: try now, with the ladders at their first rung."""
    s.ladders.session.reset()
    s.ladders.network.reset()
    s.ladders.socket.reset()
    if s.dial.state is LinkState.WAITING:
        if s.dial.cause == "entitlement":
            s.has_no_entitlement = False
        s.dial.until_ns = s.now_ns


def begin_anew(s: State) -> None:
    """The operator's word, or a new login: also what Kite limited is tried at once."""
    for shard in s.shards:
        shard.limited_until_ns = 0
    retry_now(s)


def session_changed(s: State) -> None:
    """Another session file: a new chance. An open socket stays until the new one is proven."""
    forget_refusals(s)
    s.has_no_entitlement = False
    probe.forget(s)
    begin_anew(s)
    if s.dial.state in TRYING:
        give_up(s)
        s.dial = Dial()
    s.dial.move_ns = s.dial.good_ns = 0


def forget_refusals(s: State) -> None:
    s.consecutive_403 = 0
    s.is_socket_refusal = False
    s.ladders.socket.reset()
    s.ladders.session.reset()
