"""The control desk: requests of commands and programs in, replies out. Pure: each request is a
procedure, which yields orders and is sent the answer to a `LookUp`."""

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from kitefeed.actors.supervisor.facts import Operate, RetryNow
from kitefeed.actors.supervisor.machine import Event, Supervisor
from kitefeed.actors.supervisor.names import Found, Names
from kitefeed.actors.supervisor.subscriptions import (
    HEAR_NS,
    PENDING_MAX,
    WAIT_S_MAX,
    Pending,
    Subscriptions,
)
from kitefeed.protocol.kite.units import NS_PER_S
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.control import (
    Answers,
    AskQuotes,
    ControlRequest,
    Done,
    DropInstruments,
    FetchList,
    GetStatus,
    Named,
    NameTokens,
    Quotes,
    Refused,
    Retry,
    SetSource,
    Status,
    WantInstruments,
)
from kitefeed.protocol.messages.envelope import Message
from kitefeed.protocol.messages.instruments import LIST_MAX
from kitefeed.protocol.messages.status import StatusReport
from kitefeed.protocol.topology import Role

Ticket = tuple[bytes, str]  # peer and request id
SEARCHES_MAX = 10  # for near names in one request: each may cost ~20 ms of the loop
QUESTIONS_NS_MAX = 10 * NS_PER_S  # the poller answers sooner, unless it has gone
_CODES = {"rate": "busy", "token": "forbidden", "permission": "forbidden", "input": "bad_request"}
KNOWN_REPLIES_MAX = 256  # a command repeats its request with the same id; it is carried out once

T = TypeVar("T")
Procedure = Generator[Any, Found, T]
"""Yields orders, is sent what a `LookUp` among them found, and returns a T."""


class Reply(msgspec.Struct, frozen=True):
    """The answer to the request that `ticket` names."""

    ticket: Ticket
    message: Message


class Desk:
    """Answers requests, each with exactly one reply. `feed` gives the machine an event; `changed`
    is called when wants have changed; `status` builds the report."""

    def __init__(
        self,
        supervisor: Supervisor,
        subscriptions: Subscriptions,
        names: Names,
        feed: Callable[[Event], Iterator[Any]],
        look_up: Callable[[Sequence[str]], Procedure[None]],
        changed: Callable[[], Procedure[None]],
        status: Callable[[], StatusReport],
    ) -> None:
        self._supervisor = supervisor
        self._subscriptions = subscriptions
        self._names = names
        self._feed = feed
        self._look_up = look_up
        self._changed = changed
        self._status = status
        self._questions: dict[int, tuple[Ticket, int]] = {}  # of the poller; until when
        self._asked = 0
        self._replies: dict[str, Message | None] = {}  # id -> reply, None while it is pending

    def handle(
        self, peer: bytes, frame_id: str, request: ControlRequest, now_ns: int
    ) -> Procedure[None]:
        ticket = (peer, frame_id)
        if frame_id in self._replies:
            known = self._replies[frame_id]
            if known is not None:
                yield Reply(ticket, known)
            else:
                self._subscriptions.redirect(ticket)  # it waits: answered here from now on
            return
        self._remember(frame_id, None)
        match request:
            case GetStatus():
                self._subscriptions.confirmations.retain(self._supervisor.state.running)
                yield self._reply(ticket, Status(self._status()))
            case WantInstruments():
                yield from self._want(ticket, request, now_ns)
            case DropInstruments(instruments):
                answers = tuple(
                    self._subscriptions.drop(key, may_search=number < SEARCHES_MAX)
                    for number, key in enumerate(instruments)
                )
                yield from self._changed()
                yield self._reply(ticket, Answers(answers))
            case NameTokens(tokens):
                yield self._reply(ticket, (yield from self._name(tokens)))
            case SetSource(source):
                yield self._reply(ticket, (yield from self._set_source(source)))
            case Retry():
                yield self._reply(ticket, (yield from self._retry()))
            case FetchList():
                yield self._reply(ticket, (yield from self._fetch_list(request)))
            case AskQuotes(tokens):
                yield from self._ask_quotes(ticket, tokens, now_ns)

    def turn(self, now_ns: int) -> Iterator[Reply]:
        """Answer the requests that can be answered by now."""
        self._subscriptions.confirmations.retain(self._supervisor.state.running)
        for pending in self._subscriptions.due(now_ns, self._can_stream()):
            answers = tuple(
                self._subscriptions.answer(key, self._waiting(key, now_ns), pending.mode)
                for key in pending.keys
            )
            yield self._reply(pending.ticket, Answers(answers))
        for number, (_, until_ns) in [*self._questions.items()]:
            if until_ns <= now_ns:
                gone = m.Quoted(number, "network", "the rest_poller process does not answer")
                yield from self.quoted(gone)

    # --- the requests -------------------------------------------------------------------------

    def _want(self, ticket: Ticket, request: WantInstruments, now_ns: int) -> Procedure[None]:
        if len(self._subscriptions.pending) >= PENDING_MAX:
            busy = f"{PENDING_MAX} requests wait already; try again: `kitefeed subscribe`"
            yield self._reply(ticket, Refused("not_ready", busy))
            return
        keys = tuple(dict.fromkeys(request.instruments))[:LIST_MAX]
        yield from self._look_up(keys)
        known = [key for key in keys if self._subscriptions.may_be_had(key)]
        if request.is_kept:
            self._subscriptions.want(known, request.mode)
            yield from self._changed()
        wait_ns = int(max(0.0, min(request.wait_s, WAIT_S_MAX)) * 1e9)
        heard_ns = 0 if request.is_kept else now_ns + HEAR_NS
        self._subscriptions.hold(Pending(ticket, keys, now_ns + wait_ns, request.mode, heard_ns))
        yield from self.turn(now_ns)

    def _waiting(self, key: str, now_ns: int) -> str:
        """Say what an instrument waits for that has not come."""
        if self._can_stream():
            asked = self._subscriptions.progress(key, now_ns)
            return asked or "no packet came yet; it will be streamed as soon as one does"
        state = self._supervisor.state.last_announced
        return f"{state.feed}: {state.reason}" if state else "starting"

    def _can_stream(self) -> bool:
        """Whether first packets are to be expected; if not, it is no use to wait for them."""
        state = self._supervisor.state
        return any(shard.is_open or shard.rest.is_started for shard in state.shards)

    def _name(self, tokens: Sequence[int]) -> Procedure[Message]:
        names = yield from self._names.of(tokens)
        if names is None:
            return Refused("not_ready", "there is no instrument list yet: `kitefeed status`")
        return Named(dict(names))

    def _set_source(self, source: str) -> Procedure[Message]:
        state = self._supervisor.state
        if source == "websocket" and state.session.word in ("refused", "absent"):
            why = "Kite refuses the session" if state.session.word == "refused" else "no session"
            return Refused("forbidden", f"{why}: `kitefeed login`, then this again")
        if source in ("auto", "websocket", "rest", "paused"):
            yield from self._feed(Operate(source))  # type: ignore[arg-type]
        return Done(f"source is {source} now, and stays so over restarts: `kitefeed status`")

    def _retry(self) -> Procedure[Message]:
        if self._supervisor.state.override == "paused":
            return Refused("conflict", "the feed is paused: `kitefeed source auto` resumes it")
        yield from self._feed(RetryNow())
        return Done("trying now: `kitefeed status`")

    def _fetch_list(self, request: FetchList) -> Procedure[Message]:
        if Role.REST_POLLER not in self._supervisor.state.actors_up:
            return Refused("not_ready", "the rest_poller process is starting: try again")
        yield from self._feed(request)
        return Done("fetching the instrument list: `kitefeed status` shows what comes of it")

    def _ask_quotes(self, ticket: Ticket, tokens: tuple[int, ...], now_ns: int) -> Procedure[None]:
        state = self._supervisor.state
        fingerprint = state.session.fingerprint
        if fingerprint is None or state.session.word in ("refused", "absent"):
            yield self._reply(ticket, Refused("forbidden", "there is no session: `kitefeed login`"))
        elif Role.REST_POLLER not in state.actors_up:
            yield self._reply(ticket, Refused("not_ready", "the rest_poller process is starting"))
        else:
            self._asked = max(self._asked + 1, now_ns)  # rises over restarts, too
            self._questions[self._asked] = (ticket, now_ns + QUESTIONS_NS_MAX)
            yield from self._feed(m.FetchQuotes(self._asked, fingerprint, tokens))

    def quoted(self, answer: m.Quoted) -> Iterator[Reply]:
        """Pass on the poller's answer to a program's question, and do not keep it."""
        ticket, _ = self._questions.pop(answer.request_id, (None, 0))
        if ticket is None:
            return
        if answer.outcome == "ok":
            reply: Message = Quotes(answer.quotes)
        else:
            reply = Refused(_CODES.get(answer.outcome, "not_ready"), answer.detail)
        self._replies.pop(ticket[1], None)
        yield Reply(ticket, reply)

    # --- the replies --------------------------------------------------------------------------

    def _reply(self, ticket: Ticket, message: Message) -> Reply:
        self._remember(ticket[1], message)
        return Reply(ticket, message)

    def _remember(self, frame_id: str, message: Message | None) -> None:
        self._replies[frame_id] = message
        while len(self._replies) > KNOWN_REPLIES_MAX:
            self._replies.pop(next(iter(self._replies)))
