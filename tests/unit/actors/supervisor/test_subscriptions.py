import pytest

from kitefeed.actors.supervisor import subscriptions
from kitefeed.actors.supervisor.shards import WHOLE_KEY, Capacity
from kitefeed.actors.supervisor.subscriptions import LISTENER_GRACE_NS, Pending, Subscriptions
from kitefeed.protocol.kite.instruments import Listed
from kitefeed.protocol.messages import bus as m
from kitefeed.protocol.messages.control import Answer
from kitefeed.protocol.messages.instruments import LIST_MAX, Instrument, Mode
from kitefeed.protocol.messages.status import SubscriptionCounts

INFY, SBIN, NIFTY = "NSE:INFY", "NSE:SBIN", "NSE:NIFTY 50"
TOKENS = {INFY: 408065, SBIN: 779521, NIFTY: 256265}
LISTED = {key: Listed(token) for key, token in TOKENS.items()}


def make(
    configured: tuple[str, ...] = (),
    canaries: tuple[str, ...] = (),
    operator: dict[str, str | None] | None = None,
    capacity: Capacity = WHOLE_KEY,
) -> Subscriptions:
    made = Subscriptions(configured, canaries, "quote", operator or {}, capacity)
    made.resolved(LISTED, {"NSE:NOPE": "not listed"})
    return made


def heard(*wanted: str, plain: tuple[str, ...] = (), **modes: Mode) -> m.ListenersWant:
    """Return what the broadcaster tells; `INFY="full"`: a program asks for that mode of
    NSE:INFY."""
    return m.ListenersWant(wanted, {f"NSE:{name}": mode for name, mode in modes.items()}, plain)


def told(made: Subscriptions, shard: int, epoch: int, these: tuple[Instrument, ...]) -> None:
    made.confirmations.told(m.Subscribe(shard, epoch, these), 0)


def confirm(made: Subscriptions, shard: int, epoch: int, *tokens: int) -> None:
    made.confirmations.confirm(m.Confirmed(shard, epoch, tokens))


def keys(made: Subscriptions) -> list[str]:
    return [instrument.key for instrument in made.instruments()]


def test_wants_are_the_union_of_configuration_operator_and_listeners() -> None:
    made = make((INFY,), (NIFTY,))
    made.want([SBIN], None)
    made.listen(heard(INFY, "BSE:X"), 0)
    assert list(made.wanted()) == [INFY, NIFTY, SBIN, "BSE:X"]


@pytest.mark.parametrize(
    ("asked", "is_configured", "mode"),
    [
        ("full", True, "full"),
        ("ltp", True, "quote"),
        ("ltp", False, "ltp"),
        (None, False, "quote"),
        ("no such mode", False, "quote"),
    ],
)
def test_the_highest_mode_that_anybody_asked_for_wins(
    asked: str | None, is_configured: bool, mode: str
) -> None:
    made = make((INFY,) if is_configured else (), operator={INFY: asked})
    assert made.wanted() == {INFY: mode}


def test_what_the_operator_drops_is_not_wanted_any_more() -> None:
    made = make()
    made.want([INFY], None)
    assert made.drop(INFY) == Answer(INFY, "dropped")
    assert made.wanted() == {}
    assert made.drop(INFY).outcome == "refused"


def test_what_the_configuration_wants_cannot_be_dropped() -> None:
    made = make((INFY,))
    assert made.drop(INFY).outcome == "refused"
    assert INFY in made.wanted()


def test_what_a_program_listens_to_streams_on_after_a_drop() -> None:
    made = make()
    made.want([INFY], "full")
    made.listen(heard(INFY), 0)
    answer = made.drop(INFY)
    assert answer.outcome == "dropped"
    assert "still listens" in answer.detail
    assert made.wanted() == {INFY: "quote"}


def test_an_instrument_is_kept_for_a_grace_after_its_last_listener_left() -> None:
    made = make()
    made.listen(heard(INFY), 0)
    made.listen(heard(), 1_000)
    assert not made.expire(999 + LISTENER_GRACE_NS)
    assert INFY in made.wanted()
    assert made.expire(1_000 + LISTENER_GRACE_NS)
    assert made.wanted() == {}


def test_repeated_reports_of_nobody_do_not_extend_the_grace() -> None:
    made = make()
    made.listen(heard(INFY), 0)
    made.listen(heard(), 1_000)
    made.listen(heard(), LISTENER_GRACE_NS)
    assert made.expire(1_000 + LISTENER_GRACE_NS)


def test_a_listener_that_comes_back_within_the_grace_keeps_its_instrument() -> None:
    made = make()
    made.listen(heard(INFY), 0)
    made.listen(heard(), 1_000)
    made.listen(heard(INFY), 2_000)
    assert not made.expire(10 * LISTENER_GRACE_NS)


def test_a_program_gets_the_mode_it_asks_for_where_nobody_wants_more() -> None:
    made = make((SBIN,))
    made.listen(heard(INFY, SBIN, NIFTY, INFY="full", SBIN="ltp"), 0)
    assert made.wanted() == {SBIN: "quote", INFY: "full", NIFTY: "quote"}


def test_a_reader_without_a_mode_wants_the_configured_one() -> None:
    made = make()
    made.listen(heard(INFY, INFY="ltp"), 0)
    assert made.wanted() == {INFY: "ltp"}
    assert made.listen(heard(INFY, INFY="ltp", plain=(INFY,)), 0)
    assert made.wanted() == {INFY: "quote"}


def test_a_mode_goes_down_a_grace_after_the_program_that_asked_left() -> None:
    made = make((INFY,))
    made.listen(heard(INFY, INFY="full"), 0)
    made.listen(heard(INFY), 1_000)
    made.expire(999 + LISTENER_GRACE_NS)
    assert made.wanted() == {INFY: "full"}
    assert made.expire(1_000 + LISTENER_GRACE_NS)
    assert made.wanted() == {INFY: "quote"}


def test_programs_that_come_back_within_the_grace_are_no_news() -> None:
    made = make((INFY,))
    assert made.listen(heard(SBIN, INFY, INFY="full"), 0)
    made.expire(0)
    before = made.instruments()
    for now_ns in range(1, 100, 2):
        assert not made.listen(heard(), now_ns)
        assert not made.listen(heard(SBIN, INFY, INFY="full"), now_ns + 1)
        assert not made.expire(now_ns + 1)
    assert made.instruments() == before


def test_a_name_that_nobody_knows_has_no_grace() -> None:
    made = make()
    made.listen(heard("NSE:NOPE"), 0)
    assert made.counts(0).refused == {"NSE:NOPE": "not listed"}
    assert made.listen(heard(), 1)
    assert made.wanted() == {}


def test_what_is_in_its_grace_is_bounded_and_the_oldest_goes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subscriptions, "LISTENED_MAX", 2)
    made = make()
    for number in range(5):
        made.listen(heard(f"NSE:A{number}"), number)
    assert list(made.wanted()) == ["NSE:A3", "NSE:A4"]


def test_an_instrument_says_whether_a_program_reads_it_or_just_did() -> None:
    def read(made: Subscriptions) -> list[str]:
        return [i.key for i in made.instruments() if i.has_listeners]

    made = make((INFY, NIFTY))
    made.listen(heard(INFY, SBIN), 0)
    assert read(made) == [SBIN]  # the sources are told of others once a second
    assert made.expire(1)
    assert read(made) == [INFY, SBIN]
    made.listen(heard(), 2)
    assert not made.expire(3)
    assert made.expire(2 + LISTENER_GRACE_NS)
    assert read(made) == []


def test_only_resolved_instruments_are_asked_for() -> None:
    made = make((INFY, "NSE:NOPE", "NSE:NEW"))
    assert keys(made) == [INFY]
    assert made.unresolved() == ["NSE:NEW"]


def test_a_new_instrument_list_has_every_name_looked_up_again() -> None:
    made = make((INFY, "NSE:NOPE"))
    made.relisted({INFY: Listed(5)}, {}, "2026-11-24")
    assert made.unresolved() == ["NSE:NOPE"]
    assert [i.token for i in made.instruments()] == [5]


def test_what_streams_is_kept_though_a_new_list_forgot_it() -> None:
    made = make((INFY, SBIN))
    made.relisted({SBIN: LISTED[SBIN]}, {}, "2026-11-24")
    assert keys(made) == [INFY, SBIN]
    assert list(made.kept) == [INFY]
    assert "streams on" in made.kept[INFY]
    assert INFY not in made.unknown
    made.relisted({SBIN: LISTED[SBIN]}, {}, "2026-11-25")  # and by the next one
    assert keys(made) == [INFY, SBIN]
    made.relisted(LISTED, {}, "2026-11-26")
    assert made.kept == {}


def test_what_expired_or_whose_token_is_anothers_now_is_not_kept() -> None:
    made = make((INFY, SBIN))
    made.resolved({INFY: Listed(408065, "2026-11-24")}, {})
    made.relisted({}, {TOKENS[SBIN]: "NSE:SBIN-BE"}, "2026-11-25")
    assert keys(made) == []
    assert "expired on 2026-11-24" in made.unknown[INFY]
    assert "NSE:SBIN-BE" in made.unknown[SBIN]
    assert made.kept == {}


def test_on_the_day_of_its_expiry_a_contract_is_kept() -> None:
    made = make((INFY,))
    made.resolved({INFY: Listed(408065, "2026-11-24")}, {})
    made.relisted({}, {}, "2026-11-24")
    assert keys(made) == [INFY]


def test_what_was_kept_streams_on_over_a_restart() -> None:
    made = Subscriptions([INFY], (), "quote", {}, kept={INFY: (408065, ""), SBIN: (779521, "")})
    assert made.unresolved() == []
    assert [i.token for i in made.instruments()] == [408065]
    made.relisted({}, {}, "2026-11-24")
    assert keys(made) == [INFY]


def test_unknown_names_do_not_pile_up_without_end() -> None:
    made = make()
    made.resolved({}, {f"X:{n}": "no" for n in range(LIST_MAX + 1)})
    made.resolved({}, {"X:last": "no"})
    assert list(made.unknown) == ["X:last"]


def test_an_index_is_always_active_unless_canaries_are_named() -> None:
    def canaries(made: Subscriptions) -> list[str]:
        return [i.key for i in made.instruments() if i.is_canary]

    assert canaries(make((INFY, NIFTY))) == [NIFTY]
    assert canaries(make((INFY, NIFTY), canaries=(INFY,))) == [INFY]


def test_more_than_all_sockets_take_is_refused_until_there_is_room() -> None:
    made = make((INFY,), capacity=Capacity(sockets=2, per_socket=1))
    made.listen(heard(SBIN), 0)
    assert keys(made) == [INFY, SBIN]
    made.want([NIFTY], None)  # the operator goes before what programs listen to
    assert keys(made) == [INFY, NIFTY]
    assert made.answer(SBIN, "").outcome == "refused"
    assert "2 instruments" in made.answer(SBIN, "").detail
    assert set(made.counts(0).refused) == {SBIN}
    made.drop(NIFTY)
    assert keys(made) == [INFY, SBIN]
    assert made.answer(SBIN, "").outcome == "accepted"


def test_a_refusal_for_want_of_room_ends_with_the_wish() -> None:
    made = make((INFY,), capacity=Capacity(1, 1))
    made.listen(heard(SBIN), 0)
    made.instruments()
    assert SBIN in made.unknown
    made.listen(heard(), 1)
    made.instruments()
    assert SBIN not in made.unknown  # who asks for it next is heard first


def test_the_operator_may_have_what_was_refused_to_a_program_for_want_of_room() -> None:
    made = make(capacity=Capacity(1, 1))
    made.listen(heard(INFY, SBIN, "NSE:NOPE"), 0)
    made.instruments()
    assert [key for key in (SBIN, "NSE:NOPE") if made.may_be_had(key)] == [SBIN]
    made.want([SBIN], None)
    assert keys(made) == [SBIN]
    assert made.answer(INFY, "").outcome == "refused"


def test_the_confirmations_of_one_socket_say_nothing_of_another() -> None:
    made = make((INFY, SBIN))
    infy, sbin = made.instruments()
    told(made, 0, 5, (infy,))
    told(made, 1, 6, (sbin,))
    confirm(made, 1, 5, infy.token)
    confirm(made, 1, 6, infy.token, sbin.token)
    assert (made.is_confirmed(INFY), made.is_confirmed(SBIN)) == (False, True)
    assert (
        made.confirmations.confirmed_of(0),
        made.confirmations.confirmed_of(1),
        made.confirmations.confirmed_of(2),
    ) == (0, 1, 0)
    assert made.counts(0) == SubscriptionCounts(wanted=2, asked=2, confirmed=1)


def test_what_was_asked_of_two_sockets_is_counted_once() -> None:
    made = make((INFY,))
    for shard in (0, 1):  # it moved, and the former socket is gone
        told(made, shard, 5 + shard, made.instruments())
        confirm(made, shard, 5 + shard, TOKENS[INFY])
    assert made.counts(0) == SubscriptionCounts(wanted=1, asked=1, confirmed=1)


def test_confirmations_count_for_the_epoch_that_was_ordered() -> None:
    made = make((INFY, SBIN))
    told(made, 0, 5, made.instruments())
    confirm(made, 0, 4, TOKENS[INFY])
    assert not made.is_confirmed(INFY)
    confirm(made, 0, 5, TOKENS[INFY])
    assert made.is_confirmed(INFY)
    assert made.counts(0) == SubscriptionCounts(wanted=2, asked=2, confirmed=1)
    told(made, 0, 6, made.instruments())
    assert not made.is_confirmed(INFY)


def test_what_an_adopted_source_confirmed_before_it_was_ordered_here_counts() -> None:
    made = make((INFY, SBIN))
    confirm(made, 0, 5, TOKENS[INFY])
    assert not made.is_confirmed(INFY)
    confirm(made, 0, 5, TOKENS[NIFTY])
    told(made, 0, 5, made.instruments())
    assert made.counts(0) == SubscriptionCounts(wanted=2, asked=2, confirmed=1)
    told(made, 0, 6, made.instruments())
    assert not made.is_confirmed(INFY)


def test_what_is_no_longer_ordered_is_no_longer_confirmed() -> None:
    made = make((INFY, SBIN))
    told(made, 0, 5, made.instruments())
    confirm(made, 0, 5, TOKENS[INFY], TOKENS[SBIN])
    told(made, 0, 5, made.instruments()[:1])
    assert made.counts(0).confirmed == 1


@pytest.mark.parametrize(
    ("key", "outcome", "detail"),
    [
        (INFY, "confirmed", ""),
        (SBIN, "accepted", "connecting"),
        ("NSE:NOPE", "refused", "not listed"),
        ("NSE:NEW", "accepted", "waiting for today's instrument list"),
    ],
)
def test_an_answer_says_what_became_of_the_instrument(key: str, outcome: str, detail: str) -> None:
    made = make((INFY, SBIN))
    told(made, 0, 5, made.instruments())
    confirm(made, 0, 5, TOKENS[INFY])
    answer = made.answer(key, "connecting")
    assert (answer.outcome, answer.detail) == (outcome, detail)


@pytest.mark.parametrize(
    ("asked", "who"),
    [("full", ""), ("quote", "a program"), ("ltp", "a program"), (None, "")],
)
def test_an_answer_says_why_the_mode_is_higher_than_asked_for(asked: Mode | None, who: str) -> None:
    made = make((INFY,))
    made.want([INFY], asked)
    made.listen(heard(INFY, INFY="full"), 0)
    detail = made.answer(INFY, "connecting", asked).detail
    assert detail.startswith("connecting")
    assert (f"it streams in full, not {asked}, because {who}" in detail) == bool(who)


def test_the_configuration_is_named_where_it_wants_more_than_the_operator() -> None:
    made = make((INFY,))
    made.want([INFY], "ltp")
    told(made, 0, 5, made.instruments())
    confirm(made, 0, 5, TOKENS[INFY])
    why = "it streams in quote, not ltp, because the configuration file asks for that"
    assert made.answer(INFY, "", "ltp") == Answer(INFY, "confirmed", why)


def test_a_programs_question_waits_until_its_subscriptions_are_known_or_can_be() -> None:
    made = make()
    made.hold(Pending((b"p", "id"), (INFY, "NSE:NOPE"), 0, None, heard_ns=100))
    assert not made.due(99, can_stream=False)
    made.listen(heard(INFY), 0)
    assert made.due(99, can_stream=False)
    made.hold(Pending((b"p", "id"), (SBIN,), 0, None, heard_ns=100))
    assert made.due(100, can_stream=False)


def test_a_request_is_due_when_all_is_known_or_time_is_over_or_nothing_will_come() -> None:
    def waiting(*wanted: str) -> Subscriptions:
        made = make((INFY, SBIN))
        told(made, 0, 5, made.instruments())
        confirm(made, 0, 5, TOKENS[INFY])
        made.hold(Pending((b"p", "id"), wanted, 100))
        return made

    assert waiting(INFY, "NSE:NOPE").due(0, can_stream=True)
    assert not waiting(INFY, SBIN).due(99, can_stream=True)
    assert waiting(INFY, SBIN).due(100, can_stream=True)
    assert waiting(INFY, SBIN).due(0, can_stream=False)


def test_a_request_is_answered_once() -> None:
    made = make((INFY,))
    made.hold(Pending((b"p", "id"), (INFY,), 100))
    assert len(made.due(100, can_stream=True)) == 1
    assert made.due(100, can_stream=True) == []
