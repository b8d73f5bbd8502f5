"""A recording of a day with so many ticks, made by the recorder's own machine and writer; to see
what an export of it takes:

    python -m benchmarks.long_day DIRECTORY 50000000
    /usr/bin/time -v kitefeed export 2026-11-30 --dir DIRECTORY --to elsewhere
"""

import logging
import sys
import threading
from pathlib import Path

from benchmarks import subject
from benchmarks.frames import Builder, Universe, packets_of, token_of
from benchmarks.parts.record import DAY_NS, SHAPE
from kitefeed.protocol.feed import TickFrames
from kitefeed.services.recorder.machine import Ask, Command, Recorder
from kitefeed.services.recorder.writer import Writer

SESSION_NS = 22_500_000_000_000  # 09:15 to 15:30
BACKLOG_BYTES_MAX = 8_388_608
CLOSE_S = 60.0


def main(directory: Path, ticks: int) -> None:
    universe = Universe(3_000)
    keys = dict(universe.all)
    plan = [
        ([subject.topic_of(keys[token_of(p)]) for p in packets_of(frame)], subject.recode(frame))
        for frame in Builder().plan(SHAPE, universe).frames
    ]
    frames = -(-ticks // SHAPE.packets)
    writer = Writer(directory, 0, logging.getLogger("long_day"))
    writer.start()
    recorder = Recorder("ab", "benchmarks", list)
    _put(writer, recorder.begin(DAY_NS))
    seqs: dict[bytes, int] = {}
    for number in range(frames):
        at_ns = DAY_NS + (number + 1) * (SESSION_NS // frames)
        topics, bodies = plan[number % len(plan)]
        for topic in topics:
            seqs[topic] = seqs.get(topic, 0) + 1
        made = TickFrames(1, 0, 1, 1, at_ns - 1_000_000, at_ns)
        frame = made.chunk(number + 1, topics, [seqs[topic] for topic in topics], bodies, [])
        _put(writer, recorder.frame(frame, at_ns, at_ns))
        _put(writer, recorder.turn(at_ns, at_ns))
    _put(writer, recorder.end())
    if not writer.close(CLOSE_S) or writer.trouble:
        raise SystemExit(f"not written: {writer.trouble or 'the disk is too slow'}")
    print(f"{frames * SHAPE.packets:,} ticks, {writer.written_bytes / 1e6:,.0f} MB in {directory}")


def _put(writer: Writer, commands: list[Command]) -> None:
    for command in commands:
        if not isinstance(command, Ask):
            writer.put(command)
    while writer.backlog_bytes > BACKLOG_BYTES_MAX:
        threading.Event().wait(0.01)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
