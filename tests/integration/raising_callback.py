"""Run by test_sources_ticker: a link whose callback raises, and one after it that works."""

import asyncio
import sys

from kitefeed.actors.runtime.kite_target import Kite
from kitefeed.actors.runtime.secrets import Secret
from kitefeed.actors.runtime.session_file import Session
from kitefeed.actors.ticker import reactor


async def main(ws_url: str, api_key: str, access_token: str) -> None:
    reactor.install(asyncio.get_running_loop(), lambda: print("library error"))
    from kitefeed.actors.ticker.kite_socket import KiteSocket, SocketCallbacks

    session = Session(api_key, Secret(access_token))
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(payload: bytes, is_binary: bool) -> None:
        raise RuntimeError(access_token)

    def ended(code: int | None, reason: str) -> None:
        print("end", code, reason)
        over.set_result(None)

    def failed(error: BaseException) -> None:
        print("failure", type(error).__name__)

    kite = Kite(ws_url=ws_url)
    KiteSocket(kite, session, SocketCallbacks(lambda: None, fail, ended, failed)).connect()
    await over
    heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def hear(payload: bytes, is_binary: bool) -> None:
        if not heard.done():
            heard.set_result(None)

    over = asyncio.Event()
    second = KiteSocket(
        kite, session, SocketCallbacks(lambda: None, hear, lambda code, reason: over.set(), failed)
    )
    second.connect()
    await heard
    print("second link: message")
    second.close()
    await over.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
