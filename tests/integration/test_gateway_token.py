"""The gateway where other hosts could reach it: TLS, and nobody enters without a token. It is asked
over loopback only."""

import asyncio
import json
import os
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from kitefeed.protocol import passwords
from kitefeed.protocol.exits import Exit
from tests.integration.rig import Rig
from tests.integration.test_gateway import free_port
from tests.integration.tls import Authority
from tests.support import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

NAME = "feed.example.com"
GUARDED = (
    "/", "/readyz", "/health", "/health/websocket", "/metrics", "/api/quotes?i=NSE:INFY",
    "/api/stream?i=NSE:INFY", "/api/status", "/api/find?q=nifty", "/ws/market", "/login",
    "/page/..%2f..%2fhealth/", "/%2e%2e/health", "/livez%2f..%2fhealth",
)  # fmt: skip
POSTS = ("/api/retry", "/api/source", "/api/login")


class Open:
    """A daemon whose gateway listens at all addresses, with TLS."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        both = Authority(directory).certificate("127.0.0.1")
        self.rig = Rig(
            gateway=f"0.0.0.0:{self.port}",
            kite=f'redirect_url = "https://{NAME}:{self.port}/login/redirect"',
        )
        config = self.rig.config.read_text()
        # The table of the gateway is the last one.
        self.rig.config.write_text(
            f'{config}names = ["{NAME}"]\ncertificate = "{both}"\nkey = "{both}"\n'
        )
        self.authority = directory / "authority.pem"
        self.token = ""

    def make_token(self, name: str) -> str:
        done = self.rig.kitefeed("keys", "--gateway", name)
        assert done.returncode == 0, done.stderr
        assert "shown this once" in done.stderr
        return done.stdout.strip()

    def answer(
        self, path: str, *, token: str = "", data: bytes | None = None, **headers: str
    ) -> tuple[int, str]:
        given = {**headers, **({"Authorization": f"Bearer {token}"} if token else {})}
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.port}{path}", data, headers=given
        )
        context = ssl.create_default_context(cafile=str(self.authority))
        try:
            with urllib.request.urlopen(request, timeout=5, context=context) as found:  # noqa: S310
                return found.status, found.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    found = Open(tmp_path_factory.mktemp("tls"))
    with found.rig as rig:
        refused = rig.kitefeed("up")
        assert refused.returncode == Exit.CONFIG
        assert "kitefeed keys --gateway NAME" in refused.stderr
        found.token = found.make_token("phone")
        rig.start()
        eventually(lambda: found.answer("/readyz", token=found.token)[0] == 200, 20)
        yield found
        for token in [found.token, *rig.simulator.tokens]:
            assert token not in rig.output()


def test_every_route_wants_a_token_and_says_so(gateway: Open) -> None:
    for path in GUARDED:
        status, text = gateway.answer(path)
        assert status == 401, path
        assert "A token is needed" in text
        assert "NSE:INFY" not in text
    for path in POSTS:
        assert gateway.answer(path, data=b"{}")[0] == 401, path
    assert gateway.answer("/livez") == (200, "ok\n")


def test_a_program_with_a_token_is_answered(gateway: Open) -> None:
    status, text = gateway.answer("/api/quotes?i=NSE:INFY", token=gateway.token)
    assert status == 200
    assert json.loads(text)["quotes"][0]["fresh"] is True


def test_a_wrong_token_is_401_with_a_sentence(gateway: Open) -> None:
    status, text = gateway.answer("/health", token=gateway.token[:-1])
    assert status == 401
    assert text.startswith("This token opens nothing here")


def test_a_token_opens_no_door_for_another_site(gateway: Open) -> None:
    for headers in (
        {"Host": f"evil.example:{gateway.port}"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ):
        assert gateway.answer("/health", token=gateway.token, **headers)[0] == 403
    for host in (NAME, f"{NAME}:{gateway.port}", f"localhost:{gateway.port}"):
        assert gateway.answer("/api/status", token=gateway.token, Host=host)[0] == 200
    # What a page may do is what the page's own token allows.
    forged = {"Origin": f"https://127.0.0.1:{gateway.port}", "Content-Type": "application/json"}
    assert gateway.answer("/api/retry", token=gateway.token, data=b"{}", **forged)[0] == 403


def test_a_browser_enters_logs_in_at_kite_and_is_back_at_live_prices(gateway: Open) -> None:
    """Step by step, with the headers that a browser sends."""
    root = f"https://127.0.0.1:{gateway.port}"

    async def story() -> None:
        trust = ssl.create_default_context(cafile=str(gateway.authority))
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(
            cookie_jar=jar, connector=aiohttp.TCPConnector(ssl=trust)
        ) as browser:
            html = {"Accept": "text/html"}
            async with browser.get(f"{root}/", headers=html) as door:
                assert door.status == 401
                assert 'action="/enter"' in await door.text()
            form = {"token": gateway.token, "to": "/"}
            async with browser.post(
                f"{root}/enter", data=form, headers={"Origin": root}
            ) as entered:
                assert entered.status == 200
                cookie = entered.history[0].headers["Set-Cookie"]
                assert {"Secure", "HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
                page = await entered.text()
            given = json.loads(page.partition('id="given">')[2].partition("</script>")[0])
            async with browser.ws_connect(f"{root}/ws/market", origin=root) as socket:
                assert (await socket.receive_json())["type"] == "feed"

            async with browser.post(
                f"{root}/api/login", json={"secret": gateway.rig.simulator.ready["api_secret"]},
                headers={"Origin": root, "X-Kitefeed-Page": given["page_token"]},
            ) as begun:  # fmt: skip
                link = (await begun.json())["url"]
            async with browser.get(link, allow_redirects=False) as kite:
                back = kite.headers["Location"]
        where = urllib.parse.urlsplit(back)
        assert where.path == "/login/redirect"
        # From another site a strict cookie does not come along: a browser without any.
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as browser,
            browser.get(f"{root}{where.path}?{where.query}") as last,
        ):
            text = await last.text()
            assert last.status == 200, text
            assert "Logged in" in text
            assert 'http-equiv="refresh" content="0;url=/#logged-in"' in text

    asyncio.run(story())
    gateway.rig.until("live", 20)


def test_a_redirect_that_nobody_here_began_is_refused(gateway: Open) -> None:
    status, _ = gateway.answer("/login/redirect?request_token=abc&status=success&state=made-up")
    assert status == 403


def test_a_token_that_is_taken_away_ends_at_once(gateway: Open) -> None:
    token = gateway.make_token("desk")
    assert gateway.answer("/api/status", token=token)[0] == 200
    keys = gateway.rig.root / "state" / "keys"
    os.remove(passwords.path_of(keys, "desk", passwords.GATEWAY))
    assert gateway.answer("/api/status", token=token)[0] == 401
    assert gateway.answer("/api/status", token=gateway.token)[0] == 200


def test_a_stream_ends_with_its_token(gateway: Open) -> None:
    token = gateway.make_token("screen")
    keys = gateway.rig.root / "state" / "keys"

    async def story() -> None:
        trust = ssl.create_default_context(cafile=str(gateway.authority))
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as program,
            program.ws_connect(
                f"https://127.0.0.1:{gateway.port}/ws/market",
                headers={"Authorization": f"Bearer {token}"},
            ) as socket,
            program.get(
                f"https://127.0.0.1:{gateway.port}/api/stream?i=NSE:INFY",
                headers={"Authorization": f"Bearer {token}"},
            ) as events,
        ):
            assert (await socket.receive_json())["type"] == "feed"
            os.remove(passwords.path_of(keys, "screen", passwords.GATEWAY))
            async with asyncio.timeout(10):
                while (last := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
                    pass
                await events.read()
            assert (last.data, last.extra) == (1008, "the token is gone")

    asyncio.run(story())


def test_who_speaks_no_tls_or_says_nothing_harms_nobody(gateway: Open) -> None:
    address = ("127.0.0.1", gateway.port)
    silent = [socket.create_connection(address) for _ in range(300)]
    try:
        silent[0].sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        eventually(lambda: gateway.answer("/api/status", token=gateway.token)[0] == 200, 15)
    finally:
        for each in silent:
            each.close()
    assert gateway.rig.errors() == []


def test_a_token_in_the_file_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with Rig(gateway="127.0.0.1:8787", tables='token = "hunter2hunter2hunter2"\n') as rig:
        done = rig.kitefeed("up")
        assert done.returncode == Exit.CONFIG
        assert "gateway.token" in done.stderr
        assert "hunter2" not in done.stderr


def test_other_addresses_are_refused_without_a_certificate() -> None:
    with Rig(gateway="0.0.0.0:8787") as rig:
        done = rig.kitefeed("up")
        assert done.returncode == Exit.CONFIG
        assert "gateway.certificate" in done.stderr


def test_a_token_on_this_host_is_asked_of_everybody_and_may_lie_in_a_file() -> None:
    port = free_port()
    with Rig(gateway=f"127.0.0.1:{port}") as rig:
        secret = rig.root / "token"
        secret.write_text("a token of twenty characters\n")
        rig.env["KITEFEED_GATEWAY__TOKEN_FILE"] = str(secret)
        rig.start()

        def status(headers: dict[str, str]) -> int:
            request = urllib.request.Request(f"http://127.0.0.1:{port}/health", headers=headers)
            try:
                with urllib.request.urlopen(request, timeout=5) as found:  # noqa: S310
                    return int(found.status)
            except urllib.error.HTTPError as error:
                return error.code
            except OSError:
                return 0

        eventually(lambda: status({}) == 401, 15)
        bearer = {"Authorization": "Bearer a token of twenty characters"}
        eventually(lambda: status(bearer) == 200, 15)
