import json
import random

import pytest
from kiteconnect import KiteTicker

from kitefeed.protocol.kite import text
from kitefeed.protocol.kite.ticks import FULL, LTP, QUOTE, BadFrame, BadReason

MESSAGES: list[tuple[bytes, text.TextMessage]] = [
    (
        b'{"type":"order","data":{"order_id":"1","status":"COMPLETE"}}',
        text.OrderUpdate({"order_id": "1", "status": "COMPLETE"}),
    ),
    (
        b'{"type":"error","data":"Can\'t subscribe to more than 3000 instruments."}',
        text.ServerError("Can't subscribe to more than 3000 instruments."),
    ),
    (
        b'{"type":"message","data":"Markets are volatile"}',
        text.BrokerMessage("Markets are volatile"),
    ),
    (
        b'{"type":"instruments_meta","data":{"count":90517,"etag":"W/\\"68907d60-55eb\\""}}',
        text.InstrumentsMeta(90517, 'W/"68907d60-55eb"'),
    ),
    (
        b'{"type":"app_code","timestamp":"2023-05-30T13:31:46+05:30"}',
        text.AppCode("2023-05-30T13:31:46+05:30"),
    ),
    (b'{"type":"weather"}', text.UnknownText("weather")),
]


@pytest.mark.parametrize(("payload", "message"), MESSAGES)
def test_each_kind_of_message_is_read_and_written(
    payload: bytes, message: text.TextMessage
) -> None:
    assert text.parse_text(payload) == message
    assert text.server_message(message) == payload


@pytest.mark.parametrize("payload", [b"{}", b'{"type":null}', b'{"type":[1]}', b'{"data":1}'])
def test_an_object_without_a_type_is_unknown(payload: bytes) -> None:
    assert text.parse_text(payload) == text.UnknownText("")


def test_a_type_as_long_as_a_book_is_cut() -> None:
    message = text.parse_text(b'{"type":"' + b"x" * 10_000 + b'"}')
    assert message == text.UnknownText("x" * 64)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", BadReason.NOT_JSON),
        (b"Too many requests", BadReason.NOT_JSON),
        (b'{"type":"err', BadReason.NOT_JSON),
        (b'{"type":"error","data":"\\ud800"}', BadReason.NOT_JSON),
        (b"[" * 100_000, BadReason.NOT_JSON),
        (b'{"a":' * 100_000, BadReason.NOT_JSON),
        (b'{"type":"error","data":"\xff"}', BadReason.NOT_UTF8),
        (b"[1,2]", BadReason.NOT_OBJECT),
        (b"null", BadReason.NOT_OBJECT),
        (b"7", BadReason.NOT_OBJECT),
        (b'"order"', BadReason.NOT_OBJECT),
        (b'{"type":"order"}', BadReason.BAD_FIELD),
        (b'{"type":"order","data":[]}', BadReason.BAD_FIELD),
        (b'{"type":"order","data":{"n":' + b"9" * 40 + b"}}", BadReason.BAD_FIELD),
        (b'{"type":"error","data":null}', BadReason.BAD_FIELD),
        (b'{"type":"message","data":{}}', BadReason.BAD_FIELD),
        (b'{"type":"instruments_meta","data":{"count":"1","etag":"x"}}', BadReason.BAD_FIELD),
        (b'{"type":"instruments_meta","data":{"count":true,"etag":"x"}}', BadReason.BAD_FIELD),
        (b'{"type":"instruments_meta","data":{"count":' + b"9" * 40 + b"}}", BadReason.BAD_FIELD),
        (b'{"type":"app_code","data":"2023"}', BadReason.BAD_FIELD),
    ],
)
def test_damage_is_a_value_and_not_an_exception(payload: bytes, reason: BadReason) -> None:
    bad = text.parse_text(payload)
    assert isinstance(bad, BadFrame)
    assert (bad.reason, bad.frame_bytes) == (reason, len(payload))
    assert isinstance(text.parse_client_message(payload), BadFrame)


def test_every_cut_and_random_bytes_are_survived() -> None:
    rng = random.Random(7)
    for payload, _ in MESSAGES:
        for cut in range(len(payload)):
            assert isinstance(text.parse_text(payload[:cut]), BadFrame)
    for _ in range(500):
        rubbish = rng.randbytes(rng.randrange(60))
        text.parse_text(rubbish)
        text.parse_client_message(rubbish)


class SentMessages:
    """Stands where the official client keeps its connection, and keeps what it sends."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []

    def sendMessage(self, payload: bytes) -> None:  # autobahn's name
        self.payloads.append(payload)


def test_what_the_official_client_sends_is_read_as_it_was_meant() -> None:
    ticker = KiteTicker("key", "token")
    ticker.ws = sent = SentMessages()
    tokens = (408065, 256265)
    ticker.subscribe(tokens)
    ticker.unsubscribe(tokens[:1])
    for mode in ("ltp", "quote", "full"):
        ticker.set_mode(mode, tokens)
    assert [text.parse_client_message(payload) for payload in sent.payloads] == [
        text.Subscribe(tokens),
        text.Unsubscribe(tokens[:1]),
        *(text.SetMode(mode, tokens) for mode in (LTP, QUOTE, FULL)),
    ]


def test_tokens_that_are_no_numbers_are_left_out_in_silence() -> None:
    values = ["408065", 408065, True, None, -1, 0, 1.5, 2**32, [1]]
    payload = json.dumps({"a": "subscribe", "v": values}).encode()
    assert text.parse_client_message(payload) == text.Subscribe((408065,))


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"a": "subscribe"},
        {"a": "subscribe", "v": "408065"},
        {"a": "explode", "v": [1]},
        {"a": "mode", "v": ["everything", [1]]},
        {"a": "mode", "v": ["full"]},
        {"a": "mode", "v": [["full"], [1]]},
    ],
)
def test_a_client_message_of_another_shape_is_bad(message: dict[str, object]) -> None:
    payload = json.dumps(message).encode()
    expected = BadFrame(BadReason.BAD_FIELD, 0, len(payload))
    assert text.parse_client_message(payload) == expected
