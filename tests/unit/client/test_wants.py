import pytest

from kitefeed.client.wants import CHUNKED_MIN, CHUNKED_SHARE, SINGLE_REQUESTS_MAX, Wants, flat
from kitefeed.protocol.errors import BadInput

INFY = "NSE:INFY"


def test_instruments_are_subscribed_exactly_and_once() -> None:
    wants = Wants([INFY, "NSE:TCS", INFY])
    assert wants.instruments == (INFY, "NSE:TCS")
    assert wants.subscriptions() == [b"tick/NSE:INFY\0", b"tick/NSE:TCS\0"]
    assert wants.snapshot_prefixes() == wants.subscriptions()


def test_nothing_named_means_all_that_streams() -> None:
    wants = Wants([], is_all=True)
    assert wants.subscriptions() == [b"ticks/all\0"]
    assert wants.snapshot_prefixes() == [b"tick/"]


def test_an_empty_list_is_nothing_yet_and_is_added_to_and_dropped_from() -> None:
    wants = Wants([])
    assert wants.subscriptions() == wants.snapshot_prefixes() == []
    added = [b"tick/NSE:INFY\0", b"~mode!full!tick/NSE:INFY\0", b"tick/NSE:TCS\0"]
    assert wants.add([INFY], "full") == (added[:2], [])
    assert wants.add(["NSE:TCS"], None) == (added[2:], [])
    assert wants.add([INFY, "NSE:TCS"], "full") == ([b"~mode!full!tick/NSE:TCS\0"], [])
    lower = b"~mode!ltp!tick/NSE:INFY\0"
    assert wants.add([INFY], "ltp") == ([lower], [added[1]])
    assert wants.add([INFY], None) == ([], [])
    assert Wants([], "quote").add([INFY], None)[0][1] == b"~mode!quote!tick/NSE:INFY\0"
    assert wants.instruments == (INFY, "NSE:TCS")
    assert wants.subscriptions()[:2] == [added[0], added[2]]
    assert wants.drop([INFY, "NSE:NOPE"]) == [added[0], lower]
    assert wants.instruments == ("NSE:TCS",)


def test_a_mode_is_announced_beside_each_instrument() -> None:
    wants = Wants([INFY], "full")
    assert wants.subscriptions() == [b"tick/NSE:INFY\0", b"~mode!full!tick/NSE:INFY\0"]
    assert wants.snapshot_prefixes() == [b"tick/NSE:INFY\0"]


def test_a_pattern_reads_a_prefix_and_asks_for_no_instrument() -> None:
    wants = Wants([INFY, "NFO:NIFTY*"], "ltp")
    assert wants.instruments == (INFY,)
    assert wants.prefixes == ("NFO:NIFTY",)
    assert wants.subscriptions()[:2] == [b"tick/NSE:INFY\0", b"tick/NFO:NIFTY"]
    assert wants.subscriptions()[2:] == [b"~mode!ltp!tick/NSE:INFY\0"]
    assert Wants(["NSE:*"]).subscriptions() == [b"tick/NSE:"]


def test_many_instruments_ask_for_one_snapshot() -> None:
    names = [f"NSE:X{number}" for number in range(SINGLE_REQUESTS_MAX + 1)]
    assert len(Wants(names[:-1]).snapshot_prefixes()) == SINGLE_REQUESTS_MAX
    assert Wants(names).snapshot_prefixes() == [b"tick/"]


@pytest.mark.parametrize("name", ["*", "NSE*", "NSE:*INFY*", ":*", "NSE:A\0*"])
def test_what_cannot_be_a_pattern_is_bad_input(name: str) -> None:
    with pytest.raises(BadInput):
        Wants([name])


@pytest.mark.parametrize(("names", "mode"), [([INFY], "all"), ([], "full"), (["NSE:*"], "full")])
def test_a_mode_that_is_none_or_for_nothing_is_bad_input(names: list[str], mode: str) -> None:
    with pytest.raises(BadInput, match="mode="):
        Wants(names, mode, is_all=not names)  # type: ignore[arg-type]


def test_the_latest_of_each_is_read_on_topics_of_their_own_and_asked_for_in_the_same_mode() -> None:
    wants = Wants([INFY, "NFO:NIFTY*"], "full", per_second=2)
    assert wants.subscriptions()[:2] == [b"last/2/NSE:INFY\0", b"last/2/NFO:NIFTY"]
    assert wants.subscriptions()[2:] == [b"~mode!full!tick/NSE:INFY\0"]
    assert wants.snapshot_prefixes() == wants.subscriptions()[:2]
    everything = Wants([], per_second=10, is_all=True)
    assert everything.subscriptions() == everything.snapshot_prefixes() == [b"last/10/"]


@pytest.mark.parametrize("per_second", [0, 3, 1_000, -1])
def test_only_the_rates_of_the_list_can_be_had(per_second: int) -> None:
    with pytest.raises(BadInput, match="1, 2, 5, 10"):
        Wants([INFY], per_second=per_second)


def test_fewer_of_the_large_messages_may_wait_than_of_the_small_ones() -> None:
    everything = Wants([], is_all=True)
    assert everything.queued_max < Wants([], per_second=2, is_all=True).queued_max
    assert everything.queued_max < Wants(["NSE:INFY"]).queued_max


def test_instruments_are_named_by_names_tokens_and_lists_of_both() -> None:
    asked = ["NSE:INFY", 408065, ["NSE:TCS", (738561, {"BSE:INFY"})], iter([1])]
    assert flat(asked) == ["NSE:INFY", 408065, "NSE:TCS", 738561, "BSE:INFY", 1]
    assert flat([]) == flat([[]]) == []


@pytest.mark.parametrize("odd", [None, True, 1.5, b"NSE:INFY", {"NSE:INFY": 1}, object(), [None]])
def test_what_is_neither_name_nor_token_is_bad_input_that_says_what_to_write(odd: object) -> None:
    with pytest.raises(BadInput, match="write EXCHANGE:SYMBOL, as NSE:INFY, or Kite's token"):
        flat([odd])


def test_many_instruments_of_those_that_stream_are_picked_out_of_all_ticks() -> None:
    names = [f"NSE:X{number}" for number in range(CHUNKED_MIN)]
    wants = Wants([*names[1:], "NFO:NIFTY*"], "full")
    assert wants.queued_max == Wants([], is_all=True).queued_max
    assert not wants.is_choosing
    single = wants.subscriptions()
    assert wants.read_chunks(CHUNKED_MIN) == ([], [])  # too few
    wants.add(names[:1], None)
    assert wants.is_choosing
    assert wants.read_chunks(CHUNKED_MIN * CHUNKED_SHARE + 1) == ([], [])  # of too many
    new, old = wants.read_chunks(CHUNKED_MIN * CHUNKED_SHARE)
    assert new[0] == b"ticks/all\0"
    assert set(new[1:]) == {f"~want!full!tick/{name}\0".encode() for name in names}
    assert set(old) > set(single)
    assert wants.subscriptions() == new
    assert wants.snapshot_prefixes() == [b"tick/"]
    assert wants.queued_max == Wants([], is_all=True).queued_max

    lower = b"~want!ltp!tick/NSE:X0\0"
    assert wants.add(names[:1], "ltp") == ([lower], [b"~want!full!tick/NSE:X0\0"])
    assert wants.drop(names[:1]) == [lower]
    # Once begun, it goes on with half as many.
    assert wants.read_chunks(CHUNKED_MIN * CHUNKED_SHARE) == ([], [])
    new, old = wants.read_chunks(CHUNKED_MIN * CHUNKED_SHARE * 3)
    assert b"tick/NSE:X1\0" in new
    assert b"ticks/all\0" in old
    assert wants.subscriptions() == new


def test_all_that_streams_the_latest_only_and_the_few_are_read_as_ever() -> None:
    names = [f"NSE:X{number}" for number in range(CHUNKED_MIN)]
    assert Wants([], is_all=True).read_chunks(10) == ([], [])
    for wants in (Wants(names, per_second=1), Wants(names, may_chunk=False), Wants(names[:9])):
        wants.add(names, None)
        assert wants.read_chunks(10) == ([], [])
        assert wants.queued_max > Wants([], is_all=True).queued_max


def test_the_configured_mode_is_wanted_by_no_name() -> None:
    wants = Wants([f"NSE:X{number}" for number in range(CHUNKED_MIN)])
    assert wants.read_chunks(10)[0][1] == b"~want!!tick/NSE:X0\0"
