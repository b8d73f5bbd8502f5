"""Small wrong changes to the machines. Each must be found by the simulation: a checker that has
never caught anything proves nothing. A plant replaces one function or constant while it grows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from kitefeed.actors.broadcaster import fence, store
from kitefeed.actors.policy.backoff import Ladder
from kitefeed.actors.rest_poller import machine as poller
from kitefeed.actors.rest_poller.sweep import Sweep
from kitefeed.actors.supervisor import doubt, grant, headline, link, probe, rest, session
from kitefeed.actors.supervisor.facts import LinkState
from kitefeed.actors.supervisor.state import State
from kitefeed.actors.supervisor.subscriptions import Subscriptions
from kitefeed.actors.ticker import liveness
from kitefeed.actors.ticker.liveness import Liveness
from kitefeed.actors.ticker.subscriptions import Asked
from kitefeed.actors.token_validator.machine import Answered, TokenValidator
from kitefeed.protocol.topology import Role
from tests.simulation.exchange import S

Plant = tuple[Any, str, Any]  # where, which name, what it becomes
HOUR_NS = 3_600 * S


def _nothing(*_: object, **__: object) -> None:
    return None


def _wrapped(function: Callable[..., Any], before: Callable[..., Any]) -> Callable[..., Any]:
    """`before` may change the arguments that `function` gets."""

    def both(*arguments: Any, **options: Any) -> Any:
        return function(*before(*arguments), **options)

    return both


def _own_epoch(s: State, epoch: int, *rest_of: Any) -> tuple[Any, ...]:
    return (s, s.link.epoch, *rest_of)


def _count_too_much(s: State, reason: str) -> tuple[Any, ...]:
    s.consecutive_403 += 1
    return s, reason


def _own_verdict(s: State, event: Any) -> tuple[Any, ...]:
    facts = session.slot(s, event.slot)
    return s, msgspec.structs.replace(
        event, request_id=facts.request_id, fingerprint=facts.fingerprint or ""
    )


def _own_poll(s: State, event: Any) -> tuple[Any, ...]:
    return s, msgspec.structs.replace(event, epoch=s.rest.epoch)


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


def _newest(s: State) -> tuple[str, int]:
    source, epoch = _wanted(s)
    return source, s.persisted.epoch if source != "none" else epoch


def _forgetful(s: State) -> None:
    s.conditions.clear()
    _say_conditions(s)


def _told(s: State) -> str:
    return "no connection to wss://ws.kite.trade?access_token=abc"


def _no_deadline(s: State) -> None:
    _connect(s)
    s.link.until_ns = 0


def _deaf_to_pause(s: State) -> bool:
    return s.session.word == "absent" or Role.TICKER not in s.actors_up


def _accusing(self: TokenValidator, request_id: int, detail: str) -> Any:
    return self._answer(Answered(request_id, "refused", detail=detail))


def _straight(s: State) -> None:
    s.link.state = LinkState.PREFLIGHT
    _connect(s)


def _keep_both(s: State) -> None:
    old = s.link.epoch
    _rotate(s)
    s.commands = [c for c in s.commands if getattr(getattr(c, "message", None), "epoch", 0) != old]


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


_replace, _wanted, _say_conditions = session._replace, grant._wanted, headline._say_conditions
_connect, _rotate, _values, _load = link._connect, link._rotate, Sweep.values, store.LastValues.load

PLANTS: dict[str, list[Plant]] = {
    # the supervisor's link
    "a closed market is knocked at every 5 s": [(link, "CLOSED_RETRY_NS", 5 * S)],
    "a refused socket is tried every 10 s": [(doubt, "SOCKET_REFUSED_RETRY_NS", 10 * S)],
    "network trouble counts as a 403": [
        (link, "_wait_network", _wrapped(link._wait_network, _count_too_much))
    ],
    "an attempt without a pre-flight": [(link, "_preflight", _straight)],
    "a refused session may connect": [
        (link, "_hear_verdict", _wrapped(link._hear_verdict, _always_good))
    ],
    "an unverified session may always connect": [(session, "was_valid_today", lambda s: True)],
    "an old close ends the new link": [(link, "closed", _wrapped(link.closed, _own_epoch))],
    "an old refusal hits the new attempt": [(link, "refused", _wrapped(link.refused, _own_epoch))],
    "connecting has no end": [(link, "_connect", _no_deadline)],
    "pause is not heard": [(link, "_must_end", _deaf_to_pause)],
    "a new login does not end a wait": [(link, "session_changed", _nothing)],
    "silence is not acted upon": [(link, "silent", _nothing)],
    "a rotation leaves the old socket open": [(link, "_rotate", _keep_both)],
    "the ladder has no rungs": [(Ladder, "next_ns", lambda self: 1)],
    # sessions, probes, polling, grants
    "an old verdict is believed": [
        (session, "validated", _wrapped(session.validated, _own_verdict))
    ],
    "a new login waits for its validation": [(session, "_replace", _late_check)],
    "what a quote says is not heard": [(doubt, "_doubt_resolved", _nothing)],
    "a plan without data is asked for all the time": [(probe, "ENTITLEMENT_CHECK_NS", 20 * S)],
    "an old sweep counts": [(rest, "polled", _wrapped(rest.polled, _own_poll))],
    "polling does not end": [(rest, "stop", _nothing)],
    "a refused session is polled on": [(rest, "_candidate", _unparked)],
    "REST never bridges": [(rest, "_wish", _nothing)],
    "the grant goes to the newest epoch": [(grant, "_wanted", _newest)],
    "a grant is never repeated to a new broadcaster": [(grant, "broadcaster_up", _nothing)],
    # numbers, words, wants
    "an epoch is used before it is stored": [(State, "next_epoch", _unpersisted)],
    "a hello lowers the epoch": [(State, "raise_epoch", _lowered)],
    "a condition is said again and again": [(headline, "_say_conditions", _forgetful)],
    "a log line tells the token": [(headline, "_stale_reason", _told)],
    "the last instrument is not streamed": [
        (State, "streamed", lambda self: tuple(self.instruments[:-1]))
    ],
    "listeners are not heard": [(Subscriptions, "listen", _nothing)],
    # ticker, poller, validator, broadcaster
    "silence takes a minute": [(liveness, "SILENT_NS", 60 * S)],
    "a mute feed is not doubted": [(liveness, "CANARY_NS", HOUR_NS)],
    "what lay in a buffer is news": [(Liveness, "frame", _trusting)],
    "a cached packet is news": [(Asked, "is_first", lambda self, token, mode: False)],
    "the quote bucket leaks": [(poller, "SPACING_NS", 3 * S // 10)],
    "a polled value is stamped with its arrival": [(Sweep, "values", _at_answer)],
    "no answer is a refusal": [(TokenValidator, "_give_up", _accusing)],
    "a granted source is always alive": [(fence.Holding, "is_alive", _always_admit)],
    "a canary may be silent for an hour": [(fence, "CANARY_STALE_NS", HOUR_NS)],
    "values from disk are news": [(store.LastValues, "load", _unmarked)],
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The machines with this fault in them."""
    kept = [(where, attribute, getattr(where, attribute)) for where, attribute, _ in PLANTS[name]]
    try:
        for where, attribute, value in PLANTS[name]:
            setattr(where, attribute, value)
        yield
    finally:
        for where, attribute, value in kept:
            setattr(where, attribute, value)
