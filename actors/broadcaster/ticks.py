"""The ticks of a batch: each is kept, numbered, and written for those who listen. Pure, and the
broadcaster's hot path. `hot/batches.c` is the same compiled: every change here is made there, too,
to the byte."""

from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import NamedTuple

from kitefeed._hot import IS_COMPILED
from kitefeed.actors.broadcaster.store import SOURCE_FLAGS, Origin, Value
from kitefeed.protocol import feed as f

if IS_COMPILED:
    from kitefeed._hot import loops


class Ticks(NamedTuple):
    """The ticks of a batch as columns of one length; `flags` is empty when all are zero."""

    values: list[Value]
    topics: list[bytes]
    bodies: list[bytes]
    flags: list[int]


class Wanted(NamedTuple):
    """The ticks that somebody reads one by one: those of `topics` (None: all), and those whose
    topic with its NUL starts with one of `prefixes`. `chunk_seq`: the number of the message of
    `ticks/all`; None where nobody reads that."""

    topics: Mapping[bytes, int] | None
    prefixes: tuple[bytes, ...]
    chunk_seq: int | None


def keep_in_python(
    ticks: Ticks, origin: Origin, writer: f.TickFrames, wanted: Wanted
) -> list[bytes]:
    """Keep and number all ticks; return the messages of single ticks, then the one of all
    together."""
    seqs: list[int] = []
    for value, body, given in zip(
        ticks.values, ticks.bodies, ticks.flags or repeat(0), strict=False
    ):
        value.seq = seq = value.seq + 1
        value.body, value.origin, value.flags = body, origin, given
        seqs.append(seq)
    messages = _each(ticks, seqs, writer, wanted)
    if wanted.chunk_seq is not None:
        chunk = writer.chunk(wanted.chunk_seq, ticks.topics, seqs, ticks.bodies, ticks.flags)
        messages.append(chunk)
    return messages


def _each(ticks: Ticks, seqs: Sequence[int], writer: f.TickFrames, wanted: Wanted) -> list[bytes]:
    """Write the messages of single ticks. Of a value only the head counts: it may hold a later tick
    already."""
    topics, prefixes = wanted.topics, wanted.prefixes
    if not prefixes and topics is not None and not topics:
        return []
    after = {given: writer.after_seq(given) for given in (0, SOURCE_FLAGS)}
    before, join = writer.before_seq, b"".join
    return [
        join((value.head, before, seq.to_bytes(4, "big"), after[flags], body))
        for topic, value, seq, flags, body in zip(
            ticks.topics, ticks.values, seqs, ticks.flags or repeat(0), ticks.bodies, strict=False
        )
        if topics is None or topic in topics or (prefixes and value.head.startswith(prefixes))
    ]


def keep_compiled(
    ticks: Ticks, origin: Origin, writer: f.TickFrames, wanted: Wanted
) -> list[bytes]:
    """Do what `keep_in_python` does, by the extension, which has to be there."""
    seq = wanted.chunk_seq
    return loops.keep(
        *ticks, origin, writer.before_seq, writer.after_seq(0), writer.after_seq(SOURCE_FLAGS),
        wanted.topics, wanted.prefixes, None if seq is None else writer.chunk_head(seq),
    )  # fmt: skip


keep = keep_compiled if IS_COMPILED else keep_in_python
