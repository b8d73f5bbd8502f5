"""The format of recordings: whatever befalls a file, every whole block in it is found."""

import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kitefeed.protocol import recording as r
from kitefeed.protocol.recording import BadRecording, Block, Codec, Damage, Kind, Type
from tests.recordings import NINE_FIFTEEN, S, Writes, segment

T0 = NINE_FIFTEEN
CODECS = [Codec.NONE, Codec.ZLIB, Codec.ZSTD]


def parts(codec: int = Codec.NONE) -> list[bytes]:
    feed = Writes()
    blocks: list[list[tuple[int, Any]]] = [
        [(T0 + n * S, feed.chunk(T0 + n * S, {408065: 1500_00 + n, 256265: 24_000_00}))]
        for n in range(4)
    ]
    return segment(blocks, codec=codec)


def read(data: bytes) -> list[Block | Damage]:
    return list(r.blocks(data))


def whole(data: bytes) -> list[tuple[int, bytes]]:
    return [(b.kind, r.unpack(b)) for b in read(data) if isinstance(b, Block)]


@pytest.mark.parametrize("codec", CODECS)
def test_what_was_written_is_read(codec: int) -> None:
    found = read(b"".join(parts(codec)))
    assert [b.kind for b in found if isinstance(b, Block)] == [1, 2, 2, 2, 2, 3]
    records = [list(r.records(b)) for b in found if isinstance(b, Block) and b.kind == 2]
    assert [(x.type, x.t_ns) for block in records for x in block] == [
        (Type.FRAME, T0 + n * S) for n in range(4)
    ]
    assert records[1][0].data.startswith(b"ticks/all\0")


@pytest.mark.parametrize("codec", CODECS)
def test_a_file_cut_at_any_byte_has_all_blocks_before_the_cut(codec: int) -> None:
    pieces = parts(codec)
    data, ends = b"".join(pieces), []
    for piece in pieces:
        ends.append((ends[-1] if ends else 0) + len(piece))
    blocks = whole(data)
    for cut in range(len(r.HEAD), len(data)):
        found = read(data[:cut])
        count = sum(end <= cut for end in ends)
        assert [(b.kind, r.unpack(b)) for b in found if isinstance(b, Block)] == blocks[:count]
        torn = [b for b in found if isinstance(b, Damage)]
        assert len(torn) == (cut not in (len(r.HEAD), *ends))
        assert all(b.end == cut for b in torn)


@settings(max_examples=300)
@given(st.data())
def test_a_changed_byte_costs_one_block(data: st.DataObject) -> None:
    pieces = parts(Codec.ZSTD)
    bytes_ = bytearray(b"".join(pieces))
    at = data.draw(st.integers(len(r.HEAD), len(bytes_) - 1))
    bytes_[at] ^= data.draw(st.integers(1, 255))
    before = whole(b"".join(pieces))
    after = whole(bytes(bytes_))
    assert len(after) == len(before) - 1
    assert [block for block in before if block in after] == after
    assert [b for b in read(bytes(bytes_)) if isinstance(b, Damage)]


@settings(max_examples=200)
@given(st.binary(max_size=400))
def test_rubbish_is_damage_and_never_an_error(rubbish: bytes) -> None:
    found = read(r.HEAD + rubbish + r.MARK + rubbish)
    assert not any(isinstance(block, Block) for block in found)


def test_a_block_that_holds_the_mark_of_a_block_is_still_one_block() -> None:
    inner = r.encode_block(Kind.RECORDS, b"", T0, T0, Codec.NONE)
    outer = r.encode_block(Kind.RECORDS, r.encode_record(9, T0, inner), T0, T0, Codec.NONE)
    (block,) = read(r.HEAD + outer)
    assert isinstance(block, Block)
    assert [x.data for x in r.records(block)] == [inner]


def test_what_says_it_is_enormous_is_not_unpacked() -> None:
    bomb = zlib.compress(bytes(50_000_000))
    block = Block(Kind.RECORDS, Codec.ZLIB, 0, T0, T0, 0, 0, 1_000, bomb)
    assert len(r.decompress(Codec.ZLIB, bomb, 1_000)) == 1_000
    with pytest.raises(BadRecording, match="cut short"):
        list(r.records(block))


def test_without_zstd_the_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    (block, *_) = [b for b in read(b"".join(parts(Codec.ZSTD))) if isinstance(b, Block)]
    monkeypatch.setattr(r, "_zstd", lambda: None)
    assert r.best_codec() == Codec.ZLIB
    with pytest.raises(BadRecording, match=r"pip install 'kitefeed\[record\]'"):
        r.unpack(block)


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        (b"", "it is empty"),
        (b"PK\3\4" + bytes(20), "no recording"),
        (r.MAGIC + b"\0\2\0\0", "version 2"),
    ],
)
def test_what_is_no_segment_is_refused_with_a_sentence(head: bytes, sentence: str) -> None:
    with pytest.raises(BadRecording, match=sentence):
        r.check_head(head)


@pytest.mark.parametrize(
    ("utc_s", "day", "name"),
    [
        (T0 // S, "2026-11-30", "091500-000.kfrec"),
        (T0 // S - 9 * 3600 - 900, "2026-11-30", "000000-000.kfrec"),
        (T0 // S - 9 * 3600 - 901, "2026-11-29", "235959-000.kfrec"),
    ],
)
def test_days_and_names_are_those_of_indias_clock(utc_s: int, day: str, name: str) -> None:
    assert r.day_of(utc_s * S) == day
    assert r.segment_name(utc_s * S) == name
    assert r.SEGMENT_NAME.match(name)
    assert r.DAY_NAME.match(day)


def test_the_last_blocks_are_found_without_reading_the_rest() -> None:
    pieces = parts()
    data = b"".join(pieces)
    assert r.last_blocks(data) == len(data) - len(pieces[-1])
    assert r.last_blocks(data[:-1]) <= len(data) - len(pieces[-1]) - 1
    damaged = bytearray(data)
    damaged[len(pieces[0])] ^= 1  # the mark of the second block
    assert r.last_blocks(bytes(damaged)) <= len(pieces[0])


def test_blocks_with_notes_are_found_without_reading_those_of_frames() -> None:
    gap = r.encode_record(Type.GAP, T0, r.encode(r.Gap(T0, T0, "lost")))
    noted = r.encode_block(Kind.RECORDS, gap, T0, T0, Codec.NONE, r.HAS_NOTES)
    pieces = parts()
    hurt = pieces[2][:-1] + bytes([pieces[2][-1] ^ 1])  # nobody looks into it
    data = b"".join([*pieces[:2], hurt, noted, *pieces[3:]])
    found = list(r.blocks(data, has_notes=True))
    assert [(b.kind, b.flags) for b in found if isinstance(b, Block)] == [(1, 0), (2, 1), (3, 0)]
    assert not any(isinstance(b, Damage) for b in found)
    torn = bytearray(data)
    torn[len(pieces[0]) + 8] ^= 0xFF  # a length that leads nowhere
    again = [b for b in r.blocks(bytes(torn), has_notes=True) if isinstance(b, Block)]
    assert (2, 1) in [(b.kind, b.flags) for b in again]
