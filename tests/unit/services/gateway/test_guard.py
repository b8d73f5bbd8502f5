"""Tests who passes where a token is needed, over real HTTP."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import ClientResponse, CookieJar, FormData, web
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.typedefs import Handler, Middleware

from kitefeed.protocol.secret import Secret
from kitefeed.services.gateway.doors import names_of, only_for, sealed
from kitefeed.services.gateway.failures import FAILURES_MAX, WINDOW_NS
from kitefeed.services.gateway.guard import ENTER, Guard
from kitefeed.services.gateway.tokens import Tokens
from tests.unit.services.gateway.token_kit import made, remove

ROUTES = ("/", "/health", "/metrics", "/api/quotes", "/ws/market", "/login", "/nowhere")
HTML = {"Accept": "text/html,application/xhtml+xml"}
Client = TestClient[web.Request, web.Application]


class Door:
    """A server with the guard and nothing behind it but `prices` at every path."""

    def __init__(self, keys: Path, token: str = "", *, is_always: bool = False) -> None:
        self.now_ns = 0
        tokens = Tokens(keys, Secret(token), is_always=is_always)
        self._guard = Guard(tokens, 8787, lambda: self.now_ns)

    def run(self, story: Callable[[Client], Awaitable[None]]) -> None:
        async def told() -> None:
            app = web.Application(middlewares=[sealed, self._only(), self._guard.middleware])
            app.router.add_post(ENTER, self._guard.enter)
            app.router.add_route("*", "/{path:.*}", prices)
            jar = CookieJar(unsafe=True)  # also of an address
            async with TestClient(TestServer(app), cookie_jar=jar) as client:
                await story(client)

        asyncio.run(told())

    def _only(self) -> Middleware:
        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            names = names_of("127.0.0.1", request.get_extra_info("sockname")[1])
            return await only_for(names)(request, handler)

        return middleware


async def prices(_: web.Request) -> web.Response:
    return web.Response(text="prices")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def entered(client: Client, token: str, **more: str) -> ClientResponse:
    form = FormData({"token": token, **more})
    return await client.post(ENTER, data=form, allow_redirects=False)


def test_without_a_token_nothing_is_told_and_a_sentence_says_what_is_needed(tmp_path: Path) -> None:
    made(tmp_path, "phone")

    async def story(client: Client) -> None:
        for method in ("GET", "POST", "HEAD", "PUT"):
            for path in ROUTES:
                answer = await client.request(method, path)
                assert answer.status == 401, (method, path)
                assert answer.headers["WWW-Authenticate"].startswith("Bearer")
                text = await answer.text()
                assert "prices" not in text
                assert method == "HEAD" or "kitefeed keys --gateway" in text

    Door(tmp_path).run(story)


def test_a_program_passes_with_its_token_and_no_other(tmp_path: Path) -> None:
    token = made(tmp_path, "phone")
    hostile = [
        "", "x", token[:-1], token + "x", token.upper() + "A", "../phone", "phone", "é",
    ]  # fmt: skip

    async def story(client: Client) -> None:
        assert await (await client.get("/health", headers=bearer(token))).text() == "prices"
        assert (await client.get("/health", headers={"Authorization": token})).status == 401
        assert (
            await client.get("/health", headers={"Authorization": f"Basic {token}"})
        ).status == 401
        for wrong in hostile:
            answer = await client.get("/health", headers=bearer(wrong))
            assert answer.status == 401, wrong
            assert (await answer.text()).startswith(
                "This token opens nothing here" if wrong else ""
            )
        for path in (f"/health?token={token}", f"/health?access_token={token}"):
            assert (await client.get(path)).status == 401, "an address is logged everywhere"

    Door(tmp_path).run(story)


def test_a_token_of_the_environment_opens(tmp_path: Path) -> None:
    async def story(client: Client) -> None:
        answer = await client.get("/health", headers=bearer("of the environment 123"))
        assert answer.status == 200

    Door(tmp_path, "of the environment 123").run(story)


def test_a_browser_is_given_a_form_and_enters_for_good(tmp_path: Path) -> None:
    token = made(tmp_path, "phone")

    async def story(client: Client) -> None:
        asked = await client.get("/", headers=HTML)
        page = await asked.text()
        assert asked.status == 401
        assert re.search(r'<form method="post" action="/enter">', page)
        assert asked.headers["Referrer-Policy"] == "same-origin", "else Origin would be null"
        assert "form-action 'self'" in asked.headers["Content-Security-Policy"]
        assert "<script" not in page

        answer = await entered(client, token)
        assert (answer.status, answer.headers["Location"]) == (303, "/")
        cookie = answer.headers["Set-Cookie"]
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
        assert token not in cookie
        assert await (await client.get("/", headers=HTML)).text() == "prices"
        remove(tmp_path, "phone")
        made(tmp_path, "another")
        assert (await client.get("/", headers=HTML)).status == 401, "ends with its token"

    Door(tmp_path).run(story)


def test_a_browser_with_a_wrong_token_is_told_so_and_gets_no_cookie(tmp_path: Path) -> None:
    made(tmp_path, "phone")

    async def story(client: Client) -> None:
        answer = await entered(client, "<script>alert(1)</script>")
        assert answer.status == 401
        assert "Set-Cookie" not in answer.headers
        page = await answer.text()
        assert "This token opens nothing here" in page
        assert "alert(1)" not in page

    Door(tmp_path).run(story)


def test_entering_leads_nowhere_but_to_places_of_ours(tmp_path: Path) -> None:
    token = made(tmp_path, "phone")

    async def story(client: Client) -> None:
        for to in ("//evil.example", "https://evil.example", "/\\evil.example", "/x\r\nA: b"):
            assert (await entered(client, token, to=to)).headers["Location"] == "/"
        assert (await entered(client, token, to="/login")).headers["Location"] == "/login"

    Door(tmp_path).run(story)


def test_another_site_can_enter_for_nobody(tmp_path: Path) -> None:
    token = made(tmp_path, "phone")

    async def story(client: Client) -> None:
        for origin in ("https://evil.example", "null"):
            answer = await client.post(
                ENTER, data=FormData({"token": token}), headers={"Origin": origin}
            )
            assert answer.status == 403
        assert (await client.post(ENTER, json={"token": token})).status == 415
        assert (
            await client.get("/", headers={**bearer(token), "Host": "evil.example:8787"})
        ).status == 403

    Door(tmp_path).run(story)


def test_guessing_is_ended_for_a_minute_and_harms_no_browser_that_is_in(tmp_path: Path) -> None:
    token = made(tmp_path, "phone")
    door = Door(tmp_path)

    async def story(client: Client) -> None:
        await entered(client, token)
        cookies = client.session.cookie_jar
        async with TestClient(client.server) as stranger:
            for number in range(FAILURES_MAX):
                wrong = await stranger.get("/health", headers=bearer(f"guess {number}"))
                assert wrong.status == 401
            for headers in (bearer("guess"), bearer(token)):
                refused = await stranger.get("/health", headers=headers)
                assert refused.status == 429
                assert refused.headers["Retry-After"] == "60"
            assert (await entered(stranger, token)).status == 429
            assert len(cookies) == 1
            assert (await client.get("/health")).status == 200
            door.now_ns = WINDOW_NS
            assert (await stranger.get("/health", headers=bearer(token))).status == 200

    door.run(story)


def test_what_tells_nothing_is_open(tmp_path: Path) -> None:
    made(tmp_path, "phone")

    async def story(client: Client) -> None:
        for path in ("/livez", "/page/style.css", "/login/redirect?state=x"):
            assert (await client.get(path)).status == 200, path
        for path in ("/livez/", "/page", "/page/../health", "/login/redirect/x", "/LIVEZ"):
            assert (await client.get(path)).status == 401, path

    Door(tmp_path).run(story)


def test_without_tokens_nobody_is_asked_on_this_host_and_everybody_elsewhere(
    tmp_path: Path,
) -> None:
    async def passes(client: Client) -> None:
        assert (await client.get("/health")).status == 200

    async def is_asked(client: Client) -> None:
        assert (await client.get("/health")).status == 401

    Door(tmp_path).run(passes)
    Door(tmp_path, is_always=True).run(is_asked)
