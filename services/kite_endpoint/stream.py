"""The WebSocket side: Kite's server, fed by the feed."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec
from aiohttp import WSCloseCode, web

from kitefeed.client.tick import Tick
from kitefeed.client.trouble import Policy, Trouble, judged, may_pass
from kitefeed.kite_server.connection import Connection, binary_message
from kitefeed.kite_server.stream import Handshake, Stream, push
from kitefeed.protocol.clock import boot_ns, utc_ns
from kitefeed.protocol.kite.text import (
    BrokerMessage,
    InstrumentsMeta,
    OrderUpdate,
    ServerError,
    server_message,
)
from kitefeed.protocol.kite.ticks import TickBody
from kitefeed.services.kite_endpoint.doors import REFUSED, Doors
from kitefeed.services.kite_endpoint.fan import Fan
from kitefeed.services.kite_endpoint.market import SharedReader

CUT_S = 2.0
NAMED_MAX = 20  # instruments in one sentence
log = logging.getLogger("kite_endpoint")


class DayList(Protocol):
    """The day's list."""

    def keys_of(self, tokens: Sequence[int]) -> dict[int, str]:
        """Return names (`NSE:INFY`) by token, for those that exist."""

    def meta(self) -> InstrumentsMeta: ...


class LastValue:
    """A value as `Subscriptions` reads it; each is new to it."""

    revision = price_revision = 0

    def __init__(self, raw: TickBody) -> None:
        self._raw = raw
        self.exchange_s = raw.exchange_timestamp or 0

    def body(self, mode: int) -> TickBody:
        """Return the tick in `mode`, or in the lower one in which the feed has it so far."""
        return msgspec.structs.replace(self._raw, mode=min(mode, self._raw.mode))


class InitialValues:
    """The values that a program is sent as soon as it subscribes: the `Source` of its
    subscriptions.

    find: the latest tick of a token; may_pass: whether it may be sent.
    """

    def __init__(
        self, find: Callable[[int], Tick | None], may_pass: Callable[[Tick], bool]
    ) -> None:
        self._find = find
        self._may_pass = may_pass

    def read(self, token: int, now_ns: int) -> LastValue | None:
        return self.seen(token)

    def seen(self, token: int) -> LastValue | None:
        tick = self._find(token)
        return LastValue(tick.raw) if tick is not None and self._may_pass(tick) else None


class EndpointConnection(Connection):
    """One program. The stream pushes what changed; it is not looked for."""

    def __init__(
        self,
        owner: str,
        ws: web.WebSocketResponse,
        transport: asyncio.Transport,
        values: InitialValues,
        changed: "Callable[[EndpointConnection], None]",
    ) -> None:
        super().__init__(ws, transport, values)
        self.owner = owner
        self._changed = changed
        self._is_cut = False

    async def pulse(self, now_ns: int) -> None:
        await self.beat(now_ns)

    async def handle(self, payload: bytes, now_ns: int) -> None:
        await super().handle(payload, now_ns)
        self._changed(self)

    async def cut_off(self) -> None:
        """Cut the program off. It is said why, for when it reads again; nobody waits for that."""
        if not self._is_cut:
            self._is_cut = True
            log.warning(
                "a program does not read what it is sent, and is cut off: program=%s", self.owner
            )
            closing = asyncio.ensure_future(
                self._ws.close(code=WSCloseCode.POLICY_VIOLATION, message=b"too slow", drain=False)
            )
            asyncio.get_running_loop().call_later(CUT_S, self._transport.abort)
            closing.add_done_callback(lambda _: self._transport.abort())

    async def tell(self, sentence: str) -> None:
        """Send an `error` text: the one way to tell a program of Kite's anything."""
        await self.send_text(server_message(ServerError(sentence)))


class EndpointStream(Stream[EndpointConnection]):
    """Every program's socket. What they want together is told to `market`."""

    def __init__(self, names: DayList, market: SharedReader, policy: Policy, doors: Doors) -> None:
        super().__init__(utc_ns)
        self._names = names
        self._market = market
        self._policy: Policy = policy
        self._doors = doors
        self._fan: Fan[EndpointConnection] = Fan()
        self._trouble = Trouble(policy)
        self._keys: dict[int, str] = {}  # of tokens that somebody subscribed to
        self._values = InitialValues(
            lambda token: market.find(self._keys.get(token)), self._may_pass
        )
        self._tasks: set[asyncio.Future[int]] = set()

    # --- who may enter ------------------------------------------------------------------------

    def admit(self, handshake: Handshake) -> EndpointConnection | int:
        owner = self._doors.owner_of_handshake(handshake)
        if owner is None:
            return 403
        return EndpointConnection(
            owner, handshake.ws, handshake.transport, self._values, self._on_change
        )

    def instruments_meta(self) -> InstrumentsMeta:
        return self._names.meta()

    def refusal(self, status: int) -> str:
        return REFUSED

    async def greet(self, connection: EndpointConnection) -> None:
        await super().greet(connection)
        if self._trouble.sentence is not None:
            await connection.tell(self._trouble.sentence)
            await self._maybe_close([connection])

    def forget(self, connection: EndpointConnection) -> None:
        super().forget(connection)
        self._fan.place(connection, {})
        self._market.want(self._wanted())

    # --- what they want -----------------------------------------------------------------------

    def _wanted(self) -> dict[str, int]:
        """Return the highest mode that anybody wants of each instrument, by key."""
        found: dict[str, int] = {}
        for connection in self.open_sockets:
            for token, mode in connection.subscriptions.modes.items():
                key = self._keys.get(token)
                if key is not None and mode > found.get(key, 0):
                    found[key] = mode
        return found

    def _on_change(self, connection: EndpointConnection) -> None:
        modes = connection.subscriptions.modes
        unknown = [token for token in modes if token not in self._keys]
        self._keys.update(self._names.keys_of(unknown))
        missing = [token for token in unknown if token not in self._keys]
        for token in missing:
            del modes[token]
        if missing:
            shown = ", ".join(map(str, missing[:NAMED_MAX]))
            more = f" and {len(missing) - NAMED_MAX} more" if len(missing) > NAMED_MAX else ""
            text = f"kitefeed: no instrument of today's list has the token {shown}{more}"
            self._tell([connection], text)
        self._fan.place(connection, modes)
        self._market.want(self._wanted())

    def refused(self, reasons: Mapping[str, str]) -> None:
        """Tell each program once why the daemon does not stream the instruments that it wants."""
        tokens = {token: key for token, key in self._keys.items() if key in reasons}
        for connection in self.open_sockets:
            found = [tokens[token] for token in connection.subscriptions.modes if token in tokens]
            if found:
                words = "; ".join(f"{key}: {reasons[key]}" for key in found[:NAMED_MAX])
                self._tell([connection], f"kitefeed: not streamed: {words}")

    # --- what they are sent -------------------------------------------------------------------

    async def feed(self, ticks: Iterable[Tick]) -> None:
        """Pass on the ticks that may be passed, to all who want them."""
        is_closed = self._market.status.feed == "closed"
        bodies = [tick.raw for tick, may in judged(self._policy, ticks, is_closed) if may]
        for sockets, frame in self._fan.frames(bodies):
            message = binary_message(frame)
            for connection in list(sockets):
                await connection.pass_on(message)

    async def say(self, message: OrderUpdate | BrokerMessage) -> None:
        """Send what Kite says of the account to every program, as Kite does."""
        await push(self.open_sockets, server_message(message))

    def _may_pass(self, tick: Tick) -> bool:
        return may_pass(self._policy, tick.source, self._market.status.feed == "closed")

    async def prepare(self, now_ns: int) -> None:
        status = self._market.status
        sentence = self._trouble.note(status.feed, status.reason, boot_ns())
        if sentence is None:
            return
        everybody = self.open_sockets
        await push(everybody, server_message(ServerError(sentence)))
        await self._maybe_close(everybody)

    async def _maybe_close(self, connections: list[EndpointConnection]) -> None:
        """Close the sockets of programs that take a disconnect as their signal to stop."""
        if self._policy == "close" and self._trouble.is_on:
            code = int(WSCloseCode.TRY_AGAIN_LATER)
            await asyncio.gather(
                *(each.close(code) for each in connections), return_exceptions=True
            )

    def _tell(self, connections: list[EndpointConnection], sentence: str) -> None:
        task = asyncio.ensure_future(push(connections, server_message(ServerError(sentence))))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
