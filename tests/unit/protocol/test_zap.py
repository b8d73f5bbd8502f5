"""Tests who is let in, judged from the frames libzmq sends."""

import pytest

from kitefeed.protocol import zap

KEY = bytes(range(32))
GOOD = [b"1.0", b"7", zap.DOMAIN, b"10.0.0.9", b"", b"CURVE", KEY]


def name_of(key: bytes) -> str | None:
    return "desk" if key == KEY else None


def test_a_known_key_is_let_in_under_its_name() -> None:
    verdict = zap.judge(GOOD, name_of)
    assert verdict.reply == [b"1.0", b"7", b"200", b"OK", b"desk", b""]
    assert (verdict.name, verdict.address) == ("desk", "10.0.0.9")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, b"2.0"),
        (2, b"other"),
        (5, b"NULL"),
        (5, b"PLAIN"),
        (6, bytes(32)),
        (6, KEY + b"x"),
        (6, b""),
    ],
)
def test_whatever_differs_is_refused_and_answered_under_its_id(place: int, value: bytes) -> None:
    frames = list(GOOD)
    frames[place] = value
    verdict = zap.judge(frames, lambda key: name_of(key[:32]))
    assert verdict.name is None
    assert verdict.reply[1:3] == [b"7", b"400"]


@pytest.mark.parametrize("count", [0, 1, 3, 6, 8])
def test_a_request_of_another_length_is_refused(count: int) -> None:
    assert zap.judge([*GOOD, b"more"][:count], name_of).name is None
