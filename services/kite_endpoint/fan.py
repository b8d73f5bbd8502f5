"""Turns ticks of the feed into Kite's frames, made once for all sockets that want the same. Pure.

A full packet begins with the packet of each lower mode (of an index, too). So each tick is encoded
once, whatever the modes of its readers, and cut to the length that a mode has: a column of packets
for each mode. A socket costs no more than to pick its own out of that.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import compress
from typing import Generic, TypeVar

from kitefeed.protocol.kite.ticks import (
    FULL,
    LTP,
    QUOTE,
    TickBody,
    encode_packet,
    frame_of_parts,
    is_index,
    part_of_frame,
)

PACKETS_PER_FRAME = 200  # about what a busy socket of Kite carries
_LENGTHS = {LTP: 8, QUOTE: 44, FULL: 184}
_INDEX_LENGTHS = {LTP: 8, QUOTE: 28, FULL: 32}

Socket = TypeVar("Socket")


def packet_bytes(token: int, mode: int) -> int:
    """Return the length of Kite's packet of this instrument in this mode."""
    return (_INDEX_LENGTHS if is_index(token) else _LENGTHS)[mode]


class _Group(Generic[Socket]):
    """Sockets that want the same tokens in the same modes. tokens: by mode."""

    def __init__(self, modes: Mapping[int, int]) -> None:
        self.sockets: list[Socket] = []
        self.tokens: dict[int, set[int]] = {}
        for token, mode in modes.items():
            self.tokens.setdefault(mode, set()).add(token)


class Fan(Generic[Socket]):
    """The sockets, what each wants, and what was sent last.

    A packet that says the same as the last one of its mode is not sent again: a socket in mode ltp
    hears of prices, not of depth, as on Kite.
    """

    def __init__(self) -> None:
        self._groups: dict[frozenset[tuple[int, int]], _Group[Socket]] = {}
        self._group_of: dict[Socket, frozenset[tuple[int, int]]] = {}
        self._last: dict[int, bytes] = {}  # token: its last packet, in the mode it came in

    def place(self, socket: Socket, modes: Mapping[int, int]) -> None:
        """Note that `socket` wants these tokens in these modes from now on; none: it has left."""
        before = self._group_of.pop(socket, None)
        if before is not None:
            sockets = self._groups[before].sockets
            sockets.remove(socket)
            if not sockets:
                del self._groups[before]
        key = frozenset(modes.items())
        for token, _ in key - (before or frozenset()):  # it has not heard what others have
            self._last.pop(token, None)
        if not modes:
            return
        self._group_of[socket] = key
        if key not in self._groups:
            self._groups[key] = _Group(modes)
        self._groups[key].sockets.append(socket)

    def frames(self, ticks: Iterable[TickBody]) -> Iterator[tuple[list[Socket], bytes]]:
        """Yield the frames that these ticks cause, each with its sockets; the newest of each
        instrument last."""
        newest = {body.instrument_token: body for body in ticks}
        packets = {token: encode_packet(body) for token, body in newest.items()}
        columns = {
            mode: self._column(packets, mode)
            for mode in {mode for group in self._groups.values() for mode in group.tokens}
        }
        self._last.update(packets)
        for group in self._groups.values():
            parts: list[bytes] = []
            for mode, wanted in group.tokens.items():
                tokens, ready = columns[mode]
                parts += compress(ready, map(wanted.__contains__, tokens))
            for start in range(0, len(parts), PACKETS_PER_FRAME):
                yield group.sockets, frame_of_parts(parts[start : start + PACKETS_PER_FRAME])

    def _column(self, packets: Mapping[int, bytes], mode: int) -> tuple[list[int], list[bytes]]:
        """Return the tokens whose packets of this mode say something new, and these as they stand
        in a frame."""
        tokens, ready = [], []
        last = self._last.get
        for token, packet in packets.items():
            length = packet_bytes(token, mode)
            # Cut, never filled up: what the feed does not have yet must not read as zero.
            cut = packet[:length]
            if cut != last(token, b"")[:length]:
                tokens.append(token)
                ready.append(part_of_frame(cut))
        return tokens, ready
