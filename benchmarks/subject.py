"""The parts of kitefeed that are timed, in one place (and `recode`): change it here when the code's
names change."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import zmq

from benchmarks.recode import recode
from kitefeed import Feed, Tick
from kitefeed._hot import BUILD, IS_COMPILED
from kitefeed.actors.runtime import locks
from kitefeed.actors.runtime.config import load
from kitefeed.actors.runtime.config_tables import INSTRUMENTS_MAX
from kitefeed.actors.ticker.websocket_frames import binary_messages
from kitefeed.client.batches import Batch, batch_of
from kitefeed.client.kite_dict import kite_dict
from kitefeed.client.tick import NOBODY, Arrival
from kitefeed.protocol import feed, sockets, tick_bodies, topics, topology
from kitefeed.protocol.keys import client_path, read_client
from kitefeed.protocol.kite.repack import repack_frame as repack
from kitefeed.protocol.kite.ticks import TickBody
from kitefeed.protocol.location import PURE_VARIABLE
from kitefeed.protocol.topology import Role

__all__ = [
    "BUILD",
    "INSTRUMENTS_MAX",
    "IS_COMPILED",
    "PURE_VARIABLE",
    "Feed",
    "Role",
    "Tick",
    "binary_messages",
    "recode",
    "repack",
]

_decode_body = msgspec.msgpack.Decoder(TickBody).decode
HOT = (Role.TICKER, Role.BROADCASTER)


def read(bodies: list[bytes]) -> list[TickBody]:
    """Turn what travels into objects: what a program does for each tick, its message left aside."""
    return [_decode_body(body) for body in bodies]


def in_columns(bodies: list[bytes]) -> Batch:
    """As arrays: what travels in one message, checked and not decoded where that can be."""
    array = b"\xdc" + len(bodies).to_bytes(2, "big") + b"".join(bodies)
    held = tick_bodies.bodies_of(msgspec.Raw(array), len(bodies))[1]
    arrival = Arrival(_GEN, _SHARD, _EPOCH, int(feed.Source.WEBSOCKET), _NOW_NS, 0, 0, NOBODY, 0)
    return batch_of([Tick("", each, 0, 0, arrival) for each in held])


def materialise(bodies: list[TickBody]) -> list[dict[str, Any]]:
    """Return every field of every tick: what a program that reads them all pays on top."""
    arrival = Arrival(_GEN, _SHARD, _EPOCH, int(feed.Source.WEBSOCKET), _NOW_NS, 0, 0, NOBODY, 0)
    return [official_dict(Tick("", body, 0, 0, arrival)) for body in bodies]


# --- what is written around the bodies ----------------------------------------------------------

Named = tuple[bytes, TickBody]
_SHARD, _EPOCH, _GEN, _NOW_NS = 0, 7, 1_790_000_000_000_000_000, 1_790_000_000_100_000_000


def topic_of(key: str) -> bytes:
    return topics.tick_topic(key)


def batch(names: list[bytes], bodies: list[bytes]) -> bytes:
    """The ticker's message to the broadcaster."""
    return feed.encode(
        feed.IngestBatch(
            v=feed.VERSION,
            shard=_SHARD,
            epoch=_EPOCH,
            source=feed.Source.WEBSOCKET,
            batch_seq=1,
            received_boot_ns=_NOW_NS,
            last_frame_boot_ns=_NOW_NS,
            canary_boot_ns=_NOW_NS,
            period_ns=0,
            items=[],
            topics=names,
            bodies=bodies,
        )
    )


def chunks(names: list[bytes], bodies: list[bytes]) -> list[bytes]:
    """The broadcaster's messages to those who read everything."""
    writer, most = _writer(), feed.TICKS_PER_CHUNK_MAX
    return [
        writer.chunk(
            start + 1,
            names[start : start + most],
            list(range(1, len(bodies[start : start + most]) + 1)),
            bodies[start : start + most],
            [],
        )
        for start in range(0, len(bodies), most)
    ]


def forwarded(message: bytes) -> list[bytes]:
    """A ticker's message as the broadcaster's messages to those who read everything."""
    found = feed.decode_batch(message)
    return chunks(found.topics, found.bodies)


def bodies_of(chunk: bytes) -> list[Any]:
    """The decoded bodies of one message of `ticks/all`."""
    array = feed.split_frame(chunk)[1]
    return [*map(feed.decode_body, feed.decode_chunk_message(array).body.bodies)]


def messages(names: list[bytes], bodies: list[bytes]) -> list[bytes]:
    """The broadcaster's messages to those who read single instruments."""
    one = _writer().one
    return [one(name, 1, 0, body) for name, body in zip(names, bodies, strict=True)]


def _writer() -> feed.TickFrames:
    source = feed.Source.WEBSOCKET
    return feed.TickFrames(_GEN, _SHARD, _EPOCH, source, _NOW_NS, _NOW_NS)


def read_batch(message: bytes) -> list[Named]:
    found = feed.decode_batch(message)
    return list(zip(found.topics, read(found.bodies), strict=True))


def read_chunks(messages: list[bytes]) -> list[Named]:
    found = [feed.decode_chunk_message(feed.split_frame(each)[1]).body for each in messages]
    return [
        (topic, feed.decode_body(body))
        for chunk in found
        for topic, body in zip(chunk.topics, chunk.bodies, strict=True)
    ]


def read_messages(messages: list[bytes]) -> list[Named]:
    pairs = [feed.split_frame(message) for message in messages]
    return [
        (topic, feed.decode_body(feed.decode_feed_message(array).body)) for topic, array in pairs
    ]


def wire_values(body: TickBody) -> tuple[Any, ...]:
    """All fields, in the order of docs/wire-format.md."""
    return tuple(getattr(body, name) for name in TickBody.__struct_fields__)


def pid_of(run_dir: Path, role: str) -> int:
    holder = locks.live_holder(run_dir, role)
    if holder is None:
        raise RuntimeError(f"{role} does not run in {run_dir}")
    return holder.pid


def feed_endpoint(run_dir: Path) -> str:
    return topology.endpoint(run_dir, topology.FEED)


def open_feed(config: str | os.PathLike[str], keys: list[str], timeout_s: float = 30.0) -> "Feed":
    """No keys: everything that streams."""
    return Feed(*keys, config=config, timeout_s=timeout_s)


def open_far(config: str | os.PathLike[str], way: str, timeout_s: float = 30.0) -> "Feed":
    """Of everything, as on another host: by `nats`, or by `tcp` with the key of `bench`."""
    settings = load(Path(config))
    if way == "nats" and settings.config.nats is not None:
        return Feed(endpoint=settings.config.nats.servers[0], timeout_s=timeout_s)
    key = client_path(settings.keys_path, "bench")
    return Feed(endpoint=settings.config.feed.tcp, keys=key, timeout_s=timeout_s)


def far_sockets(config: str | os.PathLike[str], count: int) -> list[Any]:
    """Plain subscribers of everything over tcp."""
    settings = load(Path(config))
    keys = read_client(client_path(settings.keys_path, "bench"))
    made = [sockets.connect_feed(settings.config.feed.tcp, keys) for _ in range(count)]
    for each in made:
        each.setsockopt(zmq.SUBSCRIBE, topics.TICKS_TOPIC + topics.NUL)
    return made


def official_dict(tick: Tick) -> dict[str, Any]:
    """Every field of a tick, as the official client's dict: what a program pays that reads all."""
    return kite_dict(tick)


def itself(tick: Tick) -> Tick:
    return tick


Materialise = Callable[[Tick], Any]


# Reader's kind -> what plain subscribers read beside it, and whether that is a message per tick.
FANOUT = {"each": ("tick/", True), "all": ("ticks/all\0", False)}
