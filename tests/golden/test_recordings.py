"""A segment that was ever written is readable by today's code."""

from pathlib import Path

from kitefeed.client.recording import Recording
from kitefeed.protocol import recording as r
from kitefeed.protocol.recording import Block, Described, Gap, Kind, Type
from tests.golden import recordings
from tests.recordings import DAY, NINE_FIFTEEN, S, put


def test_the_format_is_still_written_as_it_was() -> None:
    assert recordings.parts() == recordings.read()


def test_a_segment_of_the_first_release_is_read_with_all_that_is_in_it() -> None:
    blocks = [b for b in r.blocks(b"".join(recordings.read())) if isinstance(b, Block)]
    assert [b.kind for b in blocks] == [Kind.HEADER, Kind.RECORDS, Kind.RECORDS, Kind.END]
    header = r.decode_header(r.unpack(blocks[0]))
    assert (header.version, header.day, header.started_ns) == (1, DAY, NINE_FIFTEEN)
    assert header.instruments[0] == Described(408065, "NSE:INFY", 100, 1)
    assert [x.type for x in r.records(blocks[1])] == [Type.GAP, Type.FRAME, Type.FRAME]
    assert blocks[1].flags == r.HAS_NOTES
    assert r.decode_end(r.unpack(blocks[3])).reason == "hour"


def test_a_recording_of_the_first_release_gives_its_ticks_and_gaps(tmp_path: Path) -> None:
    put(tmp_path, recordings.read())
    recording = Recording(DAY, dir=tmp_path)
    (tick,) = recording
    assert (tick.instrument, tick.last_price, tick.is_fresh) == ("NSE:INFY", 1500.05, True)
    assert recording.gaps == [Gap(NINE_FIFTEEN - 60 * S, NINE_FIFTEEN, "killed", healed=True)]
    assert recording.damage == []
