"""The dashboard in a real browser, on real cameras: what operators see, and what they can do."""

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from playwright.sync_api import Browser, Page

from siwatsystem.frames import encode_jpeg
from siwatsystem.streams.clip import Clip
from tests.acceptance.archives import Shelf
from tests.acceptance.backend import Backend
from tests.acceptance.browser import browser as chromium
from tests.acceptance.browser import page as new_page
from tests.acceptance.browser import until
from tests.acceptance.conftest import CLIPS, Station, dying_camera
from tests.acceptance.worker import WorkerProcess, worker

pytestmark = [pytest.mark.xdist_group("acceptance"), pytest.mark.timeout(400)]
SEEN, DYING = "display-1;entrance", "display-2;pump"
MOVES = "[...document.querySelectorAll('.live img')].filter(one => one.naturalWidth > 100).length"
Seeing = tuple[WorkerProcess, Backend]
UNAUTHORIZED = "401 (Unauthorized)"
"""What the browser itself notes of an answer that asks for a token."""
OFFLINE_SEC = 10.0
"""A camera that is lost is told within it (docs/reliability.md)."""
PAINTED_BYTES = 10_000
"""Compressed, of all that the first paint waits for; how long that takes is measured by `bench.dashboard`."""
STYLES = ["base.css", "uplot.css", "dashboard.css"]
LOADED_SEC = 240.0
"""The first worker of a test run exports the models."""
CAR_SEC = 4.0
"""Where the first clip shows a car."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def loading(station: Station, archives: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeing]:
    """A worker that has begun to load the demo's archive: a minute in which other tests need not wait."""
    with worker(tmp_path_factory.mktemp("seeing")) as running, running.backend() as backend:
        backend.subscribe(
            SEEN,
            snapshot_url=station.snapshot_url,
            snapshot_interval=250,
            model_url=archives.url("demo.mpta"),
            model_name="Demo cars",
        )
        yield running, backend


@pytest.fixture(scope="module")
def seeing(loading: Seeing) -> Seeing:
    """A worker that analyses one camera with the demo's archive."""
    loading[1].until_online(SEEN, timeout=LOADED_SEC)
    return loading


def address(running: WorkerProcess, page: str = "") -> str:
    return f"http://127.0.0.1:{running.port}/{page}"


def log_in(page: Page, token: str, asked: str = "This worker asks for a token") -> None:
    page.get_by_label(asked).fill(token)
    page.get_by_role("button", name="Log in").click()


def test_a_token_is_asked_for_once(
    browser: Browser, loading: Seeing, station: Station, tmp_path: Path
) -> None:
    """First of all, while the worker of the others loads its models."""
    assert loading[0].json("/health")["subscriptions"] == 1
    tokens = {"SIWAT_CONTROL_TOKEN": "control", "SIWAT_VIEW_TOKEN": "look"}
    with worker(tmp_path, **tokens, SIWAT_DISCONNECT_GRACE_SEC="1") as running, ExitStack() as until_gone:
        backend = until_gone.enter_context(running.backend("control"))
        backend.subscribe(
            SEEN, snapshot_url=station.snapshot_url, snapshot_interval=500, model_url="http://127.0.0.1:1/x"
        )
        with new_page(browser) as (page, complaints):
            page.goto(address(running))
            log_in(page, "guess")
            page.get_by_role("alert").filter(has_text="no such token").wait_for()
            assert page.locator(".tile").count() == 0
            log_in(page, "look")
            until(page, f"{MOVES} === 1")
            page.reload()
            until(page, f"{MOVES} === 1")
            assert page.locator("#token").count() == 0
            # As after a restart of the worker, which knows no login of before.
            page.context.clear_cookies()
            page.get_by_text("the worker was started anew").wait_for()
            page.get_by_text("(to look) or control_token").wait_for()
            log_in(page, "look")
            page.locator(".tile").wait_for()
            assert page.evaluate("document.activeElement.id") == "main"
            # What changes something needs more than to look.
            page.get_by_role("link", name="Test a camera").click()
            assert "view_token" not in (page.locator("main").text_content() or "")
            log_in(page, "control", "This needs the control token")
            page.get_by_role("button", name="Begin the test").wait_for()
            # Another tab looks with the same login, and ends it for both.
            other = page.context.new_page()
            other.goto(address(running))
            other.get_by_role("button", name="Log out").click()
            for tab in (other, page):
                tab.get_by_label("This worker asks for a token").wait_for()
            page.get_by_text("another page has logged out").wait_for()
            assert [text for text in complaints if UNAUTHORIZED not in text] == []
        with new_page(browser) as (page, _):
            page.goto(address(running))
            log_in(page, "control")
            page.locator(".tile").wait_for()
            # The backend goes, and with it its cameras.
            until_gone.close()
            gone = page.get_by_role("status").filter(has_text=re.compile(r"No backend is connected since \d"))
            gone.wait_for()
            assert gone.get_attribute("data-tone") == "warn"
            assert "since" not in page.title()
            until(page, "document.querySelectorAll('.tile').length === 0")
            page.get_by_role("link", name="Test a camera", exact=True).click()
            page.get_by_label("Name").fill("half of it")
            running.process.stop()
            page.get_by_role("alert").filter(has_text="does not answer").wait_for()
            assert page.get_by_label("Name").input_value() == "half of it"
            page.get_by_role("link", name="Cameras").click()
            page.get_by_role("heading", name="Test a camera").wait_for(state="detached")
            page.get_by_role("alert").filter(has_text="does not answer").wait_for()
            assert page.locator(".tile").count() == 0


def test_the_first_paint_waits_for_little(browser: Browser, loading: Seeing) -> None:
    """For the page and its styles alone: the scripts come after."""
    with new_page(browser) as (page, complaints):
        page.goto(address(loading[0]))
        page.locator(".tile").wait_for()
        entries = "performance.getEntriesByType('resource')"
        blocking = f"{entries}.filter(one => one.renderBlockingStatus === 'blocking')"
        assert page.evaluate(f"{blocking}.map(one => new URL(one.name).pathname.slice(8))") == STYLES
        total = f"{blocking}.concat(performance.getEntriesByType('navigation'))"
        sizes = page.evaluate(f"{total}.map(one => one.encodedBodySize)")
        assert 0 < min(sizes) <= sum(sizes) <= PAINTED_BYTES
        assert page.evaluate("performance.getEntriesByName('first-contentful-paint').length") == 1
        assert complaints == []


LABELS = """async ([boxes, picture]) => {
    const { labels } = await import(new URL("assets/labels.js", location.href));
    return labels(boxes, picture).map(({ lines, left, top, wide, high }) => [lines, left, top, wide, high]);
}"""


def boxed(box: list[float], words: tuple[str, ...] = (), track: int | None = None) -> dict[str, object]:
    return {"class": "Car", "confidence": 0.88, "track": track, "box": box, "event": True, "words": words}


def test_no_label_lies_on_another(browser: Browser, loading: Seeing) -> None:
    """Two cars side by side, and a crowd, on a card of 360 pixels."""
    pair = [
        boxed([100, 90, 260, 220], ("Corvano", "Hatchback"), 9),
        boxed([150, 95, 330, 220], ("Dynex", "Sedan"), 8),
    ]
    places = np.random.default_rng(7).integers(0, 500, (40, 2)).tolist()
    crowd = [boxed([x, y / 2, x + 90, y / 2 + 60], ("Aster",), track) for track, (x, y) in enumerate(places)]
    picture = {"width": 640, "height": 360, "letters": 18, "brief": True}
    with new_page(browser) as (page, complaints):
        page.goto(address(loading[0]))
        found = page.evaluate(LABELS, [pair, picture])
        assert sorted(lines for lines, *_ in found) == [["#8 Dynex · Sedan"], ["#9 Corvano · Hatchback"]]
        assert page.evaluate(LABELS, [pair[::-1], picture]) == found  # frames tell them in any order
        for brief in (True, False):
            many = page.evaluate(LABELS, [crowd, {**picture, "brief": brief}])
            assert len(many) > 10
            for place, (_, left, top, wide, high) in enumerate(many):
                assert left >= 0 <= top
                assert left + wide <= 640
                assert top + high <= 360
                for _, x, y, width, height in many[:place]:
                    assert x >= left + wide or left >= x + width or y >= top + high or top >= y + height
        whole = page.evaluate(LABELS, [pair[:1], {**picture, "brief": False}])
        assert whole[0][0] == ["Car #9 88 %", "Corvano · Hatchback"]
        assert complaints == []


def test_cameras_are_shown_without_complaints(browser: Browser, seeing: Seeing) -> None:
    with new_page(browser) as (page, complaints):
        page.goto(address(seeing[0]))
        until(page, f"{MOVES} === 1")
        first = page.locator(".live img").get_attribute("src")
        until(page, f"document.querySelector('.live img').src !== {first!r}")
        page.get_by_role("status").filter(has_text="The camera is fine").wait_for()
        until(page, "document.querySelectorAll('.drawing .box.event').length > 0")
        until(page, "[...document.querySelectorAll('.feed img')].some(one => one.naturalWidth > 20)")
        tile = page.locator(".tile")
        assert "entrance" in (tile.get_by_role("heading").text_content() or "")
        assert "online" in (tile.text_content() or "")
        tile.get_by_text("/s analysed").wait_for()
        until(page, "document.querySelectorAll('.spark polyline').length > 2")
        until(page, "/^✓ The camera is fine/.test(document.title)")
        assert complaints == []


def test_a_camera_has_a_page(browser: Browser, seeing: Seeing) -> None:
    with new_page(browser) as (page, complaints):
        page.goto(address(seeing[0]))
        page.get_by_role("link", name="entrance").first.click()
        page.get_by_role("heading", name="entrance").wait_for()
        nodes = page.locator(".node strong").first
        nodes.wait_for()
        assert page.locator(".tree .node").count() == 3
        until(page, "/[1-9]\\d* runs/.test(document.querySelector('.node').textContent)")
        until(page, "document.querySelectorAll('.chart canvas').length === 2")
        # The newest figures, though nobody points at any; and what can be had of a camera for snapshots.
        until(page, "/analysed:?\\s*\\d/.test(document.querySelector('.u-legend').textContent)")
        page.get_by_text("a picture every 0.25 s, each is decoded").wait_for()
        page.go_back()
        page.locator(".tile").wait_for()
        page.goto(address(seeing[0], "#/camera/no%3Bsuch"))
        page.get_by_text("such is not subscribed").wait_for()
        page.goto(address(seeing[0], "#/camera/"))
        page.get_by_text("This address names no camera").wait_for()
        assert complaints == []


def test_a_picture_is_tried(browser: Browser, seeing: Seeing, tmp_path: Path) -> None:
    picture, rubbish = tmp_path / "car.jpg", tmp_path / "rubbish.jpg"
    frame = next(frame for frame in Clip(CLIPS[0]) if frame.at >= CAR_SEC)
    picture.write_bytes(encode_jpeg(frame.image))
    rubbish.write_bytes(b"no picture at all")
    with new_page(browser) as (page, complaints):
        page.goto(address(seeing[0], "#/try"))
        page.get_by_label("Picture").set_input_files(rubbish)
        page.get_by_role("button", name="Try it").click()
        page.get_by_role("alert").filter(has_text="this is no picture").wait_for()
        page.get_by_label("Picture").set_input_files(picture)
        page.get_by_role("button", name="Try it").click()
        until(page, "document.querySelectorAll('.drawing .box.event').length > 0")
        page.get_by_role("heading", name="event").wait_for()
        assert page.locator(".tree .node").count() == 3
        # A phone's photo, a large one, and one that is too large.
        for name, shape in (("photo.jpg", (1500, 2000, 3)), ("large.bmp", (2000, 2500, 3))):
            noise = np.random.default_rng(1).integers(0, 255, shape, np.uint8)
            PIL.Image.fromarray(noise).save(tmp_path / name, quality=95)
            assert (tmp_path / name).stat().st_size > 3_000_000
            page.get_by_label("Picture").set_input_files(tmp_path / name)
            page.get_by_role("button", name="Try it").click()
            page.get_by_role("heading", name=re.compile("seen|event", re.IGNORECASE)).wait_for()
        (tmp_path / "larger.jpg").write_bytes(bytes(25_000_000))
        page.get_by_label("Picture").set_input_files(tmp_path / "larger.jpg")
        page.get_by_role("button", name="Try it").click()
        page.get_by_role("alert").filter(has_text="more than 20 MB").wait_for()
        assert [text for text in complaints if "422" not in text] == []


def test_the_keyboard_suffices(browser: Browser, seeing: Seeing) -> None:
    with new_page(browser) as (page, complaints):
        page.goto(address(seeing[0]))
        page.locator(".tile").wait_for()
        focused = "document.activeElement.textContent"
        page.keyboard.press("Tab")
        assert page.evaluate(focused) == "To the content"
        page.keyboard.press("Enter")
        for _ in range(4):  # a machine that is busy has the page name the camera in its first line, too
            page.keyboard.press("Tab")
            if page.evaluate(focused) == "entrance":
                break
        assert page.evaluate(focused) == "entrance"
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        page.keyboard.press("Enter")
        page.locator(".title").filter(has_text="entrance").wait_for()
        # It goes on in the page that has opened.
        page.keyboard.press("Tab")
        assert page.evaluate(focused) == "‹ All cameras"
        assert complaints == []


def test_a_camera_is_tested(browser: Browser, seeing: Seeing, station: Station) -> None:
    running = seeing[0]
    with new_page(browser) as (page, complaints):
        page.goto(address(running, "#/test"))
        page.get_by_label("Archive", exact=True).select_option("other")
        page.get_by_label("Name").fill("trial none")
        page.get_by_label("Camera's address").fill("http://127.0.0.1:1/none")
        page.get_by_label("Kind").select_option("snapshot")
        page.get_by_label("Address of the archive").fill("http://127.0.0.1:1/none.mpta")
        page.get_by_role("button", name="Begin the test").click()
        page.locator(".running").get_by_text("does not work").wait_for()
        # The next one is mostly tested with the same archive.
        assert page.get_by_label("Address of the archive").input_value().endswith("/none.mpta")
        assert page.get_by_label("Name").input_value() == ""
        page.get_by_role("link", name="Cameras").click()
        until(page, "document.querySelectorAll('.tile').length === 2")
        assert "entrance" in (page.locator(".tile").first.text_content() or "")
        assert "test" in page.locator(".tile").last.locator(".badge").all_text_contents()
        page.get_by_role("link", name="Test a camera").click()
        page.get_by_role("button", name="Remove").click()
        until(page, "document.activeElement.id === 'main'")
        page.get_by_label("Archive", exact=True).select_option(SEEN)
        page.get_by_label("Name").fill("trial one")
        page.get_by_label("Kind").select_option("snapshot")
        field = page.get_by_label("Camera's address")
        field.fill(" " + station.snapshot_url.replace("//", "//me:hunter2@") + " ")  # as it is pasted
        assert field.evaluate("one => one.spellcheck") is False  # some browsers send it away
        page.get_by_role("button", name="Begin the test").click()
        row = page.locator(".running")
        row.get_by_text("online").wait_for()
        assert row.get_by_role("link").text_content() == "dashboard;trial-one"
        assert running.json("/health")["subscriptions"] == 2
        assert "hunter2" not in page.content()
        # Neither a name of blanks, nor one that is taken.
        page.get_by_label("Camera's address").fill(station.snapshot_url)
        for name, reason in (
            ("  ", "Give the test a name"),
            (" trial one ", "There is a test named trial-one"),
        ):
            page.get_by_label("Name").fill(name)
            page.get_by_role("button", name="Begin the test").click()
            page.get_by_role("alert").filter(has_text=reason).wait_for()
            assert page.evaluate("document.activeElement.id") == "name"
            assert page.locator(".running").count() == 1
        # A page that is loaded anew holds its tests no longer, but can end them.
        page.reload()
        other = page.locator(".other").filter(has_text="it ends by itself soon")
        assert other.get_by_role("link").text_content() == "dashboard;trial-one"
        page.get_by_label("Name").fill("trial one")
        page.get_by_label("Camera's address").fill(station.snapshot_url)
        page.get_by_role("button", name="Begin the test").click()
        page.get_by_role("alert").filter(has_text="There is a test named trial-one").wait_for()
        other.get_by_role("button", name="End").click()
        until(page, "document.querySelectorAll('.other').length === 0")
        assert running.json("/health")["subscriptions"] == 1
        # Its name is free at once.
        page.get_by_label("Kind").select_option("snapshot")
        page.get_by_role("button", name="Begin the test").click()
        row.get_by_text("online").wait_for()
        row.get_by_role("button", name="Remove").click()
        until(page, "document.querySelectorAll('.running').length === 0")
        deadline = time.monotonic() + 10
        while running.json("/health")["subscriptions"] != 1:
            assert time.monotonic() < deadline
        assert complaints == []


def test_a_phone_needs_no_sideways_scrolling(browser: Browser, seeing: Seeing) -> None:
    with new_page(browser) as (page, complaints):
        page.set_viewport_size({"width": 390, "height": 844})
        parts = {
            "": f"{MOVES} === 1 && document.querySelectorAll('.spark polyline').length > 2",
            "#/try": "document.querySelectorAll('#archive option').length === 2",
            "#/test": "document.querySelectorAll('#model option').length === 2",
            f"#/camera/{SEEN.replace(';', '%3B')}": "document.querySelectorAll('.chart canvas').length === 2"
            " && document.querySelectorAll('.tree .node').length === 3",
        }
        for part, shown in parts.items():
            page.goto(address(seeing[0], part))
            until(page, shown)
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, part
        # Every control can be met with a thumb, and has a name.
        page.goto(address(seeing[0], "#/test"))
        page.get_by_label("Name").wait_for()
        controls = "[...document.querySelectorAll('main button, main input, main select')]"
        assert min(page.evaluate(f"{controls}.map(one => one.clientHeight)")) >= 30
        fields = "[...document.querySelectorAll('input, select')]"
        assert page.evaluate(f"{fields}.every(one => one.labels.length)")
        assert complaints == []


def test_a_camera_that_dies_turns_offline_in_time(
    browser: Browser, seeing: Seeing, archives: Shelf, tmp_path: Path
) -> None:
    running, backend = seeing
    with dying_camera(tmp_path) as (camera, url), new_page(browser) as (page, complaints):
        backend.subscribe(
            DYING,
            snapshot_url=url,
            snapshot_interval=500,
            model_url=archives.url("demo.mpta"),
            model_name="Demo cars",
        )
        try:
            page.goto(address(running))
            until(page, "document.querySelectorAll('.tile[data-online=true]').length === 2")
            page.get_by_role("status").filter(has_text="All 2 cameras are fine").wait_for()
            camera.stop()
            took = until(page, "document.querySelectorAll('.tile[data-online=false]').length === 1")
            assert took <= OFFLINE_SEC
            # It comes first, with what to do.
            assert "pump" in (page.locator(".tile h3").first.text_content() or "")
            headline = page.get_by_role("status").filter(has_text="1 of 2 cameras is offline")
            headline.wait_for()
            assert "check its power and network" in (headline.text_content() or "")
            assert "1 of 2" in page.title()
        finally:
            backend.unsubscribe(DYING)
        until(page, "document.querySelectorAll('.tile').length === 1")
        assert complaints == []
