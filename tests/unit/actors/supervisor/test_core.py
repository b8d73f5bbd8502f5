"""Tests all between a decoded message and an order, with the files and wires played by hand."""

from typing import Any, TypeVar

from kitefeed.actors.policy.machine import Wake
from kitefeed.actors.policy.market import Market
from kitefeed.actors.supervisor import memory
from kitefeed.actors.supervisor.core import STRANGERS_MAX, Core, Kill, LookUp, Order, Send, Setup
from kitefeed.actors.supervisor.desk import Reply
from kitefeed.actors.supervisor.facts import Persist, Persisted, Say
from kitefeed.actors.supervisor.names import Found
from kitefeed.actors.supervisor.report import Surroundings
from kitefeed.actors.supervisor.roster import LOST_AFTER_NS
from kitefeed.protocol.kite.instruments import Listed
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.control import (
    Answers,
    ControlRequest,
    GetStatus,
    ReaderReport,
    Refused,
    Retry,
    Status,
    WantInstruments,
)
from kitefeed.protocol.messages.envelope import Message
from kitefeed.protocol.messages.membership import Beat, BeatAck, Challenge, Hello, Leave, Welcome
from kitefeed.protocol.messages.status import StatusReport
from kitefeed.protocol.topology import BUS, CONTROL, Role
from tests.unit.actors.supervisor.bench import CALENDAR, S

INFY, SBIN = "NSE:INFY", "NSE:SBIN"
LISTED = {INFY: Listed(408065), SBIN: Listed(779521)}
UTC_NS = 1_795_408_200 * S
ASKED = (b"cli", "1")

T = TypeVar("T")


class Office:
    """A core whose questions are answered from `listed`; `damage` is why they cannot be."""

    def __init__(self, *configured: str, persisted: Persisted | None = None) -> None:
        around = Surroundings(endpoints={"bus": "ipc:///run/kf/bus.sock", "control": "ipc:///c"})
        setup = Setup(
            "own", Market("always", CALENDAR), lambda: 0.5, [5.0], configured, uid=1000,
            around=around,
        )  # fmt: skip
        self.now_ns = 1_000 * S
        self.listed: dict[str, Listed] = dict(LISTED)
        self.offered: dict[str, Listed] = {}
        self.damage = ""
        self.core = Core(setup, persisted or Persisted(), self.now_ns, UTC_NS)
        self.orders: list[Order] = []

    def do(self, orders: list[Order]) -> list[Order]:
        """Performs, as a shell does; returns what was ordered besides questions."""
        done: list[Order] = []
        while orders:
            order = orders.pop(0)
            if isinstance(order, LookUp):
                assert orders == [], "what follows a question waits for its answer"
                orders = self.core.looked_up(self._found(order), self.now_ns)
            else:
                done.append(order)
        self.orders += done
        return done

    def _found(self, asked: LookUp) -> Found:
        if self.damage:
            return Found(damage=self.damage)
        rows = self.offered if asked.is_offered else self.listed
        owners = {row.token: key for key, row in rows.items() if row.token in asked.tokens}
        near = {key: [INFY] for key in asked.near}
        return Found({k: rows[k] for k in asked.keys if k in rows}, owners, near)

    def hear(self, peer: bytes, message: m.BusMessage, pid: int | None = None) -> list[Order]:
        return self.do(self.core.heard(peer, message, pid, self.now_ns))

    def ask(self, request: ControlRequest, ticket: tuple[bytes, str] = ASKED) -> list[Order]:
        return self.do(self.core.asked(ticket, request, 1000, 7, self.now_ns))

    def turn(self, seconds: float = 1.0, **counted: int) -> list[Order]:
        self.now_ns += int(seconds * S)
        return self.do(self.core.turn(UTC_NS, counted, self.now_ns))

    def up(self, role: Role, boot_id: str = "boot", pid: int = 7) -> list[Order]:
        peer = f"{role}-{boot_id}".encode()
        return self.hear(peer, Hello(role, boot_id, pid, 70 + pid, "1"), pid)

    def status(self) -> StatusReport:
        reply = of(Reply, self.ask(GetStatus(), (b"cli", f"status {self.now_ns}")))[0].message
        assert isinstance(reply, Status)
        return reply.report

    def counted(self) -> dict[str, int]:
        return self.status().actors[0].counters


def of(kind: type[T], orders: list[Any]) -> list[T]:
    return [order for order in orders if isinstance(order, kind)]


def sent(orders: list[Order]) -> list[tuple[bytes, Message]]:
    return [(order.peer, order.message) for order in of(Send, orders)]


# --- who holds the roles ------------------------------------------------------------------------


def test_who_says_hello_is_welcomed_by_name() -> None:
    office = Office()
    orders = office.up(Role.TICKER)
    assert sent(orders)[0] == (b"ticker-boot", Welcome("own"))


def test_who_never_said_hello_is_asked_to() -> None:
    assert sent(Office().hear(b"who", Beat())) == [(b"who", Challenge())]


def test_a_hello_with_anothers_pid_counts_for_nothing() -> None:
    office = Office()
    hello = Hello(Role.TICKER, "boot", 7, 70, "1")
    assert office.hear(b"p", hello, 8) == []
    assert office.counted()["bad_messages"] == 1
    assert sent(office.hear(b"p", hello, None)) != []  # the kernel says no pid here


def test_what_a_role_may_not_say_is_counted_and_dropped() -> None:
    office = Office()
    office.up(Role.TICKER)
    assert office.hear(b"ticker-boot", m.SessionSeen("primary", "x")) == []
    assert office.counted()["bad_messages"] == 1


def test_a_newer_process_takes_the_role_and_the_older_one_leaves() -> None:
    office = Office()
    office.up(Role.TICKER, "old")
    told = sent(office.up(Role.TICKER, "new", 8))
    assert told[0] == (b"ticker-old", Leave("process 8 holds the role ticker now"))
    assert (b"ticker-new", Welcome("own")) in told


def test_every_beat_is_answered() -> None:
    office = Office()
    office.up(Role.AUTH_WATCHER)
    beat = Beat(lag_ns=5_000_000)
    assert sent(office.hear(b"auth_watcher-boot", beat)) == [(b"auth_watcher-boot", BeatAck())]
    row = next(row for row in office.status().actors if row.role is Role.AUTH_WATCHER)
    assert row.lag_ms == 5.0


def test_who_hangs_is_killed_once_and_told_nothing_more() -> None:
    office = Office()
    office.up(Role.BROADCASTER)
    orders = [order for _ in range(LOST_AFTER_NS // S + 3) for order in office.turn()]
    assert of(Kill, orders) == [Kill(7, 77)]
    assert [s.text for s in of(Say, orders) if "killed" in s.text] == [
        "broadcaster has not been heard for 5 s: killed"
    ]
    told = [message for peer, message in sent(office.turn()) if peer == b"broadcaster-boot"]
    assert told == []


def test_the_machine_is_woken_at_its_deadline() -> None:
    office = Office()
    deadline_ns = office.core.deadline_ns
    assert deadline_ns is not None
    office.up(Role.BROADCASTER)
    office.now_ns = deadline_ns
    orders = office.do(office.core.handle(Wake(), office.now_ns))
    assert any(isinstance(message, m.Grant | m.Announce) for _, message in sent(orders))


# --- what is wanted -----------------------------------------------------------------------------


def instruments(office: Office) -> list[str]:
    return [i.key for i in office.core.supervisor.state.instruments]


def test_what_programs_listen_to_is_wanted_at_once() -> None:
    office = Office()
    office.up(Role.BROADCASTER)
    office.hear(b"broadcaster-boot", m.ListenersWant((INFY,)))
    assert instruments(office) == [INFY]


def test_what_a_program_asked_for_is_answered_when_the_listeners_come() -> None:
    office = Office()
    office.up(Role.BROADCASTER)
    office.ask(WantInstruments((INFY,), wait_s=5, is_kept=False))
    office.turn(0.2)  # its subscription may still be on its way, and with it whether there is room
    assert of(Reply, office.orders) == []
    office.hear(b"broadcaster-boot", m.ListenersWant((INFY,)))
    (reply,) = of(Reply, office.orders)
    assert isinstance(reply.message, Answers)
    assert reply.message.answers[0].outcome == "accepted"


def test_listeners_who_left_are_forgotten_after_their_grace() -> None:
    office = Office()
    office.up(Role.BROADCASTER)
    office.hear(b"broadcaster-boot", m.ListenersWant((INFY,)))
    office.hear(b"broadcaster-boot", m.ListenersWant(()))
    for _ in range(30):
        assert instruments(office) == [INFY]
        office.turn()
    assert instruments(office) == []


def test_what_the_operator_wants_is_written_down_before_it_is_answered() -> None:
    office = Office()
    orders = office.ask(WantInstruments((INFY,), wait_s=0))
    kinds = [type(order) for order in orders]
    assert kinds.index(Persist) < kinds.index(Reply)
    written = memory.decode(of(Persist, orders)[-1].data)
    assert written.subscriptions == {INFY: None}
    assert instruments(Office(persisted=written)) == []  # until the first turn looks it up
    again = Office(persisted=written)
    again.turn()
    assert instruments(again) == [INFY]


def test_a_write_that_failed_is_tried_every_second() -> None:
    office = Office()
    assert of(Persist, office.turn()) == []
    assert len(of(Persist, office.turn(writes_failing=1))) == 1
    assert len(of(Persist, office.turn(writes_failing=1))) == 1
    assert of(Persist, office.turn(writes_failing=0)) == []


def test_names_wait_for_the_list_and_are_found_when_it_is_ready() -> None:
    office = Office(INFY)
    office.up(Role.REST_POLLER)
    office.damage = "gone"
    office.turn()
    assert instruments(office) == []
    office.damage = ""
    office.hear(b"rest_poller-boot", m.InstrumentsReady(2, "2026-11-23"))
    assert instruments(office) == [INFY]


def test_a_configured_name_that_cannot_be_had_is_said_once() -> None:
    office = Office("NSE:NO")
    said = [say.text for _ in range(3) for say in of(Say, office.turn()) if "NSE:NO" in say.text]
    assert len(said) == 1
    assert "did you mean NSE:INFY?" in said[0]


def test_what_a_new_list_forgot_streams_on_and_over_a_restart() -> None:
    office = Office(INFY)
    office.up(Role.REST_POLLER)
    office.turn()
    del office.listed[INFY]
    orders = office.hear(b"rest_poller-boot", m.InstrumentsReady(1, "2026-11-23"))
    written = memory.decode(of(Persist, orders)[-1].data)
    assert written.kept == {INFY: (408065, "")}
    assert instruments(office) == [INFY]


def test_an_offered_list_is_compared_with_what_is_in_use() -> None:
    office = Office(INFY)
    office.up(Role.REST_POLLER)
    office.turn()
    orders = office.hear(b"rest_poller-boot", m.InstrumentsOffered("d", "2026-11-23"))
    lacking = m.InstrumentsLacking("d", 1, (INFY,))
    assert sent(orders) == [(b"rest_poller-boot", lacking)]


def test_what_comes_while_a_question_is_open_waits_for_its_answer() -> None:
    office = Office(INFY)
    office.up(Role.AUTH_WATCHER)
    asked = office.core.turn(UTC_NS, {}, office.now_ns)
    assert isinstance(asked[-1], LookUp)
    assert office.core.heard(b"auth_watcher-boot", Beat(), None, office.now_ns) == []
    orders = office.core.looked_up(Found(listed=LISTED), office.now_ns)
    assert sent(orders)[-1] == (b"auth_watcher-boot", BeatAck())
    assert instruments(office) == [INFY]


# --- the control socket -------------------------------------------------------------------------


def test_a_change_by_the_operator_is_logged_with_who_asked() -> None:
    office = Office()
    assert "request=Retry uid=1000 pid=7" in of(Say, office.ask(Retry()))[0].text
    assert of(Say, office.ask(GetStatus(), (b"cli", "2"))) == []
    wish = WantInstruments((INFY,), is_kept=False, wait_s=0)
    assert of(Say, office.ask(wish, (b"cli", "3"))) == []


def test_a_readers_report_is_shown_and_not_answered() -> None:
    office = Office()
    assert office.ask(ReaderReport(reader="r", name="bot")) == []
    assert [(row.name, row.pid) for row in office.status().readers] == [("bot", 7)]


def test_another_versions_request_is_refused_with_what_to_do() -> None:
    office = Office()
    (order,) = office.do(office.core.misheard(CONTROL, b"cli", "x" * 999, office.now_ns))
    assert isinstance(order, Reply)
    assert isinstance(order.message, Refused)
    assert "install one version everywhere" in order.message.text
    assert len(order.message.text) < 400
    assert office.core.misheard(BUS, b"who", "rubbish", office.now_ns) == []
    assert office.counted()["bad_messages"] == 2


def test_another_user_is_refused_and_named_once() -> None:
    office, core = Office(), Office().core
    said, *rest = core.intruded(BUS, (b"p", ""), 1001, 9, office.now_ns)
    assert isinstance(said, Say)
    assert "`chmod 700 /run/kf`" in said.text
    assert isinstance(rest[0], Send)
    assert isinstance(rest[0].message, Leave)
    (answer,) = core.intruded(CONTROL, (b"p", "5"), 1001, 9, office.now_ns)
    assert isinstance(answer, Reply)
    assert answer.ticket == (b"p", "5")
    assert "user 1001 may not speak to the daemon of user 1000" in str(answer.message)
    assert core.intruded(CONTROL, None, 1001, 9, office.now_ns) == []


def test_not_every_user_of_a_host_is_named() -> None:
    office = Office()
    orders = [
        order
        for uid in range(STRANGERS_MAX + 5)
        for order in office.core.intruded(CONTROL, None, uid, 9, office.now_ns)
    ]
    assert len(of(Say, orders)) == STRANGERS_MAX
    assert office.counted()["strangers"] == STRANGERS_MAX + 5


def test_what_the_process_counts_is_shown() -> None:
    office = Office()
    office.turn(too_many_frames=3)
    office.turn(too_many_frames=4, writes_failing=0)
    assert office.counted()["too_many_frames"] == 4
