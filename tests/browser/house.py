"""Gives a browser something to look at: a daemon with a gateway, whose simulated Kite redirects to
the page."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, WebSocketRoute

from tests.integration.rig import Rig
from tests.integration.test_gateway import Gateway, free_port

LIVE_MS = 30_000


class House:
    """The page at `url` of the daemon on `rig`. host: by which browsers reach it; to them the
    simulated Kite, which is at 127.0.0.1, is the same site or another one. registered: the app's
    redirect URL at Kite, by default the page's own."""

    def __init__(
        self,
        *,
        port: int | None = None,
        host: str = "127.0.0.1",
        registered: str = "",
        **of_rig: Any,
    ) -> None:
        port = port or free_port()
        self.url = f"http://{host}:{port}/"
        redirect = f"{self.url}login/redirect"
        at_kite = ("--redirect-url", registered or redirect)
        options = (*of_rig.pop("simulator_options", ()), *at_kite)
        self._port = port
        self.rig = Rig(
            gateway=f"127.0.0.1:{port}",
            kite=f'redirect_url = "{redirect}"',
            simulator_options=options,
            **of_rig,
        )

    def until(self, feed: str) -> None:
        """Waits for this headline, and for the page."""
        self.rig.until(feed, 60)
        Gateway(self.rig, self._port).until("/livez", 200, 30)


@contextmanager
def opened(browser: Browser, **context: Any) -> Iterator[Page]:
    """An empty page; nothing that the browser complains about is forgiven."""
    made = browser.new_context(**context)
    page = made.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: line.type == "error" and complaints.append(line.text))
    try:
        yield page
    finally:
        made.close()
    # Answers that the browser notes: a token that is asked for, a refused key or login, and a
    # gateway that is being started again, or stood still and hears nothing of the daemon yet (503).
    forgiven = (
        "status of 400",
        "status of 401",
        "HTTP Authentication failed",
        "status of 403",
        "status of 503",
        "ERR_CONNECTION_REFUSED",
        "ERR_CONNECTION_RESET",
        "ERR_EMPTY",
    )
    left = [line for line in complaints if not any(each in line for each in forgiven)]
    assert left == [], left


class MockedStream:
    """The stream of a page, said by the test instead of the gateway. `utc_ms`: its clock."""

    def __init__(self, page: Page, url: str) -> None:
        self._page = page
        self._socket: WebSocketRoute | None = None
        self.utc_ms = int(time.time() * 1000)
        page.route_web_socket(re.compile("/ws/market$"), self._take)
        page.goto(url)
        self._await_connection()

    def _take(self, socket: WebSocketRoute) -> None:
        socket.on_message(lambda _: None)
        self._socket = socket

    def _await_connection(self) -> None:
        while self._socket is None:
            self._page.wait_for_timeout(20)

    def say(self, kind: str, **fields: object) -> None:
        assert self._socket is not None
        self._socket.send(json.dumps({"type": kind, **fields}))

    def pulse(self) -> None:
        self.say("pulse", utc_ms=self.utc_ms, heartbeat_age_s=0.5)

    def lose_connection(self) -> None:
        """Returns when the page has connected anew."""
        former, self._socket = self._socket, None
        assert former is not None
        former.close()
        self._await_connection()


def end_session(house: House) -> None:
    house.rig.simulator.post("fault", {"name": "kill", "app": 1})
    house.rig.simulator.fault("drop_ws", "1000")


def marks(page: Page) -> set[str]:
    return set(page.locator("#rows .mark").all_inner_texts())
