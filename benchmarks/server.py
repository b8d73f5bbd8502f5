"""Kite's other end, as cheap as it can be: prebuilt frames over a plain socket, and the few REST
answers without which the daemon does not connect.

    python -m benchmarks.server [CERTIFICATE]

CERTIFICATE: a PEM file with its key; then a second port speaks TLS.

One line of JSON on standard output when it listens; then one command per line on standard input,
and one answer per command:

    {"do": "run", "keys": [K], "plan": PATH, "stamps": PATH}   streams a plan to each, writes when
    {"do": "end"}                                               its readers have had enough
    {"do": "hush", "is_on": true}                            no ticks between runs

A run that could not be sent, because its reader left or had not subscribed, answers with "trouble".

Between runs it sends what keeps a feed alive: a heartbeat a second, and one index tick. A run lasts
until it is ended: a reader that has lost ticks waits for silence.
"""

import asyncio
import base64
import hashlib
import json
import ssl
import sys
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from benchmarks.frames import (
    INDEX_SEGMENT,
    LISTED,
    NS,
    UNPACED,
    Builder,
    Universe,
    divisor_of,
    join,
    load,
    packets_of,
    price_of,
    token_of,
)

SNAPSHOT_PACKETS = 200  # of one frame after a subscribe
SETTLE_S = 0.1  # what is done after the last frame would take a core from who reads it
GREETING_PRICE = 10_000  # below every run's prices
LENGTHS = {"index": 32, "full": 184}
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10
_PROFILE = {"user_id": "BENCH", "user_name": "Benchmark", "exchanges": ["NSE"]}


def websocket_frame(payload: bytes, opcode: int = _BINARY) -> bytes:
    """Unmasked, as servers send."""
    length = len(payload)
    if length < 126:
        head = bytes((0x80 | opcode, length))
    elif length < 65_536:
        head = bytes((0x80 | opcode, 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 127)) + length.to_bytes(8, "big")
    return head + payload


class Incoming:
    """A client's frames out of its bytes: masked, whole messages only."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        self._buffer += data
        while (found := self._next()) is not None:
            yield found

    def _next(self) -> tuple[int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        length, start = buffer[1] & 0x7F, 2
        if length >= 126:
            start = 4 if length == 126 else 10
            length = int.from_bytes(buffer[2:start], "big")
        end = start + 4 + length
        if len(buffer) < start or len(buffer) < end:
            return None
        mask, opcode = bytes(buffer[start : start + 4]), buffer[0] & 0x0F
        masked = bytes(buffer[start + 4 : end])
        del buffer[:end]
        key = (mask * (length // 4 + 1))[:length]
        plain = int.from_bytes(masked, "big") ^ int.from_bytes(key, "big")
        return opcode, plain.to_bytes(length, "big")


class NotSubscribed(RuntimeError):
    """Nobody is there to be sent an instrument of the plan."""


class Connection:
    """One WebSocket. The lock keeps frames whole when a reader is slow."""

    def __init__(self, writer: asyncio.StreamWriter, key: str) -> None:
        self._writer = writer
        self.key = key
        self.tokens: set[int] = set()
        self.lock = asyncio.Lock()

    async def send(self, *frames: bytes) -> None:
        """Returns when the kernel has them, over TLS all but 64 KiB. Raises OSError."""
        async with self.lock:
            if self._writer.is_closing():
                raise ConnectionResetError("it has gone")
            self._writer.write(b"".join(frames))
            await self._writer.drain()


class Server:
    def __init__(self, universe: Universe) -> None:
        self._universe = universe
        self._builder = Builder()
        self._connections: list[Connection] = []
        self._latest: dict[int, bytes] = {}  # token -> the packet sent last, for quotes
        self._is_running = False
        # Who subscribed meanwhile, as a ticker does that has lost ticks: what was last sent is only
        # looked through when a run is over, and until then would be a price from before it.
        self._owed: list[tuple[Connection, list[int]]] = []
        self._is_hushed = False
        self._canary_price = GREETING_PRICE

    # --- commands ---------------------------------------------------------------------------

    async def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        if command["do"] == "hush":
            self._is_hushed = command["is_on"]
            return {"done": "hush"}
        if command["do"] == "end":
            await self._end()
            return {"done": "end"}
        try:
            return {"done": "run", "frames": await self._run(command)}
        except (OSError, NotSubscribed) as error:
            return {"done": "run", "trouble": str(error)}

    async def _run(self, command: dict[str, Any]) -> int:
        plan = load(Path(command["plan"]))
        programs = [self._owners(key) for key in command["keys"]]
        parts = [
            [part for owners in programs for part in _parts(frame, owners)] for frame in plan.frames
        ]
        self._is_running = True
        stamps = await _stream(parts, plan.due_ns)
        await asyncio.sleep(SETTLE_S)
        _write(Path(command["stamps"]), stamps)
        for frame in plan.frames:
            self._latest |= {token_of(packet): packet for packet in packets_of(frame)}
        return len(parts)

    def _owners(self, key: str) -> dict[int, Connection]:
        """Of the sockets of one program, that which carries a token."""
        sockets = (each for each in self._connections if each.key == key)
        return {token: each for each in sockets for token in each.tokens}

    async def _end(self) -> None:
        self._is_running = False
        owed, self._owed = self._owed, []
        for connection, tokens in owed:
            try:
                await connection.send(*self._snapshot(tokens))
            except OSError:
                continue  # it has gone

    # --- connections ------------------------------------------------------------------------

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        # Who waits for room waits until all is sent. Not 0, which over TLS would be for ever.
        writer.transport.set_write_buffer_limits(high=1, low=0)
        try:
            target, headers = _parse(await reader.readuntil(b"\r\n\r\n"))
            if headers.get("upgrade", "").lower() == "websocket":
                await self._upgrade(reader, writer, target, headers)
            else:
                writer.write(self._answer(target))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the peer went away
        finally:
            writer.close()

    async def _upgrade(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        target: str,
        headers: dict[str, str],
    ) -> None:
        digest = hashlib.sha1((headers["sec-websocket-key"] + _GUID).encode()).digest()  # noqa: S324
        accept = base64.b64encode(digest).decode()
        answer = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )
        writer.write(answer.encode())
        connection = Connection(writer, parse_qs(urlsplit(target).query)["api_key"][0])
        self._connections.append(connection)
        incoming = Incoming()
        try:
            while data := await reader.read(262_144):
                for opcode, payload in incoming.feed(data):
                    if not await self._hear(connection, opcode, payload):
                        return
        finally:
            self._connections.remove(connection)

    async def _hear(self, connection: Connection, opcode: int, payload: bytes) -> bool:
        """One message of a client; False when it closes."""
        if opcode == _CLOSE:
            await connection.send(websocket_frame(payload[:2], _CLOSE))
            return False
        if opcode == _PING:
            await connection.send(websocket_frame(payload, _PONG))
        if opcode == _TEXT:
            said = json.loads(payload)
            if said["a"] == "subscribe":
                connection.tokens.update(said["v"])
                if self._is_running:
                    self._owed.append((connection, said["v"]))
                else:
                    await connection.send(*self._snapshot(said["v"]))
            elif said["a"] == "unsubscribe":
                connection.tokens.difference_update(said["v"])
        return True

    def _snapshot(self, tokens: list[int]) -> list[bytes]:
        """Return what Kite sends after a subscribe: the last value of each."""
        packets = [self._last(token) for token in tokens]
        return [
            websocket_frame(join(packets[start : start + SNAPSHOT_PACKETS]))
            for start in range(0, len(packets), SNAPSHOT_PACKETS)
        ]

    def _last(self, token: int) -> bytes:
        """In mode full, whatever the last run sent: nothing else confirms a subscription to it."""
        found = self._latest.get(token)
        kind = "index" if token & 0xFF == INDEX_SEGMENT else "full"
        if found is None or len(found) < LENGTHS[kind]:
            price = GREETING_PRICE if found is None else price_of(found)
            found = self._latest[token] = self._builder.packet(kind, token, price)
        return found

    # --- what goes on by itself ---------------------------------------------------------------

    async def keep_alive(self) -> None:
        """A heartbeat a second, and an index that ticks unless a run is on."""
        while True:
            await asyncio.sleep(1)
            self._canary_price += 1
            for connection in list(self._connections):
                try:
                    await connection.send(websocket_frame(b"\0"), *self._canary(connection))
                except OSError:
                    continue

    def _canary(self, connection: Connection) -> list[bytes]:
        if self._is_running or self._is_hushed:
            return []
        indices = (index.token for index in self._universe.indices)
        token = next((token for token in indices if token in connection.tokens), None)
        if token is None:
            return []
        self._latest[token] = self._builder.packet("index", token, self._canary_price)
        return [websocket_frame(join([self._latest[token]]))]

    # --- REST -------------------------------------------------------------------------------

    def _answer(self, target: str) -> bytes:
        url = urlsplit(target)
        if url.path.startswith("/instruments"):
            return _http(_dump(self._universe).encode(), "text/csv")
        if url.path == "/user/profile":
            return _http(_success(_PROFILE))
        if url.path == "/quote":
            tokens = [int(token) for token in parse_qs(url.query).get("i", [])]
            return _http(_success({str(token): self._quote(token) for token in tokens}))
        return _http(b'{"status": "error", "message": "no such route"}', status="404 Not Found")

    def _quote(self, token: int) -> dict[str, Any]:
        packet = self._last(token)
        volume = int.from_bytes(packet[16:20], "big") if len(packet) > 32 else 0
        rupees = price_of(packet) / divisor_of(token)
        return {"instrument_token": token, "last_price": rupees, "volume": volume}


def _parts(frame: bytes, owners: dict[int, Connection]) -> list[tuple[Connection, bytes]]:
    """A frame goes whole to the one who subscribed to it; in parts where several sockets of one
    program share the instruments."""
    packets: dict[Connection, list[bytes]] = {}
    for packet in packets_of(frame):
        owner = owners.get(token_of(packet))
        if owner is None:
            raise NotSubscribed(f"nobody is subscribed to token {token_of(packet)}")
        packets.setdefault(owner, []).append(packet)
    return [(each, websocket_frame(join(theirs))) for each, theirs in packets.items()]


async def _stream(frames: list[list[tuple[Connection, bytes]]], due_ns: list[int]) -> "array[int]":
    """Sends each frame when it is due. A frame's stamp is when it was handed over or, if a slow
    reader held up the ones before it, when it was due: that wait is part of its latency."""
    stamps = array("q")
    now_ns = time.monotonic_ns
    start_ns = now_ns() + NS // 20
    for parts, offset_ns in zip(frames, due_ns, strict=True):
        stamp_ns = now_ns()
        if offset_ns != UNPACED:
            wait_ns = start_ns + offset_ns - stamp_ns
            stamp_ns += wait_ns
            if wait_ns > 0:
                await asyncio.sleep(wait_ns / NS)
                stamp_ns = now_ns()
        stamps.append(stamp_ns)
        for connection, part in parts:
            await connection.send(part)
    return stamps


def _write(path: Path, stamps: "array[int]") -> None:
    path.write_bytes(stamps.tobytes())


def _parse(head: bytes) -> tuple[str, dict[str, str]]:
    lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines[1:] if ":" in line)
    return lines[0].split(" ")[1], {name.lower(): value.strip() for name, _, value in pairs}


def _http(body: bytes, kind: str = "application/json", status: str = "200 OK") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body


def _success(data: object) -> bytes:
    return json.dumps({"status": "success", "data": data}).encode()


def _dump(universe: Universe) -> str:
    columns = "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,"
    rows = [columns + "tick_size,lot_size,instrument_type,segment,exchange"]
    for token, key in universe.all:
        exchange, _, symbol = key.partition(":")
        segment = "INDICES" if token & 0xFF == INDEX_SEGMENT else exchange
        rows.append(f"{token},{token >> 8},{symbol},{symbol},0,,0,0.05,1,EQ,{segment},{exchange}")
    return "\n".join(rows) + "\n"


async def serve(certificate: str | None) -> None:
    server = Server(Universe(LISTED))
    ports = {"port": await _listen(server, None)}
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
        ports["tls_port"] = await _listen(server, tls)
    print(json.dumps(ports), flush=True)
    commands = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(commands)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    pulse = asyncio.create_task(server.keep_alive())
    while line := await commands.readline():
        print(json.dumps(await server.obey(json.loads(line))), flush=True)
    pulse.cancel()


async def _listen(server: Server, tls: ssl.SSLContext | None) -> int:
    """The port. (asyncio sets TCP_NODELAY on every connection.)"""
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, backlog=64, ssl=tls)
    port: int = listener.sockets[0].getsockname()[1]
    return port


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1] if len(sys.argv) > 1 else None))
