"""What state reports of a thousand subscriptions cost, and how soon a thousand are taken.

python -m bench.subscriptions [--json] [--repeats 3]

A thousand displays look at a few cameras that accept a connection and never show anything, so nothing
is decoded or analysed. What reports cost is the processor time of a worker that reports every two
seconds, as shipped, less that of one beside it that holds the same thousand subscriptions, with the
same client, but is told to report once an hour; both are looked at in the same seconds.
"""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import rig
from bench.record import Measure, Row, Spread, finish

SUBSCRIPTIONS = 1000
CAMERAS = 4
WINDOW_SEC = 20.0
SETTLE_SEC = 8.0
"""After subscribing: the cameras are found to show nothing, and every display is told so."""


class Mute:
    """A camera that accepts connections and never says a word."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, name="mute", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self._listener.getsockname()[1]}/mute"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        for one in self._open:
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._open.append(self._listener.accept()[0])


@contextlib.contextmanager
def mutes(count: int) -> Iterator[list[str]]:
    """Addresses of so many cameras that show nothing."""
    cameras = [Mute() for _ in range(count)]
    try:
        yield [camera.url for camera in cameras]
    finally:
        for camera in cameras:
            camera.close()


def identifier(number: int) -> str:
    return f"display-{number:04};camera-{number % CAMERAS}"


def subscribe(client: rig.Client, urls: list[str]) -> tuple[float, int]:
    """Subscribe all at once. Returns the seconds until a report lists all, and the reports until then."""
    before, began = client.counts["stateReport"], time.monotonic()
    for number in range(SUBSCRIPTIONS):
        client.subscribe(identifier(number), urls[number % CAMERAS])
    client.wait(lambda: listed(client) == SUBSCRIPTIONS, "a report lists all")
    return time.monotonic() - began, client.counts["stateReport"] - before


def burst(found: dict[str, list[float]], client: rig.Client, urls: list[str]) -> None:
    """One more measured burst of subscribes."""
    seconds, reports = subscribe(client, urls)
    found["seconds"].append(seconds)
    found["reports"].append(reports)


def unsubscribe(client: rig.Client) -> None:
    for number in range(SUBSCRIPTIONS):
        client.send({"type": "unsubscribe", "payload": {"subscriptionIdentifier": identifier(number)}})
    client.wait(lambda: listed(client) == 0, "none is left")


def loaded(running: rig.Worker) -> bool:
    """Whether the archive is: exporting and compiling its models costs, and is over after a while."""
    return bool(json.loads(running.get("/health"))["precision"])


def listed(client: rig.Client) -> int:
    return -1 if client.state is None else len(client.state["cameraConnections"])


def compare(folder: Path, repeats: int) -> dict[str, list[float]]:
    """By name: percents of a core that reports cost, seconds and reports of subscribing a thousand."""
    silent = folder.with_name(f"{folder.name}-silent")
    found: dict[str, list[float]] = {name: [] for name in ("cost", "with", "without", "seconds", "reports")}
    with (
        contextlib.ExitStack() as stack,
        mutes(CAMERAS) as urls,
        rig.worker(folder) as told,
        rig.worker(silent, SIWAT_WEBSOCKET__STATE_INTERVAL_SEC="3600") as mute,
        rig.Client(mute) as idle,
    ):
        subscribe(idle, urls)
        for _ in range(repeats - 1):
            # A client of its own each time: no connection may send more messages than that at once.
            with rig.Client(told) as passing:
                burst(found, passing, urls)
                unsubscribe(passing)
        listener = stack.enter_context(rig.Client(told))
        burst(found, listener, urls)
        for running in (told, mute):
            listener.wait(lambda running=running: loaded(running), "the archive is loaded")
        time.sleep(SETTLE_SEC)
        for _ in range(repeats):
            reports = listener.counts["stateReport"]
            before = told.cpu_seconds(), mute.cpu_seconds()
            time.sleep(WINDOW_SEC)
            spent, silent = told.cpu_seconds() - before[0], mute.cpu_seconds() - before[1]
            regular = listener.counts["stateReport"] - reports
            if not WINDOW_SEC / 2 - 1 <= regular <= WINDOW_SEC / 2 + 1:
                raise RuntimeError(f"{regular} reports in {WINDOW_SEC:g} s: one every 2 s was expected")
            found["with"].append(100 * spent / WINDOW_SEC)
            found["without"].append(100 * silent / WINDOW_SEC)
            found["cost"].append(100 * (spent - silent) / WINDOW_SEC)
    return found


def row(found: dict[str, list[float]]) -> Row:
    figures: dict[str, Any] = {
        "subscriptions": SUBSCRIPTIONS,
        "cameras": CAMERAS,
        "window_sec": WINDOW_SEC,
        "percent_of_a_core": {"reporting": found["with"], "silent": found["without"]},
    }
    return Row(
        "subscriptions",
        11,
        "1,000 subscriptions, a state report every 2 s",
        "the same worker that reports once an hour",
        [
            Measure("reports", Spread.of(found["cost"]), 1.0, "most", " % of a core"),
            Measure("1,000 subscribes taken", Spread.of(found["seconds"]), 5.0, "most", " s"),
            Measure("reports meanwhile", Spread.of(found["reports"]), 100, "most", " reports"),
        ],
        figures,
    )


def main(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    repeats: Annotated[int, typer.Option(help="Windows, and bursts of subscribes")] = 3,
    folder: Annotated[Path, typer.Option(help="The worker's data folder")] = rig.DATA,
) -> None:
    """Measure, print and keep."""
    finish(row(compare(folder, repeats)), as_json=as_json)


if __name__ == "__main__":
    typer.run(main)
