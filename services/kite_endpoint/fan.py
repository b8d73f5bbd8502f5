"""Ticks of the feed as Kite's frames, made once for all sockets that want the same. Pure.

A full packet begins with the packet of each lower mode (of an index, too), so one is encoded for a
tick, whatever the modes of those who read it, and cut to the length that a mode has.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from kitefeed.protocol.kite.ticks import (
    FULL,
    LTP,
    QUOTE,
    TickBody,
    encode_packet,
    frame_of_packets,
    is_index,
)

PACKETS_PER_FRAME = 200  # about what a busy socket of Kite carries
_LENGTHS = {LTP: 8, QUOTE: 44, FULL: 184}
_INDEX_LENGTHS = {LTP: 8, QUOTE: 28, FULL: 32}

Socket = TypeVar("Socket")


def packet_bytes(token: int, mode: int) -> int:
    """How long Kite's packet of this instrument is in this mode."""
    return (_INDEX_LENGTHS if is_index(token) else _LENGTHS)[mode]


class Fan(Generic[Socket]):
    """Which sockets want what, and what they were sent last.

    A packet that says the same as the last one of its mode is not sent again: a socket in mode ltp
    hears of prices, not of depth, as on Kite.
    """

    def __init__(self) -> None:
        self._groups: dict[frozenset[tuple[int, int]], tuple[dict[int, int], list[Socket]]] = {}
        self._group_of: dict[Socket, frozenset[tuple[int, int]]] = {}
        self._last: dict[int, bytes] = {}  # token: its last packet, in the mode it came in

    def place(self, socket: Socket, modes: Mapping[int, int]) -> None:
        """From now on `socket` wants these tokens in these modes; none: it has left."""
        self._leave(socket)
        if not modes:
            return
        key = frozenset(modes.items())
        self._group_of[socket] = key
        self._groups.setdefault(key, (dict(modes), []))[1].append(socket)

    def _leave(self, socket: Socket) -> None:
        key = self._group_of.pop(socket, None)
        if key is None:
            return
        sockets = self._groups[key][1]
        sockets.remove(socket)
        if not sockets:
            del self._groups[key]

    def frames(self, ticks: Iterable[TickBody]) -> Iterator[tuple[list[Socket], bytes]]:
        """Who is to be sent what because of these ticks, the newest of each instrument last."""
        changed: dict[int, tuple[bytes, bytes]] = {}
        for body in ticks:
            packet = encode_packet(body)
            token = body.instrument_token
            before = changed[token][0] if token in changed else self._last.get(token, b"")
            self._last[token] = packet
            changed[token] = (before, packet)
        for modes, sockets in self._groups.values():
            packets = list(_due(changed, modes))
            for start in range(0, len(packets), PACKETS_PER_FRAME):
                yield sockets, frame_of_packets(packets[start : start + PACKETS_PER_FRAME])


def _due(changed: Mapping[int, tuple[bytes, bytes]], modes: Mapping[int, int]) -> Iterator[bytes]:
    for token in changed if len(changed) < len(modes) else modes:
        mode = modes.get(token)
        if mode is None or token not in changed:
            continue
        before, packet = changed[token]
        length = packet_bytes(token, mode)
        # Cut, never filled up: what the feed does not have yet must not read as zero.
        if packet[:length] != before[:length]:
            yield packet[:length]
