"""One attempt of the official KiteTicker, made safe: import it after `reactor.install`.

As shipped, KiteTicker verifies no certificate, reconnects by itself with the old token, dies of an
exception in a callback or of a JSON array, reports a failed TCP connect to nobody, and comes back
to life when it is closed while connecting. Here: verified TLS, exactly one connection, every
callback guarded, raw frames only, exactly one `on_end`.
"""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from autobahn.twisted.websocket import connectWS
from kiteconnect import KiteTicker
from kiteconnect.ticker import KiteTickerClientFactory, KiteTickerClientProtocol

from kitefeed.actors.runtime.kite_target import Kite
from kitefeed.actors.runtime.secrets import redact
from kitefeed.actors.runtime.session_file import Session
from kitefeed.actors.ticker.subscriptions import Ask
from kitefeed.actors.ticker.tls import VerifiedTls
from kitefeed.actors.ticker.websocket_frames import binary_messages

CONNECT_TIMEOUT_S = 5
HANDSHAKE_TIMEOUT_S = 5
CLOSE_TIMEOUT_S = 1.0  # for the peer's close frame; then the connection is dropped
END_WITHIN_S = 1.5  # after a close: the end is reported with or without the library
MESSAGE_BYTES_MAX = 4 * 1_048_576  # 3,000 full packets are 0.6 MB


class Callbacks(NamedTuple):
    """All on the loop. After `on_end`, which comes exactly once, nothing is called any more."""

    on_open: Callable[[], None]
    on_message: Callable[[bytes, bool], None]
    on_end: Callable[[int | None, str], None]
    on_failure: Callable[[BaseException], None]


class _Protocol(KiteTickerClientProtocol):  # type: ignore[misc]
    """Without the keepalive, which sends nothing and aborts 5 s after an unsolicited pong, and past
    autobahn's parser for what is nearly always received (`websocket_frames`)."""

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

    def connectionLost(self, reason: Any) -> None:
        # A failed certificate check is otherwise told as "peer dropped the TCP connection".
        if self.factory.tls is not None:
            self.factory.tls_error = self.factory.tls.explain(reason)
        super().connectionLost(reason)


class _Factory(KiteTickerClientFactory):  # type: ignore[misc]
    """One connection; its end, also of a TCP connect that fails, goes to `on_gone`."""

    protocol = _Protocol
    tls: VerifiedTls | None = None
    tls_error: str | None = None
    connector: Any = None
    on_binary: Callable[[bytes], None]

    def startedConnecting(self, connector: Any) -> None:
        self.connector = connector

    def clientConnectionFailed(self, _connector: Any, reason: Any) -> None:
        self.on_gone(f"cannot connect: {reason.getErrorMessage()}")

    def clientConnectionLost(self, _connector: Any, reason: Any) -> None:
        self.on_gone(f"connection lost: {reason.getErrorMessage()}")


class _Ticker(KiteTicker):  # type: ignore[misc]
    """KiteTicker with our factory and TLS; the rest of it as shipped."""

    def connect_once(
        self, on_gone: Callable[[str], None], on_binary: Callable[[bytes], None]
    ) -> None:
        self._create_connection(
            self.socket_url, useragent=self._user_agent(), headers={"X-Kite-Version": "3"}
        )
        factory = self.factory
        factory.on_gone = on_gone
        factory.on_binary = on_binary
        factory.tls = VerifiedTls(factory.host) if factory.isSecure else None
        connectWS(factory, contextFactory=factory.tls, timeout=CONNECT_TIMEOUT_S)

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
    """`connect` once; then `ask` while it is open, `close` at any time."""

    def __init__(self, kite: Kite, session: Session, callbacks: Callbacks) -> None:
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
        """Starts the attempt; `on_end` comes in any case."""
        self._guarded(self._ticker.connect_once)(self._guarded(self._gone), self._received_binary)

    def ask(self, ask: Ask) -> None:
        """Sends one subscription message. A failure ends the link."""
        self._guarded(self._ask)(ask)

    def close(self) -> None:
        """Ends it in whatever state it is: politely when open, at once while connecting."""
        if self._is_over or self._is_closing:
            return
        self._is_closing = True
        self._loop.call_later(END_WITHIN_S, self._drop, "closed here; no answer from the peer")
        if self._ticker.is_connected():
            self._guarded(self._ticker.close)(1000)
        else:
            self._abort()

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
            self._abort()
        elif not self._is_over:
            self._callbacks.on_open()

    def _received(self, _protocol: object, payload: bytes, is_binary: bool) -> None:
        if not (self._is_over or self._is_closing):
            self._callbacks.on_message(payload, is_binary)

    def _received_binary(self, payload: bytes) -> None:
        """As `_received` and guarded as all else, but with nothing in between: for every frame."""
        if not (self._is_over or self._is_closing):
            try:
                self._callbacks.on_message(payload, True)
            except Exception as error:  # noqa: BLE001 - see `_guarded`
                self._fail(error)

    def _closed(self, _protocol: object, code: int | None, reason: str | None) -> None:
        """The WebSocket is over; the TCP connection follows, and `_gone` with it."""
        self._end = self._end or (code, str(reason or "closed"))
        self._loop.call_later(END_WITHIN_S, self._gone, "closed")

    def _gone(self, reason: str) -> None:
        """The one end of every attempt."""
        if self._is_over:
            return
        self._is_over = True
        code, text = self._end or (None, reason)
        factory = getattr(self._ticker, "factory", None)
        if factory is not None and factory.tls_error:
            text = factory.tls_error
        self._callbacks.on_end(code, redact(text))

    def _guarded(self, call: Callable[..., None]) -> Callable[..., None]:
        """`call`, whose exceptions end this link and nothing else: inside Twisted they would be
        printed, drop the socket as if the peer had, or leave it dead without a word."""

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
        self._abort()
        self._loop.call_soon(self._drop, "a callback failed")

    def _drop(self, reason: str) -> None:
        self._abort()
        self._gone(reason)

    def _abort(self) -> None:
        """Cuts the connection, or gives the attempt up; `_gone` follows by way of the factory."""
        factory = getattr(self._ticker, "factory", None)
        connector = factory.connector if factory is not None else None
        if connector is None:
            return
        if connector.state == "connecting":
            connector.stopConnecting()
        elif connector.state == "connected":
            connector.transport.abortConnection()
