import random

import pytest

from kitefeed.actors.ticker.websocket_frames import binary_messages

MAX = 200_000


def message(payload: bytes, first: int = 0x82) -> bytes:
    """One unmasked message, its length in the shortest form."""
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size <= 0xFFFF:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


PAYLOADS = [bytes(size) for size in (0, 1, 125, 126, 127, 65_535, 65_536, MAX)]
WHOLE = b"".join(map(message, PAYLOADS))


def test_whole_messages_of_every_length_are_taken() -> None:
    assert binary_messages(WHOLE, MAX) == (PAYLOADS, b"", True)


def test_a_stream_cut_anywhere_gives_the_same_messages() -> None:
    rng = random.Random(7)
    stream = b"".join(message(rng.randbytes(size)) for size in (0, 1, 5, 125, 126, 130, 70_000, 3))
    expected = binary_messages(stream, MAX).payloads
    early = list(range(1, 400))
    for cut in [*early, *(rng.randrange(1, len(stream)) for _ in range(200)), len(stream) - 2]:
        first = binary_messages(stream[:cut], MAX)
        assert first.is_ours
        second = binary_messages(first.rest + stream[cut:], MAX)
        assert first.payloads + second.payloads == expected


@pytest.mark.parametrize(
    "foreign",
    [
        message(b"text", first=0x81),
        message(b"ping", first=0x89),
        message(b"\x03\xe8", first=0x88),
        message(b"part", first=0x02),
        message(b"rest", first=0x80),
        message(b"deflated", first=0xC2),
        b"\x82\x84mask" + b"data",
        b"\x82\xfe" + bytes(8),
        b"\x82\x7e\x00\x05short",
        b"\x82\x7f" + (65_535).to_bytes(8, "big"),
        b"\x82\x7f" + (2**63).to_bytes(8, "big"),
        message(bytes(MAX + 1)),
        b"\x00",
    ],
)
def test_what_is_of_any_other_form_is_left_whole_with_all_that_follows(foreign: bytes) -> None:
    stream = message(b"mine") + foreign + message(b"after")
    assert binary_messages(stream, MAX) == ([b"mine"], foreign + message(b"after"), False)


def test_no_bytes_make_it_raise_or_lose_any() -> None:
    rng = random.Random(11)
    for _ in range(2_000):
        stream = bytes(rng.choices((0x82, 0x7E, 0x7F, 0, 1, 2, 0x81, 200), k=rng.randrange(30)))
        found = binary_messages(stream, MAX)
        assert stream.endswith(found.rest)
        assert sum(map(len, map(message, found.payloads))) + len(found.rest) == len(stream)
