"""The control server under load: 20 apps of 8 slots, 10,000 files queued, deaths of apps and of the server.

    python -m bench.control [--files 10000] [--kills 10] [--server-kills 2]

The apps are simulated in this process; the server is a real one, killed with SIGKILL. Prints how long answers
took while it ran, and whether every file was counted once.
"""

import asyncio
import contextlib
import io
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from demo.processes import Process, free_port
from tests.deepstream.scripted_app import ScriptedApp

APPS, SLOTS = 20, 8
PER_REQUEST = 50
FILE_SEC = 0.5
LONGEST_SEC = 400
PATHS = ("/analysis/status", "/instances", "/requests", "/health", "/analysis/status/app0", "/processes")


class Site:
    """The server, and the apps that connect to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.config = str(folder / "app.txt")
        names = [f"app{number}" for number in range(APPS)]
        instances = [
            {"instance_id": name, "config_path": self.config, "streams_count": SLOTS} for name in names
        ]
        (folder / "samples.json").write_text(json.dumps({"deepstream_instances": instances}))
        self.tasks = {name: asyncio.create_task(self._app(name)) for name in names}
        self.up = False
        self.http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}/deepstream", timeout=30)

    async def start(self) -> None:
        env = {
            "SIWAT_DATA_DIR": str(self.folder),
            "SIWAT_CONTROL__PORT": str(self.port),
            "SIWAT_CONTROL__SAMPLE_DATA": str(self.folder / "samples.json"),
        }
        command = [sys.executable, "-m", "siwatsystem", "control"]
        self.process = Process(command, self.folder / "server.log", env)
        async with asyncio.timeout(60):
            while not await self._healthy():  # noqa: ASYNC110 # it is asked
                await asyncio.sleep(0.1)
        self.up = True

    async def _healthy(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return (await self.http.get("/health")).json()["connected_instances"] == APPS
        return False

    async def kill_server(self) -> None:
        self.up = False
        os.kill(self.process.child.pid, signal.SIGKILL)
        self.process.stop()
        await self.start()

    async def _app(self, name: str) -> None:
        server = f"ws://127.0.0.1:{self.port}/deepstream/ws"
        await ScriptedApp(server, self.config, SLOTS, FILE_SEC * random.uniform(0.5, 1.5), name).run()

    def kill_app(self, name: str) -> None:
        """It forgets all that it had in hand."""
        self.tasks[name].cancel()
        self.tasks[name] = asyncio.create_task(self._app(name))

    async def queue(self, files: int) -> list[str]:
        requests: list[str] = []
        for first in range(0, files, PER_REQUEST):
            given = [
                {"file_id": number, "file_path": f"/videos/{number}.mp4", "output_path": f"/results/{number}"}
                for number in range(first, min(first + PER_REQUEST, files))
            ]
            name = f"r{first}"
            body = {"camera_id": first, "type": "fileset", "path": "/videos", "name": name, "files": given}
            answer = await self.http.post("/analysis/start", json={**body, "request_id": name})
            answer.raise_for_status()
            requests.append(name)
        return requests

    async def counts(self, requests: list[str]) -> dict[str, int]:
        total: dict[str, int] = dict.fromkeys(("total", "done", "failed", "cancelled"), 0)
        for name in requests:
            files: dict[str, Any] = (await self.http.get(f"/requests/{name}", params={"limit": 1})).json()[
                "files"
            ]
            for key in total:
                total[key] += files[key]
        return total

    async def end(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        await self.http.aclose()
        self.process.stop(40)


async def watch(site: Site, took: list[float]) -> None:
    """Ask one route after the other; what is asked while the server is away does not count."""
    while True:
        for path in PATHS:
            if site.up:
                began = time.perf_counter()
                with contextlib.suppress(httpx.HTTPError):
                    answer = await site.http.get(path)
                    if site.up and answer.status_code == 200:
                        took.append(time.perf_counter() - began)
            await asyncio.sleep(0.03)


async def disturb(site: Site, kills: int, server_kills: int) -> None:
    for number in range(kills):
        await asyncio.sleep(random.uniform(1, 4))
        site.kill_app(random.choice(list(site.tasks)))
        if number % max(1, kills // max(1, server_kills)) == 0 and server_kills > 0:
            server_kills -= 1
            await site.kill_server()


async def measure(folder: Path, files: int, kills: int, server_kills: int) -> dict[str, Any]:
    site = Site(folder)
    took: list[float] = []
    helpers: list[asyncio.Task[None]] = []
    try:
        await site.start()
        requests = await site.queue(files)
        began = time.monotonic()
        helpers = [
            asyncio.create_task(watch(site, took)),
            asyncio.create_task(disturb(site, kills, server_kills)),
        ]
        counts = {"done": 0, "failed": 0}
        while counts["done"] + counts["failed"] < files and time.monotonic() - began < LONGEST_SEC:
            await asyncio.sleep(2)
            if site.up:
                with contextlib.suppress(httpx.HTTPError):
                    counts = await site.counts(requests)
        seconds = time.monotonic() - began
    finally:
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        await site.end()
    took.sort()
    return {
        **counts,
        "seconds": round(seconds, 1),
        "answers": len(took),
        "p50_ms": round(took[len(took) // 2] * 1000, 1),
        "p99_ms": round(took[int(len(took) * 0.99)] * 1000, 1),
        "worst_ms": round(took[-1] * 1000, 1),
    }


def main(
    files: Annotated[int, typer.Option()] = 10_000,
    kills: Annotated[int, typer.Option()] = 10,
    server_kills: Annotated[int, typer.Option()] = 2,
) -> None:
    """Print what was measured; status 1 where a file was lost or counted twice."""
    with tempfile.TemporaryDirectory(prefix="siwat-control-") as folder:
        with contextlib.redirect_stdout(io.StringIO()):  # the apps' words
            found = asyncio.run(measure(Path(folder), files, kills, server_kills))
        analysed = (Path(folder) / "app.txt.done").read_text().splitlines()
    found |= {"analysed": len(analysed), "different": len(set(analysed))}
    print(json.dumps(found))
    raise SystemExit(found["done"] + found["failed"] != files or found["different"] < found["done"])


if __name__ == "__main__":
    typer.run(main)
