"""One attempt of the official KiteTicker, made safe: import it after `reactor.install`.

As shipped, KiteTicker verifies no certificate, reconnects by itself with the old token, dies of an
exception in a callback or of a JSON array, reports a failed TCP connect to nobody, comes back to
life when it is closed while connecting, tries one address of a host only, of IPv4, and knows no
proxy. Here: verified TLS, exactly one connection to any address of the host, through the proxy that
the environment names, every callback guarded, raw frames only, exactly one `on_end`.
"""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from kiteconnect import KiteTicker
from kiteconnect.ticker import KiteTickerClientFactory, KiteTickerClientProtocol
from twisted.internet import reactor
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS

from kitefeed.actors.runtime.kite_target import Kite
from kitefeed.actors.runtime.proxies import Proxy, proxy_for
from kitefeed.actors.runtime.secrets import redact
from kitefeed.actors.runtime.session_file import Session
from kitefeed.actors.ticker.subscriptions import Ask
from kitefeed.actors.ticker.tls import VerifiedTls
from kitefeed.actors.ticker.websocket_frames import binary_messages

CONNECT_TIMEOUT_S = 5
HANDSHAKE_TIMEOUT_S = 5
CLOSE_TIMEOUT_S = 1.0  # for the peer's close frame; then the connection is dropped
END_WITHIN_S = 1.5  # after a close: the end is reported with or without the library
PROXY_BYTES_MAX = 16_384
MESSAGE_BYTES_MAX = 4 * 1_048_576  # 3,000 full packets are 0.6 MB


class SocketCallbacks(NamedTuple):
    """The callbacks of a socket, all on the loop. After `on_end`, which comes exactly once, none is
    called any more."""

    on_open: Callable[[], None]
    on_message: Callable[[bytes, bool], None]
    on_end: Callable[[int | None, str], None]
    on_failure: Callable[[BaseException], None]


class _Protocol(KiteTickerClientProtocol):  # type: ignore[misc]
    """Leaves out two parts: the keepalive, which sends nothing and aborts 5 s after an unsolicited
    pong, and autobahn's parser, for the most frequent messages (`websocket_frames`)."""

    state: int
    data: bytes

    def _loop_ping(self) -> None:
        pass

    def _loop_pong_check(self) -> None:
        pass

    _held = b""  # the beginning of a message whose end has not come yet

    def _dataReceived(self, data: bytes) -> None:
        stream, self._held = self._held + data, b""
        if self.state == self.STATE_OPEN and not (
            self.data or self.current_frame or self.inside_message
        ):
            payloads, stream, is_ours = binary_messages(stream, MESSAGE_BYTES_MAX)
            for payload in payloads:
                self.factory.on_binary(payload)
            if is_ours and self.state == self.STATE_OPEN:
                self._held, stream = stream, b""
        if stream:
            super()._dataReceived(stream)

    def startProxyConnect(self) -> None:
        """Do as autobahn does, but with credentials, which it does not know."""
        host = f"[{self.factory.host}]" if ":" in self.factory.host else self.factory.host
        lines = [
            f"CONNECT {host}:{self.factory.port} HTTP/1.1",
            f"Host: {host}:{self.factory.port}",
        ]
        if self.factory.through.authorization is not None:
            lines.append(f"Proxy-Authorization: {self.factory.through.authorization.reveal()}")
        self.sendData("\r\n".join((*lines, "", "")).encode())

    def processProxyConnect(self) -> None:
        """Do as autobahn does, but refuse any bytes after the proxy's answer, which it would take
        as if they came out of TLS, and tell a refusal, which it drops without a word."""
        head, end, rest = self.data.partition(b"\r\n\r\n")
        if not end and len(head) < PROXY_BYTES_MAX:
            return
        status = head.split(b"\r\n", 1)[0].decode("latin-1")
        words = status.split(None, 2)
        if not end or rest or len(words) < 2 or not words[1].startswith("2"):
            proxy = self.factory.through
            self.factory.error = f"the proxy {proxy.host}:{proxy.port} refused: {status[:80]}"
            self.dropConnection(abort=True)
            return
        self.data = b""
        self.state = self.STATE_CONNECTING
        if self.factory.isSecure:
            self.startTLS()
        self.startHandshake()

    def connectionLost(self, reason: Any) -> None:
        # A failed certificate check is otherwise told as "peer dropped the TCP connection".
        if self.factory.contextFactory is not None:
            self.factory.error = self.factory.error or self.factory.contextFactory.explain(reason)
        super().connectionLost(reason)
        self.factory.on_gone(f"connection lost: {reason.getErrorMessage()}")


class _Factory(KiteTickerClientFactory):  # type: ignore[misc]
    """The factory of one connection, whose end goes to `on_gone`. `error`: why it ended, where we
    know better."""

    protocol = _Protocol
    contextFactory: VerifiedTls | None = None
    through: Proxy | None = None
    error: str | None = None
    on_binary: Callable[[bytes], None]
    on_gone: Callable[[str], None]


class _Ticker(KiteTicker):  # type: ignore[misc]
    """KiteTicker with our factory, TLS and way to the host; the rest of it as shipped."""

    attempt: Any = None  # the Deferred of the TCP connection
    connected: Any = None  # the protocol on it

    def connect_once(
        self, on_gone: Callable[[str], None], on_binary: Callable[[bytes], None]
    ) -> None:
        self._create_connection(
            self.socket_url, useragent=self._user_agent(), headers={"X-Kite-Version": "3"}
        )
        factory = self.factory
        factory.on_gone = on_gone
        factory.on_binary = on_binary
        self.attempt = self._way_to(factory).connect(factory)
        self.attempt.addCallbacks(
            self._on_connected,
            lambda reason: on_gone(f"cannot connect: {reason.getErrorMessage()}"),
        )

    def _way_to(self, factory: _Factory) -> Any:
        """Return the endpoint. It tries all addresses that the resolver gives, of IPv6 as well."""
        scheme = "https" if factory.isSecure else "http"
        host = f"[{factory.host}]" if ":" in factory.host else factory.host
        proxy = proxy_for(f"{scheme}://{host}:{factory.port}")
        factory.contextFactory = VerifiedTls(factory.host) if factory.isSecure else None
        if proxy is not None:
            factory.through = proxy
            factory.proxy = proxy._asdict()  # autobahn asks only whether there is one
            return HostnameEndpoint(reactor, proxy.host, proxy.port, timeout=CONNECT_TIMEOUT_S)
        way = HostnameEndpoint(reactor, factory.host, factory.port, timeout=CONNECT_TIMEOUT_S)
        return way if factory.contextFactory is None else wrapClientTLS(factory.contextFactory, way)

    def _on_connected(self, protocol: Any) -> None:
        self.connected = protocol

    def abort(self) -> None:
        """Cut the connection, or give the attempt up; `on_gone` follows."""
        if self.connected is not None:
            self.connected.transport.abortConnection()
        elif self.attempt is not None:
            self.attempt.cancel()

    def _create_connection(self, url: str, **options: Any) -> None:
        factory = self.factory = _Factory(url, **options)
        factory.setProtocolOptions(
            openHandshakeTimeout=HANDSHAKE_TIMEOUT_S,
            closeHandshakeTimeout=CLOSE_TIMEOUT_S,
            maxFramePayloadSize=MESSAGE_BYTES_MAX,
            maxMessagePayloadSize=MESSAGE_BYTES_MAX,
            tcpNoDelay=True,
        )
        factory.on_connect = self._on_connect
        factory.on_open = self.on_open
        factory.on_close = self.on_close
        factory.on_message = self.on_message  # raw: neither binary nor text is parsed over there


class KiteSocket:
    """One socket: call `connect` once, then `ask` while it is open, `close` at any time."""

    def __init__(self, kite: Kite, session: Session, callbacks: SocketCallbacks) -> None:
        self._callbacks = callbacks
        self._loop = asyncio.get_running_loop()
        self._is_over = False
        self._is_closing = False
        self._end: tuple[int | None, str] | None = None
        self._ticker: Any = _Ticker(
            session.api_key,
            session.access_token.reveal(),
            debug=False,  # debug takes stdout over and prints the URL
            root=kite.ws_url,
            reconnect=False,
            reconnect_max_tries=0,
        )
        self._ticker.socket_url += kite.ws_query_text()
        self._ticker.on_open = self._guarded(self._opened)
        self._ticker.on_message = self._guarded(self._received)
        self._ticker.on_close = self._guarded(self._closed)

    def connect(self) -> None:
        """Start the attempt; `on_end` comes in any case."""
        self._guarded(self._ticker.connect_once)(self._guarded(self._gone), self._received_binary)
        self._loop.call_later(CONNECT_TIMEOUT_S, self._give_up)

    def _give_up(self) -> None:
        """Drop an attempt without answer, also when the resolver hangs."""
        if self._ticker.connected is None and not self._is_over:
            self._drop(f"cannot connect: no answer within {CONNECT_TIMEOUT_S} s")

    def ask(self, ask: Ask) -> None:
        """Send one subscription message. A failure ends the link."""
        self._guarded(self._ask)(ask)

    def close(self) -> None:
        """End it in whatever state it is: politely when open, at once while connecting."""
        if self._is_over or self._is_closing:
            return
        self._is_closing = True
        self._loop.call_later(END_WITHIN_S, self._drop, "closed here; no answer from the peer")
        if self._ticker.is_connected():
            self._guarded(self._ticker.close)(1000)
        else:
            self._ticker.abort()

    def _ask(self, ask: Ask) -> None:
        tokens = list(ask.tokens)
        if ask.action == "subscribe":
            self._ticker.subscribe(tokens)
        elif ask.action == "unsubscribe":
            self._ticker.unsubscribe(tokens)
        else:
            self._ticker.set_mode(ask.action, tokens)

    def _opened(self, _protocol: object) -> None:
        if self._is_closing:  # closed while the handshake was in flight
            self._ticker.abort()
        elif not self._is_over:
            self._callbacks.on_open()

    def _received(self, _protocol: object, payload: bytes, is_binary: bool) -> None:
        if not (self._is_over or self._is_closing):
            self._callbacks.on_message(payload, is_binary)

    def _received_binary(self, payload: bytes) -> None:
        """Do what `_received` does, as guarded, but with nothing in between: for every frame."""
        if not (self._is_over or self._is_closing):
            try:
                self._callbacks.on_message(payload, True)
            except Exception as error:  # noqa: BLE001 - see `_guarded`
                self._fail(error)

    def _closed(self, _protocol: object, code: int | None, reason: str | None) -> None:
        """Note that the WebSocket is over; the TCP connection follows, and `_gone` with it."""
        self._end = self._end or (code, str(reason or "closed"))
        self._loop.call_later(END_WITHIN_S, self._gone, "closed")

    def _gone(self, reason: str) -> None:
        """Tell the one end of every attempt."""
        if self._is_over:
            return
        self._is_over = True
        code, text = self._end or (None, reason)
        factory = getattr(self._ticker, "factory", None)
        if factory is not None and factory.error:
            text = factory.error
        self._callbacks.on_end(code, redact(text))

    def _guarded(self, call: Callable[..., None]) -> Callable[..., None]:
        """Return `call` such that its exceptions end this link and nothing else: inside Twisted
        they would be printed, drop the socket as if the peer had, or leave it dead without a
        word."""

        def guarded(*arguments: Any) -> None:
            try:
                call(*arguments)
            except Exception as error:  # noqa: BLE001 - see above
                self._fail(error)

        return guarded

    def _fail(self, error: Exception) -> None:
        self._is_closing = True  # frames that were read already are not passed on any more
        self._end = (None, f"a callback failed: {type(error).__name__}")
        self._callbacks.on_failure(error)
        self._ticker.abort()
        self._loop.call_soon(self._drop, "a callback failed")

    def _drop(self, reason: str) -> None:
        self._ticker.abort()
        self._gone(reason)
