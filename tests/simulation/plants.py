"""Small wrong changes to the machines. Each must be found by the simulation: a checker that has
never caught anything proves nothing. A plant replaces one function or constant while it grows."""

from __future__ import annotations

from copy import copy
from datetime import datetime
from typing import Any

import msgspec

from kitefeed.actors.broadcaster import fence, judge, store
from kitefeed.actors.broadcaster.conflation import Conflation
from kitefeed.actors.broadcaster.machine import Broadcaster
from kitefeed.actors.policy import market
from kitefeed.actors.policy.backoff import Ladder
from kitefeed.actors.policy.calendar import Calendar, PhaseWord
from kitefeed.actors.rest_poller import machine as poller
from kitefeed.actors.rest_poller.sweep import Sweep
from kitefeed.actors.supervisor import (
    dial,
    doubt,
    grant,
    headline,
    link,
    moves,
    probe,
    rest,
    session,
    state,
    subscriptions,
)
from kitefeed.actors.supervisor.core import Core
from kitefeed.actors.supervisor.facts import DialState, Shard, SocketState
from kitefeed.actors.supervisor.machine import Supervisor
from kitefeed.actors.supervisor.state import State
from kitefeed.actors.supervisor.subscriptions import Subscriptions
from kitefeed.actors.ticker import link_state, liveness
from kitefeed.actors.ticker.link_state import LinkState
from kitefeed.actors.ticker.liveness import Liveness
from kitefeed.actors.ticker.subscriptions import Asked
from kitefeed.actors.token_validator.machine import Answered, TokenValidator
from kitefeed.protocol.feed import Flag
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.topology import Role
from tests.simulation.exchange import S
from tests.simulation.planting import HOUR_NS, Plant, nothing, wrapped


def _dialled(s: State, epoch: int, *rest_of: Any) -> tuple[Any, ...]:
    return (s, s.dial.epoch, *rest_of)


def _own_epoch(s: State, epoch: int, *rest_of: Any) -> tuple[Any, ...]:
    opened = [shard.link.epoch for shard in s.shards if shard.is_open]
    return (s, opened[0] if opened else epoch, *rest_of)


def _counting(s: State, reason: str, **options: Any) -> DialState:
    s.consecutive_403 += 1
    return _wait_network(s, reason, **options)


def _counted_for_each(s: State, epoch: int, status: int) -> tuple[Any, ...]:
    s.consecutive_403 += len(s.closed) - 1 if status == 403 else 0
    return s, epoch, status


def _own_verdict(s: State, event: Any) -> tuple[Any, ...]:
    facts = session.slot(s, event.slot)
    return s, msgspec.structs.replace(
        event, request_id=facts.request_id, fingerprint=facts.fingerprint or ""
    )


def _own_poll(s: State, event: Any) -> tuple[Any, ...]:
    return s, msgspec.structs.replace(event, epoch=s.shards[0].rest.epoch)


def _unsaid(self: Subscriptions, told: Any, now_ns: int) -> bool:
    _listen(self, told, now_ns)
    return False


def _deaf(self: Core, message: Any, member: Any, now_ns: int) -> Any:
    if isinstance(message, m.ListenersWant):
        self.subscriptions.listen(message, now_ns)
        return iter(())
    return _report(self, message, member, now_ns)


def _all_expired(self: Subscriptions, found: Any, owners: Any, day_ist: str) -> tuple[Any, ...]:
    for key, listed in self._listed.items():
        self._listed[key] = listed._replace(expiry="2000-01-01")
    return self, found, owners, day_ist


def _always_good(s: State, verdict: str) -> tuple[Any, ...]:
    return s, "valid" if verdict == "refused" else verdict


def _unpersisted(s: State) -> int:
    s.persisted.epoch += 1
    return s.persisted.epoch


def _lowered(s: State, seen: int) -> None:
    s.persisted.epoch = seen or s.persisted.epoch


def _late_check(s: State, facts: Any, fingerprint: str | None) -> None:
    _replace(s, facts, fingerprint)
    facts.next_check_ns = s.now_ns + 5 * S


def _unparked(s: State, name: Any) -> str | None:
    facts = session.slot(s, name)
    return facts.fingerprint


def _newest(s: State, shard: Shard) -> tuple[str, int]:
    source, epoch = _wanted(s, shard)
    return source, s.persisted.epoch if source != "none" else epoch


def _first_one_s(s: State, shard: Shard) -> tuple[str, int]:
    """Return what the first shard is granted, for all."""
    return _wanted(s, s.shards[0] if shard.instruments else shard)


def _for_the_first(s: State, grants: Any, is_new: bool) -> None:
    kept = [(shard.grant, shard.link) for shard in s.shards[1:]]
    copies = [(copy(granted), copy(opened)) for granted, opened in kept]
    _broadcaster_up(s, grants, is_new)
    for shard, (granted, opened) in zip(s.shards[1:], copies, strict=True):
        shard.grant, shard.link = granted, opened


def _spread_anew(wanted: Any, placed: Any, homes: Any, capacity: Any, opened: Any) -> Any:
    """Evenly, whatever streams where."""
    return _assign(reversed(wanted), (), {}, capacity)


def _in_two(self: State, shard: Shard, instruments: Any) -> None:
    extra = [i for i in self.instruments[-1:] if shard.number == 1 and i not in instruments]
    _give(self, shard, [*instruments, *extra])


def _all_at_once(s: State) -> Any:
    opened = _let_in(s)
    s.dial.good_ns = s.now_ns
    for shard in s.closed[1:]:
        s.dial.state = _connect(s, shard)
    return opened


def _limited_shortly(s: State) -> None:
    _limited(s)
    for shard in s.shards:
        shard.limited_until_ns = min(shard.limited_until_ns, s.now_ns + 5 * S)


def _first_moves_only(s: State) -> Any:
    shard = _next_due(s)
    return None if shard is not None and shard.is_open and shard.number else shard


def _told_of_none(s: State, shard: Shard) -> bool:
    """Only a whole feed is well."""
    return _is_fresh(s, shard) and s.is_streaming


def _deaf_beat(self: Supervisor, beat: Any) -> None:
    """One age of fresh ticks for all sockets."""
    _beat(self, msgspec.structs.replace(beat, fresh_ages_ns={}))


def _forgetful(s: State) -> None:
    s.conditions.clear()
    _say_conditions(s)


def _told(s: State) -> str:
    return "no connection to wss://ws.kite.trade?access_token=abc"


def _no_deadline(s: State, shard: Shard) -> DialState:
    state = _connect(s, shard)
    s.dial.until_ns = 0
    return state


def _deaf_to_pause(s: State) -> bool:
    return s.session.word == "absent" or Role.TICKER not in s.actors_up


def _accusing(self: TokenValidator, request_id: int, detail: str) -> Any:
    return self._answer(Answered(request_id, "refused", detail=detail))


def _straight(s: State, shard: Shard) -> DialState:
    return _connect(s, shard)


def _keep_both(s: State, shard: Shard) -> None:
    old = shard.link.epoch
    _rotate(s, shard)
    s.commands = [c for c in s.commands if getattr(getattr(c, "message", None), "epoch", 0) != old]


def _of_today(self: store.LastValues, rows: Any, *, now_ns: int, utc_ns: int) -> None:
    rows = [msgspec.structs.replace(row, received_utc_ns=utc_ns) for row in rows]
    _load(self, rows, now_ns=now_ns, utc_ns=utc_ns)


def _until_noon(self: Calendar, segment: str, moment: datetime) -> PhaseWord:
    return "closed" if moment.hour >= 12 else _phase(self, segment, moment)


def _at_answer(self: Sweep, quotes: Any, sent_ns: int, now_ns: int) -> Any:
    return _values(self, quotes, now_ns, now_ns)


def _always_admit(self: fence.Holding, now_ns: int) -> bool:
    return bool(self.source)


def _unmarked(self: store.LastValues, rows: Any, **clocks: int) -> None:
    _load(self, rows, **clocks)
    for value in self._values.values():
        value.flags = 0
        value.origin = msgspec.structs.replace(value.origin, received_boot_ns=clocks["now_ns"])


def _trusting(self: Liveness, now_ns: int) -> bool:
    self.last_frame_ns = now_ns
    return True


def _by_shares(self: State) -> bool:
    return self.market.is_open(market.NSE, self.utc_ns)


def _at_any_hour(self: State, instrument: Any, *, is_canary: bool) -> Any:
    found = _as_streamed(self, instrument, is_canary=is_canary)
    return msgspec.structs.replace(found, is_canary=is_canary)


def _proven_only(s: State, shard: Shard) -> bool:
    return shard.link.state is SocketState.LIVE


def _ahead(self: Conflation, rate: Any, topic: bytes, value: Any) -> Any:
    """The value that comes next counts as sent."""
    sent = _renew(self, rate, topic, value)
    sent.of_seq = value.seq + 1
    return sent


def _never_stale(self: Conflation, rate: Any, topic: bytes, value: Any) -> Any:
    sent = _renew(self, rate, topic, value)
    sent.flags &= ~int(Flag.STALE)
    return sent


def _forgetting_losses(held: fence.Holding, now_ns: int) -> int:
    return _since_ns(msgspec.structs.replace(held, loss_ns=0), now_ns)


_since_ns = judge._since_ns
_replace, _wanted, _say_conditions = session._replace, grant._wanted, headline._say_conditions
_connect, _rotate, _values, _load = (
    moves._connect,
    link._rotate,
    Sweep.values,
    store.LastValues.load,
)
_wait_network, _let_in, _limited, _next_due = (
    moves._wait_network, dial.let_in, moves._limited, moves._next_due
)  # fmt: skip
_broadcaster_up, _assign, _give = grant.broadcaster_up, state.assign, State._give
_listen, _report = Subscriptions.listen, Core._report
_phase = Calendar.phase
_as_streamed, _renew = State._as_streamed, Conflation._renew
_is_fresh, _beat = headline._is_fresh, Supervisor._beat

PLANTS: dict[str, list[Plant]] = {
    # the supervisor's link
    "a closed market is knocked at every 5 s": [(moves, "CLOSED_RETRY_NS", 5 * S)],
    "a refused socket is tried every 10 s": [(moves, "SOCKET_REFUSED_RETRY_NS", 10 * S)],
    "network trouble counts as a 403": [(moves, "_wait_network", _counting)],
    "an attempt without a pre-flight": [(moves, "_preflight", _straight)],
    "a refused session may connect": [(dial, "_judged", wrapped(dial._judged, _always_good))],
    "an unverified session may always connect": [(session, "was_valid_today", lambda s: True)],
    "an old close ends the new link": [(link, "closed", wrapped(link.closed, _own_epoch))],
    "an old refusal hits the new attempt": [(dial, "refused", wrapped(dial.refused, _dialled))],
    "connecting has no end": [(moves, "_connect", _no_deadline)],
    "pause is not heard": [(dial, "_must_end", _deaf_to_pause)],
    "a new login does not end a wait": [(dial, "session_changed", nothing)],
    "silence is not acted upon": [(link, "silent", nothing)],
    "a rotation leaves the old socket open": [(link, "_rotate", _keep_both)],
    "the ladder has no rungs": [(Ladder, "next_ns", lambda self: 1)],
    # sessions, probes, polling, grants
    "an old verdict is believed": [
        (session, "validated", wrapped(session.validated, _own_verdict))
    ],
    "a new login waits for its validation": [(session, "_replace", _late_check)],
    "what a quote says is not heard": [(doubt, "_doubt_resolved", nothing)],
    "a plan without data is asked for all the time": [(probe, "ENTITLEMENT_CHECK_NS", 20 * S)],
    "an old sweep counts": [(rest, "polled", wrapped(rest.polled, _own_poll))],
    "polling does not end": [(rest, "stop", nothing)],
    "a refused session is polled on": [(rest, "_candidate", _unparked)],
    "REST never bridges": [(rest, "_wish", nothing)],
    "the grant goes to the newest epoch": [(grant, "_wanted", _newest)],
    "a grant is never repeated to a new broadcaster": [(grant, "broadcaster_up", nothing)],
    # shards
    "the 403 of one socket counts for all that are closed": [
        (dial, "refused", wrapped(dial.refused, _counted_for_each))
    ],
    "all sockets are dialled at once": [(dial, "let_in", _all_at_once)],
    "a fourth socket is opened for a new login": [(moves, "_ours", lambda s: 0)],
    "a socket that Kite limits is tried every 5 s": [(moves, "_limited", _limited_shortly)],
    "only the first socket moves to a new login": [(moves, "_next_due", _first_moves_only)],
    "the grant of one shard is given to another": [(grant, "_wanted", _first_one_s)],
    "a shard is forgotten when the broadcaster restarts": [
        (grant, "broadcaster_up", _for_the_first)
    ],
    "what streams is moved when wants change": [(state, "assign", _spread_anew)],
    "an instrument is streamed by two shards": [(State, "_give", _in_two)],
    "a lost socket makes all values stale": [(headline, "_is_fresh", _told_of_none)],
    "fresh ticks of one socket excuse another": [(Supervisor, "_beat", _deaf_beat)],
    "a socket without a canary has no watchdog": [(state, "PER_SOCKET_MAX", 0)],
    # ticks that never came
    "ticks that never came are not missed": [(fence.Fence, "_note_loss", nothing)],
    "what was lost is not asked for anew": [(link, "lost_batches", nothing)],
    "a reader believes what is older than a loss": [(judge, "_since_ns", _forgetting_losses)],
    "the headline is not asked whether values are fresh": [
        (judge, "_is_vouched_for", lambda shard, words: True)
    ],
    "what came before a market closed is fresh": [(judge, "CLOSED_FRESH_NS", 12 * HOUR_NS)],
    # numbers, words, wants
    "an epoch is used before it is stored": [(State, "next_epoch", _unpersisted)],
    "a hello lowers the epoch": [(State, "raise_epoch", _lowered)],
    "a condition is said again and again": [(headline, "_say_conditions", _forgetful)],
    "a log line tells the token": [(headline, "_stale_reason", _told)],
    "the last instrument is not streamed": [
        (State, "streamed", lambda self, shard: shard.instruments[:-1])
    ],
    "listeners are not heard": [(Subscriptions, "listen", nothing)],
    "what programs listen to is noted and not wanted": [(Subscriptions, "listen", _unsaid)],
    "the core does not react to listeners": [(Core, "_report", _deaf)],
    # ticker, poller, validator, broadcaster
    "silence takes a minute": [(liveness, "SILENT_NS", 60 * S)],
    "a mute feed is not doubted": [(liveness, "CANARY_NS", HOUR_NS)],
    "a quiet list is never doubted": [(liveness, "QUIET_NS", HOUR_NS)],
    "a quiet list is asked about once": [(liveness, "QUIET_AGAIN_NS", HOUR_NS)],
    "what lay in a buffer is news": [(Liveness, "frame", _trusting)],
    "what is read late came just now": [(LinkState, "_look", nothing)],
    "what comes after a silence was just sent": [(link_state, "ARRIVING_NS", HOUR_NS)],
    "a cached packet is news": [(Asked, "is_first", lambda self, token, mode, body: False)],
    "the quote bucket leaks": [(poller, "SPACING_NS", 3 * S // 10)],
    "a polled value is stamped with its arrival": [(Sweep, "values", _at_answer)],
    "no answer is a refusal": [(TokenValidator, "_give_up", _accusing)],
    "a granted source is always alive": [(fence.Holding, "is_alive", _always_admit)],
    "a canary may be silent for an hour": [(fence, "CANARY_STALE_NS", HOUR_NS)],
    "values from disk are news": [(store.LastValues, "load", _unmarked)],
    "values from disk have no age": [(store.LastValues, "load", _of_today)],
    "last values are not saved": [(Broadcaster, "_maybe_save", lambda *_: [])],
    "what a quote lacks is left as it was": [(Sweep, "_ended", lambda *_: [])],
    # the instrument list
    "what a list forgot is unsubscribed": [
        (Subscriptions, "relisted", wrapped(Subscriptions.relisted, _all_expired))
    ],
    # listeners, the calendar
    "a wish ends with its reader": [(subscriptions, "LISTENER_GRACE_NS", 1)],
    "a wish outlives its reader": [(Subscriptions, "expire", lambda *_: False)],
    "the calendar knows no special days": [(Calendar, "_special", nothing)],
    "the market closes at noon": [(Calendar, "phase", _until_noon)],
    "the socket's third refusal is like the first": [(rest, "REFUSALS_BEFORE_REST", 99)],
    # segments
    "a list that trades in the evening is closed at 15:30": [
        (State, "is_calendar_open", property(_by_shares))
    ],
    "commodities are judged by the hours of shares": [(market, "_hours_of", lambda _: "NSE")],
    "an instrument of a closed segment counts as a canary": [(State, "_as_streamed", _at_any_hour)],
    "an index watches over commodities in the evening": [
        (State, "_ticking", property(lambda self: self._canaries))
    ],
    "nobody is told which segments are closed": [(headline, "closed_segments", lambda s: [])],
    "a closed segment is polled beside an open one": [
        (State, "polled", lambda self, shard: shard.instruments)
    ],
    "a socket of a closed segment keeps its old login": [(moves, "_is_movable", _proven_only)],
    # screens
    "a screen never hears the last value of a burst": [(Conflation, "_renew", _ahead)],
    "a screen goes on with what has ended": [
        (Conflation, "_renew", _never_stale),
        (Conflation, "ended", lambda *_: []),
    ],
}
