import pytest

from kitefeed.actors.broadcaster import listeners
from kitefeed.actors.broadcaster.listeners import Listeners
from kitefeed.protocol.messages.bus import ListenersWant
from kitefeed.protocol.messages.envelope import seal
from kitefeed.protocol.messages.instruments import LIST_MAX
from kitefeed.protocol.topics import mode_request, tick_topic, want_request
from kitefeed.protocol.topology import BUS

INFY, TCS = b"tick/NSE:INFY\0", b"tick/NSE:TCS\0"


def listeners_of(*subscriptions: bytes) -> Listeners:
    made = Listeners()
    for subscription in subscriptions:
        made.add(subscription)
    return made


def test_a_topic_is_wanted_until_its_last_subscriber_leaves() -> None:
    made = listeners_of(INFY, TCS, INFY)
    assert made.wanted_topics == {b"tick/NSE:INFY": 2, b"tick/NSE:TCS": 1}
    made.remove(INFY)
    assert b"tick/NSE:INFY" in made.wanted_topics
    made.remove(INFY)
    assert made.wanted_topics == {b"tick/NSE:TCS": 1}
    assert made.keys == ("NSE:TCS",)


def test_what_goes_on_behind_the_nul_still_means_that_instrument() -> None:
    assert listeners_of(INFY + b"\x9a").wanted_topics == {b"tick/NSE:INFY": 1}


@pytest.mark.parametrize("prefix", [b"t", b"tick/", b"tick/NSE:", b"tick/NSE:INFY"])
def test_a_prefix_that_matches_instruments_wants_none(prefix: bytes) -> None:
    made = listeners_of(prefix, prefix)
    assert made.prefixes == (prefix,)
    assert made.wanted_topics == {}
    made.remove(prefix)
    assert made.prefixes == (prefix,)
    made.remove(prefix)
    assert made.prefixes == ()


@pytest.mark.parametrize("other", [b"hb/", b"state/feed\0", b"tock/", b"~snap!1!tick/", b"order/"])
def test_a_subscription_to_something_else_matches_no_instruments(other: bytes) -> None:
    made = listeners_of(other)
    assert made.prefixes == ()
    assert made.wanted_topics == {}


@pytest.mark.parametrize("odd", [b"", b"tick/NSE:" + b"X" * 300])
def test_what_is_not_counted_may_match_anything_until_it_leaves(odd: bytes) -> None:
    made = listeners_of(INFY, odd, odd, odd)
    for _ in range(3):
        assert made.is_overflowing
        made.remove(odd)
    assert not made.is_overflowing
    assert made.ignored == 3
    assert made.wanted_topics == {b"tick/NSE:INFY": 1}


def test_subscriptions_above_the_limit_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "SUBSCRIPTIONS_MAX", 1)
    made = listeners_of(INFY, TCS, INFY)
    assert made.is_overflowing
    assert made.wanted_topics == {b"tick/NSE:INFY": 2}
    made.remove(TCS)
    assert not made.is_overflowing


def test_no_more_instruments_are_asked_for_than_a_list_can_mean() -> None:
    made = listeners_of(*(b"tick/NSE:%05d\0" % number for number in range(LIST_MAX + 5, 0, -1)))
    assert len(made.keys) == LIST_MAX
    assert made.keys[0] == f"NSE:{LIST_MAX + 5:05}"


@pytest.mark.parametrize("key", [b"INFY", b"NSE:", b":INFY", b"NSE:\xff", b"NSE:A\x07"])
def test_what_no_instrument_is_called_is_not_asked_for(key: bytes) -> None:
    assert listeners_of(b"tick/" + key + b"\0").keys == ()


# --- modes ------------------------------------------------------------------------------------


def asking(mode: str, key: str = "NSE:INFY") -> tuple[bytes, bytes]:
    """Return what a reader that wants a mode subscribes to."""
    topic = tick_topic(key)
    return topic + b"\0", mode_request(mode, topic)


def test_a_reader_that_asks_for_a_mode_is_told_with_it() -> None:
    made = listeners_of(*asking("full"), TCS)
    assert made.want() == ListenersWant(("NSE:INFY", "NSE:TCS"), {"NSE:INFY": "full"})


def test_the_highest_mode_is_told_and_goes_when_its_last_reader_leaves() -> None:
    made = listeners_of(*asking("ltp"), *asking("full"), *asking("full"))
    for left in ("full", "ltp"):
        for subscription in asking("full"):
            made.remove(subscription)
        assert made.want().modes == {"NSE:INFY": left}
    for subscription in asking("ltp"):
        made.remove(subscription)
    assert made.want() == ListenersWant(())


def test_a_reader_without_a_mode_is_told_beside_those_with_one() -> None:
    made = listeners_of(*asking("ltp"), INFY)
    assert made.want() == ListenersWant(("NSE:INFY",), {"NSE:INFY": "ltp"}, ("NSE:INFY",))
    made.remove(INFY)
    assert made.want() == ListenersWant(("NSE:INFY",), {"NSE:INFY": "ltp"})


@pytest.mark.parametrize(
    "odd",
    [
        b"~mode!",
        b"~mode!full",
        b"~mode!all!tick/NSE:INFY\0",
        b"~mode!full!tick/NSE:INFY",
        b"~mode!full!tick/NSE:TCS\0",
        b"~mode!\xff!tick/NSE:INFY\0",
        b"~mode!full!order/1\0",
    ],
)
def test_a_mode_that_is_none_or_of_nothing_that_is_read_changes_nothing(odd: bytes) -> None:
    made = listeners_of(INFY, odd)
    assert made.want() == ListenersWant(("NSE:INFY",))
    made.remove(odd)
    assert made.want() == ListenersWant(("NSE:INFY",))
    assert made.subscribers == 1


def test_the_longest_list_fits_into_one_message() -> None:
    made = Listeners()
    for number in range(LIST_MAX):
        key = f"NSE:{number:060}"
        for subscription in (*asking("full", key), tick_topic(key) + b"\0"):
            made.add(subscription)
    told = made.want()
    assert len(told.keys) == len(told.modes) == len(told.also_plain) == LIST_MAX
    assert len(seal(told)) < BUS.message_bytes_max


def test_who_reads_all_ticks_may_want_one_in_a_mode_without_a_message_for_each() -> None:
    topic = tick_topic("NSE:INFY")
    made = listeners_of(b"ticks/all\0", want_request("full", topic), want_request("", topic))
    assert made.want() == ListenersWant(("NSE:INFY",), {"NSE:INFY": "full"}, ("NSE:INFY",))
    assert made.wanted_topics == {}
    assert made.prefixes == ()
    assert made.subscribers == 1
    made.remove(want_request("", topic))
    assert made.want() == ListenersWant(("NSE:INFY",), {"NSE:INFY": "full"})
    made.add(INFY)  # which wants the configured mode
    assert made.want() == ListenersWant(("NSE:INFY",), {"NSE:INFY": "full"}, ("NSE:INFY",))
    made.remove(want_request("full", topic))
    assert made.want() == ListenersWant(("NSE:INFY",))


@pytest.mark.parametrize(
    "odd",
    [b"~want!", b"~want!full", b"~want!full!tick/NSE:TCS", b"~want!full!order/1\0",
     b"~want!full!tick/TCS\0"],
)  # fmt: skip
def test_a_wish_for_what_is_no_instrument_is_none(odd: bytes) -> None:
    made = listeners_of(INFY, odd)
    assert made.want() == ListenersWant(("NSE:INFY",))
    made.remove(odd)
    assert made.want() == ListenersWant(("NSE:INFY",))
