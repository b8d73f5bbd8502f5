from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from kitefeed.actors.supervisor.desk import (
    KNOWN_REPLIES_MAX,
    QUESTIONS_NS_MAX,
    Desk,
    Procedure,
    Reply,
    Ticket,
)
from kitefeed.actors.supervisor.facts import Operate, RetryNow
from kitefeed.actors.supervisor.names import Found, LookUp, Names
from kitefeed.actors.supervisor.subscriptions import PENDING_MAX, Subscriptions
from kitefeed.protocol.kite.instruments import Listed
from kitefeed.protocol.kite.ticks import LTP, QUOTE
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.control import (
    Answer,
    Answers,
    AskQuotes,
    ControlRequest,
    Done,
    DropInstruments,
    FetchList,
    Named,
    NameTokens,
    Quotes,
    Refused,
    Retry,
    SetSource,
    WantInstruments,
)
from kitefeed.protocol.messages.envelope import Message
from kitefeed.protocol.messages.status import StatusReport
from tests.unit.actors.supervisor.bench import Bench, S

INFY, TOKEN = "NSE:INFY", 408065
LISTED = {INFY: Listed(TOKEN)}


class Office:
    """A desk with everything around it played by hand."""

    def __init__(self, bench: Bench | None = None) -> None:
        self.bench = bench or Bench()
        self.epoch = 0
        self.subscriptions = Subscriptions((), (), "quote", {})
        self.replies: list[tuple[Ticket, Message]] = []
        self.fed: list[object] = []
        self.looked_up: list[str] = []
        self.changes = 0
        self.names: dict[int, str] | None = {408065: "NSE:INFY"}
        self.desk = Desk(
            self.bench.machine,
            self.subscriptions,
            Names(self.subscriptions),
            self._feed,
            self._look_up,
            self._changed,
            self._status,
        )

    def _feed(self, event: object) -> Iterator[Any]:
        self.fed.append(event)
        yield from ()

    def _look_up(self, keys: Sequence[str]) -> Procedure[None]:
        self.looked_up.extend(keys)
        yield from ()

    def _changed(self) -> Procedure[None]:
        self.changes += 1
        yield from ()

    def _status(self) -> StatusReport:
        raise AssertionError("nobody asked")

    def ask(self, request: ControlRequest, frame_id: str = "1", peer: bytes = b"p") -> None:
        procedure, found = self.desk.handle(peer, frame_id, request, 0), None
        while True:
            try:
                order = procedure.send(found)  # type: ignore[arg-type]
            except StopIteration:
                return
            found = None
            match order:
                case Reply(ticket, message):
                    self.replies.append((ticket, message))
                case LookUp():
                    found = Found(is_there=self.names is not None, owners=self.names or {})

    def hear(self, answer: m.Quoted) -> None:
        self.replies += [(reply.ticket, reply.message) for reply in self.desk.quoted(answer)]

    def turn(self, now_ns: int) -> None:
        self.replies += [(reply.ticket, reply.message) for reply in self.desk.turn(now_ns)]

    def told(self) -> None:
        """Note that the open socket was asked for all that is wanted."""
        order = m.Subscribe(0, self.epoch, self.subscriptions.instruments())
        self.subscriptions.confirmations.told(order, 0)

    def confirm(self, mode: int) -> None:
        self.subscriptions.confirmations.confirm(m.Confirmed(0, self.epoch, (TOKEN,), (mode,)))

    def answers(self) -> list[Answer]:
        reply = self.replies[-1][1]
        assert isinstance(reply, Answers)
        return list(reply.answers)


def live_office() -> Office:
    bench = Bench()
    epoch = bench.live()
    office = Office(bench)
    office.epoch = epoch
    office.subscriptions.resolved(LISTED, {"NSE:NOPE": "not listed"})
    return office


def test_a_wish_is_answered_when_its_first_packet_came() -> None:
    office = live_office()
    office.ask(WantInstruments((INFY,)))
    assert office.replies == []
    office.told()
    office.confirm(LTP)
    office.turn(S)
    assert office.replies == []
    office.confirm(QUOTE)
    office.turn(S)
    assert office.answers() == [Answer(INFY, "confirmed")]
    assert office.replies[-1][0] == (b"p", "1")


def test_a_wish_is_answered_at_its_deadline_with_what_it_waits_for() -> None:
    office = live_office()
    office.ask(WantInstruments((INFY,), wait_s=2))
    office.turn(2 * S - 1)
    assert office.replies == []
    office.turn(2 * S)
    assert office.answers()[0].outcome == "accepted"
    assert "no packet came yet" in office.answers()[0].detail


def test_an_answer_says_for_how_long_what_was_asked_of_kite_has_not_come() -> None:
    office = live_office()
    office.ask(WantInstruments((INFY,), wait_s=5))
    office.told()
    office.turn(5 * S)
    nothing = (
        "no packet came yet, quote was asked for 5 s ago, and is asked for again until one does"
    )
    assert office.answers() == [Answer(INFY, "accepted", nothing)]
    office.ask(WantInstruments((INFY,), wait_s=5), "2")
    office.confirm(LTP)
    office.turn(7 * S)
    lower = "it comes in ltp only, quote was asked for 7 s ago, and is asked for again"
    assert office.answers() == [Answer(INFY, "accepted", lower)]


def test_what_a_socket_confirmed_that_is_gone_is_not_confirmed() -> None:
    office = live_office()
    office.subscriptions.want([INFY], None)
    office.told()
    office.confirm(QUOTE)
    office.turn(S)
    assert office.subscriptions.is_confirmed(INFY)
    office.bench.feed(m.LinkClosed(0, office.epoch, 1006, "gone"))
    office.turn(S)
    counts = office.subscriptions.counts(S)
    assert (counts.wanted, counts.asked, counts.confirmed) == (1, 0, 0)


def test_a_wish_does_not_wait_in_silence_while_nothing_can_stream() -> None:
    bench = Bench()
    bench.up()
    bench.feed(m.SessionSeen("primary", None))
    office = Office(bench)
    office.subscriptions.resolved(LISTED, {})
    office.ask(WantInstruments((INFY,), wait_s=30))
    assert office.answers()[0].detail.startswith("login_required: ")


def test_an_unknown_instrument_is_refused_at_once_and_not_kept() -> None:
    office = live_office()
    office.ask(WantInstruments(("NSE:NOPE",)))
    assert office.looked_up == ["NSE:NOPE"]
    assert office.answers() == [Answer("NSE:NOPE", "refused", "not listed")]
    assert office.subscriptions.operator == {}


def test_only_a_kept_wish_is_remembered() -> None:
    office = live_office()
    office.ask(WantInstruments((INFY,), is_kept=False), "1")
    assert (office.subscriptions.operator, office.changes) == ({}, 0)
    office.ask(WantInstruments((INFY,), mode="full"), "2")
    assert (office.subscriptions.operator, office.changes) == ({INFY: "full"}, 1)


def test_a_wish_named_twice_is_answered_once() -> None:
    office = live_office()
    office.ask(WantInstruments(("NSE:NOPE", "NSE:NOPE")))
    assert len(office.answers()) == 1


def test_a_wait_without_measure_is_none() -> None:
    office = live_office()
    office.ask(WantInstruments((INFY,), wait_s=float("nan")))
    assert office.answers()[0].outcome == "accepted"


def test_too_many_waiting_requests_are_refused() -> None:
    office = live_office()
    for n in range(PENDING_MAX):
        office.ask(WantInstruments((INFY,)), str(n))
    assert office.replies == []
    office.ask(WantInstruments((INFY,)), "one more")
    reply = office.replies[-1][1]
    assert isinstance(reply, Refused)
    assert reply.code == "not_ready"


def test_a_request_that_is_repeated_is_carried_out_once_and_answered_again() -> None:
    office = live_office()
    for peer in (b"p", b"q"):
        office.ask(Retry(), peer=peer)
    assert office.fed == [RetryNow()]
    assert [ticket for ticket, _ in office.replies] == [(b"p", "1"), (b"q", "1")]


def test_a_repetition_of_a_waiting_request_moves_its_answer_to_the_new_connection() -> None:
    office = live_office()
    for peer in (b"p", b"q"):
        office.ask(WantInstruments((INFY,), wait_s=1), peer=peer)
    office.turn(S)
    assert [ticket for ticket, _ in office.replies] == [(b"q", "1")]


def test_old_replies_are_forgotten() -> None:
    office = live_office()
    for n in range(KNOWN_REPLIES_MAX + 1):
        office.ask(Retry(), str(n))
    office.ask(Retry(), "0")
    assert len(office.fed) == KNOWN_REPLIES_MAX + 2


def test_a_drop_is_answered_for_each_instrument() -> None:
    office = live_office()
    office.subscriptions.want([INFY], None)
    office.ask(DropInstruments((INFY, "NSE:SBIN")))
    assert [answer.outcome for answer in office.answers()] == ["dropped", "refused"]
    assert office.changes == 1


def test_the_source_is_set_and_the_reply_says_so() -> None:
    office = live_office()
    office.ask(SetSource("rest"))
    assert office.fed == [Operate("rest")]
    reply = office.replies[-1][1]
    assert isinstance(reply, Done)
    assert "rest" in reply.text


def test_the_websocket_with_a_refused_session_is_forbidden_with_the_reason() -> None:
    bench = Bench()
    bench.up()
    bench.login()
    bench.validate("refused")
    office = Office(bench)
    office.ask(SetSource("websocket"))
    reply = office.replies[-1][1]
    assert isinstance(reply, Refused)
    assert reply.code == "forbidden"
    assert "Kite refuses the session" in reply.text
    assert office.fed == []


def test_a_retry_while_paused_is_a_conflict_that_names_the_way_out() -> None:
    bench = Bench()
    bench.live()
    bench.feed(Operate("paused"))
    office = Office(bench)
    office.ask(Retry())
    reply = office.replies[-1][1]
    assert isinstance(reply, Refused)
    assert reply.code == "conflict"
    assert "kitefeed source auto" in reply.text
    assert office.fed == []


def test_the_list_is_fetched_anew_when_somebody_is_there_to_do_it() -> None:
    office = live_office()
    office.ask(FetchList(is_believed=True), "1")
    assert isinstance(office.replies[-1][1], Done)
    assert office.fed == [FetchList(is_believed=True)]
    idle = Office()
    idle.ask(FetchList(), "2")
    assert isinstance(idle.replies[-1][1], Refused)
    assert idle.fed == []


def test_tokens_are_named_by_the_list_and_without_one_that_is_said() -> None:
    office = Office()
    office.ask(NameTokens((408065, 1)))
    assert office.replies[-1][1] == Named({408065: "NSE:INFY"})
    office.names = None
    office.ask(NameTokens((408065,)), "2")
    reply = office.replies[-1][1]
    assert isinstance(reply, Refused)
    assert reply.code == "not_ready"


def test_a_question_for_quotes_is_put_to_the_poller_and_its_answer_passed_on() -> None:
    office = live_office()
    office.ask(AskQuotes((TOKEN,)))
    (asked,) = office.fed
    assert isinstance(asked, m.FetchQuotes)
    assert asked.tokens == (TOKEN,)
    assert asked.fingerprint == office.bench.machine.state.session.fingerprint
    assert office.replies == []
    office.hear(m.Quoted(asked.request_id + 1, "ok"))  # of another life
    assert office.replies == []
    office.hear(m.Quoted(asked.request_id, "ok", quotes=b'{"408065":{}}'))
    assert office.replies == [((b"p", "1"), Quotes(b'{"408065":{}}'))]
    office.hear(m.Quoted(asked.request_id, "ok"))
    assert len(office.replies) == 1


@pytest.mark.parametrize(
    ("outcome", "code"),
    [("rate", "busy"), ("token", "forbidden"), ("input", "bad_request"), ("network", "not_ready")],
)
def test_a_question_that_cannot_be_answered_is_refused(outcome: m.RestOutcome, code: str) -> None:
    office = live_office()
    office.ask(AskQuotes((TOKEN,)))
    (asked,) = office.fed
    assert isinstance(asked, m.FetchQuotes)
    office.hear(m.Quoted(asked.request_id, outcome, "why"))
    assert office.replies[-1][1] == Refused(code, "why")


def test_a_poller_that_has_gone_and_a_missing_session_are_said() -> None:
    office = live_office()
    office.ask(AskQuotes((TOKEN,)))
    office.turn(QUESTIONS_NS_MAX - 1)
    assert office.replies == []
    office.turn(QUESTIONS_NS_MAX)
    assert "does not answer" in str(office.replies[-1][1])
    nobody = Office()
    nobody.ask(AskQuotes((TOKEN,)))
    assert "kitefeed login" in str(nobody.replies[-1][1])
    assert nobody.fed == []
