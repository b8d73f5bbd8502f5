"""One frame to the bodies that travel: what the ticker does for each packet, and pykiteconnect's
step beside it. As a program, for callgrind, which imports nothing else:

    python -m benchmarks.recode ours|official FRAME ROUNDS
"""

import sys
from pathlib import Path

from kitefeed.protocol.kite.repack import repack_frame


def recode(frame: bytes) -> list[bytes]:
    return repack_frame(frame).bodies


def main(who: str, path: str, rounds: int) -> None:
    frame = Path(path).read_bytes()
    if who == "ours":
        for _ in range(rounds):
            recode(frame)
        return
    from kiteconnect import KiteTicker

    official = KiteTicker("key", "token")
    for _ in range(rounds):
        official._parse_binary(frame)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
