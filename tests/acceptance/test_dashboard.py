"""The page at `/` in a real browser: pictures are shown, tokens are asked for, logging out ends it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.acceptance.browser import BUSY_MS
from tests.acceptance.browser import browser as chromium
from tests.acceptance.browser import page as new_page
from tests.acceptance.conftest import Station
from tests.acceptance.worker import worker

pytestmark = [pytest.mark.xdist_group("acceptance"), pytest.mark.timeout(300)]
NAME = "display-1;page"
SHOWN = "[...document.images].some(image => image.naturalWidth > 100)"
UNAUTHORIZED = "401 (Unauthorized)"
"""What the browser itself notes of an answer that asks for a token."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


def until(page: Page, condition: str) -> None:
    """Wait until the JavaScript `condition` holds; asked from outside, as the page may not evaluate text."""
    deadline = time.monotonic() + BUSY_MS / 1000
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(50)


def log_in(page: Page, token: str) -> None:
    page.get_by_label("This worker asks for a token").fill(token)
    page.get_by_role("button", name="Show cameras").click()


def test_cameras_are_shown_without_complaints(browser: Browser, station: Station, tmp_path: Path) -> None:
    with worker(tmp_path) as running, running.client() as client, new_page(browser) as (page, complaints):
        client.subscribe(
            NAME, snapshotUrl=station.snapshot_url, snapshotInterval=500, modelUrl="http://127.0.0.1:1/x"
        )
        page.goto(f"http://127.0.0.1:{running.port}/")
        until(page, SHOWN)
        first = page.locator("article img").get_attribute("src")
        until(page, f"document.images[0].src !== {first!r} && {SHOWN}")
        assert page.locator("article .name").text_content() == NAME
        assert page.locator("#login").is_hidden()
        assert page.locator("#logout").is_hidden()
        assert complaints == []
        running.process.stop()
        page.get_by_role("alert").filter(has_text="does not answer").wait_for()
        assert page.locator("article").count() == 0


def test_a_token_is_asked_for_once(browser: Browser, station: Station, tmp_path: Path) -> None:
    login = {"Authorization": "Bearer control"}
    settings = {"SIWAT_CONTROL_TOKEN": "control", "SIWAT_VIEW_TOKEN": "look"}
    with worker(tmp_path, **settings) as running, running.client(**login) as client:
        client.subscribe(
            NAME, snapshotUrl=station.snapshot_url, snapshotInterval=500, modelUrl="http://127.0.0.1:1/x"
        )
        with new_page(browser) as (page, complaints):
            page.goto(f"http://127.0.0.1:{running.port}/")
            log_in(page, "guess")
            page.get_by_role("alert").filter(has_text="no such token").wait_for()
            assert page.locator("article").count() == 0
            log_in(page, "look")
            until(page, SHOWN)
            page.reload()
            until(page, SHOWN)
            assert page.locator("#login").is_hidden()
            page.get_by_role("button", name="Log out").click()
            page.locator("#login").wait_for()
            until(page, "document.images.length === 0")
            assert [text for text in complaints if UNAUTHORIZED not in text] == []
