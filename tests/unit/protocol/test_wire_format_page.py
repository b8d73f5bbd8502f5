"""docs/wire-format.md says what the code does: another language's reader is written from it."""

import re
from pathlib import Path

import msgspec
import pytest

from kitefeed.protocol import feed as f
from kitefeed.protocol import topics
from kitefeed.protocol.feed import Flag, Source
from kitefeed.protocol.keys import ClientKeys, client_text
from kitefeed.protocol.kite.ticks import LTP, TickBody
from kitefeed.protocol.sockets import new_key_pair

PAGE = (Path(__file__).parents[3] / "docs" / "wire-format.md").read_text("utf-8")
STRUCTS: list[type[msgspec.Struct]] = [
    f.FeedMessage, TickBody, f.TickChunk, f.Heartbeat, f.ShardHealth, f.SegmentHealth,
    f.SnapshotEnd, f.FeedState, f.OrderUpdate, f.Notice,
]  # fmt: skip


def section(name: str) -> str:
    return PAGE.partition(f"### `{name}`\n")[2].partition("\n#")[0]


@pytest.mark.parametrize("kind", STRUCTS, ids=lambda kind: kind.__name__)
def test_the_page_lists_exactly_the_fields_in_order(kind: type[msgspec.Struct]) -> None:
    fields = [field.name for field in msgspec.structs.fields(kind)]
    if kind.__struct_config__.array_like:
        rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", section(kind.__name__), re.MULTILINE)
        assert rows == [(str(n), name) for n, name in enumerate(fields)]
    else:
        assert re.findall(r"^\| `(\w+)` \|", section(kind.__name__), re.MULTILINE) == fields


def test_the_page_lists_exactly_the_flags() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (\d+) \|", PAGE, re.MULTILINE)
    assert rows == [(flag.name, str(flag.value)) for flag in Flag]


def test_the_page_names_sources_topics_and_version_as_they_are() -> None:
    assert [f"{s.value} {s.name.lower()}" for s in Source] == [
        "0 none", "1 websocket", "2 rest", "3 replay",
    ]  # fmt: skip
    assert "0 none (the daemon itself), 1 websocket, 2 rest, 3 replay (" in PAGE
    assert f"version of this page: {f.VERSION}" in PAGE
    for topic in (topics.HEARTBEAT_TOPIC, topics.STATE_TOPIC, topics.TICKS_TOPIC):
        assert f"`{topic.decode()}\\0`" in PAGE
    for prefix in (*topics.FAMILIES, topics.SNAPSHOT, topics.PRESENCE):
        assert f"`{prefix.decode()}" in PAGE
    assert f"longer than {topics.SUBSCRIPTION_BYTES_MAX} bytes" in PAGE


def test_the_page_names_every_field_that_is_a_time_or_a_life_as_a_large_number() -> None:
    text = PAGE.partition("| may exceed | fields |")[2].partition("\n\n")[0]
    fields = {field.name for kind in STRUCTS for field in msgspec.structs.fields(kind)}
    large = {name for name in fields if name.endswith("_ns") or name in ("gen", "epoch")}
    assert large <= set(re.findall(r"`(\w+)`", text)) <= fields


def test_the_page_describes_the_key_file_as_it_is_written() -> None:
    text = PAGE.partition("**A client's key file**")[2].partition("`HEARTBEAT_TTL`")[0]
    own = new_key_pair()
    lines = [
        line for line in client_text(ClientKeys(own.public, own)).splitlines() if line[0] != "#"
    ]
    assert re.findall(r"^\| `(\w+)` \| `CURVE", text, re.MULTILINE) == [
        line.partition(" = ")[0] for line in lines
    ]
    assert all(re.fullmatch(r'\w+ = "[^"\\]{40}"', line) for line in lines)


@pytest.mark.parametrize(
    ("block", "topic", "seq", "sent_after_ms"),
    [(1, b"tick/NSE:INFY", 12, 0), (3, b"last/2/NSE:INFY", 3, 500)],
)
def test_the_bytes_of_the_example_are_the_message_it_describes(
    block: int, topic: bytes, seq: int, sent_after_ms: int
) -> None:
    text = PAGE.partition("### Example")[2].split("```")[block]
    frame = bytes.fromhex("".join(line[:62].rstrip() for line in text.splitlines()))
    found, array = f.split_frame(frame)
    message = f.decode_feed_message(array)
    assert found == topic
    assert (message.v, message.shard, message.epoch, message.seq) == (1, 0, 41, seq)
    assert (message.source, message.flags) == (Source.WEBSOCKET, 0)
    assert (message.t_pub_ns - message.t_rx_ns) // 1_000_000 == sent_after_ms
    body = msgspec.msgpack.decode(message.body, type=TickBody)
    assert body == TickBody(408065, LTP, 100, 150_005)
    assert f.feed_frame(topic, message) == frame


def test_the_page_names_the_rates_of_the_latest_ticks() -> None:
    *most, last = topics.LAST_RATES
    assert f"The number is {', '.join(map(str, most))} or {last};" in PAGE
