from kitefeed.actors.ticker.subscriptions import TOKENS_PER_MESSAGE_MAX, Ask, Asked
from kitefeed.protocol.kite.ticks import FULL, LTP, QUOTE
from kitefeed.protocol.messages import Instrument

INFY = Instrument(408065, "NSE:INFY", "full")
SBIN = Instrument(779521, "NSE:SBIN", "ltp")
TCS = Instrument(2953217, "NSE:TCS", "quote")


def test_all_is_subscribed_first_and_modes_follow_where_they_are_not_the_default() -> None:
    asks = Asked().change([INFY, SBIN, TCS], is_refresh=False)
    assert asks == [
        Ask("subscribe", (INFY.token, SBIN.token, TCS.token)),
        Ask("ltp", (SBIN.token,)),
        Ask("full", (INFY.token,)),
    ]


def test_only_the_difference_is_sent() -> None:
    asked = Asked()
    asked.change([INFY, SBIN], is_refresh=False)
    assert asked.change([INFY, TCS], is_refresh=False) == [
        Ask("unsubscribe", (SBIN.token,)),
        Ask("subscribe", (TCS.token,)),
    ]
    assert asked.change([INFY, TCS], is_refresh=False) == []


def test_a_changed_mode_is_sent_also_back_to_the_default() -> None:
    asked = Asked()
    asked.change([INFY], is_refresh=False)
    back = Instrument(INFY.token, INFY.key, "quote")
    assert asked.change([back], is_refresh=False) == [Ask("quote", (INFY.token,))]


def test_a_refresh_asks_for_everything_again_and_forgets_confirmations() -> None:
    asked = Asked()
    asked.change([INFY], is_refresh=False)
    assert asked.confirm([INFY.token, INFY.token]) == [INFY.token]
    assert asked.change([INFY], is_refresh=True) == [
        Ask("unsubscribe", (INFY.token,)),
        Ask("subscribe", (INFY.token,)),
        Ask("full", (INFY.token,)),
    ]
    assert asked.confirm([INFY.token]) == [INFY.token]
    assert asked.confirm([INFY.token]) == []


def test_each_is_confirmed_once_also_while_another_one_stays_silent() -> None:
    asked = Asked()
    asked.change([INFY, SBIN], is_refresh=False)
    assert asked.confirm([INFY.token]) == [INFY.token]
    assert asked.confirm([INFY.token]) == []
    asked.change([INFY, SBIN, TCS], is_refresh=False)
    assert asked.confirm([INFY.token, TCS.token, TCS.token]) == [TCS.token]
    assert asked.confirmed == {INFY.token, TCS.token}


def test_messages_are_cut_into_pieces() -> None:
    many = [Instrument(n << 8 | 1, f"NSE:X{n}", "quote") for n in range(1, 1_202)]
    asks = Asked().change(many, is_refresh=False)
    assert [len(ask.tokens) for ask in asks] == [TOKENS_PER_MESSAGE_MAX] * 2 + [201]


def test_the_cached_packets_of_both_modes_are_first_packets() -> None:
    asked = Asked()
    asked.change([INFY], is_refresh=False)
    modes = (QUOTE, FULL, FULL)
    assert [asked.is_first(INFY.token, mode) for mode in modes] == [True, True, False]


def test_one_cached_packet_in_the_asked_mode_is_enough() -> None:
    asked = Asked()
    asked.change([SBIN, TCS], is_refresh=False)
    assert [asked.is_first(SBIN.token, LTP) for _ in range(2)] == [True, False]
    assert [asked.is_first(TCS.token, QUOTE) for _ in range(2)] == [True, False]


def test_a_mode_that_never_comes_does_not_make_packets_first_for_ever() -> None:
    asked = Asked()
    asked.change([INFY], is_refresh=False)
    assert [asked.is_first(INFY.token, QUOTE) for _ in range(3)] == [True, True, False]


def test_after_a_change_of_mode_only_the_first_packet_in_the_new_one_is_no_news() -> None:
    asked = Asked()
    asked.change([TCS], is_refresh=False)
    assert asked.is_first(TCS.token, QUOTE)
    asked.change([Instrument(TCS.token, TCS.key, "full")], is_refresh=False)
    modes = (QUOTE, QUOTE, FULL, FULL)
    assert [asked.is_first(TCS.token, mode) for mode in modes] == [False, False, True, False]
    asked.change([TCS], is_refresh=False)
    modes = (FULL, QUOTE, QUOTE)
    assert [asked.is_first(TCS.token, mode) for mode in modes] == [False, True, False]


def test_a_change_of_mode_before_any_answer_leaves_the_first_packets_first() -> None:
    asked = Asked()
    asked.change([TCS], is_refresh=False)
    asked.change([Instrument(TCS.token, TCS.key, "full")], is_refresh=False)
    modes = (QUOTE, FULL, FULL)
    assert [asked.is_first(TCS.token, mode) for mode in modes] == [True, True, False]
