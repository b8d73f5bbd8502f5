"""The link region: when the WebSocket is tried, and what its fate means.

Every attempt is preceded by a validation of the session (`PREFLIGHT`); every refusal by a quote
that tells a dead session, a plan without data and a socket-only refusal apart (`CLASSIFYING`; the
answer is heard in `doubt.py`).
"""

from kitefeed.actors.supervisor import probe, session
from kitefeed.actors.supervisor.facts import (
    CLOSED_RETRY_NS,
    CONNECT_LIMIT_NS,
    OPEN_STATES,
    REFUSALS_BEFORE_REST,
    SHARD,
    SOCKET_REFUSED_RETRY_NS,
    STABLE_AFTER_NS,
    Cause,
    Link,
    LinkState,
    S,
)
from kitefeed.actors.supervisor.state import State
from kitefeed.protocol import messages as m
from kitefeed.protocol.topology import Role

LIMIT_WAIT_S = (30, 60)  # HTTP 429: a 4th socket; Kite says no time, users found half a minute


# --- what the region decides by itself ----------------------------------------------------------


def advance(s: State) -> None:
    """Starts what is wanted and due, ends what is not wanted, gives up what took too long."""
    verdict, s.verdict_news = s.verdict_news, None
    if verdict is not None:
        _hear_verdict(s, verdict)
    if _must_end(s):
        if s.link.state is not LinkState.IDLE:
            _drop(s)
        return
    if s.link.state is LinkState.IDLE and _may_start(s):
        _preflight(s)
    link = s.link
    is_over = 0 < link.until_ns <= s.now_ns
    match link.state:
        case LinkState.WAITING if is_over:
            _preflight(s)
        case LinkState.CONNECTING if is_over:
            order_close(s, link.epoch)
            _wait_network(s, "no connection within 12 s")
        case LinkState.LIVE:
            _advance_live(s)
        case _:
            pass


def _may_start(s: State) -> bool:
    return s.session.fingerprint is not None and not s.misconfigured


def _must_end(s: State) -> bool:
    """Paused, REST only, no ticker, or the session was taken away. A session not yet heard of (this
    supervisor is new) is no reason to drop a socket that streams."""
    is_overridden = s.override not in ("auto", "websocket")
    is_logged_out = s.session.word == "absent"
    return is_overridden or is_logged_out or Role.TICKER not in s.actors_up


def _advance_live(s: State) -> None:
    link = s.link
    if s.now_ns - link.live_since_ns >= STABLE_AFTER_NS:
        s.ladders.network.reset()
    if 0 < link.next_until_ns <= s.now_ns:
        _abandon_next(s)


def _open_next(s: State) -> None:
    """Another session than the socket's has just been found good: begin to move over to it."""
    link = s.link
    is_new_login = link.fingerprint != s.session.fingerprint
    if is_new_login and not link.next_epoch and not link.next_until_ns:
        link.next_epoch = _order_open(s)
        link.next_until_ns = s.now_ns + CONNECT_LIMIT_NS


def _preflight(s: State) -> None:
    if s.has_no_entitlement:
        wait(s, "entitlement", 0)
        return
    s.link.state = LinkState.PREFLIGHT
    s.link.until_ns = 0  # the validation owns the deadline
    session.request(s, s.session)


def _hear_verdict(s: State, verdict: m.Verdict) -> None:
    """The primary session was validated, or a quote found it dead."""
    link = s.link
    is_good = verdict == "valid" or (verdict == "unverified" and session.was_valid_today(s))
    if verdict == "refused" and link.state in (LinkState.PREFLIGHT, LinkState.CLASSIFYING):
        wait(s, "session", s.ladders.session.next_ns())
    elif link.state is LinkState.LIVE and is_good:
        _open_next(s)
    elif link.state is LinkState.PREFLIGHT:
        if is_good:
            _connect(s)
        else:
            _wait_network(
                s, s.session.detail or "Kite cannot be asked whether the session is valid"
            )
    elif verdict == "valid" and link.cause == "session":
        retry_now(s)  # the session came back to life while something else asked


def _connect(s: State) -> None:
    s.attempts += 1
    s.link = Link(
        LinkState.CONNECTING,
        epoch=_order_open(s),
        fingerprint=s.session.fingerprint or "",
        until_ns=s.now_ns + CONNECT_LIMIT_NS,
        cause=s.link.cause,
        refused_status=s.link.refused_status,
        closed_reason=s.link.closed_reason,
        connect_failures=s.link.connect_failures,
    )


def outdated(s: State) -> None:
    """REST took a newer epoch than the attempt under way: the fence would refuse the socket, so the
    attempt begins again."""
    if s.link.state is LinkState.CONNECTING:
        order_close(s, s.link.epoch)
        _preflight(s)


def _order_open(s: State) -> int:
    epoch = s.next_epoch()
    not_after_ns = s.now_ns + CONNECT_LIMIT_NS
    s.send(Role.TICKER, m.OpenLink(SHARD, epoch, s.session.fingerprint or "", not_after_ns))
    return epoch


def order_close(s: State, epoch: int) -> None:
    s.send(Role.TICKER, m.CloseLink(SHARD, epoch))


# --- what the ticker reports --------------------------------------------------------------------


def opened(s: State, epoch: int) -> None:
    link = s.link
    if link.next_epoch and epoch == link.next_epoch:
        _rotate(s)
    elif epoch == link.epoch and link.state is LinkState.CONNECTING:
        link.state = LinkState.PRIMING
        link.connect_failures = 0
        link.until_ns = 0  # the ticker reports silence and doubt; `grant` repeats until heard
        link.is_subscribed = False
    elif epoch != link.epoch or not s.is_link_open:
        order_close(s, epoch)  # a socket nobody waits for any more


def _rotate(s: State) -> None:
    """The new login's socket is open: it takes over, then the old one closes."""
    old = s.link
    s.link = Link(
        old.state,
        epoch=old.next_epoch,
        fingerprint=s.session.fingerprint or "",
        live_since_ns=old.live_since_ns,
    )
    order_close(s, old.epoch)
    s.say("new login: the feed has moved to it without a pause")


def granted(s: State) -> None:
    """The broadcaster lets this epoch through: now the instruments may flow."""
    if s.is_link_open and not s.link.is_subscribed:
        s.link.is_subscribed = True
        _subscribe(s)


def instruments_changed(s: State) -> None:
    if s.is_link_open and s.link.is_subscribed:
        _subscribe(s)


def refresh(s: State) -> None:
    """The broadcaster is a new one: after its grant everything is asked for anew."""
    s.link.is_subscribed = False
    s.link.is_refresh_due = s.is_link_open


def _subscribe(s: State) -> None:
    link = s.link
    order = m.Subscribe(SHARD, link.epoch, s.streamed(), link.is_refresh_due)
    link.is_refresh_due = False
    s.send(Role.TICKER, order)


def fresh(s: State, epoch: int) -> None:
    """The proof of life. Only this makes a feed live, and ends a series of refusals."""
    if epoch != s.link.epoch or s.link.state is not LinkState.PRIMING:
        return
    became_live(s)


def became_live(s: State) -> None:
    s.link.state = LinkState.LIVE
    s.link.live_since_ns = s.now_ns
    s.link.cause = ""
    s.link.refused_status = 0
    s.fresh_ns = max(s.fresh_ns, s.now_ns)
    s.has_no_entitlement = False
    _forget_refusals(s)
    is_new_login = s.link.fingerprint != s.session.fingerprint
    s.session.next_check_ns = (not is_new_login and s.session.next_check_ns) or s.now_ns


def silent(s: State, epoch: int) -> None:
    if epoch == s.link.epoch and s.is_link_open:
        s.say("the socket has been silent for 10 s: connecting anew")
        restart(s)


def restart(s: State) -> None:
    """Drops an open socket that is of no use, and tries again at once."""
    if s.is_link_open:
        order_close(s, s.link.epoch)
        _wait_network(s, "the stream stood still")


def refused(s: State, epoch: int, status: int) -> None:
    link = s.link
    if link.next_epoch and epoch == link.next_epoch:
        _abandon_next(s)
    if epoch != link.epoch or link.state is not LinkState.CONNECTING:
        return
    link.refused_status = status
    if status == 403:
        s.consecutive_403 += 1
        link.state = LinkState.CLASSIFYING
        link.until_ns = 0  # the probe owns the deadline
        probe.ask(s, "classify")
    elif status == 429:
        s.is_socket_refusal = False  # a 403 before it must not keep REST from bridging
        low, high = LIMIT_WAIT_S
        wait(s, "limit", int((low + (high - low) * s.jitter()) * S))
    else:
        _wait_network(s, f"Kite answered the connection with HTTP {status}")


def closed(s: State, epoch: int, code: int | None, reason: str) -> None:
    link = s.link
    if link.next_epoch and epoch == link.next_epoch:
        _abandon_next(s)
    elif epoch == link.epoch and link.state in (LinkState.CONNECTING, *OPEN_STATES):
        if s.is_link_open:
            s.say(f"the socket closed (code={code} reason={reason!r}): connecting anew")
        _wait_network(s, reason)


def reported(s: State, links: tuple[m.LinkReport, ...]) -> None:
    """What a ticker that says hello is running. A link nobody knows is adopted when there is no
    other (this supervisor is the new one); links that were believed open and are not have ended."""
    running = {report.epoch: report for report in links}
    if s.is_link_open and s.link.epoch not in running:
        ticker_lost(s)
    for epoch, report in sorted(running.items(), reverse=True):
        s.raise_epoch(epoch)
        if epoch in (s.link.epoch, s.link.next_epoch):
            opened(s, epoch)  # its report may have been lost, as may the order to subscribe
            instruments_changed(s)
        elif s.is_link_open:
            order_close(s, epoch)
        else:
            _adopt(s, report)


def _adopt(s: State, report: m.LinkReport) -> None:
    if s.link.state is LinkState.CONNECTING:
        order_close(s, s.link.epoch)
    state = LinkState.LIVE if report.is_streaming else LinkState.PRIMING
    s.link = Link(state, epoch=report.epoch, fingerprint=report.fingerprint,
                  live_since_ns=s.now_ns)  # fmt: skip
    if report.is_streaming:
        s.fresh_ns = s.now_ns
    s.session.next_check_ns = s.session.next_check_ns or s.now_ns


def ticker_lost(s: State) -> None:
    """Its sockets died with it; the next ticker starts from nothing."""
    s.link.next_epoch = s.link.next_until_ns = 0
    if s.link.state in (LinkState.CONNECTING, *OPEN_STATES):
        _wait_network(s, "the ticker process ended")


def _abandon_next(s: State) -> None:
    """The replacement did not come up: the old socket goes on, and is replaced a minute later."""
    if s.link.next_epoch:
        order_close(s, s.link.next_epoch)
        s.link.next_epoch = 0
        s.link.next_until_ns = s.now_ns + SOCKET_REFUSED_RETRY_NS
    else:
        s.link.next_until_ns = 0
        session.request(s, s.session)  # found good, it is tried again (`_open_next`)


# --- waits and resets ---------------------------------------------------------------------------


def wait(s: State, cause: Cause, wait_ns: int) -> None:
    """Waits for `wait_ns`; 0 waits for something else to end it."""
    if not s.is_market_open and wait_ns:
        wait_ns = max(wait_ns, CLOSED_RETRY_NS)
    if s.link.next_epoch:
        order_close(s, s.link.next_epoch)
    s.link.state = LinkState.WAITING
    s.link.cause = cause
    s.link.until_ns = s.now_ns + wait_ns if wait_ns else 0
    s.link.next_epoch = s.link.next_until_ns = 0
    s.link.is_subscribed = False


def _wait_network(s: State, reason: str) -> None:
    s.link.closed_reason = reason
    s.is_socket_refusal = False  # the network's turn: REST may bridge
    s.link.connect_failures += s.link.state in (LinkState.PREFLIGHT, LinkState.CONNECTING)
    rung_ns = s.ladders.network.next_ns()
    jittered_ns = int(rung_ns * (0.8 + 0.4 * s.jitter()))
    # Network trouble does not end a series of refusals: the socket's one attempt a minute is spent.
    is_spent = s.consecutive_403 >= REFUSALS_BEFORE_REST and s.link.state is not LinkState.PREFLIGHT
    wait(s, "network", SOCKET_REFUSED_RETRY_NS if is_spent else max(1, jittered_ns))


def retry_now(s: State) -> None:
    """Whatever is waited for: try now, with the ladders at their first rung."""
    s.ladders.session.reset()
    s.ladders.network.reset()
    s.ladders.socket.reset()
    if s.link.state is LinkState.WAITING:
        if s.link.cause == "entitlement":
            s.has_no_entitlement = False
        s.link.until_ns = s.now_ns


def session_changed(s: State) -> None:
    """Another session file: a new chance. An open socket stays until the new one is proven."""
    _forget_refusals(s)
    s.has_no_entitlement = False
    probe.forget(s)
    if s.link.next_epoch:  # on its way with a login that has been replaced
        order_close(s, s.link.next_epoch)
    s.link.next_epoch = s.link.next_until_ns = 0
    retry_now(s)
    if s.link.state in (LinkState.CONNECTING, LinkState.CLASSIFYING, LinkState.PREFLIGHT):
        if s.link.state is LinkState.CONNECTING:
            order_close(s, s.link.epoch)
        s.link = Link()


def _forget_refusals(s: State) -> None:
    s.consecutive_403 = 0
    s.is_socket_refusal = False
    s.ladders.socket.reset()
    s.ladders.session.reset()


def _drop(s: State) -> None:
    if s.link.state in (LinkState.CONNECTING, *OPEN_STATES):
        order_close(s, s.link.epoch)
    if s.link.next_epoch:
        order_close(s, s.link.next_epoch)
    s.link = Link()
