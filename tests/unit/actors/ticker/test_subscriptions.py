import msgspec
import pytest

from kitefeed.actors.ticker import subscriptions
from kitefeed.actors.ticker.subscriptions import (
    ASK_AGAIN_S,
    TOKENS_PER_MESSAGE_MAX,
    Ask,
    Asked,
)
from kitefeed.protocol.kite.repack import repack_in_python
from kitefeed.protocol.kite.ticks import FULL, LTP, QUOTE, TickBody, frame_of_packets
from kitefeed.protocol.kite.units import NS_PER_S as S
from kitefeed.protocol.messages.instruments import Instrument

INFY = Instrument(408065, "NSE:INFY", "full")
SBIN = Instrument(779521, "NSE:SBIN", "ltp")
TCS = Instrument(2953217, "NSE:TCS", "quote")


def is_first(asked: Asked, token: int, mode: int, packet: bytes) -> bool:
    """`packet` stands for whatever is in it."""
    body = TickBody(token, mode, 100, int.from_bytes(packet, "big"))
    return asked.is_first(token, mode, msgspec.msgpack.encode(body))


def arrive(asked: Asked, *packets: tuple[Instrument, int]) -> dict[int, int]:
    bodies = [msgspec.msgpack.encode(TickBody(i.token, mode, 100, 1)) for i, mode in packets]
    return asked.arrive([instrument.token for instrument, _ in packets], bodies)


def test_all_is_subscribed_first_and_modes_follow_where_they_are_not_the_default() -> None:
    asks = Asked().change([INFY, SBIN, TCS], 0, is_refresh=False)
    assert asks == [
        Ask("subscribe", (INFY.token, SBIN.token, TCS.token)),
        Ask("ltp", (SBIN.token,)),
        Ask("full", (INFY.token,)),
    ]


def test_only_the_difference_is_sent() -> None:
    asked = Asked()
    asked.change([INFY, SBIN], 0, is_refresh=False)
    assert asked.change([INFY, TCS], 0, is_refresh=False) == [
        Ask("unsubscribe", (SBIN.token,)),
        Ask("subscribe", (TCS.token,)),
    ]
    assert asked.change([INFY, TCS], 0, is_refresh=False) == []


def test_a_changed_mode_is_sent_also_back_to_the_default() -> None:
    asked = Asked()
    asked.change([INFY], 0, is_refresh=False)
    back = Instrument(INFY.token, INFY.key, "quote")
    assert asked.change([back], 0, is_refresh=False) == [Ask("quote", (INFY.token,))]


def test_a_refresh_asks_for_everything_again_and_forgets_confirmations() -> None:
    asked = Asked()
    asked.change([INFY], 0, is_refresh=False)
    assert arrive(asked, (INFY, FULL), (INFY, FULL)) == {INFY.token: FULL}
    assert asked.change([INFY], 0, is_refresh=True) == [
        Ask("unsubscribe", (INFY.token,)),
        Ask("subscribe", (INFY.token,)),
        Ask("full", (INFY.token,)),
    ]
    assert arrive(asked, (INFY, FULL)) == {INFY.token: FULL}
    assert arrive(asked, (INFY, FULL)) == {}


def test_each_is_confirmed_once_also_while_another_one_stays_silent() -> None:
    asked = Asked()
    asked.change([INFY, SBIN], 0, is_refresh=False)
    assert arrive(asked, (INFY, FULL)) == {INFY.token: FULL}
    assert arrive(asked, (INFY, FULL)) == {}
    asked.change([INFY, SBIN, TCS], 0, is_refresh=False)
    assert arrive(asked, (INFY, FULL), (TCS, QUOTE), (TCS, QUOTE)) == {TCS.token: QUOTE}
    assert asked.arrived == {INFY.token: FULL, TCS.token: QUOTE}


# --- what is asked again --------------------------------------------------------------------------


def due_s(asked: Asked, until_s: int) -> list[tuple[float, list[Ask]]]:
    """Return when something is asked again, and what."""
    found: list[tuple[float, list[Ask]]] = []
    while asked.again_due_ns is not None and asked.again_due_ns <= until_s * S:
        now_ns = asked.again_due_ns
        if asks := asked.again(now_ns):
            found.append((now_ns / S, asks))
    return found


def test_what_never_came_is_subscribed_again_with_its_mode() -> None:
    asked = Asked()
    asked.change([INFY, SBIN, TCS], 0, is_refresh=False)
    arrive(asked, (SBIN, LTP))
    assert asked.again(ASK_AGAIN_S[0] * S - 1) == []
    assert asked.again(ASK_AGAIN_S[0] * S) == [
        Ask("subscribe", (INFY.token, TCS.token)),
        Ask("full", (INFY.token,)),
    ]


def test_what_comes_in_a_lower_mode_is_asked_for_its_mode_again() -> None:
    asked = Asked()
    asked.change([INFY, SBIN, TCS], 0, is_refresh=False)
    assert arrive(asked, (INFY, QUOTE), (SBIN, QUOTE), (TCS, FULL)) == {
        INFY.token: QUOTE,
        SBIN.token: QUOTE,  # a higher one than was asked for
        TCS.token: FULL,
    }
    assert due_s(asked, 3) == [(2.0, [Ask("full", (INFY.token,))])]
    assert arrive(asked, (INFY, QUOTE)) == {}
    assert arrive(asked, (INFY, FULL)) == {INFY.token: FULL}
    assert due_s(asked, 10_000) == []
    assert asked.again_due_ns is None


def test_what_never_answers_is_asked_ever_more_seldom() -> None:
    asked = Asked()
    asked.change([TCS], 0, is_refresh=False)
    times = [at_s for at_s, _ in due_s(asked, 3_600)]
    assert times[:8] == [2, 5, 10, 20, 50, 110, 410, 710]
    assert len(times) == 17


def test_a_change_of_others_does_not_put_off_what_is_due() -> None:
    asked = Asked()
    asked.change([TCS], 0, is_refresh=False)
    asked.change([TCS, INFY], S, is_refresh=False)
    asked.change([TCS, INFY, SBIN], S, is_refresh=False)
    assert [at_s for at_s, asks in due_s(asked, 4) if TCS.token in asks[0].tokens] == [2.0]


def test_what_is_wanted_no_more_is_not_asked_again() -> None:
    asked = Asked()
    asked.change([TCS], 0, is_refresh=False)
    asked.change([], S, is_refresh=False)
    assert due_s(asked, 60) == []


def test_a_lost_change_of_mode_is_asked_again_and_one_to_a_lower_mode_need_not_be() -> None:
    asked = Asked()
    asked.change([TCS], 0, is_refresh=False)
    arrive(asked, (TCS, QUOTE))
    full = Instrument(TCS.token, TCS.key, "full")
    asked.change([full], 10 * S, is_refresh=False)
    arrive(asked, (TCS, QUOTE))
    assert due_s(asked, 13) == [(12.0, [Ask("full", (TCS.token,))])]
    arrive(asked, (TCS, FULL))
    asked.change([TCS], 20 * S, is_refresh=False)
    assert due_s(asked, 1_000) == []
    asked.change([full], 1_000 * S, is_refresh=False)  # what came in full was before
    assert due_s(asked, 1_003) == [(1_002.0, [Ask("full", (TCS.token,))])]


def test_a_refresh_begins_the_waits_anew() -> None:
    asked = Asked()
    asked.change([TCS], 0, is_refresh=False)
    due_s(asked, 100)
    asked.change([TCS], 100 * S, is_refresh=True)
    assert [at_s for at_s, _ in due_s(asked, 106)] == [102.0, 105.0]


def test_only_so_many_unsubscribed_tokens_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "ENDED_MAX", 1)
    asked = Asked()
    asked.change([TCS, INFY], 0, is_refresh=False)
    asked.change([], 0, is_refresh=False)
    assert asked.unwanted([TCS.token, INFY.token], 60 * S) == [Ask("unsubscribe", (INFY.token,))]


def test_three_thousand_are_asked_again_in_messages_of_five_hundred() -> None:
    many = [Instrument(n << 8 | 1, f"NSE:X{n}", "full") for n in range(1, 3_001)]
    asked = Asked()
    asked.change(many, 0, is_refresh=False)
    ((_, asks),) = due_s(asked, 3)
    assert [ask.action for ask in asks] == ["subscribe"] * 6 + ["full"] * 6
    assert {len(ask.tokens) for ask in asks} == {TOKENS_PER_MESSAGE_MAX}


@pytest.mark.parametrize("is_late", [False, True])
def test_no_cached_packet_is_news_however_many_answers_come(is_late: bool) -> None:
    asked = Asked()
    asked.change([INFY], 0, is_refresh=False)
    due_s(asked, 3)
    cached = [(QUOTE, b"q"), (FULL, b"f")] * (2 if is_late else 1)
    assert [is_first(asked, INFY.token, mode, body) for mode, body in cached] == [True] * len(
        cached
    )
    assert not asked.are_all_news([INFY.token])
    assert not is_first(asked, INFY.token, FULL, b"moved")
    assert asked.are_all_news([INFY.token])


def test_what_streams_in_a_lower_mode_is_news_and_its_first_packet_in_the_right_one_is_not() -> (
    None
):
    asked = Asked()
    asked.change([INFY], 0, is_refresh=False)
    quotes = [is_first(asked, INFY.token, QUOTE, b"%d" % n) for n in range(4)]
    assert quotes == [True, True, False, False]
    arrive(asked, (INFY, QUOTE))
    due_s(asked, 3)
    packets = [(QUOTE, b"4"), (QUOTE, b"5"), (FULL, b"f"), (FULL, b"f"), (FULL, b"g")]
    first = [is_first(asked, INFY.token, mode, body) for mode, body in packets]
    assert first == [True, False, True, True, False]


def test_after_another_change_of_mode_the_first_packet_of_what_was_asked_again_is_no_news() -> None:
    asked = Asked()
    asked.change([TCS], 0, is_refresh=False)
    due_s(asked, 3)
    assert is_first(asked, TCS.token, FULL, b"f")  # whyever
    asked.change([Instrument(TCS.token, TCS.key, "full")], 5 * S, is_refresh=False)
    packets = [(QUOTE, b"q"), (FULL, b"g"), (FULL, b"h")]
    assert [is_first(asked, TCS.token, mode, body) for mode, body in packets] == [True, True, False]


def test_a_repeated_packet_is_no_news_in_whatever_frame_it_comes() -> None:
    packet = INFY.token.to_bytes(4, "big") + b"\0\1\0\0" * 45
    alone, among_many = (
        repack_in_python(frame_of_packets([packet] * count)).bodies[0] for count in (1, 60)
    )
    assert alone != among_many
    asked = Asked()
    asked.change([INFY], 0, is_refresh=False)
    due_s(asked, 3)
    assert asked.is_first(INFY.token, FULL, alone)
    assert asked.is_first(INFY.token, FULL, among_many)
    other = packet[:4] + b"\0\2\0\0" + packet[8:]
    moved = repack_in_python(frame_of_packets([other])).bodies[0]
    assert not asked.is_first(INFY.token, FULL, moved)


# --- messages and first packets -------------------------------------------------------------------


def test_messages_are_cut_into_pieces() -> None:
    many = [Instrument(n << 8 | 1, f"NSE:X{n}", "quote") for n in range(1, 1_202)]
    asks = Asked().change(many, 0, is_refresh=False)
    assert [len(ask.tokens) for ask in asks] == [TOKENS_PER_MESSAGE_MAX] * 2 + [201]


def test_the_cached_packets_of_both_modes_are_first_packets() -> None:
    asked = Asked()
    asked.change([INFY], 0, is_refresh=False)
    modes = (QUOTE, FULL, FULL)
    assert [asked.is_first(INFY.token, mode, b"") for mode in modes] == [True, True, False]


def test_one_cached_packet_in_the_asked_mode_is_enough() -> None:
    asked = Asked()
    asked.change([SBIN, TCS], 0, is_refresh=False)
    assert [asked.is_first(SBIN.token, LTP, b"") for _ in range(2)] == [True, False]
    assert [asked.is_first(TCS.token, QUOTE, b"") for _ in range(2)] == [True, False]


def test_a_mode_that_never_comes_does_not_make_packets_first_for_ever() -> None:
    asked = Asked()
    asked.change([INFY], 0, is_refresh=False)
    assert [asked.is_first(INFY.token, QUOTE, b"") for _ in range(3)] == [True, True, False]


def test_after_a_change_of_mode_only_the_first_packet_in_the_new_one_is_no_news() -> None:
    asked = Asked()
    asked.change([TCS], 0, is_refresh=False)
    assert asked.is_first(TCS.token, QUOTE, b"")
    asked.change([Instrument(TCS.token, TCS.key, "full")], 0, is_refresh=False)
    modes = (QUOTE, QUOTE, FULL, FULL)
    assert [asked.is_first(TCS.token, mode, b"") for mode in modes] == [False, False, True, False]
    asked.change([TCS], 0, is_refresh=False)
    modes = (FULL, QUOTE, QUOTE)
    assert [asked.is_first(TCS.token, mode, b"") for mode in modes] == [False, True, False]


def test_a_change_of_mode_before_any_answer_leaves_the_first_packets_first() -> None:
    asked = Asked()
    asked.change([TCS], 0, is_refresh=False)
    asked.change([Instrument(TCS.token, TCS.key, "full")], 0, is_refresh=False)
    modes = (QUOTE, FULL, FULL)
    assert [asked.is_first(TCS.token, mode, b"") for mode in modes] == [True, True, False]
