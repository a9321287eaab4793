"""What an open dashboard costs a worker with 64 cameras, beside the same worker with nobody looking.

    python -m bench.dashboard [--json] [--repeats 5]

The cameras of `bench.growth` on a real worker, two frames a second analysed of each. Three sides take
turns: nobody looks; a page asks for its data at its own pace, pictures aside; and that page with the pictures
of the twelve cameras that are visible at a time, which is told and has no goal. Cost: processor
seconds of the worker's main thread, which answers pages and notes what they want to know (other threads only
make pictures), less those of its frames, each taken to cost what it costs while nobody looks. At the end a
browser that has never been there opens the page, and says when it first painted something.
"""

import http.client
import shutil
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from playwright.sync_api import sync_playwright

from bench import rig
from bench.growth import ANALYSED, MOST, RATE, cameras, classifier_only, cpu_seconds, fleet, identifier
from bench.record import Measure, Row, Spread, finish

WINDOW_SEC = 6.0
SETTLE_SEC = 2.0
STATE_SEC, HISTORY_SEC = 1.0, 5.0
"""The page's own pace."""
VISIBLE = 12
STILL_SEC = 0.84
"""Between two pictures of one camera while twelve are visible (dashboard/live.js)."""
GOAL_PERCENT = 5.0
GOAL_PAINT_MS = 1000.0
PAINTED = "performance.getEntriesByName('first-contentful-paint').map(one => one.startTime)"


@dataclass(frozen=True, slots=True)
class Window:
    """One stretch of time: processor seconds of the main thread and of the process, frames analysed."""

    seconds: float
    main: float
    cpu: float
    frames: float

    def as_dict(self) -> dict[str, float]:
        return {
            "main_percent": round(100 * self.main / self.seconds, 2),
            "cpu_percent": round(100 * self.cpu / self.seconds, 1),
            "analysed_per_sec": round(self.frames / self.seconds, 1),
        }


def main_seconds(running: rig.Worker) -> float:
    """Processor time of its main thread so far."""
    ticks = Path(f"/proc/{running.pid}/task/{running.pid}/schedstat").read_text(encoding="ascii").split()
    return int(ticks[0]) / 1e9


def look(running: rig.Worker) -> Window:
    """A stretch of what runs now; asking for the metrics lies outside of it."""
    frames = running.metric(ANALYSED)
    began, main, cpu = time.monotonic(), main_seconds(running), cpu_seconds(running)
    time.sleep(WINDOW_SEC)
    took = time.monotonic() - began
    main, cpu = main_seconds(running) - main, cpu_seconds(running) - cpu
    return Window(took, main, cpu, running.metric(ANALYSED) - frames)


class Page:
    """Asks as a browser with the dashboard open does, over connections that are kept."""

    def __init__(self, running: rig.Worker, pictures: int) -> None:
        self._port = running.port
        self._over = threading.Event()
        self.answers = 0
        self.bytes = 0
        jobs: list[tuple[Callable[[], str], float]] = [
            (lambda: "/dashboard/state", STATE_SEC),
            (lambda: "/dashboard/history", HISTORY_SEC),
        ]
        for number in range(pictures):
            path = f"/dashboard/camera/{quote(identifier(number))}/still?width=640"
            jobs.append((lambda path=path: path, STILL_SEC))
        self._threads = [threading.Thread(target=self._ask, args=job) for job in jobs]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, path: Callable[[], str], seconds: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        while not self._over.is_set():
            connection.request("GET", path())
            answer = connection.getresponse()
            body = answer.read()
            if answer.status not in (200, 204):
                raise RuntimeError(f"{path()}: {answer.status}")
            self.answers += 1
            self.bytes += len(body)
            self._over.wait(seconds)
        connection.close()


@contextmanager
def opened(running: rig.Worker, pictures: int | None) -> Any:
    """A page that is open while the block runs; `pictures` None: nobody looks."""
    page = None if pictures is None else Page(running, pictures)
    try:
        time.sleep(SETTLE_SEC if page else 0.0)
        yield page
    finally:
        if page is not None:
            page.close()


def paints(url: str, count: int) -> list[float]:
    """Milliseconds to the first paint of the page at `url`, each in a browser context with no past. Raises
    RuntimeError without Debian's Chromium."""
    path = shutil.which("chromium")
    if path is None:
        raise RuntimeError("`make system-tests` installs the browser that this needs")
    found: list[float] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for _ in range(count):
            context = browser.new_context()
            page = context.new_page()
            page.goto(url)
            while not (times := page.evaluate(PAINTED)):
                page.wait_for_timeout(20)
            found.append(times[0])
            context.close()
        browser.close()
    return found


def percent(window: Window, closed: Window) -> float:
    """Of a core, beyond what its frames cost."""
    return 100 * (window.main - closed.main * window.frames / max(1.0, closed.frames)) / window.seconds


def main(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    repeats: Annotated[int, typer.Option(help="Windows of each side")] = 5,
    folder: Annotated[Path, typer.Option(help="The worker's data folder")] = rig.DATA,
) -> None:
    """Measure, print and keep."""
    sides: dict[str, int | None] = {"closed": None, "data": 0, "pictures": VISIBLE}
    found: dict[str, list[Window]] = {name: [] for name in sides}
    asked: dict[str, list[float]] = {name: [] for name in sides}
    archive = rig.archive("classifier", classifier_only)
    with cameras() as urls, fleet(urls, archive, RATE, folder) as (running, many):
        many.resize(MOST)
        for _ in range(repeats):
            for name, pictures in sides.items():
                with opened(running, pictures) as page:
                    before = page.answers if page else 0
                    window = look(running)
                    asked[name].append(((page.answers if page else 0) - before) / window.seconds)
                found[name].append(window)
                if page is not None:
                    time.sleep(16.0)  # until it has noticed that nobody looks any more
        painted = Spread.of(paints(f"http://127.0.0.1:{running.port}/", repeats))
    closed = found["closed"]
    pairs = {
        name: [percent(window, one) for window, one in zip(found[name], closed, strict=True)]
        for name in ("data", "pictures")
    }
    figures: dict[str, Any] = {name: [one.as_dict() for one in windows] for name, windows in found.items()}
    figures["pictures_percent"] = [round(one, 2) for one in pairs["pictures"]]
    figures["answers_a_second"] = {name: round(statistics.fmean(counts), 1) for name, counts in asked.items()}
    spread = Spread.of(pairs["data"])
    measures = [
        Measure("beyond the pictures shown", spread, GOAL_PERCENT, "most", " % of a core"),
        Measure("first paint of the page", painted, GOAL_PAINT_MS, "most", " ms"),
    ]
    what = "an open dashboard of 64 cameras"
    finish(
        Row("dashboard", 14, what, "the same worker with nobody looking", measures, figures), as_json=as_json
    )


if __name__ == "__main__":
    typer.run(main)
