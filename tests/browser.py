"""A real browser for tests: the distribution's Chromium, driven by Playwright, and axe-core to find barriers.

A page that logs an error, breaks its own policy, or asks anybody else for anything fails its test.
Screenshots are kept in `.build/screenshots`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, sync_playwright

ROOT: Final = Path(__file__).resolve().parent.parent
SCREENSHOTS: Final = ROOT / ".build" / "screenshots"
AXE: Final = ROOT / "tests" / "sdk" / "node_modules" / "axe-core" / "axe.min.js"
NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
WIDE, NARROW = 1280, 375
GRAVE: Final = ("serious", "critical")
# No sandbox within the sandbox that continuous integration is; the pages are our own.
FLAGS: Final = ("--no-sandbox", "--disable-dev-shm-usage", "--force-color-profile=srgb")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser for a module's tests."""
    program = next(filter(None, map(shutil.which, NAMES)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def window(browser: Browser, base_url: str, *, width: int = WIDE, scheme: Any = "light") -> Iterator[Page]:
    """An empty page of a browser that has never been here. base_url: of the gateway."""
    context = browser.new_context(
        base_url=base_url, viewport={"width": width, "height": 900}, color_scheme=scheme
    )
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=base_url)
    context.set_default_timeout(15_000)
    page = context.new_page()
    wrongs: list[str] = []
    page.on("console", lambda message: wrongs.append(message.text) if is_wrong(message) else None)
    page.on("pageerror", lambda error: wrongs.append(str(error)))
    page.on(
        "request", lambda request: wrongs.append(request.url) if is_foreign(request.url, base_url) else None
    )
    try:
        yield page
    finally:
        context.close()
    assert not wrongs, wrongs


def is_wrong(message: Any) -> bool:
    """An error on the console, but for the browser's own note of a status that the test asked for."""
    return message.type == "error" and "the server responded with a status of" not in message.text


def is_foreign(url: str, base_url: str) -> bool:
    """Does a request leave for somewhere else?"""
    parts = urlsplit(url)
    return parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != urlsplit(base_url).netloc


def barriers(page: Page) -> list[str]:
    """What axe-core finds grave, one line each."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in found
        if one["impact"] in GRAVE
        for node in one["nodes"]
    ]


def overflow(page: Page) -> int:
    """How many pixels a page is wider than the window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def keep(page: Page, name: str) -> None:
    """A screenshot of the whole page."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
