"""Small wrong changes to what the machines owe beside safety: words, questions, waits, reasons,
bounds (`duties.py`, `bounds.py`). As in `plants.py`, each must be found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from kitefeed.actors.auth_watcher import machine as watcher
from kitefeed.actors.broadcaster import fence, store
from kitefeed.actors.broadcaster import machine as broadcaster
from kitefeed.actors.broadcaster import orders as broadcaster_orders
from kitefeed.actors.broadcaster.orders import Orders
from kitefeed.actors.broadcaster.sequences import Sequences
from kitefeed.actors.policy import market
from kitefeed.actors.rest_poller import order_book as poller_book
from kitefeed.actors.rest_poller import sweep
from kitefeed.actors.rest_poller.order_book import BookReader
from kitefeed.actors.supervisor import (
    closing,
    confirmations,
    dial,
    doubt,
    grant,
    headline,
    link,
    moves,
    order_book,
    probe,
    rest,
    roster,
    session,
    state,
)
from kitefeed.actors.supervisor.facts import DialState, Link, Operate, Persist, Shard, SocketState
from kitefeed.actors.supervisor.machine import Supervisor
from kitefeed.actors.supervisor.news import QuoteAnswered
from kitefeed.actors.supervisor.state import State
from kitefeed.actors.ticker import canaries, link_state, liveness, subscriptions
from kitefeed.actors.ticker.canaries import Canaries, Pace
from kitefeed.actors.token_validator import machine as validator
from kitefeed.protocol.feed import IngestBatch
from kitefeed.protocol.messages import bus as m
from tests.simulation.exchange import S
from tests.simulation.planting import HOUR_NS, Plant, nothing

MINUTE_NS = 60 * S


def _for(word: str, other: str) -> list[Plant]:
    """One headline where another belongs."""

    def feed(s: State) -> tuple[str, str]:
        found, reason = _feed(s)
        return (other if found == word else found), reason

    return [(headline, "_feed", feed)]


def _and_then(function: Callable[..., Any], act: Callable[..., Any]) -> Callable[..., Any]:
    """`act` after `function`, with the same arguments."""

    def both(*arguments: Any, **options: Any) -> Any:
        result = function(*arguments, **options)
        act(*arguments)
        return result

    return both


def _first_of_all(function: Callable[..., Any]) -> Callable[..., Any]:
    """Only the first order of a supervisor's life."""

    def once(s: State) -> None:
        if s.book.order is not None and not getattr(s, "is_book_read", False):
            s.is_book_read = s.book.is_sent  # type: ignore[attr-defined]
            function(s)

    return once


def _as_the_first(orders: Orders, book: Any, *times: Any) -> Any:
    orders.accounts.clear()
    return _compare(orders, book, *times)


def _giving_up(reader: BookReader, *_: Any) -> list[Any]:
    reader._asked = reader._order = None
    return []


def _ends_series(s: State) -> Link:
    opened = _let_in(s)
    dial.forget_refusals(s)
    return opened


def _live_at_once(s: State, number: int, epoch: int) -> None:
    shard = s.shard_of(epoch)
    if shard is not None and shard.link.state is SocketState.PRIMING:
        link.became_live(s, shard)


def _like_the_others(s: State, kind: Any, about: Any = None) -> int:
    """A 403 is the socket's, whoever may know better."""
    if kind != "classify":
        return _ask(s, kind, about)
    s.tell(QuoteAnswered("classify", "same"))
    return 0


def _late(s: State, reason: str, **options: Any) -> DialState:
    state = _wait_network(s, reason, **options)
    s.dial.until_ns += 8 * S
    return state


def _without_standby(s: State, name: Any) -> str | None:
    return None if name == "standby" else _candidate(s, name)


def _standby_first(s: State, shard: Shard) -> str | None:
    wish = _wish(s, shard)
    return wish and (_candidate(s, "standby") or wish)


def _once_good(s: State, shard: Shard) -> bool:
    return shard.rest.ok_ns > 0


def _hang_up_all(s: State) -> None:
    for shard in s.shards:
        if shard.is_open:
            closing.hang_up(s, shard)


def _dropping(s: State, facts: Any, verdict: str, detail: str) -> None:
    if verdict == "refused" and facts.slot == "primary":
        _hang_up_all(s)


def _break_before_make(s: State, event: Any) -> bool:
    is_new = _seen(s, event)
    if is_new and event.slot == "primary":
        _hang_up_all(s)
    return is_new


def _unwritten(self: Supervisor, event: Any) -> None:
    _apply(self, event)
    if isinstance(event, Operate):
        commands = self.state.commands
        commands[:] = [command for command in commands if not isinstance(command, Persist)]


def _of_before(self: fence.Fence, batch: IngestBatch, now_ns: int) -> bool:
    held = self.holdings.get(batch.shard)
    is_older = held is not None and batch.epoch < held.epoch
    return is_older or _admit(self, batch, now_ns)


def _lower_too(self: fence.Fence, shard: int, epoch: int, source: Any) -> fence.Holding | None:
    held = self.holdings.get(shard)
    if held is not None and epoch < held.epoch:
        self.holdings[shard] = msgspec.structs.replace(held, epoch=epoch)
    return _grant(self, shard, epoch, source)


def _once_unproven(s: State, alive: Any) -> None:
    for shard in s.shards:
        if shard.is_streaming and shard.number not in alive:
            shard.link.unproven_since_ns = shard.link.unproven_since_ns or s.now_ns


def _of_any_mode(self: confirmations.Confirmations, message: m.Confirmed) -> None:
    _confirm(self, msgspec.structs.replace(message, modes=()))


def _of_canaries_only(self: Canaries) -> int:
    """Take only canaries for proof: nothing that the others do."""
    ticked_ns = [canary.ticked_ns for canary in self._all.values() if canary.is_relied_on]
    return max(ticked_ns, default=0)


def _never_excused(self: Canaries, now_ns: int) -> None:
    _look_at(self, now_ns)
    for canary in self._all.values():
        canary.is_excused = False
    self._judge(now_ns)


def _never_alone(self: liveness.Liveness, *arguments: Any, **options: Any) -> liveness.Doubt:
    return _doubt(self, *arguments, **options)._replace(is_alone=False)


_doubt, _look_at = liveness.Liveness._doubt, Canaries.look
_confirm = confirmations.Confirmations.confirm
_feed, _let_in, _ask, _wait_network = headline._feed, dial.let_in, probe.ask, moves._wait_network
_compare = Orders.compare
_candidate, _wish, _conclude, _seen = rest._candidate, rest._wish, session._conclude, session.seen
_apply, _admit, _grant = Supervisor._apply, fence.Fence.admit, fence.Fence.grant


def _forward_only(standing: Any, than: Any) -> None:
    """Kite's times alone tell before and after."""


PLANTS: dict[str, list[Plant]] = {
    # orders
    "nobody reads the order book": [(order_book, "read", nothing)],
    "the order book is read once": [(order_book, "advance", _first_of_all(order_book.advance))],
    "what the order book told is told again": [(Orders, "is_news", lambda *_: True)],
    "what was told is missed": [(broadcaster_orders, "_is_missed", lambda *_: True)],
    "an order that ended goes on": [(broadcaster_orders, "_progress", _forward_only)],
    "no order is remembered over a restart": [(Orders, "load", nothing)],
    "an order that nobody knew is old": [(Orders, "compare", _as_the_first)],
    "the order book is asked for at every reconnect": [(poller_book, "SPACING_NS", 0)],
    "a book that was not had is given up": [
        (BookReader, "_failed", _giving_up),
        (order_book, "BOOK_REPEAT_NS", 10 * HOUR_NS),
    ],
    # words
    "a dead session is told as stale": _for("login_required", "stale"),
    "what is stale is told as polled": _for("stale", "rest"),
    "a closed market is told as stale": _for("closed", "stale"),
    "a pause is told as stale": _for("paused", "stale"),
    "a plan without data is told as stale": _for("no_entitlement", "stale"),
    "what is polled is told as live": _for("rest", "live"),
    "what is polled is told as stale": _for("rest", "stale"),
    "what is stale is told as closed": _for("stale", "closed"),
    "everything comes from the socket": [(headline, "_source", lambda s: "websocket")],
    "nobody is told of the next attempt": [(headline, "retry_in_s", nothing)],
    "an outage has no end": [(headline, "_outage_over", nothing)],
    "every shard is told as fresh": [(headline, "_is_fresh", lambda s, shard: True)],
    "nobody says before the open whether all is ready": [(headline, "ready_check", nothing)],
    "nobody is told that the session is dead": [(headline, "_session_conditions", lambda s: {})],
    # questions
    "a live session is not asked about": [(session, "LIVE_CHECK_NS", 10 * HOUR_NS)],
    "a live session is asked about every 20 s": [(session, "LIVE_CHECK_NS", 20 * S)],
    "nothing is asked at fixed times": [(session, "scheduled_checks", nothing)],
    "a refused session stays good on disk": [(session, "_forget_valid", nothing)],
    "yesterday's validation is good today": [(market, "last_flush_utc_ns", lambda utc_ns: 0)],
    "a validation may take a minute": [
        (session, "VALIDATION_LIMIT_NS", MINUTE_NS),
        (validator, "TIMEOUT_NS", MINUTE_NS),
    ],
    "a login that nobody judged waits ten minutes": [
        (session, "UNVERIFIED_CHECK_NS", 10 * MINUTE_NS)
    ],
    "a damaged session file is told after a minute": [(watcher, "GRACE_NS", MINUTE_NS)],
    # the silence of canaries
    "a silent canary makes all of its socket stale": [
        (Canaries, "proven_ns", property(_of_canaries_only)),
        (Canaries, "look", _never_excused),
    ],
    "a silent canary holds nothing": [(Canaries, "_is_held", lambda *_: False)],
    "what is held is read as fresh": [
        (fence.Holding, "held_segments", property(lambda _: [], nothing))
    ],
    "an index that never ticks is a canary for ever": [
        (canaries, "PRESUMED_NS", HOUR_NS),
        (Pace, "ticked", nothing),
        (Canaries, "settled", nothing),
    ],
    "a socket is given up because one alone is silent": [
        (liveness.Liveness, "_doubt", _never_alone),
        (doubt, "_is_ticking", lambda shard, about: False),
        (probe, "_has_ticked", lambda shard: False),
    ],
    "the ticker is not told what a quote says": [(doubt, "_settle", nothing)],
    "a settlement price costs one socket after another": [
        (doubt, "_is_futile", lambda s, shard, about: False)
    ],
    # refusals and waits
    "a handshake ends a series of refusals": [(dial, "let_in", _ends_series)],
    "a handshake is a proof of life": [(link, "opened", _and_then(link.opened, _live_at_once))],
    "two refusals are enough to poll": [
        (moves, "REFUSALS_BEFORE_REST", 2),
        (rest, "REFUSALS_BEFORE_REST", 2),
    ],
    "a refused socket is tried again after ten minutes": [
        (moves, "SOCKET_REFUSED_RETRY_NS", 10 * MINUTE_NS)
    ],
    "a 429 is waited out for ten minutes": [(moves, "LIMIT_WAIT_S", (600, 900))],
    "a refusal is not classified": [(probe, "ask", _like_the_others)],
    "a lost socket is tried again after 8 s": [(moves, "_wait_network", _late)],
    "connecting may take five minutes": [(moves, "CONNECT_LIMIT_NS", 5 * MINUTE_NS)],
    # polling
    "REST bridges after five minutes": [(rest, "BRIDGE_AFTER_NS", 5 * MINUTE_NS)],
    "REST bridges at once": [(rest, "BRIDGE_AFTER_NS", 1)],
    "quotes are polled every 20 s": [(rest, "POLL_PERIOD_NS", 20 * S)],
    "quotes are polled every second": [(rest, "POLL_PERIOD_NS", S)],
    "the standby never polls": [(rest, "_candidate", _without_standby)],
    "the standby polls before the first is refused": [(rest, "_wish", _standby_first)],
    "a poll that failed is tried again after a minute": [(sweep, "RETRY_NS", MINUTE_NS)],
    "what was polled once is fresh for ever": [(rest, "is_fresh", _once_good)],
    # logins, the operator
    "a bad login costs the socket that streams": [
        (session, "_conclude", _and_then(_conclude, _dropping))
    ],
    "a new login costs a socket before it has another": [(session, "seen", _break_before_make)],
    "no socket moves to a new login": [(moves, "_is_movable", lambda s, shard: False)],
    "what the operator says is not written down": [(Supervisor, "_apply", _unwritten)],
    # ticker, fence, broadcaster
    "a stream without news is doubted after a minute": [(liveness, "UNPROVEN_NS", MINUTE_NS)],
    "what reads stale is told as live": [(headline, "_unproven", lambda s: False)],
    "what has ticked again is told as stale": [
        (link, "judged", _once_unproven),
    ],
    "what was lost on the way to Kite is never asked again": [
        (subscriptions, "ASK_AGAIN_S", (10 * 3_600,))
    ],
    "a packet of any mode confirms": [(confirmations.Confirmations, "confirm", _of_any_mode)],
    "nothing is confirmed by a packet": [(link_state.LinkState, "confirmations", lambda *_: [])],
    "what is asked again is news": [(subscriptions.Asked, "_is_repeat", lambda *_: False)],
    "a trade of ten minutes ago is news": [(link_state, "FRESH_WITHIN_S", 600)],
    "a source that says nothing is alive": [(fence, "BEAT_STALE_NS", HOUR_NS)],
    "a socket without frames is alive": [(fence, "FRAME_STALE_NS", HOUR_NS)],
    "a poll without values is alive": [(fence, "POLL_GRACE_NS", HOUR_NS)],
    "ticks of the source before are let in": [(fence.Fence, "admit", _of_before)],
    "a grant of before is taken": [(fence.Fence, "grant", _lower_too)],
    "a grant is sent once": [(grant, "GRANT_REPEAT_NS", 10 * HOUR_NS)],
    "values are kept for an hour": [(store, "KEPT_NS", HOUR_NS)],
    "values are saved every ten minutes": [(broadcaster, "SAVE_NS", 10 * MINUTE_NS)],
    "a heartbeat comes every ten seconds": [(broadcaster, "HEARTBEAT_NS", 10 * S)],
    "numbers are not counted": [(Sequences, "next", lambda self, topic: 1)],
    "one tick opens the market for an hour": [(state, "OBSERVED_OPEN_NS", HOUR_NS)],
    "a process that hangs is left alone for a minute": [(roster, "LOST_AFTER_NS", MINUTE_NS)],
}
