"""Debian's Chromium, driven by Playwright."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

BUSY_MS = 60_000
"""How long to wait for what must come; the machine may be busy with other things."""


@contextmanager
def browser() -> Iterator[Browser]:
    """The browser without a window, for as long as the block runs."""
    path = shutil.which("chromium")
    assert path is not None, "`make system-tests` installs the browser that these tests need"
    with sync_playwright() as playwright:
        # Its own sandbox needs rights that containers seldom have; it opens our own pages only.
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield running
        finally:
            running.close()


@contextmanager
def page(browser: Browser) -> Iterator[tuple[Page, list[str]]]:
    """A page with no past, and what the browser complains of meanwhile."""
    context = browser.new_context()
    context.set_default_timeout(BUSY_MS)
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    try:
        yield opened, complaints
    finally:
        context.close()


def until(page: Page, condition: str, seconds: float = BUSY_MS / 1000) -> float:
    """Wait until the JavaScript `condition` holds; asked from outside, as the page may not evaluate text.
    Returns how long that took, in seconds."""
    began = time.monotonic()
    while not page.evaluate(condition):
        assert time.monotonic() < began + seconds, condition
        page.wait_for_timeout(50)
    return time.monotonic() - began
