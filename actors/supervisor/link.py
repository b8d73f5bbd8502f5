"""The link region: the sockets that are open, one per shard, each with its own life.

`dial.py` opens them; `doubt.py` acts on what a quote says about one.
"""

from collections.abc import Collection, Mapping

from kitefeed.actors.supervisor import closing, dial, order_book, session
from kitefeed.actors.supervisor.facts import (
    EMPTY_CLOSE_NS,
    REFRESH_GAP_NS,
    STABLE_AFTER_NS,
    DialState,
    Link,
    Shard,
    SocketState,
)
from kitefeed.actors.supervisor.news import Adopted, Proven, TickerEnded
from kitefeed.actors.supervisor.state import State
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.membership import Beat, LinkReport
from kitefeed.protocol.topology import Role


def advance(s: State) -> None:
    dial.advance(s)
    used = s.used
    for shard in s.shards:
        if shard.is_open and shard not in used:
            shard.empty_since_ns = shard.empty_since_ns or s.now_ns
            if s.now_ns - shard.empty_since_ns >= EMPTY_CLOSE_NS:
                closing.hang_up(s, shard)
                shard.empty_since_ns = 0
        else:
            shard.empty_since_ns = 0
        if 0 < refresh_due_ns(shard) <= s.now_ns:
            _subscribe(s, shard)
            order_book.read(s, shard)
    # While the network is tried again, an attempt may have to wait for its slot.
    is_trying = s.dial.state is not DialState.IDLE or bool(s.closed)
    is_on_ladder = s.dial.cause == "network" and is_trying
    if s.ladders.network.taken and not is_on_ladder and _are_stable(s):
        dial.network_is_stable(s)


def empty_due_ns(shard: Shard) -> int:
    """Return the boot time at which an empty socket is closed, 0 for never."""
    return shard.empty_since_ns + EMPTY_CLOSE_NS if shard.empty_since_ns else 0


def lost_batches(s: State, losses: Mapping[int, int]) -> None:
    """Note the losses that the broadcaster tells: batches of ticks that never reached it (`losses`:
    by shard, since it started). Nobody knows of which instruments, so all are asked for anew."""
    for shard in s.shards:
        lost = losses.get(shard.number, 0)
        if lost > shard.losses and shard.is_open and not shard.link.is_refresh_due:
            s.say("ticks were lost on the way to the broadcaster: asking for all values anew")
            shard.link.is_refresh_due = True
        shard.losses = lost


def judged(s: State, alive: Collection[int]) -> None:
    """Note which sources the broadcaster calls alive: no headline may sound better than the
    values."""
    for shard in s.shards:
        is_stale = shard.is_streaming and shard.number not in alive
        shard.link.unproven_since_ns = (shard.link.unproven_since_ns or s.now_ns) if is_stale else 0


def refresh_due_ns(shard: Shard) -> int:
    """Return the boot time at which an open socket is asked for everything anew, 0 for never."""
    link = shard.link
    return link.refreshed_ns + REFRESH_GAP_NS if link.is_refresh_due and link.is_subscribed else 0


def _are_stable(s: State) -> bool:
    """Whether the sockets that are open have been live for a while."""
    links = [shard.link for shard in s.shards if shard.is_open]
    are_live = bool(links) and all(link.state is SocketState.LIVE for link in links)
    return are_live and all(s.now_ns - link.live_since_ns >= STABLE_AFTER_NS for link in links)


# --- what the ticker reports --------------------------------------------------------------------


def opened(s: State, number: int, epoch: int) -> None:
    if epoch == s.dial.epoch and s.dial.state is DialState.CONNECTING:
        shard = s.shards[s.dial.shard]
        if shard.is_open:
            _rotate(s, shard)
        else:
            shard.link = dial.let_in(s)
    elif s.shard_of(epoch) is None:
        closing.order_close(s, number, epoch)  # a socket nobody waits for any more


def _rotate(s: State, shard: Shard) -> None:
    """Let the new login's open socket take over, then close the old one."""
    old = shard.link
    closing.hang_up(s, shard)
    shard.link = dial.let_in(s)
    shard.link.state, shard.link.live_since_ns = old.state, old.live_since_ns
    if all(sh.link.fingerprint == shard.link.fingerprint for sh in s.used if sh.is_open):
        s.say("new login: the feed has moved to it without a pause")


def granted(s: State, shard: Shard) -> None:
    """Let the instruments flow: the broadcaster lets this epoch through."""
    if shard.is_open and not shard.link.is_subscribed:
        shard.link.is_subscribed = True
        _subscribe(s, shard)
        order_book.read(s, shard)


def instruments_changed(s: State) -> None:
    for shard in s.shards:
        link = shard.link
        if shard.is_open and link.is_subscribed and link.asked != s.streamed(shard):
            _subscribe(s, shard)


def refresh(s: State, held: Collection[tuple[int, int]]) -> None:
    """Ask for everything anew, after the grants of a new broadcaster. Not for sources that it lets
    through already (`held`: shard and epoch): this supervisor is the new one, and the broadcaster
    has their values."""
    for shard in s.shards:
        if (shard.number, shard.link.epoch) in held:
            continue
        shard.link.is_subscribed = False
        shard.link.is_refresh_due = shard.is_open


def _subscribe(s: State, shard: Shard) -> None:
    link = shard.link
    link.asked = s.streamed(shard)
    order = m.Subscribe(shard.number, link.epoch, link.asked, link.is_refresh_due)
    if link.is_refresh_due:
        link.is_refresh_due, link.refreshed_ns = False, s.now_ns
    s.send(Role.TICKER, order)


def fresh(s: State, epoch: int) -> None:
    """Note a proof of life. Only this makes a feed live, and ends a series of refusals."""
    shard = s.shard_of(epoch)
    if shard is not None and shard.link.state is SocketState.PRIMING:
        shard.fresh_ns = max(shard.fresh_ns, s.now_ns)
        became_live(s, shard)


def became_live(s: State, shard: Shard) -> None:
    shard.link.state = SocketState.LIVE
    shard.link.live_since_ns = s.now_ns
    if s.has_no_entitlement:
        dial.has_plan(s)
    dial.hear(s, Proven())
    if not s.closed or s.dial.refused_shard == shard.number:
        dial.forget_refusals(s)
    is_new_login = shard.link.fingerprint != s.session.fingerprint
    if is_new_login and s.session.word == "refused":  # the ladder asks about it
        return
    session.check_soon(s, at_once=is_new_login)


def ticked(s: State, beat: Beat) -> None:
    """Note how long ago each socket had a fresh tick, as the ticker's beat tells."""
    for shard in s.shards:
        # A ticker of a former version knows one age for all.
        age_ns = beat.fresh_ages_ns.get(shard.number, -1)
        age_ns = age_ns if beat.fresh_ages_ns else beat.fresh_tick_age_ns
        if age_ns >= 0:
            shard.fresh_ns = max(shard.fresh_ns, s.now_ns - age_ns)


def silent(s: State, epoch: int) -> None:
    shard = s.shard_of(epoch)
    if shard is not None:
        s.say("the socket has been silent for 10 s: connecting anew")
        restart(s, shard)


def restart(s: State, shard: Shard) -> None:
    """Drop an open socket that is of no use, and try again at once."""
    if shard.is_open:
        closing.hang_up(s, shard)
        dial.lost(s, "the stream stood still")


def closed(s: State, epoch: int, code: int | None, reason: str) -> None:
    closing.over(s, epoch)
    shard = s.shard_of(epoch)
    if shard is None:
        dial.failed(s, epoch, reason)
        return
    s.say(f"the socket closed (code={code} reason={reason!r}): connecting anew")
    shard.link = Link()
    if shard in s.used:
        dial.lost(s, reason)


def reported(s: State, links: tuple[LinkReport, ...]) -> None:
    """Take the links that a ticker reports in its hello. A link nobody knows is adopted if its
    shard has no other (this supervisor is the new one). One that was believed open and is not
    reported has ended. One that is being closed stays so: the hello may have crossed the order."""
    running = {report.epoch: report for report in links}
    for shard in s.shards:
        if shard.is_open and shard.link.epoch not in running:
            shard.link = Link()
            dial.lost(s, "the ticker process ended")
    for epoch, report in sorted(running.items(), reverse=True):
        s.raise_epoch(epoch)
        if s.shard_of(epoch) is not None or epoch == s.dial.epoch:
            opened(s, report.shard, epoch)  # its report may have been lost
            known = s.shard_of(epoch)
            if known is not None and known.link.is_subscribed:
                _subscribe(s, known)  # so may the order
        elif epoch in s.closing or report.shard >= len(s.shards) or s.shards[report.shard].is_open:
            closing.order_close(s, report.shard, epoch)
        else:
            _adopt(s, s.shards[report.shard], report)


def _adopt(s: State, shard: Shard, report: LinkReport) -> None:
    """Take over a socket that the ticker opened for an earlier supervisor. The instruments that it
    streams stay on it."""
    dial.hear(s, Adopted(shard.number))
    state = SocketState.LIVE if report.is_streaming else SocketState.PRIMING
    shard.link = Link(state, report.epoch, report.fingerprint, live_since_ns=s.now_ns)
    # As the report says. `now_ns` would open a market that has closed. Waiting for the next beat
    # would close a market that the calendar does not know, and would take away its canaries.
    shard.fresh_ns = max(shard.fresh_ns, report.fresh_boot_ns)
    s.want(s.instruments, dict.fromkeys(report.tokens, shard.number))
    session.check_soon(s)


def ticker_lost(s: State) -> None:
    """Forget the ticker's sockets, which died with it; the next ticker starts from nothing."""
    closing.all_over(s)
    was_busy = s.dial.state is DialState.CONNECTING or s.is_any_open
    dial.hear(s, TickerEnded())
    for shard in s.shards:
        shard.link = Link()
    if was_busy:
        dial.lost(s, "the ticker process ended")
