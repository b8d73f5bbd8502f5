"""The pictures of README and docs, from a demo that runs: `make pictures`.

Each is of what a person sees at that moment: nothing is drawn for them.
"""

import io
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright
from rich.console import Console

from kitefeed.cli.control import get_status
from kitefeed.cli.demo_screen import TableScreen
from kitefeed.cli.demo_stage import INSTRUMENTS, Stage
from kitefeed.cli.demo_story import STORY, Scene, is_live, is_waiting_for_login
from kitefeed.cli.prices import Prices
from kitefeed.protocol.errors import Unavailable
from tests.browser.house import House
from tests.support import eventually

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
LINES_S = 75  # of prices, so that the lines of the day are some
COLUMNS = 104
PORT = 8787  # the usual one, as readers have it; it must be free
DESK = {"viewport": {"width": 960, "height": 640}}
FIRST = {"viewport": {"width": 960, "height": 760}}
PHONE = {"viewport": {"width": 390, "height": 760}, "is_mobile": True}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as tools:
        browser = tools.chromium.launch(
            executable_path=os.environ.get("BROWSER") or None, args=["--no-sandbox"]
        )
        _first_run(browser)
        _demo(browser)
        browser.close()
    for path in sorted(FOLDER.iterdir()):
        print(f"{path.stat().st_size / 1000:6.1f} kB  {path.name}")


def _first_run(browser: Browser) -> None:
    house = House(port=PORT, instruments=())
    key = house.rig.simulator.ready["api_key"]
    text = house.rig.config.read_text()
    house.rig.config.write_text(text.replace(f'api_key = "{key}"', 'api_key = ""', 1))
    with house.rig:
        house.rig.launch()
        house.until("login_required")
        page = _page(browser, house.url, **FIRST)
        expect(page.locator("#word")).to_have_text("NOT SET UP")
        expect(page.locator("#market")).to_have_text("open")
        _shoot(page, "first-run")
        page.fill("#api-key", "abcdefgh12345678")
        page.click("#key-form button")
        page.click("#first-login")
        _shoot(page, "first-login")
        page.context.close()


def _demo(browser: Browser) -> None:
    stage = Stage()
    try:
        with Prices(INSTRUMENTS) as prices:
            stage.start()
            _until(prices, is_live)
            first = _page(browser, stage.page)  # what nobody looks at the gateway does not read
            time.sleep(LINES_S)
            first.context.close()
            for name, options in (
                ("page-light", DESK | {"color_scheme": "light"}),
                ("page-dark", DESK | {"color_scheme": "dark"}),
                ("page-phone", PHONE),
            ):
                page = _page(browser, stage.page, **options)
                expect(page.locator("#rows tr[data-fresh=yes]")).to_have_count(len(INSTRUMENTS))
                _shoot(page, name)
                page.context.close()
            page = _page(browser, stage.page, **DESK)
            expect(page.locator("#word")).to_have_text("LIVE")
            stage.refuse_websocket()
            stage.kill_session()
            scene = _until(prices, is_waiting_for_login)
            expect(page.locator("#word")).to_have_text("LOGIN NEEDED")
            expect(page.locator(".toast")).to_have_count(1)
            _shoot(page, "page-login-needed")
            _terminal(stage, scene)
    finally:
        stage.close()


def _page(browser: Browser, url: str, **options: Any) -> Page:
    page = browser.new_context(**options).new_page()
    page.goto(url)
    return page


def _shoot(page: Page, name: str) -> None:
    page.screenshot(path=FOLDER / f"{name}.png", animations="disabled")


def _until(prices: Prices, holds: Any) -> Scene:
    """Return the scene at the first moment at which `holds` is true of it."""

    def look() -> Scene | None:
        try:
            scene = Scene(get_status(), prices.rows())
        except Unavailable:
            return None
        return scene if holds(scene) else None

    found = eventually(look, 60, every_s=0.2)
    assert found is not None
    return found


def _terminal(stage: Stage, scene: Scene) -> None:
    """The demo's own screen, of this moment."""
    screen = TableScreen(stage.page)
    screen.say(next(s.narration for s in STORY if s.has_happened is is_waiting_for_login))
    screen.show(scene)
    screen.close()
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(screen.drawn())
    svg = console.export_svg(title="make demo")
    # Fonts of a foreign host are none of ours: a reader's browser has one of equal widths.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.S).replace("Fira Code", "monospace")
    (FOLDER / "terminal.svg").write_text(svg, "utf-8")


if __name__ == "__main__":
    sys.exit(main())
