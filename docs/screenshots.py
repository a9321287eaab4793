"""The pictures of pages in the documents, each of a real run: `make screenshots [PAGES=control]`."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from PIL import Image as Picture
from playwright.sync_api import Page

from demo.processes import Process, free_port
from tests.acceptance.browser import browser, page
from tests.acceptance.control_site import ControlSite

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
CLIPS = sorted((ROOT / "demo" / "clips").glob("*.mp4"))
CONFIG = f'archive = "{ROOT / "demo" / "demo.mpta"}"\n'
READY_SEC = 300.0
FOLLOWED_SEC = 150.0
"""How long a page follows before its picture is taken, so that its lines say something."""

LOOKED_SEC = 25.0
"""How long the dashboard is open before, so that its lines and lists say something."""


def shot(opened: Page, name: str, scheme: Literal["light", "dark"], width: int) -> None:
    """A picture of the whole page, as a person with such a screen sees it."""
    opened.set_viewport_size({"width": width, "height": 844})
    opened.emulate_media(color_scheme=scheme)
    opened.wait_for_timeout(1000)
    opened.screenshot(path=str(IMAGES / f"{name}.png"), full_page=True)


def control(folder: Path) -> None:
    """The control server's page: two apps with two slots each, at work on the demo's clips."""
    for camera, copies in {"gate": 12, "yard": 9, "ramp": 12, "road": 6, "dock": 3}.items():
        (folder / camera).mkdir()
        for number in range(copies):
            clip = CLIPS[number % len(CLIPS)]
            shutil.copyfile(clip, folder / camera / f"{number + 1:02}-{clip.name}")
    for app in ("north", "south"):
        (folder / f"{app}.toml").write_text(CONFIG)
    numbers = itertools.count(1)
    with ControlSite(folder) as site, browser() as running, page(running) as (opened, complaints):
        opened.goto(site.page)
        for number, app in enumerate(("north", "south")):  # the second finds what the first has exported
            body = {"config_path": str(folder / f"{app}.toml"), "streams_count": 2, "instance_id": app}
            site.post("/launch", body)
            until(lambda app=app: site.get(f"/instances/{app}")["ws_status"] == "connected")
            for camera in (("gate", "yard"), ("ramp", "road", "dock"))[number]:
                given = {"type": "fileset", "path": str(folder / camera), "name": camera.capitalize()}
                given |= {"output_dir": str(folder / "results" / camera), "instance_id": app}
                site.post("/analysis/start", {**given, "camera_id": next(numbers)})
        opened.wait_for_timeout(FOLLOWED_SEC * 1000)
        shot(opened, "control", "light", 1280)
        assert complaints == [], complaints


def dashboard(folder: Path) -> None:
    """The worker's page during the demo: all cameras, one of them, and on a phone."""
    port = free_port()
    command = [sys.executable, "-m", "demo", "--port", str(port), "--data", str(folder / "data")]
    demo = Process(command, folder / "demo.log")
    try:
        state = f"http://127.0.0.1:{port}/dashboard/state"
        until(lambda: is_well(state))
        with browser() as running:
            with page(running) as (opened, complaints):
                opened.goto(f"http://127.0.0.1:{port}/")
                opened.wait_for_timeout(LOOKED_SEC * 1000)
                until(lambda: is_well(state))
                look(opened, ROOT / "docs" / "dashboard.png", "light", 1440, 1180)
                camera = opened.get_by_role("link", name="morning-rush").first
                camera.click()
                opened.locator(".chart canvas").first.wait_for()
                opened.wait_for_timeout(5000)
                opened.locator(".drawing .label text").nth(1).wait_for()  # a car of which something was said
                look(opened, IMAGES / "dashboard-camera.png", "dark", 1280, 1560)
                assert complaints == [], complaints
            with page(running) as (opened, _):
                opened.goto(f"http://127.0.0.1:{port}/")
                opened.wait_for_timeout(5000)
                until(lambda: is_well(state))
                look(opened, IMAGES / "dashboard-phone.png", "light", 390, 844)
    finally:
        demo.stop()


def is_well(state: str) -> bool:
    """Whether the worker analyses all cameras, and has the time for it."""
    try:
        with urllib.request.urlopen(state, timeout=10) as answer:
            return json.load(answer)["headline"]["tone"] == "good"
    except OSError:
        return False


def look(opened: Page, path: Path, scheme: Literal["light", "dark"], width: int, height: int) -> None:
    """A picture of what is on a screen of that size."""
    opened.set_viewport_size({"width": width, "height": height})
    opened.emulate_media(color_scheme=scheme)
    opened.wait_for_timeout(2500)
    opened.screenshot(path=str(path))
    Picture.open(path).convert("RGB").quantize(256).save(path, optimize=True)


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_SEC
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.2)


PAGES = {"control": control, "dashboard": dashboard}


def main() -> None:
    for name in sys.argv[1:] or list(PAGES):
        with tempfile.TemporaryDirectory() as folder:
            PAGES[name](Path(folder))


if __name__ == "__main__":
    main()
