"""Kite's text messages on the socket, both directions (kite.trade/docs/connect/v3/websocket).

`instruments_meta` and `app_code` are not documented there; the server sends both after connecting.
"""

from typing import TypeAlias, TypeGuard

import msgspec

from kitefeed.protocol.kite.ticks import MODE_NAMES, BadFrame, BadReason, mode_from_name

KIND_CHARS_MAX = 64  # an unknown type goes into counters and logs: it may not be a book
TOKEN_MAX = 0xFFFF_FFFF
COUNT_MAX = 0xFFFF_FFFF  # instruments; the dump has about 90 000


class OrderUpdate(msgspec.Struct, frozen=True, tag="order"):
    """An order of the user changed; `data` is the postback object as Kite sent it.

    It can always be encoded as msgpack: an object that cannot be is a bad field.
    """

    data: dict[str, object]


class ServerError(msgspec.Struct, frozen=True, tag="error"):
    """The server refused something, such as a subscription too many; the socket stays open."""

    text: str


class BrokerMessage(msgspec.Struct, frozen=True, tag="message"):
    """A notice of the broker to the user; the official client drops it."""

    text: str


class InstrumentsMeta(msgspec.Struct, frozen=True, tag="instruments_meta"):
    """The size and version of the instrument dump."""

    count: int
    etag: str


class AppCode(msgspec.Struct, frozen=True, tag="app_code"):
    """Sent once after connecting; `timestamp` is ISO 8601 with an offset."""

    timestamp: str


class UnknownText(msgspec.Struct, frozen=True, tag="unknown"):
    """A JSON object of a type this program does not know; `kind` is empty when it has none."""

    kind: str


TextMessage: TypeAlias = (
    OrderUpdate | ServerError | BrokerMessage | InstrumentsMeta | AppCode | UnknownText
)


class Subscribe(msgspec.Struct, frozen=True, tag="subscribe"):
    tokens: tuple[int, ...]


class Unsubscribe(msgspec.Struct, frozen=True, tag="unsubscribe"):
    tokens: tuple[int, ...]


class SetMode(msgspec.Struct, frozen=True, tag="mode"):
    mode: int
    tokens: tuple[int, ...]


ClientMessage: TypeAlias = Subscribe | Unsubscribe | SetMode


def parse_text(payload: bytes) -> TextMessage | BadFrame:
    """Parse one text message of the server. Never raises, whatever the bytes are."""
    message = _json_object(payload)
    return message if isinstance(message, BadFrame) else _server_message(message, len(payload))


def _json_object(payload: bytes) -> dict[str, object] | BadFrame:
    try:
        value = msgspec.json.decode(payload.decode("utf-8"))
    except UnicodeDecodeError as error:
        return BadFrame(BadReason.NOT_UTF8, error.start, len(payload))
    except (ValueError, RecursionError):  # msgspec.DecodeError is a ValueError
        return BadFrame(BadReason.NOT_JSON, 0, len(payload))
    if not isinstance(value, dict):
        return BadFrame(BadReason.NOT_OBJECT, 0, len(payload))
    return value


def _server_message(message: dict[str, object], payload_bytes: int) -> TextMessage | BadFrame:
    data = message.get("data")
    match message.get("type"):
        case "order" if isinstance(data, dict) and _fits_msgpack(data):
            return OrderUpdate(data)
        case "error" if isinstance(data, str):
            return ServerError(data)
        case "message" if isinstance(data, str):
            return BrokerMessage(data)
        case "instruments_meta" if isinstance(data, dict):
            return _instruments_meta(data, payload_bytes)
        case "app_code" if isinstance(timestamp := message.get("timestamp"), str):
            return AppCode(timestamp)
        case "order" | "error" | "message" | "instruments_meta" | "app_code":
            return BadFrame(BadReason.BAD_FIELD, 0, payload_bytes)
        case kind:
            return UnknownText(kind[:KIND_CHARS_MAX] if isinstance(kind, str) else "")


def _instruments_meta(data: dict[str, object], payload_bytes: int) -> InstrumentsMeta | BadFrame:
    count, etag = data.get("count"), data.get("etag")
    if not _is_int(count) or not 0 <= count <= COUNT_MAX or not isinstance(etag, str):
        return BadFrame(BadReason.BAD_FIELD, 0, payload_bytes)
    return InstrumentsMeta(count, etag)


def _fits_msgpack(data: dict[str, object]) -> bool:
    # JSON has integers of any size and msgpack has not; found here, it costs one message and
    # not the process that passes it on. Orders are rare: encoding one twice is cheap.
    try:
        msgspec.msgpack.encode(data)
    except (OverflowError, RecursionError):
        return False
    return True


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def server_message(message: TextMessage) -> bytes:
    """Write `message` as the server sends it: the inverse of `parse_text`, for the simulator."""
    body: dict[str, object]
    match message:
        case OrderUpdate(data):
            body = {"type": "order", "data": data}
        case ServerError(text):
            body = {"type": "error", "data": text}
        case BrokerMessage(text):
            body = {"type": "message", "data": text}
        case InstrumentsMeta(count, etag):
            body = {"type": "instruments_meta", "data": {"count": count, "etag": etag}}
        case AppCode(timestamp):
            body = {"type": "app_code", "timestamp": timestamp}
        case UnknownText(kind):
            body = {"type": kind}
    return msgspec.json.encode(body)


# --- client to server ----------------------------------------------------------------------------


def parse_client_message(payload: bytes) -> ClientMessage | BadFrame:
    """Parse one message of a client, as the server reads it. Never raises.

    Tokens that are no u32 numbers are left out in silence, strings included, as the server does.
    """
    message = _json_object(payload)
    if isinstance(message, BadFrame):
        return message
    match message:
        case {"a": "subscribe", "v": list(tokens)}:
            return Subscribe(_tokens(tokens))
        case {"a": "unsubscribe", "v": list(tokens)}:
            return Unsubscribe(_tokens(tokens))
        case {"a": "mode", "v": [str(name), list(tokens)]} if name in MODE_NAMES.values():
            return SetMode(mode_from_name(name), _tokens(tokens))
    return BadFrame(BadReason.BAD_FIELD, 0, len(payload))


def _tokens(values: list[object]) -> tuple[int, ...]:
    return tuple(value for value in values if _is_int(value) and 0 < value <= TOKEN_MAX)
