"""A segment of a recording as some release wrote it, and what is in it. The file is never changed:
what was recorded once must be readable for ever.

    python -m tests.golden.recordings        prints the lines for docs/recording-format.md
"""

from pathlib import Path

from kitefeed.protocol import recording as r
from kitefeed.protocol.recording import Codec, Gap
from tests.recordings import NINE_FIFTEEN, S, Writes, segment

FILE = Path(__file__).with_name("segment.hex")


def parts() -> list[bytes]:
    """Return what this release writes, uncompressed."""
    feed, at_ns = Writes(), NINE_FIFTEEN
    gap = Gap(at_ns - 60 * S, at_ns, "killed", detail="")
    healed = Gap(at_ns - 60 * S, at_ns, "killed", healed=True)
    tick = feed.chunk(at_ns, {408065: 1500_05})
    return segment(
        [
            [(at_ns, gap), (at_ns, feed.heartbeat(at_ns)), (at_ns + 1, tick)],
            [(at_ns + S, healed)],
        ],
        codec=Codec.NONE,
    )


def read() -> list[bytes]:
    """One line of hex for the head with the header, and for each block."""
    return [bytes.fromhex(line) for line in FILE.read_text().split()]


if __name__ == "__main__":
    FILE.exists() or FILE.write_text("".join(part.hex() + "\n" for part in parts()))  # type: ignore[func-returns-value]
    for number, part in enumerate(parts()):
        print(number, len(part), part[: len(r.HEAD) + 36].hex(" "))
