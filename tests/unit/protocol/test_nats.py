"""Names of instruments as subjects of NATS, and back."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitefeed.protocol.nats import Subjects, escaped, message_id, unescaped
from kitefeed.protocol.topics import tick_topic

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("key", "subject"),
    [
        ("NSE:INFY", "kite.tick.NSE.INFY"),
        ("NSE:M&M", "kite.tick.NSE.M&M"),
        ("NSE:NIFTY 50", "kite.tick.NSE.NIFTY%2050"),
        ("NSE:BAJAJ-AUTO", "kite.tick.NSE.BAJAJ-AUTO"),
        ("NFO:NIFTY26DEC24500CE", "kite.tick.NFO.NIFTY26DEC24500CE"),
        ("BSE:A.B*C>D%E", "kite.tick.BSE.A%2EB%2AC%3ED%25E"),
        ("NSE:A:B/C", "kite.tick.NSE.A:B/C"),
        ("NSE:é", "kite.tick.NSE.%C3%A9"),
    ],
)
def test_an_instrument_has_one_subject(key: str, subject: str) -> None:
    assert Subjects().of_topic(tick_topic(key)) == subject
    assert Subjects().key_of(subject) == key


@given(NAMES)
def test_an_escaped_name_is_one_token_and_comes_back(name: str) -> None:
    token = escaped(name)
    assert re.fullmatch(r"[!-~]+", token)
    assert not set(token) & set(".*> \t")
    assert unescaped(token) == name


@given(NAMES, NAMES)
def test_two_names_never_share_a_subject(one: str, other: str) -> None:
    if one != other:
        assert escaped(one) != escaped(other)


def test_words_and_orders_have_subjects_and_the_rest_is_not_carried() -> None:
    subjects = Subjects("desk.kite")
    assert subjects.of_topic(b"hb/feed") == "desk.kite.hb"
    assert subjects.of_topic(b"state/feed") == "desk.kite.state"
    assert subjects.of_topic(b"order/24 1.5") == "desk.kite.order.24%201%2E5"
    assert subjects.of_topic(b"notice/error") == "desk.kite.notice.error"
    assert subjects.of_topic(b"ticks/all") == ""
    assert subjects.of_topic(b"last/2/NSE:INFY") == ""
    assert subjects.logged("desk.kite.tick.NSE.INFY") == "desk.kite.log.tick.NSE.INFY"
    assert (subjects.last_stream, subjects.ticks_stream) == ("DESK_KITE_LAST", "DESK_KITE_TICKS")


def test_a_message_id_is_one_line_whatever_the_name_holds() -> None:
    assert message_id(5, "tick/NSE:A\r\nB", 7) == "5:tick/NSE:A%0D%0AB:7"
